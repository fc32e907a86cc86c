"""What experiments over test examples share: means with their errors, and how long the questions will take."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attribution.cost import build_seconds
from attribution.experiments.registry import Run, settings_of
from attribution.index import Part, build, parts
from attribution.query import Query, make_query
from attribution.registry import get_method, required_parts
from attribution.results import ScoreTable

UNTIMED = 0.5


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A method as one of several that are compared: over a scope ("": its own), with a damping (0: its own)."""

    method: str
    scope: str
    damping: float = 0.0

    @property
    def takes_scope(self) -> bool:
        return "scope" in get_method(self.method).parameters

    def missing(self, run: Run) -> list[Part]:
        """The parts of the index that it reads and that are not built."""
        given = settings_of(self.method, scope=self.scope, damping=self.damping)
        return [part for part in required_parts(run.workspace, self.method, given) if not part.is_built(run.workspace)]

    def answer(self, run: Run, query: Query, *, rerank: bool = False) -> ScoreTable:
        return run.answer(query, self.method, scope=self.scope, damping=self.damping, rerank=rerank)


def mean_error(values: Sequence[float] | np.ndarray) -> tuple[float | None, float | None]:
    """The mean of those values that are finite, and its standard error; None where there are too few."""
    found = np.asarray(values, dtype=np.float64)
    found = found[np.isfinite(found)]
    error = float(found.std(ddof=1) / math.sqrt(len(found))) if len(found) > 1 else None
    return (float(found.mean()) if len(found) else None), error


def drawn_tests(run: Run, most: int) -> list[int]:
    """At most `most` ids of test examples, drawn with the run's seed."""
    return run.sample(run.workspace.test.index.tolist(), most)


def answer_seconds(run: Run, entries: Sequence[Entry], *, rerank: bool = False) -> float:
    """The seconds in which a question is made and all entries answer it, once what they read is there.

    Two are asked, for the first answer opens an index; the second is timed. An entry whose index is not built is not
    asked: it counts with half a second, in which most indices are read.
    """
    began, ids, ready = 0.0, drawn_tests(run, 2), [entry for entry in entries if not entry.missing(run)]
    for done, test in enumerate(ids, start=1):
        began = time.perf_counter()
        answers(run, test, ready, rerank=rerank)
        run.progress(done, len(ids), "questions timed")
    return time.perf_counter() - began + UNTIMED * (len(entries) - len(ready))


def building_seconds(run: Run, entries: Sequence[Entry]) -> float:
    """About how long it takes to build what the entries read and is not there.

    Where nothing was built yet that tells how long a pass takes, the features are, which is one.
    """
    missing = list(dict.fromkeys(part for entry in entries for part in entry.missing(run)))
    seconds = build_seconds(run.workspace, missing)
    if seconds is None:
        build(run.workspace, parts(run.workspace, "features"), run.progress)
        return building_seconds(run, entries)
    return seconds


def asking_seconds(run: Run, entries: Sequence[Entry], times: int, *, rerank: bool = False) -> float:
    """About how long so many questions to all entries take, with what has to be built for them first."""
    return building_seconds(run, entries) + times * answer_seconds(run, entries, rerank=rerank)


def answers(run: Run, test: int, entries: Sequence[Entry], *, rerank: bool = False) -> list[ScoreTable]:
    """Every entry's answer to why a test example has its predicted label."""
    query = make_query(run.workspace, test=test)
    return [entry.answer(run, query, rerank=rerank) for entry in entries]
