"""EK-FAC: the curvature of each linear layer in the eigenbasis of its inputs and output gradients.

For a layer with inputs a_t and output gradients δ_t, the Gauss–Newton matrix is approximated by
(U_A ⊗ U_G) diag(S) (U_A ⊗ U_G)ᵀ with U_A, U_G the eigenvectors of E[Σ_t a_t a_tᵀ] and E[Σ_t δ_t δ_tᵀ], and
S_ij = E[(U_Gᵀ (Σ_t δ_t a_tᵀ) U_A)_ij²] over labels drawn from the model itself (George et al. 2018; Grosse et al. 2023
§2.2). Nothing is truncated: the inverse is applied at full rank, since it magnifies exactly what a truncation drops.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from attribution.factor_index import DTYPES, in_precision, open_factors
from attribution.factor_index import KIND as FACTORS
from attribution.factors import computing_in, gram, read_tokens, run_pass
from attribution.index import BUILDERS, Part, Progress, load, silent
from attribution.matrices import Matrix, Pair, dense
from attribution.model import length_sorted_batches
from attribution.scope import Scope, make_scope
from attribution.storage import digest_bytes
from attribution.workspace import Workspace

KIND = "curvature"
NORMS = "norms"
EXAMPLES = 2048
TERMS = 24


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer: eigenvectors (in columns) and eigenvalues of both covariances, and S (out, in)."""

    of_inputs: Tensor
    of_gradients: Tensor
    input_values: Tensor
    gradient_values: Tensor
    eigenvalues: Tensor

    def bases(self, dtype: torch.dtype) -> Pair:
        """U_A and U_G in a precision, kept."""
        return self._half if dtype == torch.bfloat16 else (self.of_inputs, self.of_gradients)

    @cached_property
    def _half(self) -> Pair:
        return self.of_inputs.bfloat16(), self.of_gradients.bfloat16()

    def inverse(self, damping: float) -> Tensor:
        """1 / (S + λ) in the eigenbasis, λ = damping × the mean of S: (out, in)."""
        return 1 / (self.eigenvalues + damping * self.eigenvalues.mean().clamp_min(1e-30))

    def turn(self, matrix: Matrix) -> Tensor:
        """U_Gᵀ M U_A of a matrix (out, in): its coordinates in the eigenbasis. Factors are turned before they meet."""
        if isinstance(matrix, Tensor):
            return self.of_gradients.T @ matrix @ self.of_inputs
        return dense((matrix[0] @ self.of_gradients, matrix[1] @ self.of_inputs))

    def turn_back(self, turned: Tensor) -> Tensor:
        """The matrix (out, in) of some coordinates in the eigenbasis."""
        return self.of_gradients @ turned @ self.of_inputs.T

    def solve(self, matrix: Tensor, damping: float) -> Tensor:
        """(H + λI)⁻¹ applied to a gradient (out, in) at full rank."""
        return self.turn_back(self.turn(matrix) * self.inverse(damping))

    def scale(self) -> Pair:
        """Root mean square of the training gradients along rows and columns of V, in the eigenbasis."""
        sides = (self.gradient_values, self.input_values)
        rows, columns = (values.clamp_min(1e-8 * values.max()).sqrt() for values in sides)
        return rows, columns

    def of_pairs(self, left: Tensor, right: Tensor, damping: float) -> Tensor:
        """gᵀ(H + λI)⁻¹g of gradients Σ_k left_k right_kᵀ, (examples, rank, out) and (…, in): (examples,).

        With rank 1 the inverse meets the squares of both sides. Otherwise it is written as a sum of products of rows
        and columns, weighted by where the gradients lie, whose Gram matrices are small.
        """
        inverse = self.inverse(damping)
        of_inputs, of_gradients = self.bases(left.dtype)
        left, right = left @ of_gradients, right @ of_inputs
        if left.shape[1] == 1:
            return weighted_squares(right, left, inverse)
        total = torch.zeros(len(left), device=left.device)
        for rows, columns in zip(*_terms(inverse, *self.scale()), strict=True):
            first = (left * rows.to(left.dtype)) @ left.mT
            second = (right * columns.to(right.dtype)) @ right.mT
            total += (first.float() * second.float()).sum(dim=(1, 2))
        return total.clamp_min(0)


def weighted_squares(inputs: Tensor, gradients: Tensor, weights: Tensor) -> Tensor:
    """Σ G_i² · weights of the gradients G_i = Σ_t δ_t a_tᵀ, from their factors (batch, tokens, ·): (batch,)."""
    if inputs.shape[1] == 1:
        left, right = gradients[:, 0].float().square(), inputs[:, 0].float().square()
        return ((left @ weights) * right).sum(dim=1)
    pairs = zip(gradients.split(4), inputs.split(4), strict=True)
    return torch.cat([(one.mT @ other).square_().flatten(1) @ weights.flatten() for one, other in pairs])


def _terms(inverse: Tensor, rows: Tensor, columns: Tensor) -> Pair:
    """The matrix (out, in) as Σ_r p_r q_rᵀ, closest where the gradients' squares lie: (terms, out), (terms, in)."""
    rows, columns = rows.square(), columns.square()
    scaled = rows[:, None] * inverse * columns
    with torch.random.fork_rng([scaled.device] if scaled.is_cuda else []):
        torch.manual_seed(0)  # the decomposition draws its start, and the same question has the same answer
        left, values, right = torch.svd_lowrank(scaled, q=min(TERMS, *scaled.shape), niter=4)
    return (left * values / rows[:, None]).T, (right / columns[:, None]).T


def curvature_parts(
    workspace: Workspace, scope: str, checkpoints: str = "final", precision: str = "auto"
) -> list[Part]:
    """The parts that hold a scope's EK-FAC."""
    return in_precision(workspace, KIND, checkpoints, precision, scope=scope)


def open_curvature(workspace: Workspace, part: Part, progress: Progress = silent) -> dict[str, Layer]:
    """EK-FAC by layer, fitted first where it is missing."""
    arrays = load(workspace, part, progress)
    scope = make_scope(workspace.classifier, part.option("scope"))

    def make() -> dict[str, Layer]:
        names = ("of_inputs", "of_gradients", "input_values", "gradient_values", "eigenvalues")
        device = workspace.classifier.device
        return {
            layer: Layer(**{n: torch.from_numpy(np.array(arrays[f"{i:03d}-{n}"])).to(device) for n in names})
            for i, layer in enumerate(scope.layers)
        }

    return workspace.memo((part, "open"), make)


def norms_parts(
    workspace: Workspace, scope: str, damping: float, checkpoints: str = "final", precision: str = "auto"
) -> list[Part]:
    """The parts that hold √(∇ℓ_iᵀ(H + λI)⁻¹∇ℓ_i) of every training example, for one damping."""
    return in_precision(workspace, NORMS, checkpoints, precision, scope=scope, damping=repr(float(damping)))


def _build_norms(workspace: Workspace, part: Part, folder: Path, progress: Progress) -> tuple[str, ...]:
    """Norms from the index's pairs: as exact as the share of the gradients that it keeps."""
    options = tuple((name, value) for name, value in part.options if name != "damping")
    layers = open_curvature(workspace, Part(kind=KIND, checkpoint=part.checkpoint, options=options), progress)
    index = open_factors(workspace, Part(kind=FACTORS, checkpoint=part.checkpoint, options=options), progress)
    made, n, dtype = [], len(workspace.train), DTYPES[part.option("precision")]
    for shard in index.shards:
        sums = torch.zeros(len(shard.energy))
        for name, (left, right) in shard.pairs.items():
            left, right = (side.to(layers[name].eigenvalues.device, dtype) for side in (left, right))
            sums += layers[name].of_pairs(left, right, float(part.option("damping"))).cpu()
        made.append(sums.double().sqrt().numpy())
        progress(sum(len(some) for some in made), n, f"norms over {part.option('scope')}")
    np.save(folder / "norms.npy", np.concatenate(made))
    return ("norms",)


def _build(workspace: Workspace, part: Part, folder: Path, progress: Progress) -> tuple[str, ...]:
    """Fit on up to 2,048 training examples, chosen by a hash of their text so that the order does not matter."""
    scope = make_scope(workspace.classifier, part.option("scope"))
    rows, seeds = sample(workspace, EXAMPLES)
    steps = 2 * len(rows)

    def passes(offset: int) -> Iterator[dict[str, Pair]]:
        done = 0
        for size, factors in _sampled_passes(workspace, part, scope, rows, seeds):
            yield factors
            done += size
            progress(offset + done, steps, f"curvature of {scope.text} (state {part.checkpoint + 1})")

    covariances: dict[str, Pair] = {}
    for factors in passes(0):
        for name, pair in factors.items():
            made = tuple(gram(side) for side in read_tokens(pair))
            before = covariances.get(name, (0, 0))
            covariances[name] = (before[0] + made[0], before[1] + made[1])
    bases = {name: tuple(_eigen(side / len(rows)) for side in pair) for name, pair in covariances.items()}
    squares = {name: torch.zeros(len(pair[1]), len(pair[0])) for name, pair in covariances.items()}
    for factors in passes(len(rows)):
        for name, pair in factors.items():
            inputs, gradients = read_tokens(pair)
            (_, of_inputs), (_, of_gradients) = bases[name]
            with computing_in(workspace.classifier.device, DTYPES[part.option("precision")]):
                squares[name] += _sum_of_squares(inputs @ of_inputs, gradients @ of_gradients).float().cpu()
    arrays: dict[str, Tensor] = {}
    for i, name in enumerate(scope.layers):
        (input_values, of_inputs), (gradient_values, of_gradients) = bases[name]
        arrays |= {f"{i:03d}-of_inputs": of_inputs, f"{i:03d}-of_gradients": of_gradients}
        arrays |= {f"{i:03d}-input_values": input_values, f"{i:03d}-gradient_values": gradient_values}
        arrays[f"{i:03d}-eigenvalues"] = squares[name] / len(rows)
    for file, array in arrays.items():
        np.save(folder / f"{file}.npy", array.cpu().numpy())
    return tuple(arrays)


def _eigen(covariance: Tensor) -> Pair:
    """Eigenvalues, falling, and eigenvectors in columns."""
    values, vectors = torch.linalg.eigh(covariance)
    return values.flip(0).clamp_min(0), vectors.flip(1).contiguous()


def _sum_of_squares(inputs: Tensor, gradients: Tensor) -> Tensor:
    """Σ_i (Σ_t δ_t a_tᵀ)_i² elementwise, from rotated factors (batch, tokens, ·): (out, in)."""
    if inputs.shape[1] == 1:
        return gradients[:, 0].float().square().T @ inputs[:, 0].float().square()
    total = torch.zeros(gradients.shape[2], inputs.shape[2], device=inputs.device)
    for one, other in zip(gradients.split(8), inputs.split(8), strict=True):
        total += (one.mT @ other).float().square().sum(dim=0)
    return total


def sample(workspace: Workspace, count: int, draw: str = "") -> tuple[np.ndarray, np.ndarray]:
    """Rows of the training set, and a number in [0, 1) for each that draws its label; both from a hash of its text.

    Another `draw` gives other rows.
    """
    table = workspace.train
    columns = [table["text"], table["label"]] + ([table["text_pair"]] if workspace.is_pair else [])
    keys = (draw + repr(key) for key in zip(*columns, strict=True))
    drawn = np.array([int(digest_bytes(key.encode())[:13], 16) / 16**13 for key in keys])
    rows = np.sort(np.argsort(drawn, kind="stable")[:count])
    # The rows are those with the smallest numbers: other digits of the hash draw the label.
    return rows, (drawn[rows] * 16**6) % 1


def _sampled_passes(
    workspace: Workspace, part: Part, scope: Scope, rows: np.ndarray, seeds: np.ndarray
) -> Iterator[tuple[int, dict[str, Pair]]]:
    """Factors of batches of the sample, for labels drawn from the model's own probabilities."""
    classifier = workspace.classifier
    encoded, _ = workspace.encoded_train(rows)
    for batch in length_sorted_batches([len(ids) for ids in encoded["input_ids"]]):
        draws = torch.from_numpy(seeds[batch]).to(classifier.device)[:, None]

        def drawn(logits: Tensor, draws: Tensor = draws) -> Tensor:
            below = logits.double().softmax(dim=-1).cumsum(dim=-1) < draws
            return below.sum(dim=-1).clamp_max(logits.shape[-1] - 1)

        found = run_pass(
            classifier,
            classifier.pad(encoded, batch.tolist()),
            drawn,
            scope.layers,
            weights=workspace.weights(part.checkpoint),
            dtype=DTYPES[part.option("precision")],
        )
        yield len(batch), found.factors


BUILDERS |= {KIND: _build, NORMS: _build_norms}
