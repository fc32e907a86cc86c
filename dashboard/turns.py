"""Whose turn it is to compute an answer, when several tabs ask at once, and in which thread.

One answer alone has all cores. Two cores are far from twice as fast as one, so that when as many answers wait as there
are cores each gets one of them. They go in the order of asking; what refines an answer that is shown already waits for
the first answers of others.

Answers are made in threads that stay. Every thread in which torch runs on several cores has helpers of its own, and
once there are more of them than cores, OpenMP lets them sleep between any two operations: in a thread of Streamlit's,
which ends with the run of a page, an answer takes twice as long.
"""

import heapq
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import IntEnum
from itertools import count
from threading import Condition
from typing import TypeVar

import torch

from attribution.cores import use_cores

T = TypeVar("T")


class Rank(IntEnum):
    """What goes first: what somebody waits for, then what makes something better that is on the page."""

    FIRST = 0
    REFINING = 1


class Turns:
    """Turns on so many cores, each of which has a thread; what has all of them runs in the first one's."""

    def __init__(self, cores: int) -> None:
        self._threads = [ThreadPoolExecutor(1, "answers") for _ in range(cores)]
        self._free = list(range(cores))
        self._changed, self._numbers = Condition(), count()
        self._waiting: list[tuple[Rank, int]] = []

    def run(self, rank: Rank, function: Callable[[], T]) -> T:
        """What the function returns or raises, once nobody waits who is of a lower rank, or of this one and came first.

        The function may not ask for a turn itself.
        """
        with self._changed:
            mine = (rank, next(self._numbers))
            heapq.heappush(self._waiting, mine)
            self._changed.wait_for(lambda: self._free and self._waiting[0] == mine)
            cores = len(self._threads)
            taken = self._free[: cores if len(self._free) == cores > len(self._waiting) else 1]
            heapq.heappop(self._waiting)
            self._free = self._free[len(taken) :]
            self._changed.notify_all()
        try:
            return self._threads[taken[0]].submit(_run, len(taken), function).result()
        finally:
            with self._changed:
                self._free = sorted(self._free + taken)
                self._changed.notify_all()


def _run(cores: int, function: Callable[[], T]) -> T:
    if torch.get_num_threads() != cores:
        use_cores(cores)
    return function()


TURNS = Turns(torch.get_num_threads())
