"""The lists of the Data page: what they are searched by, narrowed by and sorted by, and the table to choose from."""

from collections.abc import Callable, Sequence

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from attribution.registry import get_method
from attribution.suspects import CRITERIA, Cluster, conflicts
from dashboard import cache, data_tables, editing, state
from dashboard.data_tables import Listing, State
from dashboard.views import data_acting, data_table


def draw(chosen: str, edits: State) -> Listing | None:
    """Draw a list with its choices; what it shows, or None where there is nothing yet."""
    drawn: dict[str, Callable[[State], Listing | None]] = {
        "labels": _labels,
        "duplicates": _duplicates,
        "conflicts": _conflicts,
        "clusters": _clusters,
        "acting": data_acting.draw,
        "edits": _edits,
    }
    return drawn[chosen](edits)


def _labels(edits: State) -> Listing | None:
    place = data_table.choices()
    by = state.current().by or next(iter(CRITERIA))
    place.selectbox(
        "Sorted by",
        list(CRITERIA),
        index=list(CRITERIA).index(by),
        format_func=CRITERIA.__getitem__,
        key="sorted by",
        width=190,
        on_change=state.on_change("sorted by", "by"),
    )
    name = place.selectbox(
        "Self-influence by",
        editing.METHODS,
        format_func=lambda name: get_method(name).title,
        key="self-influence by",
        width=190,
        persist_state="session",
        help="Influence of an example on its own loss: over the head exactly, or over the index's scope.",
    )
    table = _ranked(name)
    if table is None:
        return None
    ids = data_table.filtered(table.index, edits, data_table.choices())
    listing = data_tables.label_listing(table, cache.workspace().train, ids, edits, by=by)
    objecting = int((table["predicted"] != table["label"]).to_numpy().sum())
    said = f"{objecting:,} of {len(table):,} training examples have another label than the model gives them."
    return data_table.table(listing, edits, said, suspected=editing.known_suspicions())


def _ranked(method: str) -> pd.DataFrame | None:
    missing = editing.missing_for_labels(method)
    if missing:
        return data_table.build(missing)
    return data_table.search(editing.labels_key(method), editing.find_labels(method), "Rank the labels", unasked=True)


def _duplicates(edits: State) -> Listing | None:
    place = data_table.choices()
    threshold = _threshold(place)
    found = data_table.search(
        ("duplicates", threshold), editing.find_same(threshold), "Search for duplicates", unasked=editing.is_small()
    )
    if found is None:
        return None
    said = data_tables.duplicates_sentence(found, threshold)
    if found.frame.empty:
        return data_table.nothing(said, "Lower the similarity to find texts that differ in a few words.")
    ids = data_table.filtered(found.frame.index, edits, place)
    listing = data_tables.duplicate_listing(
        found.frame, cache.workspace().train, ids, edits, None, key=f"duplicates {threshold}"
    )
    return data_table.table(listing, edits, said)


def _conflicts(edits: State) -> Listing | None:
    place = data_table.choices()
    near = place.toggle(
        "Nearly the same text too", key="near conflicts", persist_state="session", help="At a similarity of 0.80."
    )
    threshold = 0.8 if near else 1.0
    found = data_table.search(
        ("duplicates", threshold), editing.find_same(threshold), "Search for conflicts", unasked=editing.is_small()
    )
    if found is None:
        return None
    frame = conflicts(found, near=near)
    if frame.empty:
        what = "nearly the same text" if near else "the same text"
        return data_table.nothing(f"No two training examples have {what} and different labels.", "")
    known = editing.known_labels()
    ids = data_table.filtered(frame.index, edits, place)
    train = cache.workspace().train
    listing = data_tables.duplicate_listing(frame, train, ids, edits, known, key=f"conflicts {near}")
    said = f"{len(frame):,} training examples share a text with another label; at most one label of a group is right."
    return data_table.table(listing, edits, said, suspected=editing.known_suspicions())


def _clusters(edits: State) -> Listing | None:
    n = len(cache.workspace().train)
    place = data_table.choices()
    hard = int(place.number_input("Hardest", 2, n, min(500, n), key="hard", persist_state="session", width=110))
    most = min(hard, 30)
    count = int(
        place.number_input("Clusters", 1, most, min(8, most), key="clusters", persist_state="session", width=90)
    )
    scope = place.selectbox(
        "Gradients of", ("head", "last:2"), key="clusters over", persist_state="session", help="The scope.", width=110
    )
    missing = editing.missing_for_clusters(scope)
    if missing:
        return data_table.build(missing)
    key = ("clusters", hard, count, scope)
    found = data_table.search(key, editing.find_clusters(hard, count, scope), "Find clusters", unasked=True)
    if found is None:
        return None
    at = _choose_cluster(found, key)
    chosen = found[at]
    ids = data_table.filtered(pd.Index(chosen.ids, name="row"), edits, place)
    closeness = dict(zip(chosen.ids, chosen.closeness, strict=True))
    known, columns = editing.known_labels(), {}
    if known is not None:
        columns = {name: known.loc[ids, name].tolist() for name in ("suspected_label", "loss")}
        columns["suspected"] = columns.pop("suspected_label")
    columns["closeness"] = [float(closeness[train_id]) for train_id in ids]
    listing = data_tables.listing(f"{key} {at}", cache.workspace().train, ids, edits, columns)
    said = f"Cluster {at + 1}: the gradients of these {len(chosen.ids):,} point the same way, the most typical first."
    return data_table.table(listing, edits, said, suspected=editing.known_suspicions())


def _choose_cluster(found: Sequence[Cluster], key: tuple) -> int:
    """The table of clusters; the place of the chosen one."""
    st.caption("What the hardest training examples teach: clusters of the directions of their gradients.")
    event = st.dataframe(
        data_tables.cluster_rows(found),
        key=f"clusters {key}",
        on_select="rerun",
        selection_mode="single-row",
        selection_default={"selection": {"rows": [0]}},
        height=180,
        column_config={
            "cluster": st.column_config.NumberColumn(width=60),
            "labels": st.column_config.TextColumn(width=180),
            "words": st.column_config.TextColumn("distinctive words", width=280),
            "mean loss": st.column_config.NumberColumn(format="%.2f"),
        },
    )
    rows = event["selection"]["rows"]
    return rows[0] if rows else 0


def _edits(edits: State) -> Listing | None:
    history = editing.history()
    if history.empty:
        return data_table.nothing(
            "Nothing is edited yet.", "Relabel or remove an example of another list; what is done is here."
        )
    st.caption(
        f"{len(history):,} entries, the latest first. Tick entries to undo them; what was made together goes together."
    )
    key = "history"

    def look() -> None:
        cells = st.session_state[key]["selection"]["cells"]
        row = history["row"].tolist()[cells[0][0]] if cells else pd.NA
        if isinstance(row, int):
            state.choose(row=row)

    event = st.dataframe(
        history,
        key=key,
        on_select=look,
        selection_mode=["multi-row", "single-cell"],
        height=data_table.height(history),
        column_config={
            "edit": st.column_config.NumberColumn(width=55),
            "row": st.column_config.NumberColumn("train", width=60),
            "to": st.column_config.TextColumn(width=130),
            "text": st.column_config.TextColumn(width=260),
            "when": st.column_config.DatetimeColumn("when (UTC)", format="YYYY-MM-DD HH:mm"),
            "holds": st.column_config.CheckboxColumn(width=60, help="Not undone."),
        },
    )
    numbers = [int(history.index[at]) for at in event["selection"]["rows"]]
    holding = [number for number in numbers if history.at[number, "holds"]]
    st.button(
        f"Undo {len(holding)}" if holding else "Undo",
        key="undo ticked",
        icon=":material/undo:",
        disabled=not holding,
        on_click=lambda: _undo(key, holding),
    )
    ids = pd.Index(sorted(edits), name="row")
    return data_tables.listing("edits", cache.workspace().train, ids, edits, {})


def _undo(key: str, numbers: Sequence[int]) -> None:
    editing.undo(numbers, f"Undone: {len(numbers):,}")
    st.session_state[key] = {"selection": {"rows": [], "columns": [], "cells": []}}


def _threshold(place: DeltaGenerator) -> float:
    return place.slider(
        "Similarity at least",
        0.4,
        1.0,
        0.8,
        0.05,
        key="similarity",
        width=200,
        persist_state="session",
        help="Share of words and pairs of neighbouring words in common; 1: the same text.",
    )
