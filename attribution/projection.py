"""TRAK's curvature (Park et al. 2023): the kernel of the training gradients after a random projection.

With R a random projection of the scope to k numbers and φ_i = R ∇f_i, f the log odds of example i's own label,
P = Rᵀ (Σ_i φ_i φ_iᵀ + λI)⁻¹ R. As ∇f_i = −∇ℓ_i / (1 − p_i), −∇F · P · ∇ℓ_i is the paper's φ(x')ᵀ(ΦᵀΦ)⁻¹φ_i (1 − p_i).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from attribution.factor_index import KIND as FACTORS
from attribution.factor_index import in_precision, open_factors
from attribution.index import BUILDERS, Part, Progress, load, parts
from attribution.matrices import Pair
from attribution.scope import Scope, make_scope
from attribution.storage import digest_bytes
from attribution.workspace import Workspace, softmax

KIND = "projected_gradients"


@dataclass(frozen=True, kw_only=True)
class Projection:
    """R of a scope of linear layers: Σ_layers A_l G_l B_lᵀ with A_l (side, out), B_l (side, in) of entries ±1/√side.

    The projection has side² numbers, and inner products of gradients survive it on average.
    """

    sides: Mapping[str, Pair]

    def of_pairs(self, pairs: Mapping[str, Pair]) -> Tensor:
        """R of gradients Σ_k left_k right_kᵀ a layer, (examples, rank, out) and (…, in): (examples, side²)."""
        made = []
        for name, pair in pairs.items():
            first, second = (side.to(own) @ own.T for side, own in zip(pair, self.sides[name], strict=True))
            made.append(first.mT @ second)
        return torch.stack(made).sum(dim=0).flatten(1)

    def of_matrices(self, matrices: Mapping[str, Tensor]) -> Tensor:
        """R of one gradient, (out, in) a layer: (side²,)."""
        made = [rows @ matrices[name] @ columns.T for name, (rows, columns) in self.sides.items()]
        return torch.stack(made).sum(dim=0).flatten()

    def back(self, coordinates: Tensor) -> dict[str, Tensor]:
        """Rᵀ of some coordinates (side²,): (out, in) by layer."""
        side = round(len(coordinates) ** 0.5)
        square = coordinates.view(side, side)
        return {name: rows.T @ square @ columns for name, (rows, columns) in self.sides.items()}


def make_projection(workspace: Workspace, scope: Scope, side: int, seed: int) -> Projection:
    """The projection of a scope, drawn anew from the seed and each layer's name."""
    sides = {}
    for name in scope.layers:
        generator = torch.Generator().manual_seed(int(digest_bytes(f"{seed} {name}".encode())[:12], 16))
        made = [
            (torch.randint(0, 2, (side, width), generator=generator) * 2.0 - 1) / side**0.5
            for width in workspace.classifier.model.get_submodule(name).weight.shape
        ]
        sides[name] = tuple(matrix.to(workspace.classifier.device) for matrix in made)
    return Projection(sides=sides)


def projection_parts(
    workspace: Workspace, scope: str, side: int, seed: int, checkpoints: str = "final", precision: str = "auto"
) -> list[Part]:
    """The parts that hold a scope's projected gradients and Σ_i φ_i φ_iᵀ."""
    return in_precision(workspace, KIND, checkpoints, precision, scope=scope, side=str(side), seed=str(seed))


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """Σ_i φ_i φ_iᵀ by its eigenvalues (kept,) and eigenvectors (side², kept), float64, and the projection of it.

    `gradients`: R ∇ℓ_i of every training example, from the pairs that the index keeps, (train, side²).
    """

    projection: Projection
    values: Tensor
    vectors: Tensor
    gradients: np.ndarray

    def solve(self, gradient: Mapping[str, Tensor], damping: float) -> Tensor:
        """(Σ_i φ_i φ_iᵀ + λI)⁻¹ R of a gradient given by layer, λ = damping × the mean eigenvalue: (side²,).

        What no φ_i has a part in is left out: λ alone would magnify it, and in exact numbers no score depends on it.
        """
        projected = self.projection.of_matrices(gradient)
        inside = self.vectors.T @ projected.double().cpu()
        solved = self.vectors @ (inside / (self.values + damping * self.values.sum() / len(self.vectors)))
        return solved.to(projected)


def open_kernel(workspace: Workspace, part: Part, progress: Progress) -> Kernel:
    """The kernel of a part, built first where it is missing."""
    arrays = load(workspace, part, progress)

    def make() -> Kernel:
        scope = make_scope(workspace.classifier, part.option("scope"))
        values, vectors = (torch.from_numpy(np.array(arrays[name])) for name in ("values", "vectors"))
        projection = make_projection(workspace, scope, int(part.option("side")), int(part.option("seed")))
        return Kernel(projection=projection, values=values, vectors=vectors, gradients=arrays["gradients"])

    return workspace.memo((part, "open"), make)


def _build(workspace: Workspace, part: Part, folder: Path, progress: Progress) -> tuple[str, ...]:
    """R ∇ℓ_i from the pairs that the index keeps, and eigenvalues and eigenvectors of Σ_i φ_i φ_iᵀ."""
    kept = {name: part.option(name) for name in ("precision", "scope")}
    (gradients,) = [p for p in parts(workspace, FACTORS, "all", **kept) if p.checkpoint == part.checkpoint]
    (features,) = [p for p in parts(workspace, "features", "all") if p.checkpoint == part.checkpoint]
    index = open_factors(workspace, gradients, progress)
    probabilities = softmax(np.asarray(load(workspace, features, progress)["logits"]))
    labels = workspace.label_ids(workspace.train)
    probabilities[np.arange(len(labels)), labels] = 0
    wrong = torch.from_numpy(probabilities.sum(axis=1)).clamp_min(1e-12)  # 1 − p of the own label, to all its digits
    side = int(part.option("side"))
    projection = make_projection(workspace, index.scope, side, int(part.option("seed")))
    gradients = np.lib.format.open_memmap(
        folder / "gradients.npy", mode="w+", dtype=np.float32, shape=(len(labels), side**2)
    )
    gram, done = torch.zeros(side**2, side**2, dtype=torch.float64), 0
    for shard in index.shards:
        for rows in torch.arange(len(shard.energy)).split(256):
            pairs = {name: (left[rows], right[rows]) for name, (left, right) in shard.pairs.items()}
            found, place = projection.of_pairs(pairs).cpu(), slice(done, done + len(rows))
            gradients[place] = found.numpy()
            found = found / wrong[place, None]
            gram += found.T @ found
            done += len(rows)
            progress(done, len(labels), f"projected gradients over {index.scope.text}")
    gradients.flush()
    values, vectors = torch.linalg.eigh(gram)
    kept = values > 1e-9 * values[-1]
    np.save(folder / "values.npy", values[kept].numpy())
    np.save(folder / "vectors.npy", vectors[:, kept].numpy())
    return "values", "vectors", "gradients"


BUILDERS[KIND] = _build
