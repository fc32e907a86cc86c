"""Saliency: every method against finite differences, plain autograd, captum used by hand, or its own definition."""

import pickle
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torch import Tensor

from attribution import attribute, list_methods
from attribution.results import TokenScores
from attribution.workspace import Workspace
from tests.oracles import assert_close, doubled, encoded, log_probability, plain_model

TOKEN_METHODS = [method.name for method in list_methods("tokens")]
STEP = 1e-5


class Case:
    """One test example of a workspace, seen by a plain model in float64."""

    def __init__(self, workspace: Workspace, test: int, label: int) -> None:
        self.workspace, self.test, self.label = workspace, test, label
        self.model = plain_model(workspace)
        self.inputs = encoded(workspace, workspace.test.loc[test])
        self.table = self.model.get_input_embeddings().weight
        self.embeds = self.table[self.inputs["input_ids"]]
        self.special = np.isin(self.inputs["input_ids"][0].numpy(), workspace.tokenizer.all_special_ids)

    def raw(self, method: str, **parameters: Any) -> np.ndarray:
        return self.result(method, **parameters).raw

    def result(self, method: str, **parameters: Any) -> TokenScores:
        label = self.workspace.labels[self.label]
        return attribute(self.workspace, method, test=self.test, label=label, **parameters)

    def value(self, embeds: Tensor) -> Tensor:
        """log p(label) of a batch of embeddings (batch, tokens, width)."""
        rest = {k: v.expand(len(embeds), -1) for k, v in self.inputs.items() if k != "input_ids"}
        return self.model(inputs_embeds=embeds, **rest).logits.log_softmax(dim=-1)[:, self.label]

    def gradients(self, embeds: Tensor) -> Tensor:
        """∂ log p(label) at each of a batch of embeddings, in its shape."""
        leaf = embeds.detach().requires_grad_()
        return torch.autograd.grad(self.value(leaf).sum(), leaf)[0]

    def blank(self) -> Tensor:
        """The embeddings with padding in place of every token that is not special."""
        ids = self.inputs["input_ids"].clone()
        ids[0, torch.from_numpy(~self.special)] = self.workspace.tokenizer.pad_token_id
        return self.table[ids]


@pytest.fixture(scope="module", params=["single", "pair"])
def twin(request: pytest.FixtureRequest, workspace: Workspace, pairs: Workspace) -> Workspace:
    return doubled(workspace if request.param == "single" else pairs)


@pytest.fixture(params=[(0, 0), (5, 1)], ids=lambda pair: f"test{pair[0]}-label{pair[1]}")
def case(request: pytest.FixtureRequest, twin: Workspace) -> Case:
    return Case(twin, *request.param)


def test_the_oracle_reads_the_same_model(case: Case) -> None:
    """The plain model, read from the files, gives the probabilities that the query gives."""
    query = case.result("gradient_x_input").query
    mine = [float(log_probability(case.model, case.inputs, label).exp()) for label in range(2)]
    assert np.allclose(mine, list(query.probabilities.values()), atol=1e-6), f"{mine} and {query.probabilities}"


@pytest.mark.oracle("gradient_x_input")
def test_gradient_x_input_is_the_slope_of_scaling_a_token(case: Case) -> None:
    """−∇ℓ·e of a token is the derivative of log p when its embedding is scaled: central differences in float64."""
    expected = []
    for token in range(case.embeds.shape[1]):
        grown, shrunk = case.embeds.clone(), case.embeds.clone()
        grown[0, token] *= 1 + STEP
        shrunk[0, token] *= 1 - STEP
        expected.append(float(case.value(grown) - case.value(shrunk)) / (2 * STEP))
    assert_close(case.raw("gradient_x_input"), np.array(expected), relative=1e-6)


@pytest.mark.oracle("gradient_x_input")
def test_gradient_x_input_is_captums(case: Case) -> None:
    """captum's InputXGradient on the embeddings of the plain model, summed over the dimensions."""
    from captum.attr import InputXGradient

    found = InputXGradient(case.value).attribute(case.embeds.clone().requires_grad_())
    assert_close(case.raw("gradient_x_input"), found[0].sum(dim=-1).detach().numpy(), relative=1e-6)


@pytest.mark.oracle("gradient_sum")
def test_gradient_sum_is_the_slope_of_shifting_a_token(case: Case) -> None:
    """Σ_d ∂p/∂e_d is the slope of p when all dimensions of what enters the first block are raised alike."""
    block = case.model.bert.encoder.layer[0]

    def probability(token: int, shift: float) -> float:
        move = torch.zeros_like(case.embeds)
        move[0, token] = shift
        hook = block.register_forward_pre_hook(lambda _, args: (args[0] + move, *args[1:]))
        value = case.value(case.embeds).exp()
        hook.remove()
        return float(value)

    tokens = range(case.embeds.shape[1])
    expected = [(probability(token, STEP) - probability(token, -STEP)) / (2 * STEP) for token in tokens]
    assert_close(case.raw("gradient_sum"), np.array(expected), relative=1e-6)


@pytest.mark.oracle("gradient_norm")
def test_gradient_norm_is_the_length_of_the_gradient(case: Case) -> None:
    """‖∂ log p/∂e‖, a token at a time, by plain autograd on one token's embedding alone."""
    expected = []
    for token in range(case.embeds.shape[1]):
        leaf = case.embeds[0, token].clone().requires_grad_()
        embeds = torch.cat([case.embeds[0, :token], leaf[None], case.embeds[0, token + 1 :]])[None]
        (gradient,) = torch.autograd.grad(case.value(embeds)[0], leaf)
        expected.append(float(np.linalg.norm(gradient.numpy())))
    assert_close(case.raw("gradient_norm"), np.array(expected), relative=1e-9)


@pytest.mark.oracle("integrated_gradients")
def test_integrated_gradients_are_complete(case: Case) -> None:
    """The scores sum to log p(text) − log p(blanked text), and special tokens, kept in the baseline, score 0."""
    raw = case.raw("integrated_gradients", steps=200)
    expected = float(case.value(case.embeds) - case.value(case.blank()))
    assert raw.sum() == pytest.approx(expected, rel=1e-4), f"sum {raw.sum():.6f}, change of log p {expected:.6f}"
    assert (raw[case.special] == 0).all(), f"special tokens score {raw[case.special]}"


def path_gradients(case: Case, points: np.ndarray) -> np.ndarray:
    """(e − b)·∇F(b + a(e − b)) of each token at points a of the straight path: (points, tokens)."""
    blank = case.blank()
    path = blank + torch.from_numpy(points)[:, None, None] * (case.embeds - blank)
    return ((case.embeds - blank) * case.gradients(path)).sum(dim=-1).numpy()


@pytest.mark.oracle("integrated_gradients")
def test_integrated_gradients_are_the_integral(case: Case) -> None:
    """Token by token the mean of the path's gradients by the midpoint rule."""
    expected = path_gradients(case, (np.arange(300) + 0.5) / 300).mean(axis=0)
    assert_close(case.raw("integrated_gradients", steps=100), expected, relative=1e-4)


@pytest.mark.oracle("gradient_shap")
def test_gradient_shap_without_noise_draws_from_the_same_integral(case: Case) -> None:
    """Without noise its expectation is the path integral: within 5 standard errors, and special tokens score 0."""
    samples = 500
    along = path_gradients(case, (np.arange(200) + 0.5) / 200)
    raw = case.raw("gradient_shap", samples=samples, noise=0)
    off = np.abs(raw - along.mean(axis=0)) / np.maximum(along.std(axis=0) / np.sqrt(samples), 1e-9)
    assert off.max() < 5, f"token {off.argmax()} is {off.max():.1f} standard errors from the path integral"
    assert (raw[case.special] == 0).all(), f"special tokens score {raw[case.special]}"


@pytest.mark.oracle("gradient_shap")
def test_gradient_shap_is_nearly_complete(case: Case) -> None:
    """With its usual noise and many draws the scores sum, up to the draws, to the change of log p."""
    raw = case.raw("gradient_shap", samples=500)
    expected = float(case.value(case.embeds) - case.value(case.blank()))
    assert raw.sum() == pytest.approx(expected, abs=0.1 * np.abs(raw).sum()), f"{raw.sum():.4f} for {expected:.4f}"


@pytest.mark.oracle("smoothgrad")
def test_smoothgrad_without_noise_is_gradient_x_input(case: Case) -> None:
    """As the noise goes to 0, every draw is the gradient at the text itself."""
    assert_close(
        case.raw("smoothgrad", noise=1e-7, samples=3), case.raw("gradient_x_input"), relative=1e-5, what="scores"
    )


@pytest.mark.oracle("smoothgrad")
def test_smoothgrad_is_the_mean_over_noise_of_the_stated_size(case: Case) -> None:
    """Own draws of noise, in standard deviations of the text's embeddings, agree within the error of the draws."""
    samples, noise = 300, 0.3
    draws = torch.randn((samples, *case.embeds.shape[1:]), generator=torch.Generator().manual_seed(7)).double()
    noisy = case.embeds + noise * case.embeds.std() * draws
    products = (case.embeds * case.gradients(noisy)).sum(dim=-1).numpy()
    error = products.std(axis=0) * np.sqrt(2 / samples)
    off = np.abs(case.raw("smoothgrad", samples=samples, noise=noise, seed=1) - products.mean(axis=0)) / error
    assert off.max() < 5, f"token {off.argmax()} is {off.max():.1f} standard errors from the mean over own draws"


@pytest.mark.oracle("erasure")
def test_erasure_is_the_fall_of_the_logit(case: Case) -> None:
    """By definition, one text at a time: the label's logit minus the logit with the token masked; special tokens 0."""
    with torch.no_grad():
        whole = case.model(**case.inputs).logits[0, case.label]
        expected = np.zeros(len(case.special))
        for token in np.flatnonzero(~case.special):
            masked = case.inputs["input_ids"].clone()
            masked[0, token] = case.workspace.tokenizer.mask_token_id
            expected[token] = whole - case.model(**{**case.inputs, "input_ids": masked}).logits[0, case.label]
    assert_close(case.raw("erasure"), expected, relative=1e-5)


@pytest.mark.oracle("lime")
def test_lime_is_the_weighted_regression_over_all_maskings(twin: Workspace) -> None:
    """With many draws, the ridge regression over all 2^k maskings of a short text, weighted by the kernel.

    A masking that keeps a share s of the words weighs exp(−(1 − √s)²/width²), Ribeiro et al. 2016 §3.4.
    """
    label, samples, width = twin.labels[1], 2000, 0.15
    texts: dict[str, Any] = {"text": "warm dull unwarmly plot"} | ({"text_pair": "film"} if twin.is_pair else {})
    found = attribute(twin, "lime", **texts, label=label, samples=samples, kernel_width=width)
    assert isinstance(found, TokenScores)
    words = [list(word.tokens) for word in found.query.example.words if not word.special]
    assert len(words) < len([t for t in found.query.example.tokens if not t.special]), "no word has two tokens"
    masks = np.array(list(product([0, 1], repeat=len(words))))
    model, values = plain_model(twin), []
    for mask in masks:
        inputs = {k: v.clone() for k, v in found.query.example.inputs.items()}
        for word, kept in zip(words, mask, strict=True):
            if not kept:
                inputs["input_ids"][0, word] = twin.tokenizer.unk_token_id
        with torch.no_grad():
            values.append(float(log_probability(model, inputs, 1)))
    kernel = np.exp(-((1 - np.sqrt(masks.mean(axis=1))) ** 2) / width**2)
    fit = Ridge(alpha=1.0).fit(masks, values, sample_weight=kernel * samples / len(masks))
    summed = np.array([found.raw[word].sum() for word in words])
    assert_close(summed, fit.coef_, relative=0.06, what="weights of the words")
    for word in words:
        assert np.allclose(found.raw[word], found.raw[word][0]), f"a word's tokens share unequally: {found.raw[word]}"
    special = [t.index for t in found.query.example.tokens if t.special]
    assert (found.raw[special] == 0).all(), f"special tokens score {found.raw[special]}"


@pytest.mark.parametrize("method", [m.name for m in list_methods("tokens") if "seed" in m.parameters])
def test_a_seed_gives_one_answer(workspace: Workspace, method: str) -> None:
    """The same seed gives the same scores whatever was drawn before, another seed others; the global state is kept."""
    first = attribute(workspace, method, test=0, seed=1).raw
    torch.rand(3)
    before = (torch.random.get_rng_state().tolist(), pickle.dumps(np.random.get_state()))
    again, other = (attribute(workspace, method, test=0, seed=seed).raw for seed in (1, 2))
    assert np.array_equal(first, again), f"seed 1 gave {first} and then {again}"
    assert not np.array_equal(first, other), "seeds 1 and 2 gave the same draws"
    after = (torch.random.get_rng_state().tolist(), pickle.dumps(np.random.get_state()))
    assert before == after, "the global random states were left changed"


@pytest.mark.parametrize("method", TOKEN_METHODS)
def test_scores_are_shares(workspace: Workspace, pairs: Workspace, method: str) -> None:
    """`scores` is raw divided by Σ|raw|: absolute values sum to 1, ratios and signs as in raw, one score a token."""
    for space, test in product((workspace, pairs), (0, 7)):
        found = attribute(space, method, test=test)
        assert found.scores.shape == (len(found.query.example.tokens),)
        assert np.abs(found.scores).sum() == pytest.approx(1)
        assert np.allclose(found.scores * np.abs(found.raw).sum(), found.raw)
        frame = found.frame()
        assert np.array_equal(frame["score"], found.scores) and np.array_equal(frame["raw"], found.raw)


@pytest.mark.parametrize("method", ["gradient_x_input", "gradient_sum"])
def test_the_other_of_two_labels_turns_the_sign(workspace: Workspace, method: str) -> None:
    """∇log p_0 = −(p_1/p_0)·∇log p_1 and ∇p_0 = −∇p_1, so with two labels the shares of one are minus the other's."""
    negative, positive = (attribute(workspace, method, test=3, label=label).scores for label in workspace.labels)
    assert_close(negative, -positive, relative=1e-4)


@pytest.mark.parametrize("method", [m.name for m in list_methods("tokens") if not m.signed])
def test_an_unsigned_score_is_not_negative(workspace: Workspace, method: str) -> None:
    """A method that says it has no direction has no negative score."""
    assert all((attribute(workspace, method, test=test).raw >= 0).all() for test in workspace.test.index)


def test_zero_scores_stay_zero(workspace: Workspace) -> None:
    """Where every raw score is zero there is no share: zeros, not NaN."""
    found = attribute(workspace, "gradient_x_input", test=0)
    empty = TokenScores(query=found.query, method="none", parameters={}, raw=np.zeros(4), seconds=0.0)
    assert np.array_equal(empty.scores, np.zeros(4))
