"""What the lists of the Data page share: choices and filters, the table to choose from, and searches to wait for."""

from collections.abc import Callable, Mapping
from typing import TypeVar

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from attribution.index import Part, Progress
from dashboard import background, cache, data_tables, editing, state
from dashboard.data_tables import Listing, State
from dashboard.markdown import plain
from dashboard.views import building, data_bulk

T = TypeVar("T")
COLUMNS = {
    "row": st.column_config.NumberColumn("train", width=54),
    "text": st.column_config.TextColumn(width=225),
    "text_pair": st.column_config.TextColumn("second text", width=180),
    "label": st.column_config.TextColumn(width=68),
    "edit": st.column_config.TextColumn(width=70),
    "suspected": st.column_config.TextColumn(
        "suspected", width=78, help="The better label by the model and the neighbours."
    ),
    "loss": st.column_config.NumberColumn(format="%.2f", width=50, help="−log of the probability of its own label."),
    "disagreement": st.column_config.NumberColumn(
        "neighbours", format="percent", width=78, help="The share of its neighbours that have another label."
    ),
    "self_influence": st.column_config.NumberColumn(
        "self-influence", format="compact", width=90, help="How much its own loss depends on being trained on it."
    ),
    "similarity": st.column_config.NumberColumn(
        format="%.2f",
        width=72,
        help="To the most alike of its group: the share of words and pairs of words in common.",
    ),
    "score": st.column_config.NumberColumn(
        format="%.3g", width=75, help="Positive: training on it raised the wrong labels over the true ones."
    ),
    "group": st.column_config.NumberColumn(width=54),
    "closeness": st.column_config.NumberColumn(
        format="%.2f", width=75, help="Cosine of its gradient with the middle of the cluster."
    ),
}
ROW_HEIGHT, LEAST = 35, 3


def choices() -> DeltaGenerator:
    """Where the choices of a list stand, beside one another as far as there is room."""
    return st.container(horizontal=True, vertical_alignment="bottom", gap="small")


def filtered(ids: pd.Index, edits: State, place: DeltaGenerator) -> pd.Index:
    """The training ids that pass the filters of this session."""
    words = place.text_input("Text contains", key="data text", persist_state="session", width=130)
    chosen = place.selectbox(
        "Label",
        cache.workspace().labels,
        index=None,
        placeholder="any",
        key="data label",
        persist_state="session",
        width=120,
    )
    hide = place.toggle("Hide edited", key="hide edited", persist_state="session")
    return data_tables.narrowed(cache.workspace().train, ids, edits, words=words, label=chosen, hide_edited=hide)


def table(listing: Listing, edits: State, said: str, *, suspected: Mapping[int, str] | None = None) -> Listing | None:
    """The table of a list, and what can be done with the rows that are ticked."""
    st.caption(
        said
        if listing.total == len(listing.frame)
        else f"{said} The first {len(listing.frame):,} of {listing.total:,}."
    )
    if listing.frame.empty:
        return nothing("No example passes the filters.", "Clear the word or the label.")
    key = f"suspects {listing.key} {hash(tuple(listing.frame.index))}"

    def look() -> None:
        cells = st.session_state[key]["selection"]["cells"]
        if cells:
            state.choose(row=int(listing.frame.index[cells[0][0]]))

    event = st.dataframe(
        listing.frame,
        key=key,
        on_select=look,
        selection_mode=["multi-row", "single-cell"],
        height=height(listing.frame),
        column_config=COLUMNS,
    )
    ticked = [int(listing.frame.index[at]) for at in event["selection"]["rows"]]
    data_bulk.draw(listing, ticked, edits, key=key, suspected=suspected)
    return listing


def height(frame: pd.DataFrame) -> int:
    """That of a table of so few rows, or of one that is scrolled."""
    return min(470, ROW_HEIGHT * (max(LEAST, len(frame)) + 1) + 3)


def nothing(said: str, what_next: str) -> None:
    """An empty list: why, and the next act."""
    st.info(plain(f"{said} {what_next}".strip()), icon=":material/search_off:")


def build(missing: list[Part]) -> None:
    """Follow or offer the computation of what of the index a list reads."""
    building.build(missing, "relatif", (), unasked=True)


def search(key: tuple, make: Callable[[Progress], T], what: str, *, unasked: bool) -> T | None:
    """What a search has found; its progress, what went wrong with it, or the offer to begin it."""
    found = background.find(key)
    if found is None and unasked:
        found = background.start(key, make)
    if found is not None and found.running:
        found.wait(editing.PATIENCE)
    if found is not None and found.running:
        building.follow(lambda: background.find(key), what)
        return None
    if found is not None and found.result is not None:
        return found.result
    if found is not None and found.failure:
        st.error(plain(found.failure), icon=":material/error:")
    if st.button(what, key=f"search {key}", type="primary", icon=":material/play_arrow:"):
        background.start(key, make)
        st.rerun()
    return None
