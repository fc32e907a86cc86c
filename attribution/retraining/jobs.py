"""One model to make, what it is made from, and what makes it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from attribution.storage import digest_json
from attribution.workspace import Workspace

Step = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class Added:
    """Training examples beside the workspace's own n, at the positions n, n + 1, … that a job may name.

    `pairs`: the second texts, for pairs only; `labels`: label ids.
    """

    texts: Sequence[str] = ()
    pairs: Sequence[str] | None = None
    labels: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def beside(self, workspace: Workspace) -> tuple[list[str], list[str] | None, np.ndarray]:
        """Texts, second texts and label ids of the workspace's training examples and of these after them."""
        texts, pairs = workspace.texts("train")
        both = None if pairs is None else [*pairs, *(self.pairs or ())]
        return [*texts, *self.texts], both, np.concatenate([workspace.label_ids(workspace.train), self.labels])

    def digest(self, rows: np.ndarray) -> str:
        """What these examples are, by their place here (rows,)."""
        found = [[self.texts[i], None if self.pairs is None else self.pairs[i], int(self.labels[i])] for i in rows]
        return digest_json({"added": found})


@dataclass(frozen=True, kw_only=True)
class Job:
    """One model to make: the positions of its training examples, its seed, and those of the tests asked of it.

    Batches are drawn from the order of `rows`, so that an example in the place of another changes no batch but its own.
    With all training examples, rising, and the seed that `influscope train` took, it is that training again.
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
