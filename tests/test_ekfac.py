"""EK-FAC: against Kronecker products written out, on a random layer and on whole tiny workspaces."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from attribution import attribute, ekfac
from attribution.ekfac import Layer, curvature_parts, norms_parts, open_curvature, sample
from attribution.index import load
from attribution.results import ScoreTable
from attribution.workspace import Workspace
from tests.dense import LAST, ekfac_inverse, ekfac_matrices, last, scores
from tests.oracles import assert_close, query_gradient, reopened, training_gradients, with_training_data

OUT, IN, DAMPING = 4, 6, 0.3


@pytest.fixture(scope="module")
def layer() -> Layer:
    """A layer with random eigenvectors and eigenvalues of several sizes."""
    draw = torch.Generator().manual_seed(0)
    bases = [torch.linalg.qr(torch.randn(k, k, generator=draw)).Q for k in (IN, OUT)]
    eigenvalues = torch.rand(OUT, IN, generator=draw) * 10.0 ** -torch.arange(IN)
    return Layer(
        of_inputs=bases[0],
        of_gradients=bases[1],
        input_values=eigenvalues.sum(dim=0),
        gradient_values=eigenvalues.sum(dim=1),
        eigenvalues=eigenvalues,
    )


def damped_inverse(layer: Layer) -> np.ndarray:
    """(H + λI)⁻¹ with H = Σ_oi S_oi (u_o ⊗ v_i)(u_o ⊗ v_i)ᵀ added term by term, λ = damping × its mean eigenvalue."""
    matrix = np.zeros((OUT * IN, OUT * IN))
    for o in range(OUT):
        for i in range(IN):
            vector = np.outer(layer.of_gradients[:, o], layer.of_inputs[:, i]).ravel().astype(np.float64)
            matrix += float(layer.eigenvalues[o, i]) * np.outer(vector, vector)
    return np.linalg.inv(matrix + DAMPING * np.trace(matrix) / len(matrix) * np.eye(len(matrix)))


def gradients(count: int = 5) -> Tensor:
    return torch.randn(count, OUT, IN, generator=torch.Generator().manual_seed(1))


def test_solving_is_the_dense_inverse(layer: Layer) -> None:
    """solve(g) is (H + λI)⁻¹ g, for a matrix of full rank."""
    inverse = damped_inverse(layer)
    for gradient in gradients():
        flat = gradient.double().numpy().ravel()
        found = layer.solve(gradient, DAMPING)
        assert found.shape == gradient.shape
        assert_close(found.numpy().ravel(), inverse @ flat, relative=1e-4, what="the solution")


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_norms_of_pairs_are_those_of_their_sum(layer: Layer, rank: int) -> None:
    """of_pairs is gᵀ(H + λI)⁻¹g of g = Σ_k left_k right_kᵀ, for one pair and for several."""
    draw, inverse = torch.Generator().manual_seed(2), damped_inverse(layer)
    left, right = torch.randn(8, rank, OUT, generator=draw), torch.randn(8, rank, IN, generator=draw)
    flat = torch.einsum("nko,nki->noi", left, right).double().numpy().reshape(8, -1)
    expected = np.einsum("np,pq,nq->n", flat, inverse, flat)
    assert_close(layer.of_pairs(left, right, DAMPING).numpy(), expected, relative=1e-3, what="squared norms")


def test_a_wide_layers_norms_are_close_and_always_the_same() -> None:
    """Where more terms are needed than are kept: norms to a hundredth, the same whatever was drawn before."""
    draw = torch.Generator().manual_seed(3)
    out, entering = 60, 80
    sides = [torch.linspace(0, -4, k).exp() for k in (out, entering)]
    bases = [torch.linalg.qr(torch.randn(k, k, generator=draw)).Q for k in (out, entering)]
    wide = Layer(
        of_inputs=bases[1],
        of_gradients=bases[0],
        input_values=sides[1],
        gradient_values=sides[0],
        eigenvalues=torch.outer(sides[0], sides[1]) * (0.5 + torch.rand(out, entering, generator=draw)),
    )
    left = torch.randn(20, 3, out, generator=draw) * sides[0].sqrt() @ bases[0].T
    right = torch.randn(20, 3, entering, generator=draw) * sides[1].sqrt() @ bases[1].T
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        found.append(wide.of_pairs(left, right, 0.1).numpy())
    whole = torch.einsum("nko,nki->noi", left, right)
    expected = np.array([float((wide.solve(gradient, 0.1) * gradient).sum()) for gradient in whole])
    assert np.abs(found[0] / expected - 1).max() < 0.01, f"norms are off by the factors {found[0] / expected}"
    assert np.array_equal(*found), "the norms depend on what was drawn before"


@pytest.mark.parametrize("scope", ["last:1", "last:2"])
def test_the_fit_is_the_kronecker_product_of_loops(workspace: Workspace, scope: str) -> None:
    """(U_A ⊗ U_G) diag(S) (U_A ⊗ U_G)ᵀ of every layer, over the same labels, example after example in float64.

    Compared where it acts: with the damping that every method adds.
    """
    layers = open_curvature(workspace, curvature_parts(workspace, scope)[0])
    assert tuple(layers) == last(int(scope[-1]))
    expected = ekfac_matrices(workspace, last(int(scope[-1])))
    for name, fitted in layers.items():
        basis = np.kron(fitted.of_gradients.double().numpy(), fitted.of_inputs.double().numpy())
        found = basis @ np.diag(fitted.eigenvalues.double().numpy().ravel()) @ basis.T
        assert np.trace(found) == pytest.approx(np.trace(expected[name]), rel=1e-4), f"the trace of {name}"
        inverses = [np.linalg.inv(m + 0.1 * np.trace(m) / len(m) * np.eye(len(m))) for m in (found, expected[name])]
        assert_close(inverses[0], inverses[1], relative=2e-3, what=f"the damped inverse of {name}")


def test_eigenvalues_fall_and_are_not_negative(workspace: Workspace) -> None:
    """The eigenvalues of both covariances fall, none is below 0, and the eigenvectors are orthonormal."""
    for name, fitted in open_curvature(workspace, curvature_parts(workspace, "last:1")[0]).items():
        for values, basis in ((fitted.input_values, fitted.of_inputs), (fitted.gradient_values, fitted.of_gradients)):
            assert (values.diff() <= 0).all() and (values >= 0).all(), name
            torch.testing.assert_close(basis.T @ basis, torch.eye(len(basis)), atol=1e-4, rtol=0)
        assert (fitted.eigenvalues >= 0).all()


CHOICES = [("influence", "none"), ("influence", "cosine"), ("influence", "relatif"), ("relatif", "relatif")]


@pytest.fixture(scope="module")
def bare(workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A copy of the workspace that never has an index of gradients, so that the sweep reads no half-precision state."""
    return copied(workspace, tmp_path_factory.mktemp("bare") / "bare")


def copied(workspace: Workspace, folder: Path) -> Workspace:
    shutil.copytree(workspace.directory, folder, ignore=shutil.ignore_patterns("index", "results"))
    return reopened(workspace, folder)


def ask(space: Workspace, method: str, normalise: str, **parameters: Any) -> ScoreTable:
    """The answer to one question with damping 0.1; relatif has no choice of normalisation."""
    choices = {"normalise": normalise} if method == "influence" else {}
    return attribute(space, method, test=3, label=space.labels[1], **{"damping": 0.1, **choices, **parameters})


def dense(space: Workspace, scope: str, normalise: str, damping: float = 0.1) -> np.ndarray:
    """The same by loops and a dense inverse a layer."""
    inverse = ekfac_inverse(space, last(int(scope[-1])), damping)
    query = query_gradient(space, LAST[scope], test=3, label=1)
    return scores(query, training_gradients(space, LAST[scope]), inverse, normalise)


@pytest.mark.oracle("influence", "relatif")
@pytest.mark.parametrize("scope", ["last:1", "last:2"])
@pytest.mark.parametrize(("method", "normalise"), CHOICES)
def test_the_sweep_is_the_dense_product(
    workspace: Workspace, bare: Workspace, method: str, normalise: str, scope: str
) -> None:
    """−∇Fᵀ(H + λI)⁻¹∇ℓ_i with H dense, and its cosines, every row to three digits."""
    table = ask(bare, method, normalise, scope=scope, scorer="sweep")
    assert (table.scored.scorer, table.scored.exact, table.scored.exact_rows) == ("sweep", True, None)
    assert_close(table.scores, dense(workspace, scope, normalise), relative=1e-3)


@pytest.mark.oracle("influence", "relatif")
@pytest.mark.parametrize("scope", ["last:1", "last:2"])
@pytest.mark.parametrize(("method", "normalise"), CHOICES)
def test_the_index_is_nearly_the_dense_product(workspace: Workspace, method: str, normalise: str, scope: str) -> None:
    """The same by the index: all rows nearly, the rows that it calls exact included."""
    table = ask(workspace, method, normalise, scope=scope, scorer="index")
    assert table.scored.scorer == "index" and not table.scored.exact
    assert_close(table.scores, dense(workspace, scope, normalise), relative=1e-2)


@pytest.mark.oracle("influence")
@pytest.mark.parametrize("normalise", ["none", "cosine", "relatif"])
def test_pairs_of_texts_in_every_normalisation(pairs: Workspace, normalise: str) -> None:
    """The same for pairs of texts, with another damping."""
    table = ask(pairs, "influence", normalise, scope="last:1", scorer="sweep", damping=0.5)
    assert_close(table.scores, dense(pairs, "last:1", normalise, damping=0.5), relative=1e-2)


@pytest.mark.parametrize("damping", [0.1, 3.0])
def test_kept_norms_are_the_dense_ones(workspace: Workspace, damping: float) -> None:
    """The part of norms for a damping holds √(∇ℓ_iᵀ(H + λI)⁻¹∇ℓ_i), H dense; its own part for each damping."""
    inverse = ekfac_inverse(workspace, last(1), damping)
    gradients = training_gradients(workspace, LAST["last:1"])
    expected = np.sqrt(np.einsum("np,pq,nq->n", gradients, inverse, gradients, optimize=True))
    (part,) = norms_parts(workspace, "last:1", damping)
    assert part.option("damping") == repr(damping)
    assert_close(np.asarray(load(workspace, part)["norms"]), expected, relative=5e-3, what="norms")


def test_the_sample_does_not_depend_on_the_order(
    workspace: Workspace, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Which examples are sampled, and the number that draws each one's label, follow from its text alone."""
    order = np.random.default_rng(0).permutation(len(workspace.train))
    other = with_training_data(workspace, workspace.train.iloc[order], tmp_path_factory.mktemp("order") / "order")
    found = []
    for space in (workspace, other):
        rows, seeds = sample(space, 12)
        assert len(set(rows)) == 12 and (np.diff(rows) > 0).all() and ((0 <= seeds) & (seeds < 1)).all()
        found.append({(*space.train.iloc[row], seed) for row, seed in zip(rows, seeds, strict=True)})
    assert found[0] == found[1]


def test_the_numbers_that_draw_labels_are_even(workspace: Workspace) -> None:
    """Over sampled examples they lie on both sides of every quarter: they are not those that chose the examples."""
    _, seeds = sample(workspace, 20)
    assert seeds.min() < 0.3 and seeds.max() > 0.7 and len(set(seeds)) == len(seeds)


def test_a_smaller_sample_is_another_fit(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With 10 examples the covariance is that of these 10: the trace of S is the mean squared norm over them."""
    monkeypatch.setattr(ekfac, "EXAMPLES", 10)
    other = with_training_data(workspace, workspace.train, tmp_path / "other")
    layers = open_curvature(other, curvature_parts(other, "head")[0])
    rows, seeds = sample(other, 10)
    squares = []
    for row, seed in zip(rows, seeds, strict=True):
        text = str(other.train.iloc[row]["text"])
        logits, features = other.classifier.run(other.classifier.example(text).inputs)
        p = logits[0].double().softmax(dim=0).numpy()
        residual = p - np.eye(len(p))[int((p.cumsum() < seed).sum())]
        squares.append(np.square(residual).sum() * float(features.double().square().sum()))
    assert float(layers["classifier"].eigenvalues.sum()) == pytest.approx(np.mean(squares), rel=1e-4)
