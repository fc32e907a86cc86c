"""Gradient products over the head: against loops over the true model, captum, explicit Hessians and retraining."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from attribution import attribute
from attribution.workspace import Workspace
from tests.oracles import (
    HEAD,
    HEAD_AND_BIAS,
    Convex,
    assert_close,
    assert_predicts,
    damped,
    encoded,
    head_hessian_of,
    learning_rates,
    own_model,
    plain_model,
    query_gradient,
    training_gradients,
)

# The index keeps features and logits in float32.
STORED = 2e-5


@pytest.fixture(scope="module", params=["single", "pair"])
def space(request: pytest.FixtureRequest, workspace: Workspace, pairs: Workspace) -> Workspace:
    return workspace if request.param == "single" else pairs


def scores(workspace: Workspace, method: str, label: int = 1, test: int = 3, **parameters: Any) -> np.ndarray:
    return attribute(workspace, method, test=test, label=workspace.labels[label], **parameters).scores


def names(bias: bool) -> tuple[str, ...]:
    return HEAD_AND_BIAS if bias else HEAD


@pytest.mark.oracle("gd")
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("label", [0, 1])
def test_gd_is_the_gradient_dot_product(space: Workspace, bias: bool, label: int) -> None:
    """⟨∇ log p(label), −∇ℓ_i⟩ over the head, every gradient by autograd on the true model, one example at a time."""
    gradients = training_gradients(space, names(bias))
    expected = -gradients @ query_gradient(space, names(bias), test=3, label=label)
    assert_close(scores(space, "gd", label, bias=bias), expected, relative=STORED)


@pytest.mark.oracle("gc")
@pytest.mark.parametrize("bias", [False, True])
def test_gc_is_the_gradient_cosine(space: Workspace, bias: bool) -> None:
    """gd divided by both gradients' lengths."""
    gradients, query = training_gradients(space, names(bias)), query_gradient(space, names(bias), test=3, label=1)
    expected = -gradients @ query / np.linalg.norm(gradients, axis=1) / np.linalg.norm(query)
    assert_close(scores(space, "gc", bias=bias), expected, relative=STORED)


@pytest.mark.oracle("tracin_last")
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("checkpoints", ["all", "final"])
def test_tracin_last_sums_over_checkpoints(space: Workspace, bias: bool, checkpoints: str) -> None:
    """Σ_c η_c ⟨∇ log p, −∇ℓ_i⟩, each checkpoint's weights read from its file into a plain model."""
    rates = learning_rates(space)
    assert len(rates) == 2 and rates[0] != rates[1], "the checkpoints' rates are alike, so their use is not tested"
    expected = np.zeros(len(space.train))
    for state in range(len(rates)) if checkpoints == "all" else [len(rates) - 1]:
        query = query_gradient(space, names(bias), test=3, label=1, state=state)
        expected -= rates[state] * training_gradients(space, names(bias), state) @ query
    assert_close(scores(space, "tracin_last", bias=bias, checkpoints=checkpoints), expected, relative=STORED)


@pytest.mark.oracle("tracin_last")
def test_tracin_last_holds_where_every_layer_moved(moving: Workspace) -> None:
    """The same sum over three checkpoints between which the features changed too."""
    expected = np.zeros(len(moving.train))
    for state, rate in enumerate(learning_rates(moving)):
        query = query_gradient(moving, HEAD, test=3, label=1, state=state)
        expected -= rate * training_gradients(moving, HEAD, state) @ query
    assert_close(scores(moving, "tracin_last"), expected, relative=1e-4)


class TokensIn(torch.nn.Module):
    """A transformers model as captum wants it: padded token ids in, logits out."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.model(input_ids=ids, attention_mask=(ids != 0).long()).logits


@pytest.mark.oracle("tracin_last")
def test_tracin_last_is_captums_fast_tracin(workspace: Workspace) -> None:
    """captum's TracInCPFast, which leaves the bias out, on the same checkpoints and rates.

    It multiplies two loss gradients and is positive for proponents, so it equals ours for the label of the loss.
    """
    from captum.influence import TracInCPFast

    rows = [encoded(workspace, row)["input_ids"][0] for _, row in workspace.train.iterrows()]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    labels = torch.tensor(workspace.label_ids(workspace.train))
    module = TokensIn(own_model(workspace)).requires_grad_(True)

    def load(_: torch.nn.Module, state: str) -> float:
        module.model.load_state_dict(plain_model(workspace, int(state)).state_dict())
        return learning_rates(workspace)[int(state)]

    tracin = TracInCPFast(
        module,
        module.model.classifier,
        torch.utils.data.TensorDataset(ids, labels),
        checkpoints=["0", "1"],
        checkpoints_load_func=load,
        loss_fn=torch.nn.CrossEntropyLoss(reduction="sum"),
        batch_size=16,
    )
    query = encoded(workspace, workspace.test.loc[3])["input_ids"]
    expected = tracin.influence((query, torch.tensor([1])))[0].numpy()
    assert_close(scores(workspace, "tracin_last"), expected, relative=STORED)


def influence(workspace: Workspace, *, bias: bool, damping: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """∇F, ∇ℓ (train, parameters) and the damped Hessian of the head, all by autograd."""
    hessian = damped(head_hessian_of(workspace, bias=bias), damping)
    return query_gradient(workspace, names(bias), test=3, label=1), training_gradients(workspace, names(bias)), hessian


@pytest.mark.oracle("influence_head")
@pytest.mark.parametrize("damping", [0.01, 1.0])
def test_influence_head_solves_with_the_explicit_hessian(space: Workspace, damping: float) -> None:
    """∇Fᵀ(H + λI)⁻¹(−∇ℓ_i) with autograd's Hessian of the mean loss over weight and bias, solved densely."""
    query, gradients, hessian = influence(space, bias=True, damping=damping)
    expected = -gradients @ np.linalg.solve(hessian, query)
    assert_close(scores(space, "influence_head", damping=damping), expected, relative=2e-4)


@pytest.mark.oracle("influence_head")
def test_influence_head_is_captums_influence_function(convex: Convex) -> None:
    """captum's NaiveInfluenceFunction on the features as data and the head as model, with the same λI added."""
    from captum.influence._core.influence_function import NaiveInfluenceFunction

    space = convex.workspace
    head = torch.nn.Linear(convex.features.shape[1], 2).double()
    head.weight.data, head.bias.data = (torch.from_numpy(value) for value in convex.split(convex.theta))
    module = torch.nn.Sequential(head)
    data = torch.utils.data.TensorDataset(torch.from_numpy(convex.features), torch.from_numpy(convex.labels))
    naive = NaiveInfluenceFunction(
        module,
        data,
        checkpoint="",
        checkpoints_load_func=lambda *_: 1.0,
        loss_fn=torch.nn.CrossEntropyLoss(reduction="none"),
        batch_size=len(data),
        hessian_reg=convex.penalty * len(data),
        hessian_inverse_tol=0.0,
        show_progress=False,
    )
    feature = torch.from_numpy(convex.test_features[3:4])
    # Its Hessian is that of the summed loss, so its inverse is 1/n of ours.
    expected = len(data) * naive.influence((feature, torch.tensor([1])))[0].numpy()
    assert_close(scores(space, "influence_head", damping=convex.damping), expected, relative=2e-4)


@pytest.mark.oracle("relatif")
@pytest.mark.parametrize("bias", [False, True])
def test_relatif_is_the_cosine_in_the_root_of_the_hessian(space: Workspace, bias: bool) -> None:
    """cos(H^−½∇F, −H^−½∇ℓ_i) with the root taken from an eigendecomposition; the scores are cosines."""
    query, gradients, hessian = influence(space, bias=bias, damping=0.01)
    values, vectors = np.linalg.eigh(hessian)
    root = vectors @ np.diag(values**-0.5) @ vectors.T
    query, gradients = root @ query, gradients @ root
    expected = -gradients @ query / np.linalg.norm(gradients, axis=1) / np.linalg.norm(query)
    found = scores(space, "relatif", scope="head", bias=bias, damping=0.01)
    assert_close(found, expected, relative=2e-4)
    assert np.abs(found).max() <= 1 + 1e-6


@pytest.mark.oracle("influence_head")
@pytest.mark.parametrize("test", [0, 3, 7])
def test_influence_predicts_leaving_out(convex: Convex, test: int) -> None:
    """Retraining the head without example i changes log p by −score_i / n: Pearson > .99 and slope 1.

    The head is the optimum of mean loss + penalty/2 ‖θ‖², whose Hessian H + penalty·I is the damped one.
    """
    feature = np.append(convex.test_features[test], 1.0)

    def log_p(theta: np.ndarray) -> float:
        logits = theta.reshape(2, -1) @ feature
        return float(logits[1] - np.logaddexp(*logits))

    actual = np.array([log_p(theta) for theta in convex.left_out]) - log_p(convex.theta)
    predicted = -scores(convex.workspace, "influence_head", test=test, damping=convex.damping) / len(convex.labels)
    assert_predicts(predicted, actual, pearson=0.99)


@pytest.mark.parametrize("method", ["gd", "gc", "tracin_last", "influence_head", "relatif"])
def test_words_are_what_erasing_them_changes(space: Workspace, method: str) -> None:
    """A word's part is the score minus the score with the word's tokens replaced by [UNK] (Meng eq. 8).

    Recomputed for one example at a time with plain autograd; a normalised score keeps the whole example's length.
    """
    head = {"scope": "head", "damping": 0.01} if method == "relatif" else {}
    found = attribute(space, method, test=3, label=space.labels[1], **head)
    bias = method == "influence_head"
    every = range(2) if method == "tracin_last" else [1]
    train_id = 4
    expected: dict[tuple[int, int, int], float] = {}
    for state in every:
        part = erased_parts(space, method, bias, state, train_id)
        for key, value in part.items():
            expected[key] = expected.get(key, 0.0) + value
    words = found.words(train_id)
    assert [(w.segment, w.start, w.end) for w in words] == list(expected), "the words are not those of the text"
    assert_close(np.array([w.score for w in words]), np.array(list(expected.values())), relative=5e-4, what="words")


def erased_parts(
    space: Workspace, method: str, bias: bool, state: int, train_id: int
) -> dict[tuple[int, int, int], float]:
    """score(whole) − score(erased) of each word of one training example at one saved state, by plain autograd."""
    model = own_model(space, state)
    for name in names(bias):
        dict(model.named_parameters())[name].requires_grad_()
    row = space.train.loc[train_id]
    label = space.labels.index(row["label"])

    def gradient(inputs: dict[str, torch.Tensor]) -> np.ndarray:
        loss = torch.nn.functional.cross_entropy(model(**inputs).logits, torch.tensor([label]))
        parameters = dict(model.named_parameters())
        found = torch.autograd.grad(loss, [parameters[name] for name in names(bias)])
        return np.concatenate([g.numpy().ravel() for g in found])

    inputs = encoded(space, row)
    whole, score = gradient(inputs), scorer(space, method, bias, state)
    example = space.classifier.example(row["text"], row["text_pair"] if space.is_pair else None)
    parts = {}
    for word in example.words:
        if not word.special:
            erased = inputs["input_ids"].clone()
            erased[0, list(word.tokens)] = space.tokenizer.unk_token_id
            difference = whole - gradient({**inputs, "input_ids": erased})
            parts[word.segment, word.start, word.end] = score(difference, whole)
    return parts


def scorer(space: Workspace, method: str, bias: bool, state: int) -> Callable[[np.ndarray, np.ndarray], float]:
    """The score of a gradient, as a function of it and of the whole example's gradient, whose length it is over."""
    query = query_gradient(space, names(bias), test=3, label=1, state=state)
    if method in ("gd", "tracin_last"):
        rate = learning_rates(space)[state] if method == "tracin_last" else 1.0
        return lambda g, whole: -rate * float(g @ query)
    if method == "gc":
        return lambda g, whole: -float(g @ query) / float(np.linalg.norm(whole) * np.linalg.norm(query))
    inverse = np.linalg.inv(damped(head_hessian_of(space, bias=bias, state=state), 0.01))
    if method == "influence_head":
        return lambda g, whole: -float(g @ inverse @ query)
    length = np.sqrt(query @ inverse @ query)
    return lambda g, whole: -float(g @ inverse @ query) / float(length * np.sqrt(whole @ inverse @ whole))


def test_without_checkpoints_there_is_one_state_with_rate_one(tmp_path: Path, workspace: Workspace) -> None:
    """A model that came fine-tuned has its final state only, and TracIn weighs it by 1: it equals gd."""
    from tests.tiny import tiny_workspace

    space = tiny_workspace(tmp_path, n_train=12, n_test=3, epochs=0)
    assert np.array_equal(scores(space, "tracin_last", test=1), scores(space, "gd", test=1))


def test_a_weight_that_only_later_steps_moved_is_the_bases(fresh: Workspace) -> None:
    """A checkpoint does not store what has not moved yet: there the base's weight counts, not the final one."""
    path = fresh.checkpoint_folders[0] / "delta.safetensors"
    save_file({name: value for name, value in load_file(path).items() if "layer.2.output" not in name}, path)
    expected = np.zeros(len(fresh.train))
    for state, rate in enumerate(learning_rates(fresh)):
        query = query_gradient(fresh, HEAD, test=3, label=1, state=state)
        expected -= rate * training_gradients(fresh, HEAD, state) @ query
    assert_close(scores(fresh, "tracin_last"), expected, relative=STORED)
