"""What holds for every registered experiment, and what the experiments of artifacts print."""

import inspect
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from attribution import attribute
from attribution.artifacts import feature_values
from attribution.errors import UserError
from attribution.experiments.artifact_fit import negated
from attribution.experiments.labels import label_of
from attribution.experiments.registry import (
    Experiment,
    Report,
    Run,
    get_experiment,
    list_experiments,
    run_experiment,
)
from attribution.experiments.report import as_json, as_table
from attribution.index import silent
from attribution.parameters import Choice, Flag, Name, Range
from attribution.registry import get_method
from attribution.workspace import Workspace
from dashboard.experiment_charts import figure
from dashboard.experiment_tables import readings
from tests.oracles import with_training_data
from tests.tiny import refusal

EXPERIMENTS = list_experiments()
PROMISED = {"experiment", "workspace", "parameters", "methods", "seed", "seconds", "summary", "table", "paper", "notes"}
CONTRACT = (
    "correlation top_overlap deletion_curve removal randomized_model near_training lexical_overlap artifact_fit "
    "saliency_consistency span_agreement faithfulness cancellation layer_similarity lds mislabel adversarial fix"
).split()
every = pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.name)


@pytest.fixture
def spaces(workspace: Workspace, pairs: Workspace) -> list[Workspace]:
    return [workspace, pairs]


def small(workspace: Workspace, experiment: Experiment, **more: Any) -> Report:
    return run_experiment(workspace, experiment.name, parameters=experiment.small, **more)


def plain(report: Report) -> dict[str, Any]:
    """The answer as another program reads it, but for the time it took."""
    return {name: value for name, value in json.loads(as_json(report.describe())).items() if name != "seconds"}


@every
def test_label_is_complete(experiment: Experiment) -> None:
    """A name of the contract, title, place in a paper, cost, a docstring, and methods that exist."""
    assert experiment.name in CONTRACT
    for text in (experiment.title, experiment.paper, experiment.cost, inspect.getdoc(experiment.function)):
        assert text and text == text.strip()
    assert all(get_method(name).explains == "examples" for name in experiment.methods)
    for name, parameter in experiment.parameters.items():
        assert isinstance(parameter.spec, Range | Choice | Name | Flag) and parameter.spec.help.endswith("."), name
        assert type(parameter.check(parameter.default)) is parameter.type, name
    assert set(experiment.small) <= set(experiment.parameters)


@every
def test_answer_has_the_promised_shape(spaces: list[Workspace], experiment: Experiment) -> None:
    """Every promised key, numbers in the summary, rows of one shape, and what differs in each row of the paper."""
    fitting = [space for space in spaces if experiment.fits(space)]
    assert fitting
    for space in fitting:
        found = json.loads(as_json(small(space, experiment).describe()))
        assert set(found) >= PROMISED
        assert found["experiment"] == experiment.name and found["workspace"]["digest"] == space.digest
        assert (found["workspace"]["n_train"], found["workspace"]["n_test"]) == (len(space.train), len(space.test))
        assert set(found["parameters"]) == set(experiment.parameters) and found["methods"] == list(experiment.methods)
        assert found["summary"] and all(isinstance(v, int | float) for v in found["summary"].values())
        assert found["table"] and len({tuple(row) for row in found["table"]}) == 1
        for row in found["table"]:
            assert all(value is None or isinstance(value, str | int | float) for value in row.values())
        assert found["paper"] is None or all(row["differs"] for row in found["paper"])
        drawn = readings(found["table"])
        assert drawn and all(
            figure(each, found["paper"] or (), dark=dark).data for each in drawn for dark in (False, True)
        )


@every
def test_table_shows_every_row(spaces: list[Workspace], experiment: Experiment) -> None:
    """What the terminal shows has a line for each row, and the paper's own where there are some."""
    for space in filter(experiment.fits, spaces):
        report = small(space, experiment)
        shown = as_table(report.describe())
        assert experiment.name in shown and ("the paper's own" in shown) == (report.findings.paper is not None)
        for row in report.findings.table:
            assert any(str(next(iter(row.values()))) in line for line in shown.splitlines())


@every
def test_a_seed_is_a_result(spaces: list[Workspace], experiment: Experiment) -> None:
    """Run twice with a seed, an experiment says the same; it reports progress that ends."""
    space = next(filter(experiment.fits, spaces))
    said: list[tuple[int, int]] = []
    first = small(space, experiment, seed=3, progress=lambda done, total, what: said.append((done, total)))
    assert plain(first) == plain(small(space, experiment, seed=3))
    assert said and said[-1][0] == said[-1][1]


@every
def test_mistakes_are_one_line(spaces: list[Workspace], experiment: Experiment) -> None:
    """The wrong kind of text, an unknown parameter or method, a method of tokens, a wrong seed."""
    for space in spaces:
        if not experiment.fits(space):
            said = refusal(lambda space=space: small(space, experiment))
            assert f"Experiment {experiment.name} needs" in said and "Known for these: " in said
    space = next(filter(experiment.fits, spaces))
    assert f"No parameter of {experiment.name} 'wingspan'" in refusal(
        lambda: run_experiment(space, experiment.name, parameters={"wingspan": 3})
    )
    for name in ("gdd", "lime", "saliency_influence"):
        assert refusal(lambda name=name: small(space, experiment, methods=[name]))
    assert "seed must be from 0" in refusal(lambda: small(space, experiment, seed=-1))


def test_an_unknown_experiment_suggests_the_nearest() -> None:
    """The name, the nearest name and the known ones."""
    said = refusal(lambda: get_experiment("artefact_fit"))
    assert "Did you mean 'artifact_fit'?" in said and "lexical_overlap" in said


def scores_of(workspace: Workspace, test: int, method: str, **parameters: Any) -> np.ndarray:
    return attribute(workspace, method, test=test, **parameters).scores


def test_artifact_fit_is_the_mean_over_a_slice(pairs: Workspace) -> None:
    """Every row is the mean of numpy.polyfit's coefficients over the slice's test examples, standardised influence."""
    found = run_experiment(pairs, "artifact_fit", methods=["gd"], parameters={"features": "lexical_overlap,length"})
    predicted = pairs.predict_test().idxmax(axis=1)
    rows = found.findings.table
    assert {row["slice"] for row in rows} <= {f"predicted {label}" for label in pairs.labels} and rows
    for row in rows:
        x, coefficients = feature_values(pairs, row["feature"]), []
        for test in predicted.index[predicted == row["slice"].removeprefix("predicted ")]:
            scores = scores_of(pairs, int(test), "gd")
            coefficients.append(np.polyfit((scores - scores.mean()) / scores.std(), x, 2)[0])
        assert row["n"] == len(coefficients)
        assert row["coefficient"] == pytest.approx(np.mean(coefficients))
        assert row["low"] <= row["coefficient"] <= row["high"]


def test_slices_are_what_was_asked(pairs: Workspace, workspace: Workspace, tmp_path: Path) -> None:
    """By true label, by a column's values, and at most as many test examples as asked for."""
    rows = run_experiment(
        workspace, "artifact_fit", methods=["gd"], parameters={"by": "true", "tests": 3}
    ).findings.table
    assert {(row["slice"], row["n"]) for row in rows} == {("true negative", 3), ("true positive", 3)}
    other = with_training_data(pairs, pairs.train, tmp_path / "columned")
    columned = pairs.test.assign(case=["natural", "made"] * 5 + [None])
    other.__dict__["_tables"] = (pairs.train, columned)
    found = run_experiment(other, "artifact_fit", methods=["gd"], parameters={"by": "column:case"}).findings
    assert {(row["slice"], row["n"]) for row in found.table} == {("case made", 5), ("case natural", 5)}
    for by, expected in (("column:cases", "Did you mean 'case'"), ("size", "No value for by 'size'")):
        assert expected in refusal(
            lambda by=by: run_experiment(other, "artifact_fit", methods=["gd"], parameters={"by": by})
        )


def test_negated_pairs_differ_in_their_hypothesis(pairs: Workspace, workspace: Workspace) -> None:
    """The slices original and negated have the same pairs, and other influence."""
    asked = {"by": "negated", "tests": 3, "label": "positive", "features": "lexical_overlap"}
    rows = run_experiment(pairs, "artifact_fit", methods=["gd"], parameters=asked).findings.table
    assert [(row["slice"], row["n"]) for row in rows] == [("original", 3), ("negated", 3)]
    assert rows[0]["coefficient"] != rows[1]["coefficient"]
    assert negated("The plot was warm.") == "It is not true that the plot was warm."
    assert negated("Ada sang") == "It is not true that Ada sang"
    assert "needs pairs" in refusal(lambda: run_experiment(workspace, "artifact_fit", parameters={"by": "negated"}))


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"features": "negation"}, "The feature is 0 for all 40"),
        ({"features": "lexical_overlop"}, "Did you mean 'lexical_overlap'"),
        ({"features": "test_overlap"}, "single texts"),
        ({"features": ","}, "No feature"),
        ({"features": "column:size"}, "No column of the training data 'size'"),
        ({"features": "pattern"}, "needs a word list"),
        ({"features": "pattern", "pattern": "("}, "not a regular expression"),
        ({"pattern": "no"}, "features=pattern"),
        ({"label": "positive"}, "by=negated"),
        ({"by": "negated", "label": "neutral"}, "No label 'neutral'"),
        ({"tests": 1}, "tests must be from 2"),
    ],
)
def test_a_wrong_artifact_is_one_line(pairs: Workspace, parameters: dict[str, Any], expected: str) -> None:
    """Before any test example is explained."""

    def stop(*_: object) -> None:
        raise AssertionError("the long part began")

    run: Any = lambda: run_experiment(pairs, "artifact_fit", parameters=parameters, progress=stop)  # noqa: E731
    assert expected in refusal(run)


def test_a_constant_feature_is_a_note_beside_others(pairs: Workspace) -> None:
    """The default features stay: what cannot be fitted is said, the rest is fitted."""
    found = run_experiment(pairs, "artifact_fit", methods=["gd"], parameters={"tests": 3}).findings
    assert {row["feature"] for row in found.table} == {"lexical_overlap"}
    assert any(note.startswith("negation: The feature is 0") for note in found.notes)


@pytest.fixture
def wrong(pairs: Workspace) -> list[int]:
    """Test pairs mispredicted as positive, by a loop."""
    predicted = pairs.predict_test()
    found = [int(i) for i in pairs.test.index if predicted.loc[i].idxmax() == "positive" != pairs.test.loc[i, "label"]]
    assert found
    return found


def test_lexical_overlap_is_the_mean_of_the_tops(pairs: Workspace, wrong: list[int]) -> None:
    """Every row is the mean over the mispredicted pairs of the mean overlap of the top; with its error."""
    report = run_experiment(pairs, "lexical_overlap", methods=["relatif", "nn_cos"], parameters={"label": "positive"})
    overlap = [
        sum(w in premise.split() for w in text.split()) / len(text.split())
        for premise, text in zip(
            pairs.train["text"], (t.replace(".", "") for t in pairs.train["text_pair"]), strict=True
        )
    ]
    rows = {row["method"]: row for row in report.findings.table}
    assert set(rows) == {"relatif", "nn_cos", "random", "training set"}
    for method, given in (("relatif", {"scope": "head"}), ("nn_cos", {})):
        for top in (1, 10):
            rates = []
            for test in wrong:
                order = np.argsort(-scores_of(pairs, test, method, **given), kind="stable")[:top]
                rates.append(np.mean([overlap[i] for i in order]))
            assert rows[method][f"top_{top}"] == pytest.approx(np.mean(rates))
            error = None if len(wrong) < 2 else pytest.approx(np.std(rates, ddof=1) / math.sqrt(len(rates)))
            assert rows[method][f"top_{top}_error"] == error
        assert rows[method]["n"] == len(wrong)
    assert report.findings.summary["base_rate"] == pytest.approx(np.mean(overlap))


def test_the_control_draws_anew_for_every_text(pairs: Workspace) -> None:
    """Random rows of one test pair are not those of the next, so that their mean is the base rate's estimate."""
    from attribution.experiments.registry import Run
    from attribution.index import silent
    from attribution.query import make_query

    run = Run(workspace=pairs, methods=(), seed=0, progress=silent)
    first, second = (run.answer(make_query(pairs, test=test), "random").scores for test in (0, 1))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.6
    assert np.array_equal(first, run.answer(make_query(pairs, test=0), "random").scores)


def test_the_label_of_overlap_is_found(pairs: Workspace) -> None:
    """Without entailment among the labels, the one whose training pairs overlap most; a label can be chosen."""
    overlap = pd.Series(feature_values(pairs, "lexical_overlap"), index=pairs.train.index)
    means = {label: overlap[(pairs.train["label"] == label).to_numpy()].mean() for label in pairs.labels}
    assert label_of(pairs, "auto") == max(means, key=means.__getitem__)
    assert label_of(pairs, "negative") == "negative"
    with pytest.raises(UserError, match="No label 'neutral'"):
        label_of(pairs, "neutral")


def test_no_misprediction_is_said(pairs: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """With how many there are as each label."""
    right = pd.get_dummies(pairs.test["label"])[list(pairs.labels)].astype(float)
    monkeypatch.setattr(Workspace, "predict_test", lambda self: right)
    said = refusal(lambda: run_experiment(pairs, "lexical_overlap", parameters={"label": "positive"}))
    assert "No test pair is mispredicted as 'positive'" in said and "negative 0" in said


def test_kept_arrays_are_made_once(workspace: Workspace) -> None:
    """A question is answered from disk the second time; another question, or one whose making failed, is made."""
    run = Run(workspace=workspace, methods=(), seed=0, progress=silent)
    made: list[int] = []

    def make(number: int) -> dict[str, np.ndarray]:
        made.append(number)
        if number < 0:
            raise KeyboardInterrupt
        return {"values": np.arange(number)}

    for _ in range(2):
        assert run.kept({"number": 3}, lambda: make(3))["values"].tolist() == [0, 1, 2]
    with pytest.raises(KeyboardInterrupt):
        run.kept({"number": 4}, lambda: make(-1))
    assert run.kept({"number": 4}, lambda: make(4))["values"].tolist() == [0, 1, 2, 3]
    assert made == [3, -1, 4]
