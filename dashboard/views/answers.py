"""A method's answer to the selection, or the way to it: what the pages that show training examples share."""

from collections.abc import Callable, Sequence

import streamlit as st

from attribution.errors import UserError
from attribution.index import Part
from attribution.registry import get_method
from attribution.results import ScoreTable
from dashboard import cache, jobs, refinements, state
from dashboard.background import Work
from dashboard.markdown import plain

STANDARD = "standard"


def answer(
    name: str, settings: cache.Settings, *, token: tuple[int, ...] = ()
) -> tuple[ScoreTable, cache.Settings] | None:
    """A method's answer and the settings it was made with, exact where that was asked for before.

    None where it cannot be had yet: then the page says why, and offers to compute what is missing.
    """
    if missing := cache.missing_parts(name, settings):
        offer(missing, name, settings)
        settings = (*settings, ("scope", "head"))
        if "scope" not in get_method(name).parameters or cache.missing_parts(name, settings):
            return None
        st.caption("Meanwhile this is the answer of the classification head alone.")
    try:
        table: ScoreTable = cache.result(cache.query_of(state.current(), token=token), name, settings)
    except UserError as error:
        st.error(plain(str(error)))
        return None
    refined = refinements.refinement(cache.key_of(table, settings))
    return (table if refined is None or refined.result is None else refined.result), settings


def offer(missing: Sequence[Part], name: str, settings: cache.Settings = ()) -> None:
    """Start what is missing: what the first answers read at once, the rest when asked for."""
    workspace, standard = cache.workspace(), cache.are_standard(list(missing))
    key = STANDARD if standard else name
    options = [] if standard else ["--method", name, *(f"--set={setting}={value}" for setting, value in settings)]
    found = jobs.job(key)
    if found is not None and (failure := found.failed):
        st.error(plain(failure))
    if standard and (found is None or found.succeeded):
        found = jobs.start(workspace, key, *options)
    if found is None or not found.running:
        st.caption(
            "The training set has to be read once."
            if standard
            else f"This method reads what is not computed yet: {_listed(missing)} of {len(workspace.train):,} training "
            "examples. It is done once, in the background, in some minutes; everything else works meanwhile."
        )
        if st.button("Compute it", key=f"build-{name}", type="primary"):
            jobs.start(workspace, key, *options)
            st.rerun()
        return

    def moved_on() -> bool:
        return any(part.is_built(workspace) for part in missing)

    follow(lambda: jobs.job(key), name, moved_on)


def _listed(missing: Sequence[Part]) -> str:
    kinds = dict.fromkeys(part.kind.replace("_", " ") for part in missing)
    return " and ".join(kinds)


@st.fragment(run_every=1.0)
def follow(
    find: Callable[[], jobs.Job | Work | None],
    name: str,
    moved_on: Callable[[], bool] = lambda: False,
) -> None:
    """A bar and a Stop button beside it, until the work has ended or moved on to what changes the page."""
    found = find()
    if found is None or not found.running or moved_on():
        st.rerun()
    share, what = found.progress()
    bar, button = st.columns([5, 1], vertical_alignment="center")
    bar.progress(min(1.0, share), text=what)
    if button.button("Stop", key=f"stop-{name}"):
        found.stop()
