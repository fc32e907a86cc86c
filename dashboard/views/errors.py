"""Errors: where the model goes wrong, as a matrix that filters a table; a row leads to its explanation."""

import pandas as pd
import streamlit as st

from attribution.provenance import workspace_provenance
from dashboard import cache, charts, exports, state, tables
from dashboard.markdown import plain
from dashboard.views import downloads


def page() -> None:
    """Draw the page."""
    table = cache.test_table()
    labels = list(cache.workspace().labels)
    wrong = int(table["wrong"].to_numpy().sum())
    st.markdown("#### Where the model goes wrong")
    st.caption(
        f"{wrong:,} of {len(table):,} test examples are mispredicted. "
        "Click a square to see its examples, then a row to explain it."
    )
    matrix, rows = st.columns([1.15, 1.9], gap="medium")
    with matrix:
        chosen = _matrix(table, labels)
    with rows:
        _table(table, chosen)


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


def _table(table: pd.DataFrame, chosen: tuple[str, str] | None) -> None:
    what = "mispredictions" if chosen is None else f"true {chosen[0]}, predicted {chosen[1]}"
    words = st.text_input("Text contains", key="errors text", placeholder="filter by a word", persist_state="session")
    kept = (
        tables.narrowed(table, wrong=True, words=words)
        if chosen is None
        else tables.narrowed(table, label=chosen[0], predicted=chosen[1], words=words)
    )
    st.caption(f"{len(kept):,} examples: {plain(what)}; most confident first.")
    if kept.empty:
        st.info(
            "No example passes these filters: click another square, or clear the word.", icon=":material/filter_alt:"
        )
        return
    columns = [name for name in ("text", "text_pair", "label", "predicted", "confidence", "margin") if name in kept]
    event = st.dataframe(
        kept[columns],
        key=f"mispredictions-{chosen}-{words}",
        on_select="rerun",
        selection_mode="single-row",
        height=560,
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
    if event["selection"]["rows"]:
        state.choose(test=int(kept.index[event["selection"]["rows"][0]]), label="predicted")
        st.switch_page("views/explain.py")


page()
