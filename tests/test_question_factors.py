"""∇F over linear layers as factors: the matrices that plain reverse mode gives, in every model family."""

import pytest
import torch

from attribution.errors import UserError
from attribution.matrices import dense, inner
from attribution.quantity import gradient
from attribution.question_factors import gradient_factors
from attribution.scope import make_scope
from attribution.sketching import sketch
from tests.families import FAMILIES, classifier_of, in_float64
from tests.test_quantity import QUANTITIES

TEXTS = {"short": "plot dull", "long": "a warmly clever scene , but the plot was dull and the cast was very stale ."}


@pytest.mark.parametrize("length", TEXTS)
@pytest.mark.parametrize("kind", QUANTITIES)
@pytest.mark.parametrize("family", FAMILIES)
def test_factors_of_every_quantity_are_its_gradient(family: str, kind: str, length: str) -> None:
    """leftᵀ right of every layer of last:2 is ∇_W F by autograd; whole where the text is as long as layers are wide."""
    classifier = in_float64(classifier_of(family))
    quantity, example = QUANTITIES[kind], classifier.example(TEXTS[length])
    scope = make_scope(classifier, "last:2")
    found = gradient_factors(classifier, example, quantity, scope.layers, {})
    expected = gradient(classifier, example, quantity, scope.names, {})
    assert list(found) == list(scope.layers)
    largest = max(float(matrix.abs().max()) for matrix in expected)
    for name, matrix in zip(scope.layers, expected, strict=True):
        off = float((dense(found[name]).double() - matrix).abs().max())
        assert off <= 1e-5 * largest, f"{name}: {off} beside {largest}"
        if isinstance(found[name], tuple):
            assert sum(side.numel() for side in found[name]) < matrix.numel()
    forms = {isinstance(matrix, tuple) for matrix in found.values()}
    assert (length == "short") in forms


@pytest.mark.parametrize("kind", QUANTITIES)
def test_a_layer_that_runs_twice_has_none(kind: str) -> None:
    """DeBERTa's second version multiplies positions by the keys' matrix too: that layer is refused by name."""
    classifier = classifier_of("deberta-v2")
    layer = next(name for name in sorted(classifier.shared_layers) if "layer.2" in name and "key" in name)
    with pytest.raises(UserError, match=rf"{layer} of this model is not run once an example"):
        gradient_factors(classifier, classifier.example(TEXTS["long"]), QUANTITIES[kind], [layer], {})


@pytest.mark.parametrize("rank", [3, 40, 120])
def test_a_sketch_of_factors_is_that_of_their_matrix(rank: int) -> None:
    """All of a low rank, else leading singular pairs to 99 % of the squared norm, 64 at most; never worse; seeded."""
    draw = torch.Generator().manual_seed(rank)
    fall = 0.9 ** torch.arange(rank)[:, None]
    pair = torch.randn(rank, 300, generator=draw) * fall, torch.randn(rank, 260, generator=draw)
    left, right = sketch(pair)
    of_whole = sketch(dense(pair))
    assert len(left) == len(of_whole[0]) <= 64
    made, other, values = left.T @ right, of_whole[0].T @ of_whole[1], torch.linalg.svdvals(dense(pair))
    missed = float((made - dense(pair)).norm())
    assert missed <= 1.001 * float(values[len(left) :].norm()) + 1e-4 * float(values[0])
    assert missed <= float((other - dense(pair)).norm()) + 1e-4 * float(values[0])
    assert inner(pair, pair) == pytest.approx(float(dense(pair).square().sum()), rel=1e-5)
    assert sketch(pair)[0].equal(left), "a second sketch is another"
