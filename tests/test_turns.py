"""Turns: one at a time, first answers first, in the order of asking."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from time import monotonic, sleep

import pytest

from dashboard.turns import Rank, Turns

WAIT = 20


def waiting(turns: Turns, count: int) -> None:
    """Return once so many threads wait for their turn."""
    deadline = monotonic() + WAIT
    while len(turns._waiting) < count and monotonic() < deadline:
        sleep(0.005)
    assert len(turns._waiting) == count


def test_first_answers_go_before_what_refines_others() -> None:
    """While one computes, the rest queue up; then every first answer comes, in order, before anything is refined."""
    turns, done, go = Turns(), [], Event()

    def ask(name: str, rank: Rank, then: Callable[[], object] = lambda: None) -> None:
        with turns.turn(rank):
            then()
            done.append(name)

    asked = [("words of a", Rank.REFINING), ("b", Rank.FIRST), ("words of b", Rank.REFINING), ("c", Rank.FIRST)]
    with ThreadPoolExecutor(8) as pool:
        running = [pool.submit(ask, "a", Rank.FIRST, lambda: go.wait(WAIT))]
        deadline = monotonic() + WAIT
        while not turns._taken and monotonic() < deadline:
            sleep(0.005)
        for number, (name, rank) in enumerate(asked, start=1):
            running.append(pool.submit(ask, name, rank))
            waiting(turns, number)
        assert not done
        go.set()
        for each in running:
            each.result(timeout=WAIT)
    assert done == ["a", "b", "c", "words of a", "words of b"]


def test_only_one_computes_at_a_time() -> None:
    """However many ask, no two turns overlap, and every one comes."""
    turns, inside, most = Turns(), [], []

    def ask(number: int) -> int:
        with turns.turn(Rank(number % 2)):
            inside.append(number)
            most.append(len(inside))
            sleep(0.002)
            inside.remove(number)
        return number

    with ThreadPoolExecutor(12) as pool:
        assert sorted(pool.map(ask, range(24))) == list(range(24))
    assert set(most) == {1}


def test_an_error_ends_the_turn() -> None:
    """What fails lets the next one go on."""
    turns = Turns()
    with pytest.raises(ValueError, match="no"), turns.turn(Rank.FIRST):
        raise ValueError("no")
    with turns.turn(Rank.REFINING):
        pass
