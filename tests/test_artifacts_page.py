"""The Artifacts page without a browser: its points, sentences, slices and links."""

import time
from collections.abc import Hashable
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest

from attribution import attribute
from attribution.artifacts import Feature, Fit, artifact_fit, feature_values, list_features, slice_fit
from attribution.query import make_query, sample_ids
from attribution.results import ScoreTable
from attribution.workspace import Workspace
from dashboard import artifact_charts, artifacts, background, cache
from tests.apps import OpenApp, said

ARTIFACTS = "views/artifacts.py"
both_tasks = pytest.mark.parametrize("indexed", ["workspace", "pairs"], indirect=True)


def opened(open_app: OpenApp, workspace: Workspace, **query: str):
    """The Artifacts page under a link."""
    return open_app(workspace.directory, **query).switch_page(ARTIFACTS).run()


def fit_of(x: Any, y: Any) -> Fit:
    return artifact_fit(np.asarray(y, dtype=float), np.asarray(x, dtype=float))


# What is drawn


@both_tasks
@pytest.mark.parametrize("dark", [False, True])
def test_every_known_example_is_a_point_with_its_own_row(indexed: Workspace, dark: bool):
    """Each training example with the feature is one point at its value and z-score, in its label's trace and symbol."""
    table: ScoreTable = attribute(indexed, "relatif", test=2)
    values = np.linspace(0, 1, len(table.scores))
    values[[3, 17]] = np.nan
    found = artifacts.artifact_of(table, values)
    figure = artifact_charts.influence_scatter(
        found.points, found.fit, names=("<b>no</b>", "positive"), feature="a & b", dark=dark
    )
    clouds = [cast(Any, trace) for trace in figure.data if cast(Any, trace).mode == "markers"]
    assert {cloud.type for cloud in clouds} == {"scattergl"}
    assert len({cloud.marker.symbol for cloud in clouds}) == len({cloud.marker.color for cloud in clouds}) == 2
    drawn = {}
    for number, cloud in enumerate(clouds):
        assert cloud.x.dtype == cloud.y.dtype == np.float32 and len(cloud.x) == len(cloud.customdata)
        for row, x, y in zip(cloud.customdata, cloud.x, cloud.y, strict=True):
            assert indexed.train.at[int(row), "label"] == indexed.labels[number]
            drawn[int(row)] = (x, y)
    assert sorted(drawn) == [row for row in range(len(values)) if row not in (3, 17)]
    z = (table.scores - table.scores.mean()) / table.scores.std()
    for row, (x, y) in drawn.items():
        assert (x, y) == (pytest.approx(values[row], abs=1e-6), pytest.approx(z[row], rel=1e-5, abs=1e-6))
    assert [cloud.name for cloud in clouds] == ["&lt;b&gt;no&lt;/b&gt;", "positive"]
    assert cast(Any, figure.layout).xaxis.title.text == "a &amp; b"


def test_curve_is_the_fits():
    """The line is the fit's, and the band runs along its upper and back along its lower bound."""
    x = np.linspace(0, 2, 60)
    fit = fit_of(x, x**2 + np.sin(40 * x))
    points = artifact_charts.Points(ids=np.arange(60), x=x, y=x, labels=np.zeros(60, dtype=int))
    band, line = (
        cast(Any, t)
        for t in artifact_charts.influence_scatter(points, fit, names=("only",), feature="f", dark=False).data[1:]
    )
    assert np.array_equal(line.x, fit.x) and np.array_equal(line.y, fit.y)
    half = len(fit.x)
    assert np.array_equal(band.y[:half], fit.y_high) and np.array_equal(band.y[half:][::-1], fit.y_low)
    assert np.array_equal(band.x[:half], band.x[half:][::-1])


def test_points_that_lie_on_one_another_are_one_mark():
    """Of very many points, every one has a mark of its label at most a cell away, and the marks' texts count them all.

    Where more of them lie, the mark is darker.
    """
    n = artifact_charts.MANY + 1
    x, y = np.random.default_rng(0).normal(size=(2, n))
    labels = np.arange(n) % 2
    points = artifact_charts.Points(ids=np.arange(n), x=x, y=y, labels=labels)
    figure = artifact_charts.influence_scatter(points, fit_of(x, y), names=("one", "other"), feature="f", dark=False)
    cell = np.array([np.ptp(x), np.ptp(y)]) / artifact_charts.CELLS * (1 + 1e-5)
    for number, cloud in enumerate(cast(Any, figure.data[:2])):
        drawn, counts = np.stack([cloud.x, cloud.y], axis=1), np.array(cloud.text, dtype=int)
        own = np.stack([x, y], axis=1)[labels == number]
        assert len(drawn) < 0.8 * len(own) and counts.sum() == len(own)
        near = np.array([(np.abs(drawn - point) <= cell).all(axis=1).any() for point in own[::50]])
        assert near.all()
        assert (np.diff(cloud.marker.opacity[np.argsort(counts)]) >= 0).all() and len(set(counts.tolist())) > 2


def test_points_of_few_values_are_spread_but_told_apart():
    """Points at two values are moved sideways by less than half their distance, the same way each time."""
    values = np.tile([0.0, 1.0], 50)
    points = artifact_charts.Points(ids=np.arange(100), x=values, y=values, labels=np.zeros(100, dtype=int))
    first, second = (
        cast(
            Any,
            artifact_charts.influence_scatter(
                points, fit_of(values, np.arange(100)), names=("only",), feature="f", dark=False
            ),
        )
        .data[0]
        .x
        for _ in range(2)
    )
    assert np.array_equal(first, second) and len(np.unique(first)) > 50
    assert np.array_equal(np.round(first), values)


@both_tasks
def test_clicked_row_says_its_feature_and_its_share_of_the_largest(indexed: Workspace):
    """The row of a clicked point has its own text, score and feature; its bar is a share of the largest score."""
    table = attribute(indexed, "gd", test=1)
    feature = feature_of(indexed, "length")
    found = artifacts.artifact_of(table, feature_values(indexed, "length"))
    row = artifacts.clicked_row(found, feature, table, 7, None)
    assert row["text"] == indexed.train.at[7, "text"] and row["train_id"] == 7
    assert row["share"] == pytest.approx(table.scores[7] / np.abs(table.scores).max())
    column = "text_pair" if indexed.is_pair else "text"
    words = [word for word in indexed.train.at[7, column].split() if word != "."]
    assert row["details"][-1] == ["Length", str(len(words))]


def feature_of(workspace: Workspace, name: str) -> Feature:
    return next(feature for feature in list_features(workspace) if feature.name == name)


# What is said


@pytest.mark.parametrize(
    ("curve", "says"),
    [
        (lambda x: x, "with more words raised the probability of 'positive' more than the others: quadratic"),
        (lambda x: -x, "with more words raised the probability of 'positive' less than the others: quadratic"),
        (lambda x: 0 * x, "with more words raised the probability of 'positive' about as much as the others"),
        (
            lambda x: (x - 0.5) ** 2 * 20,
            "at both ends of the range of length raised the probability of 'positive' more",
        ),
        (lambda x: -((x - 0.5) ** 2) * 20, "in the middle of the range of length raised the probability of"),
        (lambda x: x**2 * 5, "with more words raised the probability of 'positive' more than the others: quadratic"),
    ],
)
def test_sentence_follows_the_curve(workspace: Workspace, curve, says):
    """The sentence says the direction that the data were made with, and nothing where they were made with none."""
    x = np.linspace(0, 1, 300)
    noise = np.random.default_rng(0).normal(0, 0.3, 300)
    fit = fit_of(x, curve(x) + noise)
    query = make_query(workspace, test=0, label="positive")
    text = artifacts.sentence(fit, feature_of(workspace, "length"), query, "gd")
    assert f"Training texts {says}" in text
    assert ("no clear bend" in text) == (fit.low <= 0 <= fit.high)
    assert ("bends upwards" in text) == (fit.low > 0) and ("bends downwards" in text) == (fit.high < 0)


@pytest.mark.parametrize(
    ("method", "says"),
    [("nn_cos", "scored higher than the others: slope"), ("representer", "raised the logit of 'negative' more than")],
)
def test_sentence_says_what_the_method_says(workspace: Workspace, method: str, says: str):
    """A method of likeness raises nothing; representer points raise a logit; two values have a slope."""
    x = np.tile([0.0, 1.0], 40)
    fit = fit_of(x, x + np.random.default_rng(1).normal(0, 0.2, 80))
    query = make_query(workspace, test=0, label="negative")
    assert f"that match the pattern {says}" in artifacts.sentence(fit, feature_of(workspace, "pattern"), query, method)


# Slices


def test_slices_are_what_a_loop_keeps():
    """A slice holds the test examples of its value, wrong or not as asked; columns of texts or one value are none."""
    draw = np.random.default_rng(0)
    tests = pd.DataFrame(
        {
            "text": [f"text {n}" for n in range(90)],
            "label": draw.choice(["x", "y"], 90),
            "predicted": draw.choice(["x", "y"], 90),
            "case": draw.choice([1, 2, 3], 90),
            "one": "same",
            "many": np.arange(90),
            "confidence": 0.5,
            "margin": 0.0,
        },
        index=draw.permutation(90),
    )
    tests["wrong"] = tests["label"] != tests["predicted"]
    assert list(artifacts.slice_columns(tests)) == ["predicted", "label", "case"]
    for column, value, wrong in (("predicted", "x", False), ("case", "2", True), ("label", None, True)):
        expected = [
            i
            for i, row in zip(tests.index, tests.to_dict("records"), strict=True)
            if (value is None or str(row[column]) == value) and (row["label"] != row["predicted"] or not wrong)
        ]
        assert artifacts.sliced(tests, column=column, value=value, wrong=wrong).index.tolist() == expected
    ids = tests.index.tolist()
    chosen = sample_ids(ids, 20)
    assert len(set(chosen)) == 20 and set(chosen) <= set(ids) and chosen == sorted(chosen)
    assert chosen == sample_ids(ids[::-1], 20), "the sample depends on the slice, not on its order"
    assert sample_ids(ids[:4], 20) == sorted(ids[:4])


@both_tasks
def test_slice_is_the_mean_over_its_examples(indexed: Workspace):
    """The mean of a slice is what the fits of its examples, asked one by one, average to; progress counts them."""
    name = "length" if indexed.is_pair else "test_overlap"
    said: list[tuple[int, int]] = []
    found = artifacts.slice_artifact(
        indexed,
        tests=[1, 4, 6],
        label="predicted",
        method="gd",
        settings=(),
        feature=name,
        pattern=None,
        progress=lambda done, total, what: said.append((done, total)),
    )
    queries = [make_query(indexed, test=test) for test in (1, 4, 6)]
    values = [feature_values(indexed, name, query=query) for query in queries]
    fits = [
        artifact_fit(attribute(indexed, "gd", test=test).scores, x) for test, x in zip((1, 4, 6), values, strict=True)
    ]
    assert found.coefficients == pytest.approx([fit.coefficient for fit in fits], rel=1e-6)
    assert found.coefficient == pytest.approx(np.mean([fit.coefficient for fit in fits]), rel=1e-6)
    assert said == [(0, 3), (1, 3), (2, 3)]


# The page and its links


@both_tasks
def test_page_opens_with_the_usual_feature(indexed: Workspace, open_app: OpenApp):
    """Every feature that fits is offered, overlap first and drawn; the sentence is that of the fit, with its sign."""
    app = opened(open_app, indexed)
    assert not app.exception and not app.error and not app.warning
    usual = "lexical_overlap" if indexed.is_pair else "test_overlap"
    assert app.selectbox(key="feature").value == usual
    titles = [feature.title for feature in list_features(indexed)]
    assert app.selectbox(key="feature").options == titles
    query = make_query(indexed, test=int(app.query_params["test"]))
    table = cache.result(query, "relatif")
    fit = artifact_fit(table.scores, feature_values(indexed, usual, query=query))
    expected = artifacts.sentence(fit, feature_of(indexed, usual), query, "relatif")
    assert expected in said(app.markdown)
    assert "Click a point" in said(app.markdown)
    assert "feature" not in app.query_params


@both_tasks
def test_link_is_honoured_and_kept(indexed: Workspace, open_app: OpenApp):
    """Feature, pattern, method, label and row of a link are what is shown, and stay in the URL."""
    link = {
        "test": "4",
        "label": "positive",
        "method": "gd",
        "row": "7",
        "feature": "pattern",
        "pattern": "the, film",
    }
    app = opened(open_app, indexed, **link)
    assert not app.exception and not app.error and not app.warning
    assert app.query_params == link
    assert app.text_input(key="pattern").value == "the, film"
    assert "that match the pattern raised the probability of 'positive'" in said(app.markdown)
    assert "Training example 7" in said(app.markdown)
    app.selectbox(key="feature").set_value("length").run()
    assert app.query_params["feature"] == "length" and "with more words" in said(app.markdown)


def test_unknown_feature_is_ignored_with_a_notice(indexed: Workspace, open_app: OpenApp):
    """A feature of pairs, and a pattern out of all bounds, are named in notices; the page is the usual one."""
    app = opened(open_app, indexed, feature="lexical_overlap", pattern="x" * 501)
    assert not app.exception and not app.error
    notices = said(app.warning)
    assert "feature 'lexical_overlap', which is none of test_overlap" in notices
    assert "The link's pattern has 501 characters, 500 at most" in notices
    assert app.selectbox(key="feature").value == "test_overlap"
    assert not {"feature", "pattern"} & set(app.query_params)


@pytest.mark.parametrize(
    ("pattern", "says"),
    [("(", "Pattern '(' is not a regular expression"), ("zebra", "The feature is 0 for all 40 training examples")],
)
def test_feature_that_cannot_be_fitted_says_why_and_leaves_the_rest(
    indexed: Workspace, open_app: OpenApp, pattern: str, says: str
):
    """A wrong pattern, or one that nothing matches, is a red box in place; another one is drawn from there."""
    app = opened(open_app, indexed, feature="pattern", pattern=pattern)
    assert not app.exception
    (box,) = app.error
    assert says in said([box])
    assert "Test example" in said(app.markdown) and app.selectbox(key="method").value == "relatif"
    app.text_input(key="pattern").set_value("the").run()
    assert not app.error and "that match the pattern" in said(app.markdown)
    assert app.query_params["pattern"] == "the"


def test_blank_pattern_asks_for_one(indexed: Workspace, open_app: OpenApp):
    """Without a pattern the page says what to write, and nothing is wrong."""
    app = opened(open_app, indexed, feature="pattern")
    assert not app.error and not app.exception
    assert "Write words with commas between them" in app.info[0].value


def test_missing_index_is_offered(fresh: Workspace, open_app: OpenApp):
    """A method whose index is not there says so with the button that Explain has, and the choices stay."""
    app = opened(open_app, fresh, method="tracin_we")
    assert not app.exception and not app.error
    assert app.button(key="build-tracin_we").label == "Compute it"
    assert app.selectbox(key="feature").value == "test_overlap"


def slices() -> list[Hashable]:
    """The keys of the averages that were asked for."""
    return [key for _, key in background._works() if isinstance(key, tuple) and "slice" in key]


def ended(key: Hashable) -> background.Work:
    """The background work of a key once it has ended."""
    work = background.find(key)
    assert work is not None
    deadline = time.monotonic() + 60
    while work.running and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not work.running
    return work


def test_slice_is_asked_for_and_kept(indexed: Workspace, open_app: OpenApp):
    """Nothing is averaged before the button; then the mean of the sample is said; it is kept for the next visit."""
    app = opened(open_app, indexed)
    assert not slices()
    app.button(key="average").click().run()
    (key,) = slices()
    assert ended(key).failure is None
    app.run()
    tests = sample_ids(indexed.test.index.tolist(), 5)
    queries = [make_query(indexed, test=test) for test in tests]
    mean = slice_fit(
        [cache.result(query, "relatif").scores for query in queries],
        [feature_values(indexed, "test_overlap", query=query) for query in queries],
    )
    assert f"mean {artifacts._figures(mean)}." in said(app.markdown)
    app.switch_page("views/explain.py").run()
    app.switch_page(ARTIFACTS).run()
    assert f"Over {mean.n} test examples" in said(app.markdown)
    app.toggle(key="slice wrong").set_value(True).run()
    assert "Over " not in said(app.markdown) and app.button(key="average")


def test_explain_computes_the_check_only_when_it_is_opened(indexed: Workspace, open_app: OpenApp, monkeypatch):
    """Explain fits nothing until 'Only matching words?' is opened, and then says what the page of artifacts says."""
    fitted: list[int] = []

    def counted(*given: np.ndarray) -> Fit:
        fitted.append(1)
        return artifact_fit(*given)

    monkeypatch.setattr(artifacts, "artifact_fit", counted)
    app = open_app(indexed.directory)
    assert not app.exception and not fitted
    app.session_state["matching-False"] = True
    app.run()
    assert not app.exception and len(fitted) == 1
    assert "that share more words with the test text" in said(app.markdown)
