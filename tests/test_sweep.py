"""The exact sweep and exact norms: against gradients of one example at a time by plain autograd."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from attribution import tangents
from attribution.ekfac import curvature_parts, open_curvature
from attribution.factor_index import States, factor_parts, open_factors
from attribution.matrices import dense
from attribution.model import Classifier
from attribution.plain_blocks import run_blocks
from attribution.scope import make_scope
from attribution.sweep import Direction, Metric, layer_dots, products, sweep
from attribution.tangents import can_write_out
from attribution.workspace import Workspace
from tests.dense import LAST
from tests.families import FAMILIES, classifier_of, in_float64
from tests.oracles import assert_close, doubled, flat_gradient, reopened, training_gradients

TEXTS = [
    "the plot",
    "a warmly clever scene , but the plot was dull",
    "film",
    "a very stale song and the cast was cold .",
]
LABELS = np.array([0, 1, 1, 0])


def direction(classifier: Classifier, names: tuple[str, ...]) -> dict[str, Tensor]:
    """A random vector over the named parameters, in the model's own numbers."""
    generator = torch.Generator().manual_seed(3)
    parameters = dict(classifier.model.named_parameters())
    return {n: torch.randn(parameters[n].shape, generator=generator, dtype=torch.float64) for n in names}


def flat(vector: Mapping[str, Tensor]) -> np.ndarray:
    return np.concatenate([part.numpy().ravel() for part in vector.values()])


def loop(classifier: Classifier, names: tuple[str, ...]) -> np.ndarray:
    """∇ℓ of each text alone, through the plain transformers model: (texts, parameters)."""
    model, rows = classifier.model, []
    parameters = dict(model.named_parameters())
    for name in names:
        parameters[name].requires_grad_()
    for text, label in zip(TEXTS, LABELS, strict=True):
        logits = model(**classifier.tokenizer(text, return_tensors="pt")).logits
        loss = -logits.log_softmax(dim=-1)[0, label]
        rows.append(flat_gradient(model, loss, names))
    model.requires_grad_(False)
    return np.stack(rows)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("text", ["head", "last:1", "last:2", "embeddings", "all"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_scope_of_every_family_is_the_loops(family: str, text: str, bias: bool) -> None:
    """⟨v, ∇ℓ_i⟩ in one padded batch equals a loop of autograd over single texts, in float64 but for DeBERTa's scale."""
    classifier = in_float64(classifier_of(family))
    names = make_scope(classifier, text, bias=bias).names
    vector, gradients = direction(classifier, names), loop(classifier, names)
    found = sweep(classifier, classifier.tokenize(TEXTS), LABELS, vector)
    assert_close(found, gradients @ flat(vector), relative=1e-6, what="products")


@pytest.mark.parametrize("family", FAMILIES)
def test_products_and_norms_of_every_family_are_the_loops(family: str) -> None:
    """⟨v, ∇ℓ_i⟩ and ‖∇ℓ_i‖² over last:2 from whole gradients equal those by autograd, one text at a time."""
    classifier = classifier_of(family)
    twin, scope = in_float64(classifier), make_scope(classifier, "last:2")
    vector, gradients = direction(classifier, scope.names), loop(twin, scope.names)
    by_layer = {name.removesuffix(".weight"): Direction(given=part.float()) for name, part in vector.items()}
    dots, squares = products(classifier, classifier.tokenize(TEXTS), LABELS, by_layer, Metric(names=scope.layers))
    alone = layer_dots(classifier, classifier.tokenize(TEXTS), LABELS, by_layer)
    for found in (dots, alone):
        assert_close(found, gradients @ flat(vector), relative=1e-4, what="products")
    assert_close(squares, np.square(gradients).sum(axis=1), relative=1e-4, what="squared norms")


@pytest.mark.parametrize("tokens", ["few", "many"])
def test_a_direction_in_factors_or_in_an_eigenbasis_is_the_same(workspace: Workspace, tokens: str) -> None:
    """Products with V given whole, as factors, and in the eigenbasis of EK-FAC, for a text of two words and for all."""
    scope = make_scope(workspace.classifier, "last:2")
    fitted = open_curvature(workspace, curvature_parts(workspace, "last:2")[0])
    draw, rows = torch.Generator().manual_seed(4), [0] if tokens == "few" else list(range(4)) * 20
    encoded, labels = workspace.classifier.tokenize([TEXTS[row] for row in rows]), LABELS[rows]
    pairs = {}
    for name in scope.layers:
        out, width = workspace.model.get_submodule(name).weight.shape
        pairs[name] = (torch.randn(3, out, generator=draw), torch.randn(3, width, generator=draw))
    given = {
        "whole": {name: Direction(given=dense(pair)) for name, pair in pairs.items()},
        "factors": {name: Direction(given=pair) for name, pair in pairs.items()},
        "turned": {n: Direction(given=fitted[n].turn(pair), basis=fitted[n]) for n, pair in pairs.items()},
    }
    found = {form: layer_dots(workspace.classifier, encoded, labels, vector) for form, vector in given.items()}
    for form in ("factors", "turned"):
        assert_close(found[form], found["whole"], relative=1e-4, what=form)


@pytest.mark.parametrize("rank", [1, 3, 100])
@pytest.mark.parametrize("family", FAMILIES)
def test_tangents_in_factors_are_those_of_the_whole(family: str, rank: int) -> None:
    """The sweep along weights given as factors, of low rank and of more than their product has, and given whole."""
    classifier, draw = in_float64(classifier_of(family)), torch.Generator().manual_seed(4)
    names, parameters = make_scope(classifier, "last:2").names, dict(classifier.model.named_parameters())
    pairs = {}
    for name in names:
        out, width = parameters[name].shape
        pairs[name] = tuple(torch.randn(rank, side, generator=draw, dtype=torch.float64) for side in (out, width))
    whole = {name: dense(pair) for name, pair in pairs.items()}
    given = classifier.tokenize(TEXTS), LABELS
    assert_close(sweep(classifier, *given, pairs), sweep(classifier, *given, whole), relative=1e-9)


@pytest.mark.parametrize("curved", [False, True])
def test_half_precision_keeps_two_digits(workspace: Workspace, curved: bool) -> None:
    """Products, norms and the sweep in bfloat16, as a whole training set is scored, beside those in float32."""
    scope = make_scope(workspace.classifier, "last:2")
    layers = open_curvature(workspace, curvature_parts(workspace, "last:2")[0]) if curved else None
    metric = Metric(names=scope.layers, layers=layers, damping=0.1)
    vector = {name: part.float() for name, part in direction(workspace.classifier, scope.names).items()}
    by_layer = {name.removesuffix(".weight"): Direction(given=part) for name, part in vector.items()}
    rows = workspace.encoded_train()
    half: dict[str, Any] = {"dtype": torch.bfloat16, "metric_dtype": torch.bfloat16}
    found, exact = (products(workspace.classifier, *rows, by_layer, metric, **options) for options in (half, {}))
    for quick, full, what in zip(found, exact, ("products", "squared norms"), strict=True):
        assert_close(quick, full, relative=1e-1, what=what)
        assert np.corrcoef(quick, full)[0, 1] > 0.995, what
    swept = sweep(workspace.classifier, *rows, vector, dtype=torch.bfloat16)
    assert_close(swept, exact[0], relative=1e-1)
    assert np.corrcoef(swept, exact[0])[0, 1] > 0.995


def of_training_set(workspace: Workspace, scope: str, state: int, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    """The sweep over the training set at a saved state, and the products that loops give."""
    names = LAST[scope]
    vector = direction(workspace.classifier, names)
    encodings = workspace.classifier.tokenize(*workspace.texts("train"))
    labels = workspace.label_ids(workspace.train)
    found = sweep(workspace.classifier, encodings, labels, vector, weights=workspace.weights(state), **options)
    return found, training_gradients(workspace, names, state) @ flat(vector)


@pytest.mark.parametrize("state", [0, 1, 2])
def test_an_earlier_state_has_its_own_gradients(moving: Workspace, state: int) -> None:
    """With a saved state's weights, in every layer different, the products are those of a plain model in that state."""
    found, expected = of_training_set(moving, "last:2", state)
    assert_close(found, expected, relative=1e-4, what=f"products of state {state}")


def test_pairs_are_swept_like_single_texts(pairs: Workspace) -> None:
    """The same over pairs of texts, whose segments differ, in float64."""
    found, expected = of_training_set(doubled(pairs), "last:1", 1)
    assert_close(found, expected, relative=1e-8, what="products")


@pytest.mark.parametrize("scope", ["last:1", "last:2"])
def test_from_kept_states_it_is_the_same_to_half_precision(workspace: Workspace, scope: str) -> None:
    """Begun from the half-precision states that the index keeps, the products agree to three digits."""
    index = open_factors(workspace, factor_parts(workspace, scope)[0])
    block = make_scope(workspace.classifier, scope).first_block
    assert block and index.states(np.arange(40)) is not None
    found, expected = of_training_set(workspace, scope, 1, states=States(block=block, of=index.hidden))
    assert_close(found, expected, relative=5e-3, what="products")
    zeros = States(block=block, of=lambda row: np.zeros_like(index.hidden(row)))
    other, _ = of_training_set(workspace, scope, 1, states=zeros)
    assert np.abs(other - expected).max() > 0.05 * np.abs(expected).max(), "the kept states are not read"


def test_progress_reaches_the_number_of_rows(workspace: Workspace) -> None:
    """The reports rise to the number of rows, each batch once."""
    seen: list[int] = []
    of_training_set(reopened(workspace), "last:1", 1, progress=seen.append)
    assert seen == sorted(set(seen)) and seen[-1] == len(workspace.train)


@pytest.mark.parametrize("family", FAMILIES)
def test_blocks_like_berts_are_written_out(family: str) -> None:
    """Where a model has them, for weights in and above them; biases and what lies below go through the modules."""
    classifier = classifier_of(family)
    cases = (("last:1", False, True), ("head", False, True), ("last:1", True, False), ("all", False, False))
    for text, bias, linear in cases:
        vector = direction(classifier, make_scope(classifier, text, bias=bias).names)
        assert can_write_out(classifier, vector) == (linear and family in ("bert", "roberta", "electra")), (text, bias)


def test_every_core_sweeps_its_own_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small batches on two threads give what one batch on one thread gives, and leave torch its number of threads."""
    classifier, threads = in_float64(classifier_of("bert")), torch.get_num_threads()
    vector = direction(classifier, make_scope(classifier, "last:2", bias=False).names)
    encodings = classifier.tokenize(TEXTS)
    used: list[int] = []

    def noting(*given: Any) -> Any:
        used.append(torch.get_num_threads())
        return run_blocks(*given)

    monkeypatch.setattr(tangents, "run_blocks", noting)
    try:
        torch.set_num_threads(1)
        expected = sweep(classifier, encodings, LABELS, vector)
        torch.set_num_threads(2)
        monkeypatch.setattr(tangents, "TOKENS", 12)
        found = sweep(classifier, encodings, LABELS, vector)
        assert torch.get_num_threads() == 2 and len(used) > 3 and set(used) == {1}
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_a_vector_that_nothing_reads_gives_zero() -> None:
    """Positions beyond the longest text play no part: the product is 0 along their rows, not an error."""
    classifier = in_float64(classifier_of("bert"))
    table = classifier.model.bert.embeddings.position_embeddings.weight
    along = torch.zeros_like(table)
    along[-5:] = 1
    name = "bert.embeddings.position_embeddings.weight"
    encodings = classifier.tokenize(TEXTS)
    assert not sweep(classifier, encodings, LABELS, {name: along}).any()
    assert sweep(classifier, encodings, LABELS, {name: torch.randn_like(table)}).all()
