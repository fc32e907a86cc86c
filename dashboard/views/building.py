"""Work that has to be done before a page can answer: what is missing, the offer to compute it, and its progress."""

from collections.abc import Callable, Sequence

import streamlit as st

from attribution.index import Part
from dashboard import background, cache, jobs
from dashboard.markdown import plain

STANDARD = "standard"


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
