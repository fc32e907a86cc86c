"""A method's answer for a page, or the work that has to be done before: what is missing, the offer, its progress."""

from collections.abc import Callable, Mapping, Sequence

import streamlit as st

from attribution.cost import build_seconds
from attribution.errors import UserError
from attribution.index import Part
from attribution.query import Query
from attribution.registry import get_method
from attribution.results import ScoreTable
from dashboard import background, cache, jobs, present, slow, state
from dashboard.markdown import plain

STANDARD = "standard"


def begin(name: str, settings: cache.Settings, *, token: tuple[int, ...] = ()) -> None:
    """Start on what `answer` will be asked for, where that is made unasked: it is under way while the page is drawn."""
    try:
        query = cache.query_of(state.current(), token=token)
        if not cache.missing_parts(name, settings) and not slow.is_slow(query, name, settings):
            cache.begin(query, name, settings)
    except UserError:
        return  # `answer` says it


def answer(
    name: str, settings: cache.Settings, *, token: tuple[int, ...] = ()
) -> tuple[ScoreTable, cache.Settings] | None:
    """A method's answer to the selection and the settings it was made with, exact where that was asked for before.

    None where it cannot be had yet: then the page says why, and offers to compute what is missing.
    """
    try:
        if missing := cache.missing_parts(name, settings):
            build(missing, name, settings, unasked=True)
            settings = (*(each for each in settings if each[0] != "scope"), ("scope", "head"))
            if "scope" not in get_method(name).parameters or cache.missing_parts(name, settings):
                return None
            st.caption("Meanwhile this is the answer of the classification head alone.")
        query = cache.query_of(state.current(), token=token)
        table = slow.known(query, name, settings)
        if table is None:
            asked_for(query, name, settings)
            return None
    except UserError as error:
        st.error(plain(str(error)), icon=":material/error:")
        return None
    return cache.exact(table, settings) or table, settings


def asked_for(query: Query, name: str, settings: cache.Settings) -> None:
    """The offer of an answer that takes long, with its estimate, or its progress once it was taken."""
    key = slow.key(query, name, settings)
    found = background.find(key)
    if found is not None and found.running:
        follow(lambda: background.find(key), f"{name}-answer")
        return
    if found is not None and found.failure:
        st.error(plain(found.failure), icon=":material/error:")
    about = present.duration(slow.seconds(query, name, settings))
    if get_method(name).spans == "none":
        why, offer = "With these parameters every answer passes over the training set", f"Answer in {about}"
    else:
        why, offer = "Spans of the training set are masked and scored exactly", "Find training spans"
    st.caption(
        f"{why}: {about}. It is made in the background and stays while the dashboard runs; everything else works "
        "meanwhile."
    )
    if st.button(offer, key=f"answer-{name}", type="primary", icon=":material/play_arrow:"):
        slow.start(query, name, settings)
        st.rerun()


def build(missing: Sequence[Part], name: str, settings: cache.Settings, *, unasked: bool) -> None:
    """Say what a method misses and offer to compute it, or follow its computation.

    With `unasked`, what the first answers read is begun at once.
    """
    workspace, standard = cache.workspace(), cache.are_standard(list(missing))
    key = STANDARD if standard else f"{name} {settings}"
    options = [] if standard else ["--method", name, *(f"--set={setting}={value}" for setting, value in settings)]
    found = jobs.job(key)
    if found is not None and (why := found.failed):
        st.error(plain(why))
    if unasked and standard and (found is None or found.succeeded):
        found = jobs.start(workspace, key, *options)
    if found is None or not found.running:
        seconds = build_seconds(workspace, missing)
        st.caption(
            "The training set has to be read once."
            if standard
            else f"This method reads what is not computed yet: {cache.kinds(missing)} of {len(workspace.train):,} "
            f"training examples. It is done once, in the background, in "
            f"{'some minutes' if seconds is None else present.duration(seconds)}; everything else works meanwhile."
        )
        if st.button("Compute it", key=f"build-{name}", type="primary"):
            jobs.start(workspace, key, *options)
            st.rerun()
        return

    def moved_on() -> bool:
        return any(part.is_built(workspace) for part in missing)

    follow(lambda: jobs.job(key), name, moved_on)


def failure(key: str) -> None:
    """Why the latest job of a key failed, until it is dismissed."""
    found, dismissed = jobs.job(key), state.keep("dismissed failures", [])
    why = None if found is None or found.began in dismissed else found.failed
    if found is None or why is None:
        return
    box, button = st.columns([12, 2.2], vertical_alignment="center")
    box.error(plain(why), icon=":material/error:")
    button.button("Dismiss", key=f"dismiss {key}", on_click=dismissed.append, args=(found.began,), type="tertiary")
    with st.expander("Details", type="compact"):
        st.code("\n".join([f"influscope {' '.join(found.command)}", *found.lines()]), language=None, wrap_lines=True)


def follow(
    find: Callable[[], jobs.Job | background.Work | None],
    name: str,
    moved_on: Callable[[], bool] = lambda: False,
) -> None:
    """Have `strip` follow some work until it has ended or moved on to what changes the page."""
    st.caption("Under way: its progress is at the top of the page.")
    followed = state.followed()
    followed.works[name] = (find, moved_on)
    if followed.drawn is not None and name not in followed.drawn:
        st.rerun()


@st.fragment(run_every=1.0)
def strip(works: Mapping[str, state.Followed]) -> None:
    """A bar and a Stop button for all work that the page waits for; the page is drawn again when one changes it.

    It lies beside the page's own fragment, never within: of a fragment that is drawn again before the browser was sent
    all of it, Streamlit drops the rest, but not that of fragments inside, which then have no place to be.
    """
    drawn = []
    for name, (find, moved_on) in works.items():
        found = find()
        if found is None or not found.running or moved_on():
            st.rerun()
        if found in drawn:  # two lists may wait for the same
            continue
        drawn.append(found)
        share, what = found.progress()
        bar, button = st.columns([5, 1], vertical_alignment="center")
        bar.progress(min(1.0, share), text=what)
        if button.button("Stop", key=f"stop-{name}"):
            found.stop()
