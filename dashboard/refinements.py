"""Exact answers in the making: a thread each, which never calls Streamlit; pages look at it and draw."""

import threading
import time
from collections.abc import Hashable
from dataclasses import dataclass, field

import streamlit as st

from attribution.refinement import refine
from attribution.results import ScoreTable


class Stopped(Exception):
    """Raised inside the work when someone asked for its end."""


@dataclass(kw_only=True)
class Refinement:
    """One running or ended exact answer: its progress, and the table once it is there."""

    began: float = field(default_factory=time.monotonic)
    done: int = 0
    total: int = 1
    what: str = "Starting"
    table: ScoreTable | None = None
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

    def stop(self) -> None:
        """Ask the work to end; what it has found so far is lost."""
        self._stopping = True

    def run(self, quick: ScoreTable) -> None:
        """Score every training example exactly."""
        try:
            self.table = refine(quick, self._note)
        except Stopped:
            self.failure = None
        except Exception as error:  # shown on the page: a thread has nobody else to tell
            self.failure = str(error) or type(error).__name__
        finally:
            self.running = False


@st.cache_resource(show_spinner=False)
def _refinements() -> dict[Hashable, Refinement]:
    return {}


def refinement(key: Hashable) -> Refinement | None:
    """The latest refinement of a question, if there was one."""
    return _refinements().get(key)


def start(key: Hashable, quick: ScoreTable) -> Refinement:
    """Begin to score exactly in a thread, unless that runs already."""
    found = refinement(key)
    if found is not None and found.running:
        return found
    made = _refinements()[key] = Refinement()
    threading.Thread(target=made.run, args=(quick,), daemon=True).start()
    return made
