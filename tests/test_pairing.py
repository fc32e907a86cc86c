"""Influence on a token's saliency: against finite differences, an explicit Hessian, and true retraining."""

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from attribution import attribute
from attribution.errors import UserError
from attribution.results import ScoreTable
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
    own_model,
    saliency,
    training_gradients,
)

TEST, TOKEN, STEP = 5, 2, 1e-4


@pytest.fixture(scope="module", params=["single", "pair"])
def space(request: pytest.FixtureRequest, workspace: Workspace, pairs: Workspace) -> Workspace:
    return workspace if request.param == "single" else pairs


def ask(space: Workspace, token: int | tuple[int, ...] = TOKEN, **parameters: Any) -> ScoreTable:
    """The answer over the head, with the damping that `BruteForce` takes."""
    over = {"scope": "head", "damping": 0.01, **parameters}
    return attribute(space, "saliency_influence", test=TEST, label=space.labels[1], token=token, **over)


@cache
def slope_of_saliency(space: Workspace, names: tuple[str, ...], kind: str) -> np.ndarray:
    """∂(raw saliency of the token)/∂θ for every single number of the head, by central differences: (parameters,)."""
    model, inputs = own_model(space), encoded(space, space.test.loc[TEST])
    found = []
    for name in names:
        flat = dict(model.named_parameters())[name].view(-1)
        for at in range(len(flat)):
            values = []
            for step in (STEP, -STEP):
                flat[at] += step
                values.append(saliency(model, inputs, 1, kind)[TOKEN])
                flat[at] -= step
            found.append((values[0] - values[1]) / (2 * STEP))
    return np.array(found)


CHOICES = [
    {"solver": "exact", "normalise": "relatif"},
    {"solver": "exact", "normalise": "none", "bias": True, "damping": 0.1},
    {"solver": "exact", "normalise": "cosine"},
    {"solver": "identity", "normalise": "none", "bias": True},
    {"solver": "identity", "normalise": "cosine"},
    {"solver": "exact", "normalise": "none", "saliency": "gradient_sum"},
    {"solver": "exact", "normalise": "relatif", "saliency": "gradient_sum", "bias": True},
]


class BruteForce:
    """Meng's eq. 5 from its parts: the slope of the saliency, the loss gradients and the inverse Hessian."""

    def __init__(self, space: Workspace, choices: dict[str, Any]) -> None:
        bias = choices.get("bias", False)
        self.names = HEAD_AND_BIAS if bias else HEAD
        self.normalise = choices["normalise"]
        self.slope = slope_of_saliency(space, self.names, choices.get("saliency", "gradient_x_input"))
        size = len(self.slope)
        exact = choices["solver"] == "exact"
        hessian = damped(head_hessian_of(space, bias=bias), choices.get("damping", 0.01)) if exact else np.eye(size)
        self.inverse = np.linalg.inv(hessian)

    def score(self, gradient: np.ndarray, whole: np.ndarray) -> float:
        """−∇Fᵀ H⁻¹ gradient, divided as the choices say by the lengths of ∇F and of the whole example's gradient."""
        product = -float(self.slope @ self.inverse @ gradient)
        if self.normalise == "none":
            return product
        if self.normalise == "cosine":
            return product / float(np.linalg.norm(self.inverse @ self.slope) * np.linalg.norm(whole))
        return product / float(np.sqrt((self.slope @ self.inverse @ self.slope) * (whole @ self.inverse @ whole)))


@pytest.mark.oracle("saliency_influence")
@pytest.mark.parametrize("choices", CHOICES, ids=lambda c: "-".join(str(v) for v in c.values()))
def test_scores_are_brute_force(space: Workspace, choices: dict[str, Any]) -> None:
    """∇F by finite differences of the saliency in θ, ∇ℓ_i by autograd one by one, H by double autograd, H⁻¹ dense."""
    brute = BruteForce(space, choices)
    expected = [brute.score(g, g) for g in training_gradients(space, brute.names)]
    assert_close(ask(space, **choices).scores, np.array(expected), relative=5e-4)


def test_unnormalised_is_meng_eq_5(workspace: Workspace) -> None:
    """normalise=none is −∇F·H⁻¹·∇ℓ_i; relatif is the same divided by the two lengths, so the signs agree."""
    plain, related = (ask(workspace, normalise=n).scores for n in ("none", "relatif"))
    assert np.array_equal(np.sign(plain), np.sign(related))
    assert np.abs(related).max() <= 1 + 1e-9 and not np.allclose(plain / np.abs(plain).max(), related)


@pytest.mark.oracle("saliency_influence")
@pytest.mark.parametrize(("kind", "token"), [("gradient_x_input", 1), ("gradient_sum", 3)])
def test_predicts_what_leaving_out_does_to_the_saliency(convex: Convex, kind: str, token: int) -> None:
    """Retraining the convex head without example i changes the token's saliency by −score_i / n: Pearson > .95."""
    space = convex.workspace
    model, inputs = own_model(space), encoded(space, space.test.loc[0])

    def with_head(theta: np.ndarray) -> float:
        for parameter, value in zip(model.classifier.parameters(), convex.split(theta), strict=True):
            parameter.copy_(torch.from_numpy(value))
        return float(saliency(model, inputs, 1, kind)[token])

    before = with_head(convex.theta)
    actual = np.array([with_head(theta) for theta in convex.left_out]) - before
    choices: dict[str, Any] = {"scope": "head", "normalise": "none", "bias": True, "damping": convex.damping}
    choices["saliency"] = kind
    table = attribute(space, "saliency_influence", test=0, label=space.labels[1], token=token, **choices)
    assert_predicts(-table.scores / len(convex.labels), actual, pearson=0.95)


def test_several_tokens_are_explained_by_their_sum(space: Workspace) -> None:
    """A click on a word of several tokens explains the sum of their saliencies, which is linear without normalising."""
    one, other, both = (ask(space, token, normalise="none").scores for token in (1, 3, (1, 3)))
    assert_close(both, one + other, relative=1e-5)


@pytest.mark.parametrize("choices", CHOICES[:3], ids=lambda c: str(c["normalise"]))
def test_words_are_what_erasing_them_changes(space: Workspace, choices: dict[str, Any]) -> None:
    """I(x_t) = I(z) − I(z with x_t → [UNK]) (Meng eq. 8), each erased copy by plain autograd, one at a time."""
    brute, model, train_id = BruteForce(space, choices), own_model(space), 7
    parameters = [dict(model.named_parameters())[name].requires_grad_() for name in brute.names]
    row = space.train.loc[train_id]
    label = torch.tensor([space.labels.index(row["label"])])

    def gradient(inputs: dict[str, torch.Tensor]) -> np.ndarray:
        loss = torch.nn.functional.cross_entropy(model(**inputs).logits, label)
        return np.concatenate([g.numpy().ravel() for g in torch.autograd.grad(loss, parameters)])

    inputs = encoded(space, row)
    whole, expected = gradient(inputs), []
    special = np.isin(inputs["input_ids"][0].numpy(), space.tokenizer.all_special_ids)
    for token in np.flatnonzero(~special):
        erased = inputs["input_ids"].clone()
        erased[0, token] = space.tokenizer.unk_token_id
        expected.append(brute.score(whole - gradient({**inputs, "input_ids": erased}), whole))
    words = ask(space, **choices).words(train_id)
    assert_close(np.array([word.score for word in words]), np.array(expected), relative=2e-3, what="words")


def test_asked_about_a_token_it_needs_one(space: Workspace) -> None:
    """Without a token there is no saliency to explain: one line that names the choices."""
    last = len(space.classifier.example("film", "plot" if space.is_pair else None).tokens) - 1
    with pytest.raises(UserError, match=rf"--token I.*0 to {last}") as caught:
        attribute(space, "saliency_influence", text="film", text_pair="plot" if space.is_pair else None)
    assert "\n" not in str(caught.value)


def test_a_token_that_is_not_there_is_refused(workspace: Workspace) -> None:
    """Token indices below 0 and beyond the end: one line with the index and the range."""
    for token in (-1, 99, (1, 99)):
        with pytest.raises(UserError, match=r"No token (-1|99): this text has tokens 0 to 3"):
            attribute(workspace, "saliency_influence", text="warm film", token=token)
