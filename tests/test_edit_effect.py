"""The predicted effect of edits against retraining and against plain loops, and questions about several examples."""

import copy

import numpy as np
import pytest

from attribution import attribute
from attribution.editing import RowEdit, edited_table
from attribution.editing.effect import predicted_effect
from attribution.group import attribute_group, group_methods, make_group, whole_test_set
from attribution.query import make_query
from attribution.workspace import Workspace
from tests.dense import ABOVE, ekfac_inverse, last, scores, weights_of
from tests.oracles import (
    HEAD,
    HEAD_AND_BIAS,
    Convex,
    assert_close,
    assert_predicts,
    damped,
    encoded,
    flat_gradient,
    head_hessian_of,
    log_probability,
    own_model,
    penultimate,
    plain_model,
    query_gradient,
    training_gradients,
)
from tests.tiny import refusal

TEXTS = ("the warm song was dull", "a very clever plot", "stale and cold", "the lively cast with a tender scene")


def some_edits(workspace: Workspace) -> list[dict[int, RowEdit]]:
    """Sets of edits: removals, relabels and other texts, alone and together."""
    draw, sets = np.random.default_rng(4), []
    for number in range(12):
        edits = {}
        for row in draw.permutation(len(workspace.train))[: 1 + number % 4].tolist():
            (label,) = set(workspace.labels) - {workspace.train.loc[row, "label"]}
            text = TEXTS[int(draw.integers(4))]
            edits[row] = (RowEdit(removed=True), RowEdit(label=label), RowEdit(text=text))[number % 3]
        sets.append(edits)
    return sets


@pytest.mark.parametrize("whole", [False, True], ids=["one", "whole"])
def test_the_predicted_effect_is_what_retraining_does(convex: Convex, whole: bool) -> None:
    """Sets of edits of a convex head: predicted changes of log p, or of minus the mean test loss, are the real ones."""
    workspace, model = convex.workspace, plain_model(convex.workspace)
    tests = list(range(len(workspace.test))) if whole else [3]
    labels = workspace.label_ids(workspace.test)[tests] if whole else np.array([1])

    def quantity(theta: np.ndarray) -> float:
        x = np.hstack([convex.test_features[tests], np.ones((len(tests), 1))])
        logits = x @ theta.reshape(2, -1).T
        return float(np.mean(logits[np.arange(len(x)), labels] - np.logaddexp(*logits.T)))

    question = whole_test_set(workspace) if whole else make_query(workspace, test=3, label=workspace.labels[1])
    predicted, actual = [], []
    for edits in some_edits(workspace):
        changed, counts = copy.copy(convex), np.ones(len(workspace.train))
        changed.features, changed.labels = convex.features.copy(), convex.labels.copy()
        for row, edit in edits.items():
            counts[row] = 0 if edit.removed else 1
            changed.labels[row] = workspace.labels.index(edit.label) if edit.label else convex.labels[row]
            if edit.text:
                changed.features[row] = penultimate(model, dict(workspace.tokenizer(edit.text, return_tensors="pt")))
        effect = predicted_effect(question, edits, parameters={"damping": convex.damping})
        assert effect.value == pytest.approx(quantity(convex.theta), abs=1e-4)
        assert np.sum(effect.rows["change"].to_numpy()) == pytest.approx(effect.change)
        assert set(effect.rows["train_id"]) == set(edits)
        predicted.append(effect.change)
        actual.append(quantity(changed.fit(counts, start=convex.theta)) - quantity(convex.theta))
    assert_predicts(np.array(predicted), np.array(actual), pearson=0.99)


@pytest.mark.parametrize(("space", "method"), [("workspace", "influence_head"), ("pairs", "influence")])
def test_the_predicted_effect_is_a_loop_over_the_edited_examples(
    space: str, method: str, request: pytest.FixtureRequest
) -> None:
    """Σ over edits of ∇FᵀP(∇ℓ(z) − ∇ℓ(z̃))/n by plain autograd, with the explicit Hessian or EK-FAC's matrices."""
    workspace: Workspace = request.getfixturevalue(space)
    (label,) = set(workspace.labels) - {workspace.train.loc[5, "label"]}
    edits = {
        2: RowEdit(removed=True),
        5: RowEdit(label=label, note="both"),
        11: RowEdit(text=TEXTS[0]),
        30: RowEdit(note="nothing changes"),
    }
    layers = ABOVE if method == "influence_head" else last(1)
    names = HEAD_AND_BIAS if method == "influence_head" else weights_of(layers)
    if method == "influence_head":
        inverse = np.linalg.inv(damped(head_hessian_of(workspace, bias=True), 0.1))
    else:
        inverse = ekfac_inverse(workspace, layers, 0.1)
    parameters = {"damping": 0.1} if method == "influence_head" else {"damping": 0.1, "scope": "last:1"}
    vector = inverse @ query_gradient(workspace, names, test=2, label=0)
    model, after = own_model(workspace), edited_table(workspace, edits)
    for name in names:
        dict(model.named_parameters())[name].requires_grad_()
    expected = {row: float(vector @ training_gradients(workspace, names)[row]) / 40 for row in (2, 5, 11)}
    for row in (5, 11):
        loss = -log_probability(
            model, encoded(workspace, after.loc[row]), workspace.labels.index(after.loc[row, "label"])
        )
        expected[row] -= float(vector @ flat_gradient(model, loss, names)) / 40
    query = make_query(workspace, test=2, label=workspace.labels[0])
    effect = predicted_effect(query, edits, method=method, parameters=parameters)
    found = dict(zip(effect.rows["train_id"], effect.rows["change"], strict=True))
    assert_close(np.array([found[row] for row in expected]), np.array(list(expected.values())), relative=5e-3)
    assert predicted_effect(query, {30: edits[30]}, method=method, parameters=parameters).change == 0


@pytest.mark.parametrize("method", ["gd", "tracin_last", "influence_head"])
def test_a_group_is_the_mean_of_its_examples(workspace: Workspace, method: str) -> None:
    """A product with the mean gradient is the mean of the products, each example with its own predicted label."""
    tests = [1, 4, 9]
    alone = np.mean([attribute(workspace, method, test=test).scores for test in tests], axis=0)
    table = attribute_group(make_group(workspace, tests), method)
    assert_close(table.scores, alone, relative=2e-4)
    assert table.frame(3)["train_id"].tolist() == np.argsort(-table.scores, kind="stable")[:3].tolist()


def test_a_normalised_group_is_the_cosine_with_its_summed_gradient(workspace: Workspace) -> None:
    """Not the mean of the cosines: gc of a group against a loop; margins of the true over the predicted label too."""
    tests = [0, 3, 5]
    total = sum(query_gradient(workspace, HEAD, test=test, label=0) for test in tests)
    gradients = training_gradients(workspace, HEAD)
    expected = -gradients @ total / np.linalg.norm(gradients, axis=1) / np.linalg.norm(total)
    group = make_group(workspace, tests, label=workspace.labels[0])
    assert_close(attribute_group(group, "gc").scores, expected, relative=2e-4)
    against = make_group(workspace, tests, label=workspace.labels[0], against=workspace.labels[1])
    margins = sum(query_gradient(workspace, HEAD, test=test, label=1) for test in tests)
    assert_close(attribute_group(against, "gd").scores, -gradients @ (total - margins) / 3, relative=2e-4)


def test_a_group_over_the_blocks_is_a_loop(indexed: Workspace) -> None:
    """EK-FAC influence of a group over the last block, its top exact, against dense matrices."""
    layers, tests = last(1), [2, 6, 7, 10]
    query = np.mean([query_gradient(indexed, weights_of(layers), test=t, label=1) for t in tests], axis=0)
    expected = scores(query, training_gradients(indexed, weights_of(layers)), ekfac_inverse(indexed, layers, 0.1))
    group = make_group(indexed, tests, label=indexed.labels[1])
    found = attribute_group(group, "influence", {"scope": "last:1", "scorer": "sweep"})
    assert_close(found.scores, expected, relative=5e-3)
    words = found.words_of([0])[0]
    assert [word.text for word in words] and all(np.isfinite(word.score) for word in words)


def test_what_cannot_be_asked_of_a_group_is_refused(workspace: Workspace) -> None:
    """No example, one twice or unknown, a label against itself, methods that need one text, and a normalised effect."""
    group = make_group(workspace, [0])
    assert "relatif" in group_methods() and "saliency_influence" not in group_methods()
    for action, said in (
        (lambda: make_group(workspace, []), "at least one"),
        (lambda: make_group(workspace, [1, 1]), "twice"),
        (lambda: make_group(workspace, [1, 99]), "No test example 99"),
        (lambda: make_group(workspace, [1], label="neutral"), "No label 'neutral'"),
        (lambda: make_group(workspace, [1], against="predicted"), "over itself"),
        (lambda: attribute_group(group, "nn_cos"), "No method for several test examples"),
        (lambda: attribute_group(group, "if_plus"), "No method for several test examples"),
        (lambda: predicted_effect(group, {}, method="gd"), "Known: influence_head, influence"),
        (lambda: predicted_effect(group, {}, method="influence", parameters={"normalise": "cosine"}), "Known: none"),
    ):
        assert said in refusal(action)
