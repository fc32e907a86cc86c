"""Whose turn it is to compute an answer, when several tabs ask at once.

Every answer can use all cores, so that two at the same time take no less than one after the other, and all end late.
One at a time, in the order of asking, half of the people wait half as long; and what refines an answer that is shown
already waits for the first answers of others.
"""

import heapq
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from itertools import count
from threading import Condition


class Rank(IntEnum):
    """What goes first: what somebody waits for, then what makes something better that is on the page."""

    FIRST = 0
    REFINING = 1


class Turns:
    """Turns of threads, one at a time. Within a turn nothing may be asked for that needs another one."""

    def __init__(self) -> None:
        self._changed, self._numbers = Condition(), count()
        self._waiting: list[tuple[Rank, int]] = []
        self._taken = False

    @contextmanager
    def turn(self, rank: Rank) -> Iterator[None]:
        """Wait until nobody computes and nobody waits who is of a lower rank, or of this one and came earlier."""
        with self._changed:
            mine = (rank, next(self._numbers))
            heapq.heappush(self._waiting, mine)
            self._changed.wait_for(lambda: not self._taken and self._waiting[0] == mine)
            heapq.heappop(self._waiting)
            self._taken = True
        try:
            yield
        finally:
            with self._changed:
                self._taken = False
                self._changed.notify_all()


TURNS = Turns()
