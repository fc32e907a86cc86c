"""One model to make, and what makes it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

Step = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One model to make: the positions of its training examples, rising, its seed, and those of the tests asked of it.

    With all training examples and the seed that `influscope train` took, it is that training again.
    """

    rows: np.ndarray
    seed: int
    tests: np.ndarray


class Engine(Protocol):
    """What makes models. `together`: how many of as many examples it makes side by side."""

    together: int

    def logits(self, jobs: Sequence[Job], stepped: Step) -> list[np.ndarray]:
        """The test logits (tests, labels) of each job's model; `stepped` is told the number of each step."""
        ...

    def seconds(self, job: Job) -> float:
        """How long one model takes, found by timing a little of it."""
        ...
