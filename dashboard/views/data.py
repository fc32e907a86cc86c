"""Data: which training examples look wrong, what is done about them, and what that does to the model."""

import streamlit as st

from attribution.errors import UserError
from dashboard import data_tables, editing, failures, state
from dashboard.data_tables import LISTS, State
from dashboard.markdown import plain
from dashboard.views import data_effect, data_files, data_lists, data_retrain, data_row


def page() -> None:
    """Draw the page: all of it is a fragment, so that a choice or an edit draws nothing else again."""
    body()


@st.fragment
@failures.guarded
def body() -> None:
    """The lists of suspects beside the one looked at, then what the edits lead to."""
    try:
        edits: State | None = editing.current()
    except UserError as error:
        st.error(plain(str(error)), icon=":material/error:")
        edits = None
    _title(edits)
    _problem()
    chosen = state.current().suspects or next(iter(LISTS))
    st.segmented_control(
        "List",
        list(LISTS),
        default=chosen,
        required=True,
        format_func=LISTS.__getitem__,
        key=f"list {chosen}",
        on_change=state.on_change(f"list {chosen}", "suspects"),
        label_visibility="collapsed",
    )
    left, right = st.columns([1.9, 1], gap="medium")
    with left.container(border=True):
        shown = data_lists.draw(chosen, edits or {})
    with right.container(border=True):
        data_row.draw(edits, [] if shown is None else shown.frame.index.tolist())
    if edits is None:
        return
    left, right = st.columns([1, 1.25], gap="medium")
    with left.container(border=True):
        data_effect.draw(edits)
    with left.container(border=True):
        data_files.draw(edits)
    with right.container(border=True):
        data_retrain.draw(edits)


def _title(edits: State | None) -> None:
    badge = f" :blue-badge[{data_tables.edit_count(edits)}]" if edits else ""
    st.markdown(f"#### Data{badge}")
    st.caption(
        "Training examples that look wrong, the likeliest first. Click a cell to read its row, tick boxes to act on "
        "several. Edits go into a log beside the data, which stays as it was imported; each can be undone."
    )


def _problem() -> None:
    """What the last edit did, or why it was refused until that is dismissed."""
    done = editing.just_done()
    if done is not None:
        st.toast(plain(done), icon=":material/check:")
    why = editing.problem()
    if why is None:
        return
    box, button = st.columns([12, 1.4], vertical_alignment="center")
    box.error(plain(why), icon=":material/error:")
    button.button("Dismiss", key="dismiss problem", on_click=editing.dismiss, type="tertiary")


page()
