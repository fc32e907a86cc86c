"""What is done with several training examples at once: a preview of it and one confirmation."""

from collections.abc import Mapping, Sequence

import streamlit as st

from attribution.editing import Change, relabel, remove
from attribution.errors import UserError
from dashboard import cache, data_tables, editing
from dashboard.data_tables import Listing, State
from dashboard.markdown import plain

SUSPECTED = "the suspected label of each"
NO_SELECTION = {"selection": {"rows": [], "columns": [], "cells": []}}


def draw(
    listing: Listing, ticked: Sequence[int], edits: State, *, key: str, suspected: Mapping[int, str] | None
) -> None:
    """The buttons for the ticked rows; what they do is previewed before it is done."""
    with st.container(horizontal=True, vertical_alignment="center"):
        if listing.extra:
            st.button(
                f"Tick all but the first of each group ({len(listing.extra):,})",
                key="tick extra",
                type="tertiary",
                icon=":material/checklist:",
                on_click=lambda: _tick(key, listing.extra),
            )
        count = f" {len(ticked):,}" if ticked else ""
        if st.button(f"Relabel{count}…", key="bulk relabel", icon=":material/label:", disabled=not ticked):
            _relabel(ticked, edits, key, suspected)
        if st.button(f"Remove{count}…", key="bulk remove", icon=":material/delete:", disabled=not ticked):
            _remove(ticked, edits, key)
        if not ticked:
            st.caption("Tick the boxes on the left to act on several.")


def _tick(key: str, places: Sequence[int]) -> None:
    st.session_state[key] = {"selection": {"rows": list(places), "columns": [], "cells": []}}


@st.dialog("Relabel training examples", width="large")
def _relabel(ticked: Sequence[int], edits: State, key: str, suspected: Mapping[int, str] | None) -> None:
    labels = list(cache.workspace().labels)
    offered = ([SUSPECTED] if suspected is not None else []) + labels
    to = st.selectbox("New label", offered, key="bulk label")
    new = {i: suspected[i] if suspected is not None and to == SUSPECTED else to for i in ticked}
    held = {i: _label(i, edits) for i in ticked}
    left = [i for i in ticked if held[i] is not None and held[i] != new[i]]
    _confirm([relabel(i, new[i]) for i in left], len(ticked), edits, key, "Relabel")


@st.dialog("Remove training examples", width="large")
def _remove(ticked: Sequence[int], edits: State, key: str) -> None:
    left = [i for i in ticked if _label(i, edits) is not None]
    _confirm([remove(i) for i in left], len(ticked), edits, key, "Remove")


def _label(train_id: int, edits: State) -> str | None:
    """The label that a training example has now; None where it is removed."""
    edit = edits.get(train_id)
    if edit is not None and edit.removed:
        return None
    return (edit and edit.label) or str(cache.workspace().train.at[train_id, "label"])


def _confirm(changes: Sequence[Change], asked: int, edits: State, key: str, verb: str) -> None:
    """The preview of some changes, and the button that makes them all as one batch."""
    if len(changes) < asked:
        st.caption(f"{asked - len(changes):,} of {asked:,} stay as they are: they are so already, or are removed.")
    if not changes:
        st.info("Nothing changes: choose another label, or tick other rows.", icon=":material/info:")
        return
    train = cache.workspace().train
    rows = [each.row for each in changes]
    shown = train.loc[rows, ["text", "label"]].assign(becomes=[each.label or "removed" for each in changes])
    st.dataframe(shown, height=min(360, 40 + 35 * len(shown)), column_config={"row": "train"})
    try:
        after = editing.preview(changes)
    except UserError as error:
        st.error(plain(str(error)), icon=":material/error:")
        return
    counts = data_tables.class_changes(editing.labels_after(edits), editing.labels_after(after))
    st.caption(f"{plain(counts)}. One undo takes all of it back.")
    count = f"{len(changes):,} example{'s' if len(changes) > 1 else ''}"
    if st.button(f"{verb} {count}", key="confirm bulk", type="primary"):
        editing.act(f"{verb}d {count}" if verb.endswith("e") else f"{verb}ed {count}", *changes)
        st.session_state[key] = NO_SELECTION
        st.rerun()
