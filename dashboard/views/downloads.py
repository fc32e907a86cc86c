"""The buttons that take an answer or a plot away as a file."""

from collections.abc import Mapping, Sequence

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from attribution.pairs import WordPairs
from attribution.provenance import provenance_of, provenance_of_all, spreadsheet_csv, workspace_provenance
from attribution.results import ScoreTable
from dashboard import cache, exports


def answer(table: ScoreTable, settings: cache.Settings) -> None:
    """All scores of an answer, and the whole explanation as a page; each is made when it is clicked."""
    made = provenance_of(table)
    with st.popover("Export", type="tertiary", icon=":material/download:"):
        st.download_button(
            "All scores as CSV",
            lambda: exports.scores_csv(cache.reranked(table, settings)),
            file_name=exports.file_name(made, "scores", "csv"),
            mime="text/csv",
            key=f"csv-{table.method}",
        )
        st.download_button(
            "Report as a page (HTML)",
            lambda: cache.report(table, settings),
            file_name=exports.file_name(made, "report", "html"),
            mime="text/html",
            key=f"report-{table.method}",
            help="Heatmap, prediction, training examples and the first of them word by word, in one file.",
        )


def comparison(tables: Sequence[ScoreTable]) -> None:
    """Every training example's score and rank under the compared methods."""
    made = {**provenance_of_all(tables), "method": "-".join(table.method for table in tables)}
    st.download_button(
        "All scores and ranks as CSV",
        lambda: exports.comparison_csv(tables),
        file_name=exports.file_name(made, "compared", "csv"),
        mime="text/csv",
        key="csv-compared",
        type="tertiary",
        icon=":material/download:",
    )


def examples(kept: pd.DataFrame, what: str) -> None:
    """The listed test examples."""
    made = workspace_provenance(cache.workspace())
    st.download_button(
        "These examples as CSV",
        lambda: spreadsheet_csv(kept.reset_index(names="test"), {**made, "examples": what}),
        file_name=exports.file_name(made, what, "csv"),
        mime="text/csv",
        key="csv-examples",
        type="tertiary",
        icon=":material/download:",
    )


def pairs(found: WordPairs, rows: Sequence[str], columns: Sequence[str]) -> None:
    """The matrix of a pair of texts."""
    made = {**exports.pairs_provenance(found), "method": f"train {found.train_id}"}
    st.download_button(
        "Matrix as CSV",
        lambda: exports.pairs_csv(found, rows, columns),
        file_name=exports.file_name(made, "word by word", "csv"),
        mime="text/csv",
        key="csv-pairs",
        type="tertiary",
        icon=":material/download:",
    )


def plot(figure: go.Figure, title: str, made: Mapping[str, str], *, key: str) -> None:
    """A plot as a page of its own; as a picture it is saved by the button in its corner."""
    st.download_button(
        "Plot as a page (HTML)",
        lambda: exports.plot_page(figure, title, made),
        file_name=exports.file_name(made, title, "html"),
        mime="text/html",
        key=f"page-{key}",
        type="tertiary",
        icon=":material/download:",
        help="The camera in the plot's corner saves it as a PNG.",
    )
