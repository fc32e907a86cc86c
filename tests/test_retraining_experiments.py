"""The experiments that train again, where the answer is known: a convex head, planted flips, and what cannot be run."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from attribution import attribute, create_workspace
from attribution.experiments import deletion_curve, lds, removal
from attribution.experiments.lds import spearman
from attribution.experiments.mislabel import _row
from attribution.experiments.registry import Run, get_experiment, run_experiment
from attribution.experiments.retrained import measured, support
from attribution.index import silent
from attribution.methods.representer import refit
from attribution.retraining import Retrainer
from attribution.retraining.heads import RefittedHeads
from attribution.workspace import Workspace, softmax
from tests.families import tiny_model
from tests.oracles import Convex
from tests.tiny import refusal, sentences, workspace_of, write_tables

RETRAINED = ("lds", "deletion_curve", "removal")


def rows_of(workspace: Workspace, name: str, **asked: Any) -> list[dict[str, Any]]:
    methods = asked.pop("methods", [])
    return run_experiment(workspace, name, methods=methods, parameters=asked).findings.table


def test_exact_influence_predicts_a_convex_head(convex: Convex, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the penalty that the head was trained with as its damping, its score on subsets is near 1; chance is not."""

    def exactly(run: Run, method: str, tests: np.ndarray, **asked: Any) -> np.ndarray:
        if method != "influence_head":
            return support(run, method, tests, **asked)
        given: dict[str, Any] = {"label": "true", "damping": convex.damping}
        return np.stack([attribute(run.workspace, method, test=int(test), **given).scores for test in tests])

    monkeypatch.setattr(lds, "support", exactly)
    asked = {"retrain": "refit", "l2": convex.penalty / 2, "share": 0.9, "subsets": 30, "tests": 11}
    rows = {row["method"]: row for row in rows_of(convex.workspace, "lds", methods=["influence_head"], **asked)}
    assert rows["influence_head"]["lds"] > 0.95 and rows["influence_head"]["n"] == 11
    assert abs(rows["random"]["lds"]) < 0.3
    assert 0 < rows["influence_head"]["standard_error"] < rows["random"]["standard_error"]


def test_removal_moves_a_convex_head_as_predicted(convex: Convex) -> None:
    """Every change is that of solving the head again, for one test after the other; both ends beat chance."""
    l2, k = convex.penalty / 2, 8
    found = rows_of(
        convex.workspace, "deletion_curve", methods=["influence_head"], retrain="refit", l2=l2, k=str(k), tests=11
    )
    rows = {(row["method"], row["measure"]): row for row in found}
    features, tests = (np.hstack([x, np.ones((len(x), 1))]) for x in (convex.features, convex.test_features))
    true = convex.workspace.label_ids(convex.workspace.test)

    def share(kept: np.ndarray, test: int) -> float:
        return softmax(tests[test][None] @ refit(features[kept], convex.labels[kept], 2, l2).weight.T)[0, true[test]]

    for measure, end in (("DEL+", -1), ("DEL-", 1)):
        changes = []
        for test in range(11):
            scores = attribute(convex.workspace, "influence_head", test=test, label="true").scores
            removed = np.argsort(end * scores, kind="stable")[:k]
            changes.append(share(np.setdiff1d(np.arange(100), removed), test) - share(np.arange(100), test))
        row, chance = rows["influence_head", measure], rows["random", measure]
        assert row["mean_change"] == pytest.approx(np.mean(changes), abs=1e-4)
        assert row["standard_error"] == pytest.approx(np.std(changes, ddof=1) / np.sqrt(11), abs=1e-4)
        assert end * row["mean_change"] > 0.02 and end * (row["mean_change"] - chance["mean_change"]) > 0.02
        assert rows["influence_head", f"AUC-{measure}"]["mean_change"] == pytest.approx(row["mean_change"])


def test_what_is_removed_is_what_the_row_says(convex: Convex) -> None:
    """Positive lowers the predicted label, negative raises it, least moves it less; shares and numbers are the same."""
    found = rows_of(
        convex.workspace, "removal", methods=["influence_head"], retrain="refit", amount="10%,10,5", tests=11
    )
    assert {(row["k"], row["share"]) for row in found} == {(5, 0.05), (10, 0.1)}
    change = {(row["method"], row["removed"]): row["mean_change"] for row in found if row["k"] == 10}
    assert set(change) == {("influence_head", kind) for kind in ("positive", "negative", "least")} | {("random",) * 2}
    assert change["influence_head", "positive"] < -0.02 < 0.002 < change["influence_head", "negative"]
    assert abs(change["influence_head", "least"]) < abs(change["influence_head", "positive"]) / 3


def test_tests_that_share_a_removal_feel_both(convex: Convex) -> None:
    """Together, a test's change is that without its own and the other tests' examples."""
    l2, k = 0.01, 3
    found = rows_of(
        convex.workspace, "deletion_curve", methods=["gd"], retrain="refit", l2=l2, k=str(k), tests=2, together=2
    )
    positions = Run(workspace=convex.workspace, methods=(), seed=0, progress=silent).sample(range(11), 2)
    features, tests = (np.hstack([x, np.ones((len(x), 1))]) for x in (convex.features, convex.test_features))
    scores = [attribute(convex.workspace, "gd", test=test, label="true").scores for test in positions]
    gone = np.concatenate([np.argsort(-s, kind="stable")[:k] for s in scores])
    heads = [
        refit(features[r], convex.labels[r], 2, l2).weight for r in (np.delete(np.arange(100), gone), np.arange(100))
    ]
    true = convex.workspace.label_ids(convex.workspace.test)[positions]
    after, before = (softmax(tests[positions] @ head.T)[np.arange(2), true] for head in heads)
    (row,) = [row for row in found if (row["method"], row["measure"]) == ("gd", "DEL+")]
    assert row["mean_change"] == pytest.approx((after - before).mean(), abs=1e-4)


def test_similarities_speak_for_labels(workspace: Workspace) -> None:
    """Turned by agreement, the highest have the label and the lowest do not; a signed method stays as it is."""
    run = Run(workspace=workspace, methods=("nn_euc",), seed=0, progress=silent)
    tests = np.array([2, 5])
    same = workspace.label_ids(workspace.train)[None] == workspace.label_ids(workspace.test)[tests][:, None]
    asked: dict[str, Any] = {"label": "true", "scope": ""}
    plain = support(run, "nn_euc", tests, agreement=False, **asked)
    turned = support(run, "nn_euc", tests, agreement=True, **asked)
    for row, own, agrees in zip(turned, plain, same, strict=True):
        assert row[agrees].min() >= 0 >= row[~agrees].max()
        assert np.array_equal(np.argsort(-row[agrees]), np.argsort(-own[agrees]))
        assert np.array_equal(np.argsort(row[~agrees]), np.argsort(-own[~agrees]))
    assert np.array_equal(
        support(run, "gd", tests, agreement=True, **asked), support(run, "gd", tests, agreement=False, **asked)
    )
    expected = attribute(workspace, "nn_euc", test=2, label="true").scores
    np.testing.assert_allclose(plain[0], expected, rtol=1e-6)


def test_outputs_are_those_of_the_label() -> None:
    """Probability, its logarithm and its log odds, of the label given for each test."""
    logits = np.random.default_rng(0).normal(size=(2, 4, 3))
    labels = np.array([0, 2, 1, 1])
    for model in range(2):
        for test, label in enumerate(labels):
            p = np.exp(logits[model, test, label]) / np.exp(logits[model, test]).sum()
            for output, expected in (
                ("probability", p),
                ("log_probability", np.log(p)),
                ("log_odds", np.log(p / (1 - p))),
            ):
                assert measured(logits, labels, output)[model, test] == pytest.approx(expected)


def test_spearman_is_scipys() -> None:
    """Column by column, with ties; a constant column has none."""
    draw = np.random.default_rng(0)
    a, b = draw.integers(4, size=(9, 3)).astype(float), draw.normal(size=(9, 3))
    pairs: list[Any] = list(zip(a.T, b.T, strict=True))
    expected = np.array([spearmanr(*pair)[0] for pair in pairs], dtype=float)
    np.testing.assert_allclose(spearman(a, b), expected)
    assert np.isnan(spearman(np.ones((9, 1)), b[:, :1])).all()


@pytest.fixture(scope="module")
def separable(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Sentences of which one word says the label, on a model that is not trained."""
    folder = tmp_path_factory.mktemp("separable")
    model = tiny_model("bert", folder / "model", initializer_range=0.1)
    return create_workspace(folder / "w", model=model, **write_tables(folder, n_train=200, n_test=6))[0]


def test_planted_flips_are_found(separable: Workspace) -> None:
    """The model learns the clean labels; the flipped examples are those that influence themselves most."""
    asked = {"flips": 0.1, "retrain": "all", "epochs": 5, "learning_rate": 0.01, "batch_size": 16}
    report = run_experiment(separable, "mislabel", methods=["influence_head", "gd"], parameters=asked)
    rows = {row["method"]: row for row in report.findings.table}
    assert set(rows) == {"influence_head", "gd", "random", "loss"}
    found = {name: rows[name]["auc"] for name in ("influence_head", "gd", "loss")}
    assert min(found.values()) > 0.9, found
    assert rows["gd"]["found_in_20%"] >= 0.8 and 0.2 < rows["random"]["auc"] < 0.8
    ranking, planted = report.findings.more["ranking"], set(report.findings.more["planted"])
    assert len(planted) == 20 and sorted(row["train_id"] for row in ranking) == list(range(200))
    assert [row["rank"] for row in ranking] == list(range(1, 201))
    for row in ranking:
        true = separable.train.loc[row["train_id"], "label"]
        assert (row["label"] != true) == (row["train_id"] in planted)
        assert {row["label"], row["suspected_label"]} == {"negative", "positive"}
    assert not list((separable.storage / "results" / "experiments").glob("mislabel-*"))


def test_ones_own_labels_are_ranked(workspace: Workspace) -> None:
    """Without flips the workspace's own model ranks its data; each score is that of the example asked about itself."""
    report = run_experiment(workspace, "mislabel", methods=["influence_head"], parameters={"flips": 0})
    ranking = report.findings.more["ranking"]
    scores = []
    for row, text in enumerate(workspace.train["text"]):
        label = workspace.train["label"].iloc[row]
        scores.append(attribute(workspace, "influence_head", text=text, label=label).scores[row])
    assert [row["score"] for row in ranking] == pytest.approx([scores[row["train_id"]] for row in ranking], rel=1e-3)
    assert [row["score"] for row in ranking] == sorted((row["score"] for row in ranking), reverse=True)
    assert [row["train_id"] for row in report.findings.table] == [row["train_id"] for row in ranking[:20]]


def test_auc_counts_pairs() -> None:
    """The share of pairs of a flipped and another example in the right order, a tie counting half."""
    draw = np.random.default_rng(0)
    scores, planted = draw.integers(6, size=30).astype(float), np.array([1, 4, 17, 20])
    others = np.setdiff1d(np.arange(30), planted)
    pairs = np.sign(scores[planted][:, None] - scores[others][None]) / 2 + 0.5
    assert _row("gd", scores, planted)["auc"] == pytest.approx(pairs.mean())


@pytest.mark.parametrize(
    ("name", "parameters", "expected"),
    [
        ("deletion_curve", {"k": "40"}, "k 40 leaves nothing of the 40 training examples"),
        ("deletion_curve", {"k": "ten"}, "k takes whole numbers from 1"),
        ("deletion_curve", {"seeds": 0}, "seeds must be from 1"),
        ("removal", {"amount": "100%"}, "below 100%"),
        ("removal", {"amount": "50,500"}, "amount 50 leaves nothing"),
        ("lds", {"retrain": "tail"}, "No retraining 'tail'"),
        ("lds", {"retrain": "last:9"}, "last:9 does not fit"),
        ("lds", {"share": 0}, "share must be above 0"),
        ("mislabel", {"flips": 0.001}, "less than one of the 40"),
        ("mislabel", {"retrain": "refit"}, "choose auto, head"),
    ],
)
def test_a_wrong_setting_is_one_line(
    workspace: Workspace, name: str, parameters: dict[str, Any], expected: str
) -> None:
    """It names what is wrong, before anything is trained."""
    assert expected in refusal(lambda: run_experiment(workspace, name, methods=["gd"], parameters=parameters))


def test_a_method_without_influence_on_itself_is_refused(workspace: Workspace) -> None:
    """With the ones that have it."""
    said = refusal(lambda: run_experiment(workspace, "mislabel", methods=["bm25"]))
    assert "'bm25'" in said and "influence_head" in said and "loss" not in said


def test_losing_a_label_is_said(tmp_path: Path) -> None:
    """What would leave no example of a label is left out with a note, and the rest is run."""
    train = sentences(30, seed=3)
    positive = train.query("label == 'positive'").index
    rare = train.drop(positive[3:]).reset_index(drop=True)
    workspace = workspace_of(tmp_path, rare, sentences(6, seed=4))
    asked = {"k": "1,8", "retrain": "refit", "tests": 6}
    found = run_experiment(workspace, "deletion_curve", methods=["nn_cos"], parameters=asked).findings
    rows = {(row["method"], row["measure"], row["k"]): row for row in found.table}
    assert any("would leave nothing of a label" in note for note in found.notes)
    assert rows["nn_cos", "DEL+", 1]["n"] == 6 and rows["nn_cos", "DEL+", 8]["n"] < 6


def test_methods_without_checkpoints_are_left_out(convex: Convex) -> None:
    """A model that came fine-tuned has none: the rest is compared, and a run of such methods alone is refused."""
    asked = {"retrain": "refit", "subsets": 4, "tests": 2}
    found = run_experiment(convex.workspace, "lds", methods=["gd", "tracin_last"], parameters=asked).findings
    assert [row["method"] for row in found.table] == ["gd", "random"]
    assert "Left out, for want of saved checkpoints: tracin_last." in found.notes
    said = refusal(lambda: run_experiment(convex.workspace, "lds", methods=["tracin_last"], parameters=asked))
    assert "tracin_last need saved checkpoints" in said


@pytest.mark.parametrize("name", RETRAINED)
def test_the_cost_counts_every_retraining(convex: Convex, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where each head takes a second and a question nothing, an estimate is the number of heads that a run makes."""
    modules: dict[str, Any] = {"lds": lds, "deletion_curve": deletion_curve, "removal": removal}
    made: list[int] = []
    logits = RefittedHeads.logits

    def counted(self: RefittedHeads, jobs: Any, stepped: Any) -> list[np.ndarray]:
        made.extend(job.seed for job in jobs)
        return logits(self, jobs, stepped)

    monkeypatch.setattr(RefittedHeads, "logits", counted)
    monkeypatch.setattr(Retrainer, "seconds", lambda self, sizes: float(len(sizes)))
    monkeypatch.setattr(modules[name], "explaining_seconds", lambda *_: 0.0)
    asked = dict(get_experiment(name).small) | {"seeds": 2, "l2": 0.0123}
    run = Run(workspace=convex.workspace, methods=("gd", "nn_cos"), seed=4, progress=silent)
    chosen = get_experiment(name)
    values = {n: p.default for n, p in chosen.parameters.items()} | asked
    assert chosen.estimate is not None
    foretold = chosen.estimate(run, **values)
    assert made == []
    chosen.function(run, **values)
    # A head does not depend on its seed: the second is found kept. Sets that coincide are solved once.
    assert len(made) <= foretold <= 2.5 * len(made)
