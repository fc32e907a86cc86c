"""Errors: where the model goes wrong, as a matrix and slices that filter a table; a row is explained for two labels."""

import pandas as pd
import streamlit as st

from attribution.errors import UserError
from attribution.provenance import workspace_provenance
from dashboard import cache, charts, exports, state, tables
from dashboard.errors import PATTERN
from dashboard.markdown import plain
from dashboard.views import downloads, two_labels


def page() -> None:
    """Draw the page."""
    table = cache.test_table()
    labels = list(cache.workspace().labels)
    wrong = int(table["wrong"].to_numpy().sum())
    st.markdown("#### Where the model goes wrong")
    st.caption(
        f"{wrong:,} of {len(table):,} test examples are mispredicted. "
        "Click a square to see its examples, then a row to see both labels explained."
    )
    matrix, rows = st.columns([1.15, 1.9], gap="medium")
    with matrix:
        chosen = _matrix(table, labels)
    with rows:
        kept = _table(table, chosen)
    test = state.current().test
    if test is not None:
        with st.container(border=True):
            two_labels.draw(test, kept)


def _matrix(table: pd.DataFrame, labels: list[str]) -> tuple[str, str] | None:
    """Draw the confusion matrix; the (true, predicted) labels of the square that is chosen.

    The figure must not depend on the choice: Streamlit forgets the selection of a figure that changes.
    """
    accuracy = 1 - table["wrong"].mean()
    figure = charts.confusion_matrix(table, labels, dark=st.context.theme.type == "dark")
    made = workspace_provenance(cache.workspace())
    event = st.plotly_chart(
        figure,
        key="confusion",
        on_select="rerun",
        selection_mode="points",
        width="content",
        config=exports.plot_config(exports.file_name(made, "confusion matrix", "png")),
        alt=f"Confusion matrix of {len(table)} test examples; accuracy {accuracy:.1%}.",
    )
    downloads.plot(figure, "Confusion matrix", made, key="confusion")
    points = event["selection"]["points"]
    return tuple(points[0]["customdata"]) if points else None


def _slice(table: pd.DataFrame) -> pd.DataFrame:
    """The choice of a part of the test examples, each with its counts; the rows of the table in it."""
    by, which = st.columns(2, vertical_alignment="bottom")
    kind = by.selectbox("Slice by", cache.slice_kinds(), index=None, placeholder="nothing", key="errors by")
    if kind is None:
        return table
    pattern = ""
    if kind == PATTERN:
        pattern = which.text_input("Words with commas, or a regular expression", key="errors pattern")
        if not pattern.strip():
            return table
    try:
        parts = cache.slices(kind, pattern)
    except UserError as error:
        st.error(plain(str(error)), icon=":material/error:")
        return table
    part = which.selectbox(
        f"Part by {kind.lower()}",
        list(parts),
        format_func=lambda value: parts[value].title,
        key=f"errors {kind} {pattern}",
        label_visibility="visible" if kind != PATTERN else "collapsed",
    )
    return table.loc[list(parts[part].ids)]


def _table(table: pd.DataFrame, chosen: tuple[str, str] | None) -> pd.DataFrame:
    """Draw the examples that pass the filters; they are returned."""
    what = "mispredictions" if chosen is None else f"true {chosen[0]}, predicted {chosen[1]}"
    words = st.text_input("Text contains", key="errors text", placeholder="filter by a word", persist_state="session")
    table = _slice(table)
    kept = (
        tables.narrowed(table, wrong=True, words=words)
        if chosen is None
        else tables.narrowed(table, label=chosen[0], predicted=chosen[1], words=words)
    )
    st.caption(f"{len(kept):,} examples: {plain(what)}; most confident first.")
    if kept.empty:
        st.info(
            "No example passes these filters: click another square, another part, or clear the word.",
            icon=":material/filter_alt:",
        )
        return kept
    columns = [name for name in ("text", "text_pair", "label", "predicted", "confidence", "margin") if name in kept]
    key = f"mispredictions-{chosen}-{words}"
    st.dataframe(
        kept[columns],
        key=key,
        on_select=lambda: _pick(key, kept.index),
        selection_mode="single-row",
        height=420,
        column_config={
            "row": st.column_config.NumberColumn("test", width=60),
            "text": st.column_config.TextColumn(width=300),
            "label": st.column_config.TextColumn("true"),
            "confidence": st.column_config.NumberColumn(format="%.2f", width=80),
            "margin": st.column_config.NumberColumn(
                format="%.2f", help="Lead of the predicted label over the true one."
            ),
        },
    )
    downloads.examples(kept.filter(columns), what)
    return kept


def _pick(key: str, ids: pd.Index) -> None:
    rows = st.session_state[key]["selection"]["rows"]
    if rows:
        state.choose(test=int(ids[rows[0]]), label="predicted")


page()
