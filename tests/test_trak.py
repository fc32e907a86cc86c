"""TRAK: projected kernels by their definition, with dense projections of autograd's gradients in float64."""

from typing import Any

import numpy as np
import pytest
import torch

from attribution import attribute
from attribution.projection import make_projection
from attribution.scope import make_scope
from attribution.workspace import Workspace
from tests.dense import LAST
from tests.oracles import assert_close, encoded, flat_gradient, own_model

TEST, LABEL = 3, 1


def odds_gradients(space: Workspace, scope: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """∇ log(p/(1 − p)) of the test example and of every training example's own label, and those labels' p."""
    model = own_model(space).requires_grad_()

    def slope(row: Any, label: int) -> tuple[np.ndarray, float]:
        share = model(**encoded(space, row)).logits[0].double().softmax(dim=0)[label]
        return flat_gradient(model, torch.log(share / (1 - share)), LAST[scope]), float(share.detach())

    query, _ = slope(space.test.loc[TEST], LABEL)
    found = [slope(row, space.labels.index(row["label"])) for _, row in space.train.iterrows()]
    return query, np.array([g for g, _ in found]), np.array([p for _, p in found])


def dense_projection(space: Workspace, scope: str, side: int, seed: int) -> np.ndarray:
    """R as one matrix (side², parameters): Kronecker products side by side, in the order of the parameters."""
    sides = make_projection(space, make_scope(space.classifier, scope), side, seed).sides
    layers = [name.removesuffix(".weight") for name in LAST[scope]]
    return np.hstack([np.kron(*(matrix.double().numpy() for matrix in sides[layer])) for layer in layers])


@pytest.mark.oracle("trak")
@pytest.mark.parametrize("scorer", ["sweep", "index"])
@pytest.mark.parametrize("side", [3, 12])
def test_trak_is_its_definition(workspace: Workspace, side: int, scorer: str) -> None:
    """φ'ᵀ(ΦᵀΦ + λI)⁻¹φ_i (1 − p_i), with fewer and with more numbers than there are training examples."""
    query, gradients, own = odds_gradients(workspace, "last:1")
    matrix = dense_projection(workspace, "last:1", side, seed=5)
    phi = gradients @ matrix.T
    kernel = phi.T @ phi
    kernel += 0.01 * np.trace(kernel) / side**2 * np.eye(side**2)
    expected = phi @ np.linalg.solve(kernel, matrix @ query) * (1 - own)
    options = {"scope": "last:1", "side": side, "seed": 5, "damping": 0.01, "scorer": scorer}
    table = attribute(workspace, "trak", test=TEST, label=workspace.labels[LABEL], **options)
    assert table.scored.scorer == scorer
    assert_close(table.scores, expected, relative=5e-3)


@pytest.mark.oracle("trak")
def test_the_mean_over_projections_is_what_the_gradients_themselves_give(workspace: Workspace) -> None:
    """Four draws of 1,024 numbers for 40 examples: close to the kernel of the whole gradients, in its dual form."""
    query, gradients, own = odds_gradients(workspace, "last:1")
    kernel = gradients @ gradients.T
    # λ is relative to the mean over the projection's numbers, of which 40 at most are not zero.
    ridge = 0.1 * np.trace(kernel) / 1024
    expected = np.linalg.solve(kernel + ridge * np.eye(len(kernel)), gradients @ query) * (1 - own)
    options = {"test": TEST, "label": workspace.labels[LABEL], "scope": "last:1", "side": 32, "damping": 0.1}
    found = [attribute(workspace, "trak", seed=seed, **options).scores for seed in range(4)]
    assert np.corrcoef(np.mean(found, axis=0), expected)[0, 1] > 0.95


def test_the_projection_and_its_transpose_agree(workspace: Workspace) -> None:
    """⟨R g, u⟩ = ⟨g, Rᵀ u⟩, lengths survive on average, and pairs are projected as the matrix they make up."""
    scope = make_scope(workspace.classifier, "last:1")
    draw = torch.Generator().manual_seed(0)
    shapes = {name: workspace.model.get_submodule(name).weight.shape for name in scope.layers}
    pairs = {
        name: (torch.randn(1, 2, out, generator=draw), torch.randn(1, 2, entering, generator=draw))
        for name, (out, entering) in shapes.items()
    }
    matrices = {name: (left.mT @ right)[0] for name, (left, right) in pairs.items()}
    length = sum(float(matrix.square().sum()) for matrix in matrices.values())
    found = []
    for seed in range(20):
        projection = make_projection(workspace, scope, 8, seed)
        projected, u = projection.of_matrices(matrices), torch.randn(64, generator=draw)
        torch.testing.assert_close(projection.of_pairs(pairs)[0], projected, rtol=1e-4, atol=1e-3)
        back = projection.back(u)
        other = sum(float((back[name] * matrix).sum()) for name, matrix in matrices.items())
        assert float(projected @ u) == pytest.approx(other, rel=1e-3, abs=1e-2)
        found.append(float(projected.square().sum()) / length)
    assert np.mean(found) == pytest.approx(1, abs=0.15)
