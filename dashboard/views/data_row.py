"""One training example on the Data page: its text, what speaks against its label, its neighbours, and its edits."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from attribution.editing import RowEdit, note, perturb, relabel, remove
from dashboard import cache, data_tables, editing, state
from dashboard.components import training_rows
from dashboard.data_tables import State
from dashboard.markdown import plain
from dashboard.views import perturb as perturb_view
from dashboard.views.picker import step

NEIGHBOURS = 3


def draw(edits: State | None, listed: Sequence[int]) -> None:
    """The training example that is looked at; `listed` are those it is stepped through."""
    train_id = state.current().row
    if train_id is None:
        st.markdown("##### Choose a training example")
        st.caption("Click a cell of the list: its text, its neighbours and what can be done with it are shown here.")
        return
    edit = (edits or {}).get(train_id, RowEdit())
    _header(train_id, edit, listed)
    row = cache.workspace().train.loc[train_id]
    _texts(row, edit)
    table = editing.known_labels()
    known = None if table is None else table.loc[train_id]
    _verdict(row, edit, known, 0 if table is None else len(table))
    if edits is None:
        st.caption("The log of edits cannot be read, so nothing can be edited.")
    else:
        _actions(train_id, row, edit, known)
    _neighbours(train_id, edit.label or str(row["label"]))


def _header(train_id: int, edit: RowEdit, listed: Sequence[int]) -> None:
    mark = data_tables.edit_mark(edit)
    badge = f" :blue-badge[{plain(mark)}]" if mark else ""
    title, previous, following = st.columns([3, 0.8, 0.8], vertical_alignment="center")
    title.markdown(f"##### Training example {train_id}{badge}")
    place = listed.index(train_id) if train_id in listed else None
    back, on = (None, 0) if place is None else (place - 1, place + 1)
    for column, name, key, icon, at in (
        (previous, "Previous", "K", ":material/arrow_upward:", back),
        (following, "Next", "J", ":material/arrow_downward:", on),
    ):
        look: Any = {"key": f"row {name}", "icon": icon, "width": "stretch", "help": f"{name} of the list"}
        step(column, "", key, listed, at, selects="row", **look)


def _texts(row: pd.Series, edit: RowEdit) -> None:
    with st.container(border=True, gap="xxsmall"):
        for name in ("text", "text_pair"):
            if name not in row:
                continue
            changed = getattr(edit, name)
            if changed is not None:
                st.markdown(f":gray[:small[was]] ~~{plain(str(row[name]))}~~")
            st.markdown(plain(changed or str(row[name])))
    if edit.note is not None:
        st.caption(f"Note: {plain(edit.note)}")


def _verdict(row: pd.Series, edit: RowEdit, known: pd.Series | None, count: int) -> None:
    """What label it has, and who says another one."""
    now = f" → **{plain(edit.label)}**" if edit.label else ""
    if known is None:
        st.markdown(f"Label **{plain(str(row['label']))}**{now}")
        return
    st.markdown(
        f"Label **{plain(str(row['label']))}**{now} · the model gives it {known['probability']:.0%} · "
        f"suspected **{plain(str(known['suspected_label']))}** ({known['suspected_by']})"
    )
    ranks = [
        f"{name} {known[f'rank_{criterion}']:,}"
        for criterion, name in (("self_influence", "self-influence"), ("loss", "loss"), ("disagreement", "neighbours"))
    ]
    st.caption(f"Rank of {count:,} by {' · '.join(ranks)}; 1 is the most suspicious.")


def _actions(train_id: int, row: pd.Series, edit: RowEdit, known: pd.Series | None) -> None:
    labels = list(cache.workspace().labels)
    held = edit.label or str(row["label"])
    others = [label for label in labels if label != held]
    wanted = str(known["suspected_label"]) if known is not None else others[0]
    removed = edit.removed
    label, change = st.columns([1.1, 1], vertical_alignment="bottom")
    to = label.selectbox(
        "New label",
        others,
        index=others.index(wanted) if wanted in others else 0,
        key=f"new label {train_id} {held}",
        disabled=removed,
        label_visibility="collapsed",
    )
    change.button(
        "Relabel",
        key="relabel",
        icon=":material/label:",
        width="stretch",
        shortcut="L",
        disabled=removed,
        on_click=lambda: editing.act(f"Training example {train_id}: {to}", relabel(train_id, str(to))),
    )
    latest = max(edit.numbers.values(), default=0)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Remove",
            key="remove",
            icon=":material/delete:",
            shortcut="X",
            disabled=removed,
            on_click=lambda: editing.act(f"Removed training example {train_id}", remove(train_id)),
        )
        st.button(
            "Undo",
            key="undo row",
            icon=":material/undo:",
            shortcut="U",
            disabled=not latest,
            help="Takes back the latest edit of this example, with those made together with it.",
            on_click=lambda: editing.undo([latest], f"Undone: edit {latest}"),
        )
        _note(train_id, edit)
    if not removed:
        _change_a_word(train_id)


def _change_a_word(train_id: int) -> None:
    """Other words for those of the example, ranked by what they do to the test example last looked at."""
    if not st.toggle(
        "Change a word",
        key="change a word",
        persist_state="session",
        help="Ranks replacements by what they are predicted to do to the test example last looked at.",
    ):
        return
    selection = state.current()
    perturb_view.render(
        cache.query_of(selection, token=selection.token),
        train_id,
        lambda found: editing.act(
            f"Training example {train_id}: “{found.word}” is now “{found.other}”",
            perturb(train_id, text=found.text, text_pair=found.text_pair),
        ),
    )


def _note(train_id: int, edit: RowEdit) -> None:
    with st.popover("Note", icon=":material/sticky_note_2:", type="tertiary"):
        key = f"note {train_id} {edit.numbers.get('note', 0)}"
        words = st.text_area("Note", edit.note or "", key=key, height=90, width=320, max_chars=1000)
        st.button(
            "Keep the note",
            key="keep note",
            type="primary",
            on_click=lambda: editing.act(f"Noted on training example {train_id}", note(train_id, words)),
        )


def _neighbours(train_id: int, label: str) -> None:
    ids, cosines = editing.nearest(train_id)
    if not ids:
        return
    train = cache.workspace().train
    same = sum(str(train.at[i, "label"]) == label for i in ids)
    st.markdown("###### Nearest training examples")
    st.caption(f"By cosine of the model's features; {same} of the {len(ids)} nearest have the label {plain(label)}.")
    training_rows(
        data_tables.alike_rows(train, ids[:NEIGHBOURS], cosines[:NEIGHBOURS], label, what="Cosine"),
        key="neighbours",
        selected=None,
        on_select=lambda chosen: None if chosen is None else state.choose(row=chosen),
    )
