"""A method's answer for a page, or the work that has to be done before: what is missing, the offer, its progress."""

from collections.abc import Callable, Sequence

import streamlit as st

from attribution.errors import UserError
from attribution.index import Part
from attribution.query import Query
from attribution.registry import get_method, run_method
from attribution.results import ScoreTable
from dashboard import background, cache, jobs, present, state
from dashboard.markdown import plain

STANDARD = "standard"
UNASKED_SECONDS = 2.0


def answer(
    name: str, settings: cache.Settings, *, token: tuple[int, ...] = ()
) -> tuple[ScoreTable, cache.Settings] | None:
    """A method's answer to the selection and the settings it was made with, exact where that was asked for before.

    None where it cannot be had yet: then the page says why, and offers to compute what is missing.
    """
    if missing := cache.missing_parts(name, settings):
        build(missing, name, settings, unasked=True)
        settings = (*settings, ("scope", "head"))
        if "scope" not in get_method(name).parameters or cache.missing_parts(name, settings):
            return None
        st.caption("Meanwhile this is the answer of the classification head alone.")
    try:
        table = _made(cache.query_of(state.current(), token=token), name, settings)
    except UserError as error:
        st.error(plain(str(error)))
        return None
    return None if table is None else (cache.exact(table, settings) or table, settings)


def _made(asked: Query, name: str, settings: cache.Settings) -> ScoreTable | None:
    """The answer; a search for spans that takes long is offered with its cost, then followed, and None meanwhile."""
    if get_method(name).spans == "none":
        return cache.result(asked, name, settings)
    key = cache.search_key(asked, name, settings)
    found = background.find(key)
    if found is not None and found.result is not None:
        return found.result
    if found is not None and found.running:
        follow(lambda: background.find(key), f"{name}-spans")
        return None
    if found is not None and found.failure:
        st.error(plain(found.failure))
    seconds = cache.search_cost(asked, name, settings)
    if seconds <= UNASKED_SECONDS:
        return cache.result(asked, name, settings)
    st.caption(
        f"The search takes about {plain(present.duration(seconds))}: every span is masked once and scored exactly."
    )
    if st.button("Find training spans", key=f"search-{name}", type="primary", icon=":material/search:"):
        background.start(key, lambda progress: run_method(asked, name, dict(settings), progress))
        st.rerun()
    return None


def build(missing: Sequence[Part], name: str, settings: cache.Settings, *, unasked: bool) -> None:
    """Say what a method misses and offer to compute it, or follow its computation.

    With `unasked`, what the first answers read is begun at once.
    """
    workspace, standard = cache.workspace(), cache.are_standard(list(missing))
    key = STANDARD if standard else name
    options = [] if standard else ["--method", name, *(f"--set={setting}={value}" for setting, value in settings)]
    found = jobs.job(key)
    if found is not None and (failure := found.failed):
        st.error(plain(failure))
    if unasked and standard and (found is None or found.succeeded):
        found = jobs.start(workspace, key, *options)
    if found is None or not found.running:
        st.caption(
            "The training set has to be read once."
            if standard
            else f"This method reads what is not computed yet: {cache.kinds(missing)} of {len(workspace.train):,} "
            "training examples. It is done once, in the background, in some minutes; everything else works meanwhile."
        )
        if st.button("Compute it", key=f"build-{name}", type="primary"):
            jobs.start(workspace, key, *options)
            st.rerun()
        return

    def moved_on() -> bool:
        return any(part.is_built(workspace) for part in missing)

    follow(lambda: jobs.job(key), name, moved_on)


@st.fragment(run_every=1.0)
def follow(
    find: Callable[[], jobs.Job | background.Work | None],
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
