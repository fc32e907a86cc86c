"""Turns: first answers first, in the order of asking; all cores for one, one core each for many; threads that stay."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event, Thread, current_thread
from time import monotonic, sleep

import pytest
import torch

from attribution.cores import use_cores
from dashboard.turns import Rank, Turns

WAIT = 20


def until(condition: Callable[[], bool]) -> None:
    """Return once the condition holds."""
    deadline = monotonic() + WAIT
    while not condition() and monotonic() < deadline:
        sleep(0.005)
    assert condition()


class Line:
    """Several that ask one after the other; each says where it ran and on how many cores, and goes on when told."""

    def __init__(self, turns: Turns, pool: ThreadPoolExecutor) -> None:
        self.turns, self.pool = turns, pool
        self.begun: list[tuple[str, str, int]] = []
        self.go: dict[str, Event] = {}
        self.asked: dict[str, Future[str]] = {}

    def ask(self, name: str, rank: Rank = Rank.FIRST) -> None:
        """Ask, and return once it waits or has begun."""
        before = len(self.turns._waiting) + len(self.begun)
        self.go[name] = Event()
        self.asked[name] = self.pool.submit(self.turns.run, rank, lambda: self._answer(name))
        until(lambda: len(self.turns._waiting) + len(self.begun) > before)

    def _answer(self, name: str) -> str:
        self.begun.append((name, current_thread().name, torch.get_num_threads()))
        assert self.go[name].wait(WAIT)
        return name

    def end(self, name: str) -> None:
        """Let one go on, and return once it has ended."""
        self.go[name].set()
        assert self.asked[name].result(timeout=WAIT) == name

    @property
    def names(self) -> list[str]:
        return [name for name, *_ in self.begun]


def test_first_answers_go_before_what_refines_others() -> None:
    """While one computes, the rest queue up; then every first answer comes, in order, before anything is refined."""
    with ThreadPoolExecutor(8) as pool:
        line = Line(Turns(1), pool)
        for name, rank in [("a", 0), ("words of a", 1), ("b", 0), ("words of b", 1), ("c", 0)]:
            line.ask(name, Rank(rank))
        assert line.names == ["a"]
        for name in ["a", "b", "c", "words of a", "words of b"]:
            until(lambda name=name: line.names[-1] == name)
            line.end(name)


def test_one_has_all_cores_and_many_have_one_each() -> None:
    """The first comes alone and has both; of those that wait for it two run at a time, on a core each."""
    with ThreadPoolExecutor(8) as pool:
        line = Line(Turns(2), pool)
        for name in "abcd":
            line.ask(name)
        assert [(name, cores) for name, _, cores in line.begun] == [("a", 2)]
        line.end("a")
        until(lambda: sorted(line.names) == ["a", "b", "c"])
        line.end("c")
        until(lambda: line.names[3:] == ["d"])
        line.end("b")
        line.end("d")
        line.ask("e")
        until(lambda: line.names[-1] == "e")
        line.end("e")
    assert [cores for *_, cores in line.begun] == [2, 1, 1, 1, 2]


def test_what_is_alone_runs_in_the_same_thread() -> None:
    """Threads that ask come and go, as those of Streamlit do; answers are made in one that stays."""
    turns, names = Turns(2), []
    for _ in range(3):
        asking = Thread(target=lambda: names.append(turns.run(Rank.FIRST, lambda: current_thread().name)))
        asking.start()
        asking.join()
    assert len(names) == 3 and len(set(names)) == 1 and names[0] != current_thread().name


def test_no_more_run_at_a_time_than_there_are_cores() -> None:
    """However many ask, every one comes."""
    turns, inside, most = Turns(3), [], []

    def ask(number: int) -> int:
        def answer() -> int:
            inside.append(number)
            most.append(len(inside))
            sleep(0.002)
            inside.remove(number)
            return number

        return turns.run(Rank(number % 2), answer)

    with ThreadPoolExecutor(12) as pool:
        assert sorted(pool.map(ask, range(36))) == list(range(36))
    assert max(most) <= 3


def test_an_error_ends_the_turn() -> None:
    """What fails fails where it was asked for, and lets the next one go on."""
    turns = Turns(1)

    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        turns.run(Rank.FIRST, fail)
    assert turns.run(Rank.REFINING, lambda: 3) == 3


def test_cores_of_one_thread_leave_those_of_others() -> None:
    """Neither this thread nor one that begins later computes on as many as another one was given."""
    here = torch.get_num_threads()

    def use(count: int) -> int:
        use_cores(count)
        return torch.get_num_threads()

    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        assert one.submit(use, here + 2).result() == here + 2
        assert other.submit(torch.get_num_threads).result() == here
        assert one.submit(torch.get_num_threads).result() == here + 2
    assert torch.get_num_threads() == here
