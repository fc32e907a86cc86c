"""The numbers that the experiments print, against loops, planted answers and definitions."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr

from attribution import attribute
from attribution.experiments import lexical_overlap, measures, mislabel
from attribution.experiments.faithfulness import _setup
from attribution.experiments.layers import layer_groups
from attribution.experiments.measures import UNTIMED
from attribution.experiments.near_training import edited
from attribution.experiments.randomized_model import reinitialised
from attribution.experiments.registry import Findings, Run, estimate_seconds, run_experiment
from attribution.experiments.saliency_consistency import salient
from attribution.experiments.span_agreement import start_states
from attribution.index import silent
from attribution.query import Query, make_query
from attribution.registry import required_parts
from attribution.results import ScoreTable
from attribution.retraining import Job
from attribution.retraining.blocks import Blocks
from attribution.scope import make_scope
from attribution.span_scores import explained_span
from attribution.spans import Finder
from attribution.workspace import Workspace
from tests.oracles import (
    flat_gradient,
    learning_rates,
    log_probability,
    own_model,
    training_gradients,
    with_training_data,
)
from tests.tiny import refusal, tiny_workspace


def findings(workspace: Workspace, name: str, methods: list[str] | None = None, **parameters: Any) -> Findings:
    return run_experiment(workspace, name, methods=methods or (), parameters=parameters).findings


def scores_of(workspace: Workspace, test: int, method: str, **parameters: Any) -> np.ndarray:
    return attribute(workspace, method, test=test, **parameters).scores


def mean_error(values: Any) -> tuple[Any, Any]:
    return pytest.approx(np.mean(values)), pytest.approx(np.std(values, ddof=1) / math.sqrt(len(values)))


def test_correlation_is_the_mean_of_spearmans(workspace: Workspace) -> None:
    """Each pair is scipy's correlation over the test examples; gd over two scopes is two methods."""
    rows = findings(workspace, "correlation", ["gd", "nn_cos"], tests=4, train=40, scope="head", wider="last:1").table
    assert [(row["method"], row["other"]) for row in rows] == [
        ("gd", "nn_cos"),
        ("gd", "gd, last:1"),
        ("nn_cos", "gd, last:1"),
    ]
    tests = Run(workspace=workspace, methods=(), seed=0, progress=silent).sample(workspace.test.index.tolist(), 4)
    one = [scores_of(workspace, test, "gd") for test in tests]
    for row, method, given in ((rows[0], "nn_cos", {}), (rows[1], "gd", {"scope": "last:1", "scorer": "sweep"})):
        expected = [spearmanr(a, scores_of(workspace, t, method, **given))[0] for a, t in zip(one, tests, strict=True)]
        assert row["spearman"] == pytest.approx(np.mean(np.array(expected, dtype=float)), abs=0.02) and row["n"] == 4


def test_strong_damping_makes_influence_the_gradient_product(workspace: Workspace) -> None:
    """The damping reaches the methods that take one: with much of it influence nears gd, and relatif gc."""
    names = ["influence", "gd", "relatif", "gc"]
    weak, strong = (
        findings(workspace, "correlation", names, tests=3, wider="", damping=damping).summary
        for damping in (0.001, 1000)
    )
    for pair in ("influence and gd", "relatif and gc"):
        assert weak[pair] < strong[pair] and strong[pair] > 0.95, (weak, strong)


def test_top_overlap_is_the_share_in_common(workspace: Workspace) -> None:
    """The share of the top 10 by a loop; a top larger than the training set is all of it."""
    (row,) = findings(workspace, "top_overlap", ["gc", "nn_euc"], tests=11, wider="").table
    shared = []
    for test in workspace.test.index:
        tops = [set(np.argsort(-scores_of(workspace, test, m), kind="stable")[:10]) for m in ("gc", "nn_euc")]
        shared.append(len(tops[0] & tops[1]) / 10)
    assert (row["top_10"], row["top_10_error"]) == mean_error(shared) and row["top_50"] == 1 and row["n"] == 11


@pytest.fixture(scope="module")
def distinct(workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A training set in which every text comes once but for one that comes twice."""
    train = workspace.train.drop_duplicates("text")
    train = pd.concat([train, train.iloc[:1]], ignore_index=True)
    return with_training_data(workspace, train, tmp_path_factory.mktemp("distinct") / "workspace")


def test_neighbours_find_the_training_examples_themselves(distinct: Workspace) -> None:
    """HIT@1 of unedited copies is 1 for nearest neighbours, also where a copy ties; random hits by chance."""
    found = findings(distinct, "near_training", ["nn_cos", "nn_euc"], examples=1000).table
    rows = {(row["method"], row["edit"]): row for row in found}
    for method in ("nn_cos", "nn_euc"):
        assert rows[method, "train"]["hit_1"] == 1 and rows[method, "train"]["hit_1_error"] == 0
        assert rows[method, "replace"]["hit_1"] < 1
    n = len(distinct.train)
    assert rows["random", "train"]["n"] == n
    for top in (1, 10):
        chance = top / n
        assert abs(rows["random", "train"][f"hit_{top}"] - chance) < 4 * math.sqrt(chance * (1 - chance) / n) + 1 / n


def test_edits_change_one_word_of_each_text() -> None:
    """One word more, one fewer or as many; a lone word is not removed."""
    draw = np.random.default_rng(0)
    for edit, change in (("train", 0), ("add", 1), ("remove", -1), ("replace", 0)):
        made = edited(["a b c", "d e"], edit, ["new"], draw)
        assert made is not None and [len(text.split()) for text in made] == [3 + change, 2 + change]
        assert ("new" in made[0].split()) == (edit in ("add", "replace"))
    assert edited(["a", "b"], "remove", ["new"], draw) is None
    assert edited(["a", "b c"], "remove", ["new"], np.random.default_rng(1)) in (["a", "b"], ["a", "c"])


def test_a_random_model_keeps_what_was_not_trained(workspace: Workspace) -> None:
    """reset=all draws every weight matrix anew, trained only those of fine-tuning; nothing of it stays behind."""
    own = dict(workspace.model.named_parameters())
    for reset in ("all", "trained"):
        with reinitialised(workspace, reset=reset, seed=1) as other:
            assert other.digest != workspace.digest and other.train.equals(workspace.train)
            for name, value in other.model.named_parameters():
                changed = not torch.equal(value, own[name])
                if value.dim() > 1:
                    assert changed == (reset == "all" or name in workspace.trained), (reset, name)
        assert not other.directory.exists()


def test_what_does_not_read_the_model_does_not_change_with_it(workspace: Workspace) -> None:
    """tfidf correlates fully with itself under a random model; nn_cos is the correlation by hand."""
    found = findings(workspace, "randomized_model", ["tfidf", "nn_cos"], tests=3, models=2)
    rows = {row["method"]: row for row in found.table}
    assert rows["tfidf"]["spearman"] == pytest.approx(1) and rows["tfidf"]["between_models"] == pytest.approx(0)
    assert abs(rows["random"]["spearman"]) < 0.5
    tests = Run(workspace=workspace, methods=(), seed=0, progress=silent).sample(workspace.test.index.tolist(), 3)
    expected = []
    for seed in (1, 2):
        with reinitialised(workspace, reset="all", seed=seed) as other:
            pairs = [[scores_of(space, test, "nn_cos") for space in (workspace, other)] for test in tests]
            expected += [spearmanr(one, two)[0] for one, two in pairs]
    assert rows["nn_cos"]["spearman"] == pytest.approx(np.mean(expected))


def test_saliency_consistency_by_definition(workspace: Workspace) -> None:
    """Both experiments on one test example, from the scores of gd before and after by plain loops."""
    test = int(workspace.test.index[0])
    rows = findings(workspace, "saliency_consistency", ["gd"], tests=1000).table
    one = findings(
        workspace.__class__(workspace.directory, workspace.settings), "saliency_consistency", ["gd"], tests=1
    )
    assert {row["n"] for row in one.table} <= {0, 1} and len(rows) == len(one.table)
    run = Run(workspace=workspace, methods=(), seed=0, progress=silent)
    (test,) = run.sample(workspace.test.index.tolist(), 1)
    query = make_query(workspace, test=test)
    frame = attribute(workspace, "gradient_x_input", test=test).frame()
    frame = frame[~frame["special"]].sort_values("score")
    token = frame.iloc[-1]
    scores = scores_of(workspace, test, "gd")
    z = (scores - scores.mean()) / scores.std()
    label = workspace.labels[query.label]
    encoded = workspace.tokenizer(workspace.train["text"].tolist())["input_ids"]
    piece = int(query.example.inputs["input_ids"][0, token["index"]])
    top = np.argsort(-scores, kind="stable")[:20]
    kept = [i for i in top if piece in encoded[i] and workspace.train["label"].iloc[i] == label]
    values = {(r["experiment"][:9], r["token"], r["method"], r["top"]): r for r in one.table}
    value = values["examples ", "most positive", "gd", 0.5]["value"]
    assert value == (pytest.approx(z[kept].mean()) if kept else None)
    text = query.example.text
    left = " ".join(f"{text[: token['start']]}{text[token['end'] :]}".split())
    after = attribute(workspace, "gd", text=left)
    assert values["overlap w", "most positive", "gd", 0.01]["value"] == float(after.order[0] == top[0])
    changed = float(after.query.label != query.label)
    assert values["overlap w", "most positive", "gd", 0.01]["prediction_changed"] == changed


def test_three_tokens_are_told_apart(workspace: Workspace) -> None:
    """The largest, the lower middle and the smallest score of the text's own tokens; none of two."""
    tokens = make_query(workspace, text="warm dull plot the").example.tokens
    scores = np.array([99.0, 0.1, -0.5, 0.4, 0.2, -99.0])
    assert [token.text for token in salient(tokens, scores)] == ["plot", "warm", "dull"]
    assert salient(make_query(workspace, text="warm plot").example.tokens, scores) == []


def test_cancellation_is_gradient_over_change(workspace: Workspace) -> None:
    """With every training example, C is Σ_c η_c Σ_i ‖∇_W ℓ_i‖ / Σ_c ‖W_c+1 − W_c‖ by per-example gradients."""
    rows = {(r["layer"], r["kind"]): r for r in findings(workspace, "cancellation", examples=1000).table}
    states = [dict(own_model(workspace, state).named_parameters()) for state in range(len(workspace.checkpoints))]
    groups = {(g.layer, g.kind): g.names for g in layer_groups(workspace)}
    assert not any(layer.endswith("embeddings") or layer in ("block 1", "block 2") for layer, _ in rows)
    for key in (("block 3", "weights"), ("block 3", "biases"), ("head", "weights")):
        strength = change = 0.0
        for state, rate in enumerate(learning_rates(workspace)[:-1]):
            gradients = training_gradients(workspace, groups[key], state)
            strength += rate * np.linalg.norm(gradients, axis=1).sum()
            steps = [(states[state + 1][name] - states[state][name]).flatten() for name in groups[key]]
            change += float(torch.cat(steps).norm())
        assert rows[key]["gradient"] == pytest.approx(strength, rel=1e-3)
        assert rows[key]["ratio"] == pytest.approx(strength / change, rel=1e-3)
    assert ("all layers", "weights") in rows and ("all layers", "biases") in rows


def test_cancellation_needs_two_checkpoints(tmp_path: Path) -> None:
    """A model that came fine-tuned is refused in one line that says what to do."""
    space = tiny_workspace(tmp_path / "bare", epochs=0)
    assert "two saved checkpoints" in refusal(lambda: findings(space, "cancellation"))


def test_layer_similarity_is_the_mean_over_pairs(workspace: Workspace) -> None:
    """The mean cosine over all pairs of test examples, by a loop; every parameter is in one group."""
    rows = {(r["layer"], r["kind"]): r for r in findings(workspace, "layer_similarity", tests=1000).table}
    groups = layer_groups(workspace)
    named = [name for group in groups for name in group.names]
    assert sorted(named) == sorted(name for name, _ in workspace.model.named_parameters())
    swapped = workspace.__class__(workspace.directory, workspace.settings)
    swapped.__dict__["_tables"] = (workspace.test, workspace.train)
    for group in groups:
        if group.layer not in ("word embeddings", "block 2", "head"):
            continue
        found = training_gradients(swapped, group.names)
        units = found / np.linalg.norm(found, axis=1, keepdims=True)
        cosines = [units[a] @ units[b] for a in range(len(units)) for b in range(a)]
        assert rows[group.layer, group.kind]["cosine"] == pytest.approx(np.mean(cosines), abs=1e-4)


def test_faithfulness_of_the_truth_is_one(workspace: Workspace) -> None:
    """Tiny steps leave the copies the model itself; random is near 0; runs of what draws nothing are alike."""
    found = findings(workspace, "faithfulness", tests=3, train=20, runs=2)
    rows = {row["method"]: row for row in found.table}
    assert rows["tracin_plus_plus"]["spearman"] > 0.99
    assert rows["checkpoints"]["spearman"] < rows["tracin_plus_plus"]["spearman"]
    assert rows["if_plus_plus"]["over_runs"] == 0 and abs(rows["random"]["spearman"]) < 0.3
    refused = refusal(lambda: findings(workspace, "faithfulness", ["gd"]))
    assert "gd does not" in refused and "if_plus_plus" in refused


def test_the_truth_is_the_gradient_product_of_spans(workspace: Workspace) -> None:
    """−⟨∇log p, ∇ℓ(z) − ∇ℓ(z masked)⟩ of every span, by autograd on a plain model."""
    run = Run(workspace=workspace, methods=("if_plus",), seed=0, progress=silent)
    setup = _setup(run, train=4, finder="sentences", scope="last:1", solver="auto")
    query = make_query(workspace, test=int(workspace.test.index[0]))
    truth = setup.scores(query, "", of="if_plus")
    model, names = own_model(workspace), make_scope(workspace.classifier, "last:1").names
    for name in names:
        dict(model.named_parameters())[name].requires_grad_()
    of_test = flat_gradient(model, log_probability(model, query.example.inputs, query.label), names)
    expected = []
    for position in setup.positions:
        row = workspace.train.iloc[position]
        example, label = workspace.classifier.example(row["text"]), workspace.labels.index(row["label"])
        whole = flat_gradient(model, log_probability(model, example.inputs, label), names)
        for span in setup.finder.find(example, None, ""):
            ids = example.inputs["input_ids"].clone()
            ids[0, list(span.tokens)] = workspace.tokenizer.mask_token_id
            masked = log_probability(model, {**example.inputs, "input_ids": ids}, label)
            expected.append(of_test @ (whole - flat_gradient(model, masked, names)))
    np.testing.assert_allclose(truth, expected, atol=1e-3 * np.abs(expected).max())


def test_span_agreement_by_definition(workspace: Workspace) -> None:
    """Lag is the share of the label in the top, Sag the mean cosine of first-token states, by a plain model."""
    found = findings(workspace, "span_agreement", ["influence"], tests=1, finder="sentences", top=12)
    rows = {(row["method"], row["k"]): row for row in found.table}
    run = Run(workspace=workspace, methods=(), seed=0, progress=silent)
    (test,) = run.sample(workspace.test.index.tolist(), 1)
    query = make_query(workspace, test=test)
    tokens = list(explained_span(query, Finder(name="sentences"))[0].tokens)
    order = attribute(workspace, "influence", test=test).order
    for k in (10, 12):
        labels = workspace.train["label"].iloc[order[:k]] == query.label_name
        assert rows["influence", k]["lag"] == pytest.approx(labels.mean())
    top = order[:10]
    ids = query.example.inputs["input_ids"].repeat(2, 1)
    ids[1, tokens] = workspace.tokenizer.mask_token_id
    model = own_model(workspace)

    def state(inputs: dict[str, Any]) -> np.ndarray:
        with torch.no_grad():
            return model(**inputs, output_hidden_states=True).hidden_states[-1][:, 0].numpy()

    whole, masked = state({"input_ids": ids, "attention_mask": torch.ones_like(ids)})
    mine = whole - masked
    texts = workspace.train["text"].iloc[top].tolist()
    theirs = np.vstack([state(dict(workspace.tokenizer([text], return_tensors="pt"))) for text in texts])
    cosines = theirs @ mine / np.linalg.norm(theirs, axis=1) / np.linalg.norm(mine)
    assert rows["influence", 10]["sag"] == pytest.approx(cosines.mean(), abs=1e-4)
    encoded = workspace.classifier.tokenize(texts)
    np.testing.assert_allclose(start_states(workspace.classifier, encoded), theirs, atol=1e-4)


def test_a_run_says_how_long_it_will_take(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of one question, which is above 0, as often as there are test examples."""
    given: dict[str, Any] = {"methods": ["gd"], "parameters": {"tests": 1000, "wider": ""}}
    assert estimate_seconds(workspace, "correlation", **given) > 0
    monkeypatch.setattr(measures, "answer_seconds", lambda *_, **__: 2.0)
    monkeypatch.setattr(measures, "building_seconds", lambda *_: 30.0)
    assert estimate_seconds(workspace, "correlation", **given) == 30.0 + 2.0 * len(workspace.test)


def test_an_estimate_builds_no_more_than_one_pass(fresh: Workspace) -> None:
    """What a method lacks is counted, as long as parts of its kind took or three passes, and is not built."""
    given: dict[str, Any] = {"methods": ["gd", "tracin_we"], "parameters": {"tests": 4, "wider": ""}}
    foretold = estimate_seconds(fresh, "correlation", **given)
    (folder,) = (fresh.storage / "index").iterdir()
    took = json.loads((folder / "manifest.json").read_text(encoding="utf8"))
    missing = [part for part in required_parts(fresh, "tracin_we") if not part.is_built(fresh)]
    assert took["kind"] == "features" and len(missing) >= 2
    least = 3 * took["seconds"] * len(missing) + 4 * UNTIMED
    assert least <= foretold < least + 60


@pytest.mark.parametrize("name", ["artifact_fit", "lexical_overlap"])
def test_an_estimate_counts_every_question(name: str, pairs: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where each answer of a method takes a second, an estimate is the number of answers that a run asks for."""
    asked: list[str] = []
    answer = Run.answer

    def counted(self: Run, query: Query, method: str, **given: Any) -> ScoreTable:
        asked.append(method)
        return answer(self, query, method, **given)

    monkeypatch.setattr(Run, "answer", counted)
    monkeypatch.setattr(measures, "answer_seconds", lambda run, entries, **_: float(len(entries)))
    monkeypatch.setattr(measures, "building_seconds", lambda *_: 0.0)
    parameters: dict[str, Any] = {"tests": 4}
    if name == "lexical_overlap":
        parameters["label"] = next(iter(lexical_overlap.wrongly_predicted(pairs)))
    given: dict[str, Any] = {"methods": ["gd", "tfidf"], "parameters": parameters}
    foretold = estimate_seconds(pairs, name, **given)
    assert not asked
    run_experiment(pairs, name, **given)
    assert foretold == pytest.approx(len(asked), rel=0.2) and len(asked) >= 3


def test_the_estimate_of_mislabel_adds_the_training_and_the_index(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted flips cost a training and the index of the model that it makes; the data as it is costs neither."""
    jobs: list[Job] = []
    monkeypatch.setattr(Blocks, "seconds", lambda self, job: jobs.append(job) or 500.0)
    monkeypatch.setattr(mislabel, "build_seconds", lambda workspace, wanted: 70.0 * len(wanted))
    planted, own = (
        estimate_seconds(workspace, "mislabel", methods=["gd"], parameters={"flips": flips}) for flips in (0.2, 0.0)
    )
    assert own < 500 and planted >= 500 + 70 and [len(job.rows) for job in jobs] == [len(workspace.train)]


@pytest.mark.parametrize(
    ("name", "parameters", "expected"),
    [
        ("correlation", {"tests": 0}, "tests must be from 1"),
        ("correlation", {"scope": "last:9"}, "does not fit the model's 3 blocks"),
        ("randomized_model", {"models": 0}, "models must be from 1"),
        ("near_training", {"examples": 0}, "examples must be from 1"),
        ("saliency_consistency", {"saliency": "gd"}, "does not score the tokens"),
        ("saliency_consistency", {"saliency": "lime_"}, "Did you mean 'lime'"),
        ("span_agreement", {"finder": "aspect"}, "single texts"),
        ("faithfulness", {"finder": "given"}, "has none of these"),
        ("faithfulness", {"runs": 0}, "runs must be from 1"),
    ],
)
def test_a_wrong_setting_is_one_line(
    workspace: Workspace, name: str, parameters: dict[str, Any], expected: str
) -> None:
    """The thing, the rule and the choices."""
    assert expected in refusal(lambda: findings(workspace, name, **parameters))
