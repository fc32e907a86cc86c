"""Word by word: a row of the matrix is what clicking that row's token gives, however many are asked at once."""

from typing import Any

import numpy as np
import pytest
import torch

from attribution import attribute, pairs
from attribution.index import build
from attribution.matrices import dense
from attribution.pairs import WordPairs, pairs_parts, word_pairs
from attribution.quantity import DIFFERENTIABLE, Saliency, gradient
from attribution.query import make_query, with_tokens
from attribution.question_factors import saliency_factors
from attribution.scope import make_scope
from attribution.workspace import Workspace
from tests.oracles import assert_close
from tests.tiny import refusal

TEST, TRAIN = 5, 7
CHOICES: list[dict[str, Any]] = [
    {},
    {"scope": "head"},
    {"normalise": "cosine", "saliency": "gradient_sum"},
    {"solver": "identity", "normalise": "none", "scope": "last:1"},
    {"scope": "last:1", "normalise": "none", "solver": "identity", "bias": True},
    {"scope": "head", "bias": True, "normalise": "none"},
]


@pytest.fixture(scope="module", params=["single", "pair"])
def space(request: pytest.FixtureRequest, workspace: Workspace, pairs: Workspace) -> Workspace:
    return workspace if request.param == "single" else pairs


def matrix(space: Workspace, **given: Any) -> WordPairs:
    groups = given.pop("groups", None)
    return word_pairs(make_query(space, test=TEST, label=space.labels[1]), TRAIN, given, groups=groups)


@pytest.mark.parametrize("choices", CHOICES, ids=lambda c: "-".join(map(str, c.values())) or "defaults")
def test_a_row_is_what_a_click_gives(space: Workspace, choices: dict[str, Any]) -> None:
    """For the first, a middle and the last word, `.words()` of the table with that word clicked, word for word.

    They go another way: forward-mode derivatives along the clicked token's own solved gradient.
    """
    found = matrix(space, **choices)
    assert [w.tokens for w in found.query.example.words] == list(found.groups)
    for row in (0, len(found.groups) // 2, -1):
        clicked = attribute(
            space, "saliency_influence", test=TEST, label=space.labels[1], token=found.groups[row], **choices
        ).words(TRAIN)
        assert [(w.text, w.start, w.segment) for w in clicked] == [(w.text, w.start, w.segment) for w in found.words]
        assert_close(found.scores[row], np.array([w.score for w in clicked]), relative=3e-3, what=f"row {row}")


def test_rows_do_not_depend_on_each_other(space: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """All at once, some of them in another order, and with little memory for them or for the copies: the same rows."""
    whole = matrix(space)
    some = matrix(space, groups=[whole.groups[3], whole.groups[1]])
    assert_close(some.scores, whole.scores[[3, 1]], relative=1e-4)
    monkeypatch.setattr(pairs, "ROOM", 1)
    monkeypatch.setattr(pairs, "TOKENS", 1)
    assert_close(matrix(space).scores, whole.scores, relative=1e-4)


def test_factors_are_the_gradient(space: Workspace) -> None:
    """∇_W F of every layer's factors is autograd's over the weight itself, for both saliencies."""
    query, scope = make_query(space, test=TEST), make_scope(space.classifier, "last:2")
    groups = [(1,), (2, 3)]
    for kind in DIFFERENTIABLE:
        found = saliency_factors(space.classifier, query.example, 1, kind, groups, scope.layers, {})
        for number, tokens in enumerate(groups):
            quantity = Saliency(label=1, tokens=tokens, kind=kind)
            expected = gradient(space.classifier, query.example, quantity, scope.names, {})
            matrices = dict(zip(scope.names, expected, strict=True))
            for name, factors in found.items():
                weight = matrices[f"{name}.weight"]
                made, size = dense(factors.pair(number)), float(weight.abs().max())
                assert torch.allclose(made, weight, rtol=1e-3, atol=1e-5 * size)
                product = factors.products(weight[None])[number, 0]
                assert float(product) == pytest.approx(float((weight * weight).sum()), rel=1e-3)


def test_it_needs_nothing_that_is_not_asked_for(fresh: Workspace) -> None:
    """Without an index the matrix takes the curvature alone, and no clicked token."""
    wanted = pairs_parts(fresh)
    assert [part.kind for part in wanted] == ["curvature"] and not wanted[0].is_built(fresh)
    build(fresh, wanted)
    query = make_query(fresh, test=TEST)
    found = word_pairs(with_tokens(query, (2,)), TRAIN)
    assert np.array_equal(found.scores, word_pairs(query, TRAIN).scores)
    assert len(list((fresh.storage / "index").iterdir())) == 1


def test_a_training_example_that_is_not_there_is_refused(workspace: Workspace) -> None:
    """The id and the range are named."""
    assert "No training example 40: ids go from 0 to 39" in refusal(
        lambda: word_pairs(make_query(workspace, test=0), 40)
    )
