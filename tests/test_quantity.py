"""Explained quantities: ∇F over any parameters is the slope of F, by central differences of a plain float64 model."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from attribution.quantity import (
    Importance,
    LogOdds,
    LogProbability,
    Margin,
    Quantity,
    Saliency,
    gradient,
    word_embedding_gradient,
)
from attribution.query import make_query
from attribution.scope import make_scope
from attribution.workspace import Workspace
from tests.oracles import assert_close, doubled, encoded, log_probability, own_model, plain_model, saliency

STEP = 1e-5
MASK = 4  # of the tiny vocabulary
PARAMETERS = (
    "classifier.weight",
    "classifier.bias",
    "bert.encoder.layer.1.attention.self.query.weight",
    "bert.encoder.layer.2.output.LayerNorm.weight",
    "bert.embeddings.word_embeddings.weight",
)
QUANTITIES = {
    "log_probability": LogProbability(label=1),
    "gradient_x_input": Saliency(label=1, tokens=(2,)),
    "gradient_x_input of two tokens": Saliency(label=0, tokens=(1, 3)),
    "gradient_sum": Saliency(label=1, tokens=(2,), kind="gradient_sum"),
    "margin": Margin(label=0, against=1),
    "log_odds": LogOdds(label=1),
    "importance": Importance(label=1, tokens=(1, 3)),
}


@pytest.fixture(scope="module")
def twin(workspace: Workspace) -> Workspace:
    return doubled(workspace)


def value_of(model: Any, inputs: dict[str, Tensor], quantity: Quantity) -> float:
    """F by plain autograd on a transformers BERT, which does not know of `attribution.quantity`."""
    if isinstance(quantity, LogProbability):
        return float(log_probability(model, inputs, quantity.label))
    if isinstance(quantity, LogOdds):
        share = model(**inputs).logits[0].softmax(dim=0)[quantity.label]
        return float(torch.log(share / (1 - share)))
    if isinstance(quantity, Margin):
        logits = model(**inputs).logits[0]
        return float(logits[quantity.label] - logits[quantity.against])
    if isinstance(quantity, Importance):
        erased = inputs["input_ids"].clone()
        for token in quantity.tokens:
            erased[0, token] = MASK
        whole, rest = (log_probability(model, i, quantity.label) for i in (inputs, {**inputs, "input_ids": erased}))
        return float(whole - rest)
    return float(saliency(model, inputs, quantity.label, quantity.kind)[list(quantity.tokens)].sum())


@pytest.mark.parametrize("parameter", PARAMETERS)
@pytest.mark.parametrize("kind", QUANTITIES)
def test_the_gradient_is_the_slope(twin: Workspace, parameter: str, kind: str) -> None:
    """⟨∇F, d⟩ is the slope of F along random directions d of one parameter, for the head and for what lies below it."""
    quantity, example = QUANTITIES[kind], make_query(twin, test=5).example
    (found,) = gradient(twin.classifier, example, quantity, (parameter,), {})
    model, inputs = own_model(twin), encoded(twin, twin.test.loc[5])
    weight = dict(model.named_parameters())[parameter]
    assert found.shape == weight.shape, f"the gradient has shape {tuple(found.shape)}, not {tuple(weight.shape)}"
    start, draw = weight.clone(), torch.Generator().manual_seed(1)
    slopes, products = [], []
    for _ in range(3):
        direction = torch.randn(weight.shape, generator=draw, dtype=torch.float64)
        values = [value_of_at(model, weight, start + sign * STEP * direction, inputs, quantity) for sign in (1, -1)]
        slopes.append((values[0] - values[1]) / (2 * STEP))
        products.append(float((found * direction).sum()))
    assert_close(np.array(products), np.array(slopes), relative=1e-5, what=f"slopes of {kind} along {parameter}")


def test_importance_for_a_margin_is_that_for_one_label_less_that_for_the_other(twin: Workspace) -> None:
    """log p(a) − log p(b) is the margin, so F and ∇F of a span's importance for it are differences too."""
    example, names = make_query(twin, test=5).example, PARAMETERS[2:]
    margin = Importance(label=0, against=1, tokens=(2,))
    one, other = (Importance(label=label, tokens=(2,)) for label in (0, 1))
    value, first, second = (float(f(twin.classifier, example, {})) for f in (margin, one, other))
    assert value == pytest.approx(first - second) and abs(value) > 1e-6
    found, of_one, of_other = (gradient(twin.classifier, example, f, names, {}) for f in (margin, one, other))
    for name, whole, a, b in zip(names, found, of_one, of_other, strict=True):
        assert_close(whole.numpy(), (a - b).numpy(), relative=1e-8, what=name)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("text", ["last:1", "last:2", "embeddings", "all"])
@pytest.mark.parametrize("kind", QUANTITIES)
def test_over_a_whole_scope_it_is_the_slope(twin: Workspace, kind: str, text: str, bias: bool) -> None:
    """⟨∇F, d⟩ along random directions d of all parameters of a scope at once is the slope of F along d."""
    quantity, example = QUANTITIES[kind], make_query(twin, test=5).example
    names = make_scope(twin.classifier, text, bias=bias).names
    found = gradient(twin.classifier, example, quantity, names, {})
    model, inputs = own_model(twin), encoded(twin, twin.test.loc[5])
    weights = [model.get_parameter(name) for name in names]
    starts, draw = [weight.clone() for weight in weights], torch.Generator().manual_seed(2)
    slopes, products = [], []
    for _ in range(2):
        directions = [torch.randn(weight.shape, generator=draw, dtype=torch.float64) for weight in weights]
        values = []
        for sign in (1, -1):
            for weight, start, direction in zip(weights, starts, directions, strict=True):
                weight.copy_(start + sign * STEP * direction)
            values.append(value_of(model, inputs, quantity))
        slopes.append((values[0] - values[1]) / (2 * STEP))
        products.append(sum(float((g * d).sum()) for g, d in zip(found, directions, strict=True)))
    assert_close(np.array(products), np.array(slopes), relative=1e-5, what=f"slopes of {kind} over {text}")


def test_the_erased_token_is_the_mask(twin: Workspace) -> None:
    """The id that stands for an erased token in these tests is the one that the classifier uses."""
    assert twin.classifier.erased_id == MASK == twin.tokenizer.mask_token_id


def value_of_at(model: Any, weight: Tensor, value: Tensor, inputs: dict[str, Tensor], quantity: Quantity) -> float:
    weight.copy_(value)
    return value_of(model, inputs, quantity)


def test_several_parameters_at_once(twin: Workspace) -> None:
    """Asking for several parameters gives, in the given order, what asking for each alone gives."""
    example, quantity = make_query(twin, test=0).example, QUANTITIES["gradient_x_input"]
    together = gradient(twin.classifier, example, quantity, PARAMETERS, {})
    for name, found in zip(PARAMETERS, together, strict=True):
        (alone,) = gradient(twin.classifier, example, quantity, (name,), {})
        assert torch.allclose(found, alone), f"{name} differs"


def test_a_parameter_without_effect_has_a_zero_gradient(twin: Workspace) -> None:
    """A position beyond the text plays no part: its row is zero, not an error."""
    example = make_query(twin, test=0).example
    name = "bert.embeddings.position_embeddings.weight"
    (found,) = gradient(twin.classifier, example, QUANTITIES["log_probability"], (name,), {})
    length = len(example.tokens)
    assert not found[length:].any() and found[:length].any(dim=1).all()


@pytest.mark.parametrize("kind", QUANTITIES)
def test_weights_stand_in_for_the_models_own(moving: Workspace, kind: str) -> None:
    """With a saved state's weights, F and ∇F are those of a plain model in that state – its word embeddings too."""
    twin, quantity = doubled(moving), QUANTITIES[kind]
    weights = {name: value.double() for name, value in moving.weights(0).items()}
    example, inputs = make_query(twin, test=5).example, encoded(moving, moving.test.loc[5])
    found = float(quantity(twin.classifier, example, weights).detach())
    first, last = (value_of(plain_model(moving, state), inputs, quantity) for state in (0, -1))
    assert found == pytest.approx(first, rel=1e-4, abs=0), f"{found} is not F of state 0, {first} (last state: {last})"
    assert abs(first - last) > 1e-2 * abs(first), "the two states give the same F, so the comparison says nothing"


def test_the_word_embedding_gradient_is_that_of_each_position(twin: Workspace) -> None:
    """∇_e log p of every position, by plain autograd on the embeddings that enter a plain model."""
    inputs = encoded(twin, twin.test.loc[5])
    model = plain_model(twin)
    embeds = model.get_input_embeddings().weight[inputs["input_ids"]].detach().requires_grad_()
    (expected,) = torch.autograd.grad(log_probability(model, inputs, 0, embeds), embeds)
    found = word_embedding_gradient(twin.classifier, make_query(twin, test=5).example, 0, {})
    assert_close(found.numpy(), expected[0].numpy(), relative=1e-9, what="gradients")


def test_nothing_stays_on_the_model(twin: Workspace) -> None:
    """After any of these, no parameter of the shared model requires a gradient or holds one."""
    example = make_query(twin, test=0).example
    for quantity in QUANTITIES.values():
        gradient(twin.classifier, example, quantity, PARAMETERS, {})
    left = [name for name, p in twin.classifier.model.named_parameters() if p.requires_grad or p.grad is not None]
    assert not left, f"gradients left on {left}"
