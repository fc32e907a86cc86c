"""Errors: where the model goes wrong, as a matrix and slices that filter a table; a row is explained for two labels."""

import pandas as pd
import streamlit as st

from attribution.editing.outcomes import OUTCOMES
from attribution.errors import UserError
from attribution.provenance import workspace_provenance
from dashboard import cache, charts, exports, state, tables, versions
from dashboard.errors import PATTERN
from dashboard.markdown import plain
from dashboard.views import downloads, two_labels, version_button

COLUMNS = ("text", "text_pair", "label", "predicted", "other", "outcome", "confidence", "margin")
AGAINST = "errors against"


def page() -> None:
    """Draw the page."""
    table = cache.test_table()
    labels = list(cache.workspace().labels)
    wrong = int(table["wrong"].to_numpy().sum())
    st.markdown("#### Where the model goes wrong")
    st.caption(
        f"{wrong:,} of {len(table):,} test examples are mispredicted. "
        "Click a square to see its examples, then tick a row to see both labels explained, or several to see what "
        "training examples are behind them."
    )
    matrix, rows = st.columns([1.15, 1.9], gap="medium")
    with matrix:
        chosen = _matrix(table, labels)
    with rows:
        kept, what, version = _filtered(table, chosen)
    if not kept.empty:
        _table(kept, what, version)
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
        alt=f"Confusion matrix of {len(table)} test examples; accuracy {accuracy:.1%}; labels {', '.join(labels)}.",
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


def _against(table: pd.DataFrame) -> tuple[pd.DataFrame, str | None, str]:
    """The choice of another version; the table with its labels, or the rows of the outcome chosen; its title."""
    try:
        others = versions.others()
        if not others:
            return table, None, ""
        if (wanted := versions.wanted()) is not None:
            st.session_state[AGAINST] = wanted
        place = st.container(horizontal=True, vertical_alignment="bottom")
        name = place.selectbox(
            "Compare with",
            list(others),
            index=None,
            placeholder="nothing",
            key=AGAINST,
            persist_state="session",
            width=150,
        )
        if name is None:
            return table, None, ""
        with st.spinner(f"Classifying the test examples by {name}"):
            found = versions.compared(others[name])
    except UserError as error:
        st.error(plain(str(error)), icon=":material/error:")
        return table, None, ""
    outcome = place.segmented_control(
        "What the edits did", OUTCOMES, key=f"errors outcome {name}", label_visibility="collapsed"
    )
    with place:
        version_button.draw(others[name], name)
    st.caption(
        f"All test examples: {versions.told(found)}. Some turn whenever a model is trained again: Data compares "
        "over seeds, with random edits."
    )
    table = table.assign(other=found["other"], outcome=found["outcome"])
    return (table if outcome is None else table.loc[table["outcome"] == outcome]), outcome, name


def _filtered(table: pd.DataFrame, chosen: tuple[str, str] | None) -> tuple[pd.DataFrame, str, str]:
    """Draw the filters; the examples that pass them, what these are, and the version they are held against or ""."""
    what = "mispredictions" if chosen is None else f"true {chosen[0]}, predicted {chosen[1]}"
    words = st.text_input("Text contains", key="errors text", placeholder="filter by a word", persist_state="session")
    table, outcome, other = _against(_slice(table))
    if outcome is not None:
        what = f"{outcome}, {what}" if chosen is not None else outcome
    kept = (
        tables.narrowed(table, wrong=True if outcome is None else None, words=words)
        if chosen is None
        else tables.narrowed(table, label=chosen[0], predicted=chosen[1], words=words)
    )
    st.caption(f"{len(kept):,} examples: {plain(what)}; most confident first.")
    if kept.empty:
        st.info(
            "No example passes the filters. Click the chosen square again to list all mispredictions.",
            icon=":material/filter_alt:",
        )
    return kept, what, other


def _table(kept: pd.DataFrame, what: str, version: str) -> None:
    """Draw some examples as rows to tick, with what leads on from them."""
    columns = [name for name in COLUMNS if name in kept]
    key = f"mispredictions {hash(tuple(kept.index))}"
    event = st.dataframe(
        kept[[name for name in columns if name != "outcome" or len(set(kept["outcome"])) > 1]],
        key=key,
        on_select=lambda: _pick(key, kept.index),
        selection_mode="multi-row",
        height=330,
        column_config={
            "row": st.column_config.NumberColumn("test", width=60),
            "text": st.column_config.TextColumn(width="large"),
            "label": st.column_config.TextColumn("true"),
            "other": st.column_config.TextColumn(version, help="What that version predicts."),
            "confidence": st.column_config.NumberColumn(format="%.2f", width=80),
            "margin": st.column_config.NumberColumn(
                format="%.2f", help="Lead of the predicted label over the true one."
            ),
        },
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        downloads.examples(kept.filter(columns), what)
        _behind(kept.iloc[event["selection"]["rows"]] if event["selection"]["rows"] else kept)


def _behind(rows: pd.DataFrame) -> None:
    """The way to the training examples that act on all mispredictions among some rows."""
    wrong = sorted(rows.index[rows["wrong"].to_numpy(dtype=bool)].tolist())
    if wrong and st.button(
        f"Training examples behind {'these' if len(wrong) > 1 else 'this'} {len(wrong):,}",
        key="behind",
        type="tertiary",
        icon=":material/rule:",
        help="Those that act on all mispredictions ticked, or on all in the table: to relabel or remove.",
    ):
        state.choose(group=tuple(wrong), suspects="acting")
        st.switch_page("views/data.py")


def _pick(key: str, ids: pd.Index) -> None:
    """Explain the row that was ticked last; the others stay ticked."""
    rows, before = st.session_state[key]["selection"]["rows"], state.keep(f"ticked {key}", [])
    new = [row for row in rows if row not in before]
    before[:] = rows
    if new:
        state.choose(test=int(ids[new[0]]), label="predicted")


page()
