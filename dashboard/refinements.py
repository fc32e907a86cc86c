"""Exact answers in the making, in the background."""

from collections.abc import Hashable

from attribution.refinement import refine
from attribution.results import ScoreTable
from dashboard import background
from dashboard.background import Work


def refinement(key: Hashable) -> Work[ScoreTable] | None:
    """The latest refinement of a question, if there was one."""
    return background.work(("exactly", key))


def start(key: Hashable, quick: ScoreTable) -> Work[ScoreTable]:
    """Begin to score every training example exactly, unless that runs already."""
    return background.start(("exactly", key), lambda note: refine(quick, note))
