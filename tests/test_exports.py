"""Exports: tables that a spreadsheet may open, with where they come from, and plots as pages that stand alone."""

import csv
import io
import re

import pandas as pd
import plotly.graph_objects as go
import pytest

from attribution import attribute
from attribution.index import build
from attribution.pairs import pairs_parts, word_pairs
from attribution.provenance import harmless, provenance_of, spreadsheet_csv
from attribution.query import make_query
from attribution.workspace import Workspace
from dashboard import exports

FORMULAS = ["=1+2", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", " =1", "＝1+1", "=", '=HYPERLINK("x")']
PLAIN = ["warm film", "a = b", "-1", "+3.5", "-1,000", "3-4", "it's", "", "e-mail", "'quoted'"]


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_is_a_formula(text: str) -> None:
    """What a spreadsheet would run comes out as text, the rest of it unchanged; column names of the data too."""
    made = spreadsheet_csv(pd.DataFrame({"text": [text], "score": [-1.5]}), {"workspace": text})
    (row,) = csv.DictReader(io.StringIO(made, newline=""))
    assert row["text"] == row["workspace"] == f"'{text}"
    assert row["score"] == "-1.5"


def test_other_text_is_left_alone() -> None:
    """Plain words, signs within a text, and numbers that are labels."""
    assert [harmless(text) for text in PLAIN] == PLAIN


def test_every_row_says_where_it_is_from(workspace: Workspace) -> None:
    """All training examples by falling score, read back by pandas, each with method, digests, sign and version."""
    table = attribute(workspace, "gd", test=3, label="true")
    frame = pd.read_csv(io.StringIO(exports.scores_csv(table)))
    assert frame["train_id"].tolist() == table.frame(0)["train_id"].tolist()
    assert frame["score"].to_numpy() == pytest.approx(table.frame(0)["score"].to_numpy())
    for name, value in provenance_of(table).items():
        assert name == "made" or frame[name].astype(str).unique().tolist() == [value]
    first = frame.iloc[0].astype(str)
    assert first["workspace_digest"] == workspace.digest[:16] and first["method"] == "gd"
    assert '"scope": "head"' in first["parameters"] and first["explained"] == f"label {table.query.label_name}"


def test_compared_methods_stand_side_by_side(workspace: Workspace) -> None:
    """Scores and ranks of both methods belong to the same training example; what differs is told by method."""
    tables = [attribute(workspace, name, test=3) for name in ("gd", "nn_cos")]
    frame = pd.read_csv(io.StringIO(exports.comparison_csv(tables))).set_index("train_id")
    for table in tables:
        own = table.frame(0).set_index("train_id").loc[frame.index]
        assert frame[f"score {table.method}"].to_numpy() == pytest.approx(own["score"].to_numpy())
        assert frame[f"rank {table.method}"].tolist() == own["rank"].tolist()
    assert frame["method"].iloc[0] == "gd; nn_cos"
    assert frame["workspace"].unique().tolist() == [workspace.name]


def test_a_matrix_is_one_line_a_pair(workspace: Workspace) -> None:
    """Every pair of words with its score."""
    build(workspace, pairs_parts(workspace))
    found = word_pairs(make_query(workspace, test=3), 7, groups=[(1,), (2,)])
    columns = [word.text for word in found.words]
    frame = pd.read_csv(io.StringIO(exports.pairs_csv(found, ["one", "two"], columns)))
    assert frame["test word"].tolist() == ["one"] * len(columns) + ["two"] * len(columns)
    assert frame["training word"].tolist() == columns * 2
    assert frame["score"].to_numpy() == pytest.approx(found.scores.ravel())


def test_a_plot_is_a_page_that_stands_alone() -> None:
    """Nothing is fetched, and what it was made from is on it as text."""
    figure = go.Figure(go.Scatter(x=[1], y=[2]))
    page = exports.plot_page(figure, "A <b>title</b>", {"workspace": "<script>x</script>", "method": "gd"})
    assert "&lt;script&gt;x&lt;/script&gt;" in page and "A &lt;b&gt;title&lt;/b&gt;" in page
    assert not re.search(r'<(script|link|img)[^>]+(src|href)="?http', page)
    assert "Plotly.newPlot" in page


def test_a_file_is_named_after_its_content() -> None:
    """Workspace, question, method and kind, with nothing that a file system minds."""
    made = {"workspace": "../my reviews", "question": "test example 4", "method": "gd"}
    assert exports.file_name(made, "scores", "csv") == "influscope-my-reviews-test-example-4-gd-scores.csv"
    assert exports.plot_config("a.png")["toImageButtonOptions"]["filename"] == "a"
