"""Answers in the making: a thread each, which never calls Streamlit; pages look at it and draw."""

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import streamlit as st

from attribution.index import Progress
from dashboard import workspaces

T = TypeVar("T")
KEPT = 32


class Stopped(Exception):
    """Raised inside the work when someone asked for its end."""


@dataclass(kw_only=True)
class Work(Generic[T]):
    """One running or ended piece of work: its progress, and the result once it is there."""

    began: float = field(default_factory=time.monotonic)
    done: int = 0
    total: int = 1
    what: str = "Starting"
    result: T | None = None
    failure: str | None = None
    running: bool = True
    _stopping: bool = False

    def progress(self) -> tuple[float, str]:
        """Share done in [0, 1] and a line that says what is being done."""
        elapsed = time.monotonic() - self.began
        left = f", {elapsed / self.done * (self.total - self.done):.0f} s left" if self.done else ""
        return self.done / self.total, f"{self.what.capitalize()}: {self.done:,} of {self.total:,}{left}"

    def _note(self, done: int, total: int, what: str) -> None:
        if what != self.what:
            self.began, self.what = time.monotonic(), what
        self.done, self.total = done, max(1, total)
        if self._stopping:
            raise Stopped

    def wait(self, seconds: float) -> None:
        """Wait for the end, at most so long."""
        until = time.monotonic() + seconds
        while self.running and time.monotonic() < until:
            time.sleep(0.02)

    def stop(self) -> None:
        """Ask the work to end; what it has found so far is lost."""
        self._stopping = True

    def run(self, make: Callable[[Progress], T]) -> None:
        """Do the work, which reports its progress."""
        try:
            self.result = make(self._note)
        except Stopped:
            self.failure = None
        except Exception as error:  # shown on the page: a thread has nobody else to tell
            self.failure = str(error) or type(error).__name__
        finally:
            self.running = False


@st.cache_resource(show_spinner=False)
def _works() -> dict[tuple[Hashable, Hashable], Work[Any]]:
    return {}


def find(key: Hashable) -> Work[Any] | None:
    """The latest work of that key on the session's workspace as it is now, if there was one."""
    return _works().get((workspaces.current_key(), key))


def start(key: Hashable, make: Callable[[Progress], T]) -> Work[T]:
    """Begin the work in a thread, unless that of the key runs already. Of ended works the latest KEPT are kept."""
    found = find(key)
    if found is not None and found.running:
        return found
    made: Work[T] = Work()
    for ended in [each for each, work in _works().items() if not work.running][:-KEPT]:
        _works().pop(ended, None)
    _works()[workspaces.current_key(), key] = made
    threading.Thread(target=made.run, args=(make,), daemon=True).start()
    return made
