"""Answers that take long: asked for with an estimate, made in the background, found again from every page."""

from collections.abc import Hashable

from attribution.cost import answer_seconds
from attribution.index import Progress
from attribution.query import Query
from attribution.registry import get_method, run_method
from attribution.results import ScoreTable
from attribution.span_cost import search_seconds
from dashboard import background, cache, workspaces
from dashboard.method_settings import Settings

UNASKED = 2.0


@workspaces.keep_by_workspace(max_entries=256)
def _seconds(method: str, settings: Settings) -> float:
    return answer_seconds(cache.workspace(), method, dict(settings))


def seconds(asked: Query, method: str, settings: Settings) -> float:
    """About how long a method with these settings takes for a question; UserError where they do not fit."""
    if get_method(method).spans == "none":
        return _seconds(method, settings)
    return search_seconds(asked, method, dict(settings))


def is_slow(asked: Query, method: str, settings: Settings) -> bool:
    """Whether an answer takes so long that it is not begun unasked."""
    return seconds(asked, method, settings) > UNASKED


def key(asked: Query, method: str, settings: Settings) -> Hashable:
    """The key under which the background work of an answer is found."""
    return ("answer", *cache.key_of_query(asked), method, settings)


def known(asked: Query, method: str, settings: Settings) -> ScoreTable | None:
    """The answer, where it is quick or was asked for and is done."""
    if not is_slow(asked, method, settings):
        return cache.result(asked, method, settings)
    found = background.find(key(asked, method, settings))
    return None if found is None else found.result


def start(asked: Query, method: str, settings: Settings) -> None:
    """Begin an answer in the background, unless it is under way."""

    def make(progress: Progress) -> ScoreTable:
        table = run_method(asked, method, dict(settings), progress, rerank=False)
        assert isinstance(table, ScoreTable)
        return table

    background.start(key(asked, method, settings), make)
