"""The Compare page without a browser: its rows, sentences, figures and links."""

import re
import time
from collections.abc import Hashable
from typing import Any, cast

import numpy as np
import pytest

from attribution import attribute
from attribution.comparison import agreement, compare, sample_tests
from attribution.index import build
from attribution.registry import get_method, required_parts
from attribution.results import ScoreTable
from attribution.workspace import Workspace
from dashboard import background, comparing, comparison_charts
from tests.apps import OpenApp, said

COMPARE = "views/compare.py"
METHODS = ("gd", "nn_cos", "bm25")


@pytest.fixture
def tables(indexed: Workspace) -> list[ScoreTable]:
    """The answers of three methods to one question."""
    return [attribute(indexed, name, test=2) for name in METHODS]


both_tasks = pytest.mark.parametrize("indexed", ["workspace", "pairs"], indirect=True)


def noted(row: Any) -> dict[str, int]:
    """The ranks that a row's note gives, by method."""
    pairs = [each.split("\u00a0") for each in row["note"].split(" · ")]
    return {name: int(rank.replace(",", "")) for name, rank in pairs}


def opened(open_app: OpenApp, workspace: Workspace, **query: str):
    """The Compare page under a link."""
    app = open_app(workspace.directory, **query)
    return app.switch_page(COMPARE).run()


def ended(key: Hashable) -> background.Work:
    """The background work of a key once it has ended."""
    work = background.find(key)
    assert work is not None
    deadline = time.monotonic() + 60
    while work.running and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not work.running
    return work


# What is drawn


@both_tasks
@pytest.mark.parametrize("lowest", [False, True])
def test_rows_say_their_rank_under_the_others(tables: list[ScoreTable], lowest: bool):
    """A row's note is its place in the other methods' sorted scores, counted from the end that is shown."""
    ranked = comparing.side_ranks(tables, lowest=lowest)
    for table in tables:
        rows = comparing.linked_rows(table, ranked, {}, selected=None, lowest=lowest)
        assert rows
        for row in rows:
            at = table.ids.tolist().index(row["train_id"])
            expected = {}
            for other in tables:
                order = sorted(range(len(other.scores)), key=lambda i, s=other.scores: (-s[i], i), reverse=lowest)
                expected[other.method] = order.index(at) + 1
            assert row["rank"] == expected.pop(table.method)
            assert noted(row) == expected


@pytest.mark.parametrize("lowest", [False, True])
def test_the_marked_row_is_in_every_list(tables: list[ScoreTable], lowest: bool):
    """A row that is not among a method's first stands after them, at its own rank; one that is is not repeated."""
    ranked = comparing.side_ranks(tables, lowest=lowest)
    for selected in tables[0].ids.tolist():
        for table in tables:
            plain_rows = [r["train_id"] for r in comparing.linked_rows(table, ranked, {}, selected=None, lowest=lowest)]
            rows = comparing.linked_rows(table, ranked, {}, selected=selected, lowest=lowest)
            ids = [row["train_id"] for row in rows]
            assert ids == (plain_rows if selected in plain_rows else [*plain_rows, selected])
            row = rows[ids.index(selected)]
            assert row["rank"] == ranked[table.method][table.ids.tolist().index(selected)]


@pytest.mark.parametrize(
    ("ranks_of_it", "lowest", "sentence"),
    [
        (
            (3, 40, 20),
            False,
            "is in the top 10 of Gradient dot product (rank 3), but rank 40 under Nearest, cosine and ",
        ),
        ((3, 7, 10), False, "is in the top 10 of every method here: Gradient dot product (rank 3), Nearest, cosine "),
        ((11, 12, 13), False, "is in no method's top 10: rank 11 under Gradient dot product, 12 under Nearest, cosine"),
        ((1, 2, 30), True, "is in the lowest 10 of Gradient dot product (rank 1) and Nearest, cosine (rank 2), but "),
    ],
)
def test_the_marked_row_is_put_in_words(ranks_of_it, lowest, sentence):
    """Which methods have it in their top 10, and its rank under those that do not."""
    ids = np.array([5, 8])
    ranked = {name: np.array([99, rank]) for name, rank in zip(METHODS, ranks_of_it, strict=True)}
    said_of_it = comparing.linked_sentence(8, ids, ranked, lowest=lowest)
    assert said_of_it.startswith(f"Training example 8 {sentence}")
    assert said_of_it.endswith("of 2 from the lowest.") == lowest


def test_ends_are_called_as_the_signs_allow():
    """Proponents only where zero separates support from opposition under every method."""
    assert comparing.sides([get_method("gd"), get_method("relatif")]) == ("Proponents", "Opponents")
    assert comparing.sides([get_method("gd"), get_method("nn_cos")]) == ("Highest", "Lowest")


def test_signs_are_said_once(tables: list[ScoreTable]):
    """Methods that mean the same share a line, and every method is in one."""
    lines = comparing.signs(tables)
    assert len(lines) == 2
    assert lines[0].startswith("Gradient dot product: positive: training on this example raised the probability of '")
    assert lines[1].startswith("Nearest, cosine; BM25: higher: more alike")


def test_axes_are_two_of_the_compared_methods():
    """What a link asks for is kept where it is compared; the rest are the first methods that are left."""
    assert comparing.pair_of((), METHODS) == ("gd", "nn_cos")
    assert comparing.pair_of(("bm25",), METHODS) == ("bm25", "gd")
    assert comparing.pair_of(("bm25", "nn_cos"), METHODS) == ("bm25", "nn_cos")
    assert comparing.pair_of(("relatif", "nn_cos"), METHODS) == ("nn_cos", "gd")


@pytest.mark.parametrize("dark", [False, True])
def test_scatter_has_every_training_example_once(tables: list[ScoreTable], dark: bool):
    """Each point's customdata is the id whose two scores it has; labels are apart; the selected one is ringed."""
    one, other, selected = tables[0], tables[2], int(tables[0].ids[7])
    same = comparing.same_label(one)
    figure = comparison_charts.score_scatter(
        one.ids, one.scores, other.scores, same, titles=("a", "b"), selected=selected, dark=dark
    )
    explained, another, ring = cast(Any, figure["data"])
    drawn = {}
    for trace in (explained, another):
        for (train_id,), x, y in zip(trace.customdata, trace.x, trace.y, strict=True):
            drawn[train_id] = (x, y)
    assert drawn == {int(i): (one.scores[i], other.scores[i]) for i in one.ids}
    labels = one.query.workspace.train["label"].to_dict()
    assert {labels[i] for (i,) in explained.customdata} == {one.query.label_name}
    assert one.query.label_name not in {labels[i] for (i,) in another.customdata}
    assert ring.customdata == ([selected],) and (ring.x[0], ring.y[0]) == drawn[selected]
    assert all(trace.type == "scattergl" for trace in (explained, another, ring))


@pytest.mark.parametrize("dark", [False, True])
def test_matrix_writes_its_values(tables: list[ScoreTable], dark: bool):
    """Every square has its value as text, a dash where undefined; the middle of a signed scale is the page itself."""
    values = agreement(tables).spearman.copy()
    values[0, 1] = np.nan
    (squares,) = cast(Any, comparison_charts.matrix(METHODS, values, signed=True, dark=dark)["data"])
    assert squares.text[0][1] == "–" and squares.z[0][1] is None
    assert float(squares.text[1][2].replace("−", "-")) == pytest.approx(values[1, 2], abs=0.005)
    assert [tuple(step) for step in squares.colorscale][1] == (0.5, "#0f1216" if dark else "#ffffff")
    assert "gd and nn_cos –; gd and bm25 " in comparing.matrix_alt("Agreement", METHODS, values)


def test_undefined_correlations_are_said(workspace: Workspace):
    """A method that orders nothing for a text is named, with the number of examples where that is so."""
    tables = [attribute(workspace, name, text="[UNK]") for name in METHODS]
    assert comparing.undefined(agreement(tables)) == "No correlation where all scores are equal: BM25."
    assert comparing.undefined(agreement(tables[:2])) == ""


# The page and its links


@both_tasks
def test_page_compares_what_is_ready(indexed: Workspace, open_app: OpenApp):
    """Without a link the default methods that can answer are compared, on the example of the other pages."""
    app = opened(open_app, indexed)
    assert not app.exception and not app.error and not app.warning
    assert app.multiselect(key="methods").value == ["relatif", "tracin_we", "nn_cos", "bm25"]
    assert "How far do they agree?" in said(app.markdown)
    assert f"Test example {app.query_params['test']} " in said(app.markdown)
    assert "methods" not in app.query_params


def test_nothing_expensive_starts_unasked(fresh: Workspace, open_app: OpenApp):
    """On a cold workspace only what needs no index is compared; a method chosen there offers to compute its parts."""
    app = opened(open_app, fresh)
    assert app.multiselect(key="methods").value == ["bm25"]
    assert "Choose a second method above" in said(app.info)
    app.multiselect(key="methods").set_value(["bm25", "tracin_we", "tfidf"]).run()
    assert not app.exception and not app.error
    assert app.query_params["methods"] == "bm25,tracin_we,tfidf"
    assert "word gradients of 40 training examples" in said(app.caption)
    assert app.button(key="build-tracin_we").label == "Compute it"
    assert "How far do they agree?" in said(app.markdown), "the others are compared meanwhile"
    assert not any(part.is_built(fresh) for part in required_parts(fresh, "tracin_we"))
    app.multiselect(key="methods").set_value([]).run()
    assert "Choose two to four methods" in said(app.info)


def test_link_restores_the_comparison(indexed: Workspace, open_app: OpenApp):
    """Methods, axes, marked row, end of the lists and example of a link are what is shown, and stay in the URL."""
    link = {
        "test": "4",
        "label": "positive",
        "method": "gd",
        "methods": "gd,relatif,representer",
        "axes": "representer,gd",
        "row": "7",
        "side": "lowest",
    }
    app = opened(open_app, indexed, **link)
    assert not app.exception and not app.error and not app.warning
    assert app.query_params == link
    assert app.multiselect(key="methods").value == ["gd", "relatif", "representer"]
    assert [box.value for box in app.selectbox if box.label in ("Across", "Upwards")] == ["representer", "gd"]
    tables = [attribute(indexed, name, test=4, label="positive") for name in ("gd", "relatif", "representer")]
    ranked = comparing.side_ranks(tables, lowest=True)
    assert comparing.linked_sentence(7, tables[0].ids, ranked, lowest=True) in said(app.markdown)
    app.button(key="clear-row").click().run()
    assert app.query_params == {name: value for name, value in link.items() if name != "row"}
    app.switch_page("views/explain.py").run()
    assert app.query_params["methods"] == link["methods"], "the comparison is there when one comes back"


@pytest.mark.parametrize(
    ("link", "notices", "kept"),
    [
        ({"methods": "gd,trakk,erasure,nn_cos,gd"}, ["methods 'trakk'", "methods 'erasure'"], "gd,nn_cos"),
        ({"methods": "gd,gc,nn_cos,bm25,tfidf"}, ["5 methods; the first 4 are shown"], "gd,gc,nn_cos,bm25"),
        ({"methods": "gd,gc", "row": "4000"}, ["training example '4000'"], "gd,gc"),
        ({"methods": "gd,gc", "row": "![x](http://a.org/x.png)", "side": "up"}, ["a.org", "side 'up'"], "gd,gc"),
        ({"methods": "gd,gc", "axes": "gd,<b>"}, ["axes '<b>'"], "gd,gc"),
    ],
)
def test_unknown_parts_of_a_link_are_noted(
    indexed: Workspace, open_app: OpenApp, link: dict[str, str], notices: list[str], kept: str
):
    """What a link names and the workspace lacks is ignored with a notice in plain text; the rest of it is kept."""
    app = opened(open_app, indexed, **link)
    assert not app.exception and not app.error
    assert len(app.warning) == len(notices)
    for notice, warning in zip(notices, app.warning, strict=True):
        assert notice in said([warning])
        assert "![" not in warning.value and "<b>" not in warning.value
    assert app.query_params["methods"] == kept and "row" not in app.query_params


def test_axes_swap_rather_than_repeat(indexed: Workspace, open_app: OpenApp):
    """Choosing for one axis the method of the other one turns the picture; another method just takes its place."""
    app = opened(open_app, indexed, methods="gd,nn_cos,bm25")

    def choose(label: str, method: str) -> list[str | None]:
        next(box for box in app.selectbox if box.label == label).set_value(method).run()
        assert not app.exception
        return [box.value for box in app.selectbox if box.label in ("Across", "Upwards")]

    assert choose("Across", "bm25") == ["bm25", "nn_cos"]
    assert choose("Upwards", "bm25") == ["nn_cos", "bm25"]
    assert app.query_params["axes"] == "nn_cos,bm25"


def test_sample_is_compared_when_asked_for(indexed: Workspace, open_app: OpenApp):
    """A button with the count compares over a seeded sample in the background; its means are the library's."""
    app = opened(open_app, indexed, methods="gd,nn_cos")
    tests = sample_tests(indexed, 5, 3)
    key = ("agreement", ("gd", "nn_cos"), tests, "predicted", (), ())
    app.number_input(key="sample").set_value(5)
    app.number_input(key="sample seed").set_value(3).run()
    assert background.find(key) is None
    button = app.button(key="compare-sample")
    assert button.label == "Compare over 5 test examples"
    button.click().run()
    work = ended(key)
    app.run()
    assert not app.exception and not app.error
    expected = compare(indexed, ("gd", "nn_cos"), tests)
    assert work.result is not None and np.allclose(work.result.spearman, expected.spearman)
    assert "Mean of 5 test examples, seed 3" in said(app.caption)


def test_failing_sample_says_why_in_a_red_box(indexed: Workspace, open_app: OpenApp, monkeypatch):
    """What goes wrong in the background is told on the page, which keeps the rest and offers the button again."""
    app = opened(open_app, indexed, methods="gd,nn_cos")

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("the disk is *full*")

    monkeypatch.setattr("attribution.comparison.compare", fail)
    app.button(key="compare-sample").click().run()
    ended(("agreement", ("gd", "nn_cos"), sample_tests(indexed, 10), "predicted", (), ()))
    app.run()
    assert not app.exception
    assert "the disk is *full*" in said(app.error)
    assert app.button(key="compare-sample").label == "Compare over 10 test examples"


def test_method_that_refuses_says_why_in_its_place(indexed: Workspace, open_app: OpenApp, monkeypatch):
    """A method that cannot answer has a red box in its column; the others are compared."""
    monkeypatch.setattr("attribution.head.MOST_PARAMETERS", 1)
    app = opened(open_app, indexed, methods="influence_head,gd,nn_cos")
    assert not app.exception
    assert "choose a method without curvature" in said(app.error)
    assert "How far do they agree?" in said(app.markdown)
    caption = next(text for text in said(app.caption).splitlines() if "Time of an answer" in text)
    assert re.search(r"gd \d+\.\d\d s · nn_cos \d+\.\d\d s", caption)


def test_ranks_are_counted_from_one(tables: list[ScoreTable]):
    """Both ends count every training example from 1, in opposite directions."""
    up, down = (comparing.side_ranks(tables, lowest=lowest)["gd"] for lowest in (False, True))
    assert up.tolist() == tables[0].ranks.tolist()
    assert sorted(down) == list(range(1, len(up) + 1)) and (up + down == len(up) + 1).all()


def test_unready_default_is_left_out(fresh: Workspace, open_app: OpenApp):
    """With the features alone, the neighbours join in."""
    build(fresh, required_parts(fresh, "nn_cos"))
    assert opened(open_app, fresh).multiselect(key="methods").value == ["nn_cos", "bm25"]
