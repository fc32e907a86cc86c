"""The index of gradients over linear layers: the leading singular pairs of every training example's gradient.

A part holds shards of 1,024 training examples, each made on its own from the model and the data and finished by a
listing of checksums, so that an interrupted build goes on where it was and a damaged shard alone is made again.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from attribution.factors import Pass, fast_dtype, leading, run_pass, spanned
from attribution.index import BUILDERS, Part, Progress, finish_shard, load, parts, silent
from attribution.matrices import Matrix, Pair
from attribution.model import Classifier, Encoded, Entering, length_sorted_batches
from attribution.scope import Scope, make_scope
from attribution.workspace import Workspace

KIND = "factors"
SHARD = 1024
HIGHEST_RANK = 16
SAMPLE = 128
BYTES = 0.9e9
SKETCH = (16, 64)
SKETCH_IN_METRIC = 16
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


def factor_parts(workspace: Workspace, scope: str, checkpoints: str = "final", precision: str = "auto") -> list[Part]:
    """The parts that hold a scope's gradients."""
    return in_precision(workspace, KIND, checkpoints, precision, scope=scope)


def in_precision(
    workspace: Workspace, kind: str, checkpoints: str, precision: str = "auto", **options: str
) -> list[Part]:
    """The parts of a kind in bf16 or fp32; auto takes those in fp32 that are there, else the faster of both."""
    if precision == "auto":
        kept = parts(workspace, kind, checkpoints, precision="fp32", **options)
        if all(part.is_built(workspace) for part in kept):
            return kept
    return parts(workspace, kind, checkpoints, precision=precision_of(workspace.classifier, precision), **options)


def precision_of(classifier: Classifier, precision: str = "auto") -> str:
    """bf16 or fp32; auto takes bf16 where the device multiplies it faster, for models wide enough to gain from it."""
    if precision != "auto":
        return precision
    wide = classifier.model.config.hidden_size >= 128
    return "bf16" if wide and fast_dtype(classifier.device) == torch.bfloat16 else "fp32"


@dataclass(frozen=True, kw_only=True)
class States:
    """States (tokens, width) that enter a transformer block, by row."""

    block: int
    of: Callable[[int], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Some training examples in order: for each layer left (rows, rank, out) and right (rows, rank, in).

    `energy`: (rows, layers, 2), the squared norm of the gradient and how much of it is kept. `hidden`: half-precision
    states that entered the scope's first block, all tokens below one another (tokens, width), or None; `first`: where
    those of each row begin (rows + 1,).
    """

    pairs: dict[str, Pair]
    energy: np.ndarray
    hidden: np.ndarray | None
    first: np.ndarray


@dataclass(frozen=True, kw_only=True)
class FactorIndex:
    """An open index of a scope: memory-mapped shards in the order of the training set."""

    scope: Scope
    shards: list[Shard]

    @property
    def shares(self) -> dict[str, float]:
        """For each layer the share of the gradients' squared norm that is kept, summed over the training set."""
        total = np.concatenate([shard.energy for shard in self.shards]).sum(axis=0, dtype=np.float64)
        kept = np.divide(total[:, 1], total[:, 0], out=np.ones(len(total)), where=total[:, 0] > 0)
        return dict(zip(self.scope.layers, kept.tolist(), strict=True))

    def norms(self) -> np.ndarray:
        """‖∇_S ℓ_i‖, exact: (train,)."""
        return np.sqrt(np.concatenate([shard.energy[:, :, 0].sum(axis=1, dtype=np.float64) for shard in self.shards]))

    def states(self, rows: np.ndarray) -> States | None:
        """The states that enter the scope's first block for some training examples, where they are kept."""
        if self.shards[0].hidden is None or self.scope.first_block is None:
            return None
        return States(block=self.scope.first_block, of=lambda row: self.hidden(int(rows[row])))

    def hidden(self, row: int) -> np.ndarray:
        """The states (tokens, width) that entered the scope's first block for a training example, in half precision."""
        shard = self.shards[row // SHARD]
        assert shard.hidden is not None
        start, end = shard.first[row % SHARD : row % SHARD + 2]
        return shard.hidden[start:end]

    def dot(self, vectors: Mapping[str, Pair]) -> np.ndarray:
        """⟨V, ∇_S ℓ_i⟩ for V given by layer as left (rank, out), right (rank, in), V = leftᵀ right: (train,)."""
        kept = self.shards[0].pairs
        given = {name: tuple(side.to(kept[name][0].dtype).contiguous() for side in vectors[name]) for name in vectors}
        return np.concatenate([_dot(shard, given) for shard in self.shards])


def _dot(shard: Shard, vectors: Mapping[str, tuple[Tensor, ...]]) -> np.ndarray:
    total = torch.zeros(len(shard.energy), dtype=torch.float64)
    for name, sides in shard.pairs.items():
        # With so few columns `linear` is up to 1.7 times as fast as a product with the transpose.
        first, second = (
            functional.linear(side.reshape(-1, side.shape[2]), mine)
            for side, mine in zip(sides, vectors[name], strict=True)
        )
        total += torch.linalg.vecdot(first.float(), second.float()).view(len(sides[0]), -1).sum(dim=1)
    return total.numpy()


def sketch(vector: Matrix, scale: Pair | None = None) -> Pair:
    """V (out, in), whole or as factors, as left (rank, out), right (rank, in) with leftᵀ right ≈ V.

    A gradient has hardly more than the rank of its tokens: its rank, 16 at most, or 64 where these have not 99 % of its
    squared norm. What EK-FAC has inverted is of full rank, and much of it meets no gradient: with `scale`, the root
    mean squares of the training gradients along its rows and columns, the 16 are kept that weigh most in the scores.
    Seeded; cost: a few products of V with some columns.
    """
    if not isinstance(vector, Tensor):
        assert scale is None, "what EK-FAC has inverted has no factors"
        return _shortened(*vector)
    if min(vector.shape) <= SKETCH[0]:
        side = torch.eye(min(vector.shape), dtype=vector.dtype, device=vector.device)
        return (side, vector) if vector.shape[0] <= vector.shape[1] else (vector.T, side)
    scaled = vector if scale is None else scale[0][:, None] * vector * scale[1]
    left = right = scaled
    for most in SKETCH if scale is None else (SKETCH_IN_METRIC,):
        basis = spanned(scaled, most + 16)
        basis = torch.linalg.qr(scaled @ (scaled.T @ basis)).Q
        inside = basis.T @ scaled
        values, mixing = torch.linalg.eigh((inside @ inside.T).double())
        kept = min(most, max(1, int((values > 1e-9 * values[-1]).sum())))
        top = mixing[:, -kept:].to(vector)
        left, right = (basis @ top).T, top.T @ inside
        if values[-kept:].sum() >= 0.99 * scaled.square().sum():
            break
    return (left, right) if scale is None else (left / scale[0], right / scale[1])


def _shortened(left: Tensor, right: Tensor) -> Pair:
    """As `sketch` of leftᵀ right, from the singular pairs of its small core."""
    (rows, of_rows), (columns, of_columns) = torch.linalg.qr(left.mT), torch.linalg.qr(right.mT)
    u, values, vt = torch.linalg.svd(of_rows @ of_columns.mT)
    squares = values.square().double()
    most = next(most for most in (*SKETCH, len(values)) if squares[:most].sum() >= 0.99 * squares.sum())
    kept = min(most, SKETCH[-1], max(1, int((squares > 1e-9 * squares[0]).sum())))
    return (rows @ u[:, :kept]).mT, values[:kept, None] * (columns @ vt[:kept].mT).mT


def padded_states(classifier: Classifier, rows: np.ndarray, states: States | None) -> Entering:
    """The states of a batch of rows, padded on the right to the longest; None where none are kept."""
    if states is None:
        return None
    found = [torch.from_numpy(np.asarray(states.of(int(row)), dtype=np.float32)) for row in rows]
    return states.block, torch.nn.utils.rnn.pad_sequence(found, batch_first=True).to(classifier.device)


def open_factors(workspace: Workspace, part: Part, progress: Progress = silent) -> FactorIndex:
    """The index of a part, built first where it is missing."""
    arrays = load(workspace, part, progress)
    return workspace.memo((part, "open"), lambda: _opened(workspace, part, arrays))


def _opened(workspace: Workspace, part: Part, arrays: dict[str, np.ndarray]) -> FactorIndex:
    scope = make_scope(workspace.classifier, part.option("scope"))
    folder = part.folder(workspace)
    ranks, shapes = arrays["ranks"].tolist(), _shapes(workspace.classifier, scope)
    shards = []
    for name in sorted(name for name in arrays if name.startswith("shard-") and name.count("-") == 1):
        # Copy on write: torch asks for memory that may be written to.
        flat = torch.from_numpy(np.load(folder / f"{name}.npy", mmap_mode="c"))
        flat = flat.view(torch.bfloat16) if part.option("precision") == "bf16" else flat
        rows = len(arrays[f"{name}-energy"])
        pairs, at = {}, 0
        for layer, (out, entering), rank in zip(scope.layers, shapes, ranks, strict=True):
            sides = []
            for width in (out, entering):
                size = rows * rank * width
                sides.append(flat[at : at + size].view(rows, rank, width))
                at += size
            pairs[layer] = (sides[0], sides[1])
        shards.append(
            Shard(
                pairs=pairs,
                energy=arrays[f"{name}-energy"],
                hidden=arrays.get(f"{name}-hidden"),
                first=arrays[f"{name}-first"],
            )
        )
    return FactorIndex(scope=scope, shards=shards)


def _shapes(classifier: Classifier, scope: Scope) -> list[tuple[int, int]]:
    shapes = [classifier.model.get_submodule(name).weight.shape for name in scope.layers]
    return [(int(out), int(entering)) for out, entering in shapes]


def shard_count(workspace: Workspace) -> int:
    """Into how many shards the training set falls."""
    return -(-len(workspace.train) // SHARD)


def _build(workspace: Workspace, part: Part, folder: Path, progress: Progress) -> tuple[str, ...]:
    """Finish every shard that is not finished."""
    names = []
    for number in range(shard_count(workspace)):
        names += finish_rows(workspace, part, number, folder, progress)
        progress(min((number + 1) * SHARD, len(workspace.train)), len(workspace.train), _what(part))
    np.save(folder / "ranks.npy", choose_ranks(workspace, part))
    return "ranks", *names


def finish_rows(workspace: Workspace, part: Part, number: int, folder: Path, progress: Progress = silent) -> list[str]:
    """Make one shard in a folder unless it is there and sound; the names of its arrays."""

    def make() -> dict[str, np.ndarray]:
        rows = np.arange(number * SHARD, min((number + 1) * SHARD, len(workspace.train)))
        made = make_shard(workspace, part, rows, choose_ranks(workspace, part), progress)
        return {"" if name == "pairs" else name: array for name, array in made.items()}

    return finish_shard(folder, number, make)


def _what(part: Part) -> str:
    return f"gradients of the training set over {part.option('scope')} (state {part.checkpoint + 1})"


def choose_ranks(workspace: Workspace, part: Part) -> np.ndarray:
    """Singular pairs kept of each layer's gradients: (layers,), 1 where one position is read, 16 at most.

    Pairs are added where they win most a byte, seen at 128 training examples, until nothing is left to win or the
    whole set would take 0.9 GB. What a pair wins is its part of the layer's squared norm, times the layer's number of
    parameters: a curvature's inverse makes directions alike, so that a product is spread over them evenly.
    """
    return workspace.memo((part, "ranks"), lambda: ranks_for(workspace, part, len(workspace.train)))


def ranks_for(workspace: Workspace, part: Part, count: int) -> np.ndarray:
    """As `choose_ranks`, were there so many training examples."""
    scope = make_scope(workspace.classifier, part.option("scope"))
    shapes = np.array(_shapes(workspace.classifier, scope))
    numbers, weights = shapes.sum(axis=1), shapes.prod(axis=1)
    room = BYTES / (DTYPES[part.option("precision")].itemsize * count)
    lost = _lost(workspace, part, scope)
    layers, ranks = np.arange(len(lost)), np.ones(len(lost), dtype=int)
    while True:
        after = np.minimum(ranks, HIGHEST_RANK - 1)
        gains = weights * (lost[layers, ranks - 1] - lost[layers, after]) / numbers
        best = gains.argmax()
        if gains[best] <= 0 or ranks @ numbers + numbers[best] > room:
            return ranks
        ranks[best] += 1


def _lost(workspace: Workspace, part: Part, scope: Scope) -> np.ndarray:
    """The share of the squared norm that 1, 2, … pairs leave out, over some training examples: (layers, 16)."""
    rows = np.unique(np.linspace(0, len(workspace.train) - 1, SAMPLE).astype(int))
    kept, total = np.zeros((len(scope.layers), HIGHEST_RANK)), np.zeros(len(scope.layers))
    for _, found in _passes(workspace, part, scope, *workspace.encoded_train(rows)):
        for layer, name in enumerate(scope.layers):
            left, right, energy = leading(found.factors[name], HIGHEST_RANK)
            squares = left.square().sum(dim=2) * right.square().sum(dim=2)
            kept[layer] += squares.sum(dim=0).cumsum(dim=0).double().cpu().numpy()
            total[layer] += energy[:, 0].sum().item()
    lost = 1 - kept / np.maximum(total, 1e-30)[:, None]
    return np.where(lost > 1e-6, lost, 0)


def _passes(
    workspace: Workspace,
    part: Part,
    scope: Scope,
    encoded: Encoded,
    labels: np.ndarray,
    watch: int | None = None,
) -> Iterator[tuple[np.ndarray, Pass]]:
    """Batches of encoded training examples with the factors of their own labels' gradients."""
    classifier = workspace.classifier
    targets = torch.from_numpy(labels).to(classifier.device)
    for batch in length_sorted_batches([len(ids) for ids in encoded["input_ids"]]):
        wanted = targets[batch]
        yield (
            batch,
            run_pass(
                classifier,
                classifier.pad(encoded, batch.tolist()),
                lambda _, wanted=wanted: wanted,
                scope.layers,
                weights=workspace.weights(part.checkpoint),
                dtype=DTYPES[part.option("precision")],
                watch=watch,
            ),
        )


def make_shard(
    workspace: Workspace, part: Part, rows: np.ndarray, ranks: np.ndarray, progress: Progress = silent
) -> dict[str, np.ndarray]:
    """The arrays of a shard from its rows of the training set; depends on nothing else that was built."""
    classifier = workspace.classifier
    scope = make_scope(classifier, part.option("scope"))
    dtype = DTYPES[part.option("precision")]
    encoded, labels = workspace.encoded_train(rows)
    lengths = [len(ids) for ids in encoded["input_ids"]]
    first = np.concatenate([[0], np.cumsum(lengths)])
    block = scope.first_block or None
    sides = [
        torch.zeros(len(rows), rank, width, dtype=dtype)
        for shape, rank in zip(_shapes(classifier, scope), ranks.tolist(), strict=True)
        for width in shape
    ]
    energies = np.empty((len(rows), len(scope.layers), 2), dtype=np.float32)
    hidden = np.empty((first[-1], classifier.model.config.hidden_size), dtype=np.float16) if block else None
    done = 0
    for batch, found in _passes(workspace, part, scope, encoded, labels, watch=block):
        for layer, name in enumerate(scope.layers):
            left, right, energy = leading(found.factors[name], int(ranks[layer]))
            sides[2 * layer][batch], sides[2 * layer + 1][batch] = left.to(dtype).cpu(), right.to(dtype).cpu()
            energies[batch, layer] = energy.cpu()
        if hidden is not None and found.hidden is not None:
            states = found.hidden.half().cpu().numpy()
            for row, values in zip(batch, states, strict=True):
                hidden[first[row] : first[row + 1]] = values[: lengths[row]]
        done += len(batch)
        progress(int(rows[0]) + done, len(workspace.train), _what(part))
    flat = torch.cat([side.flatten() for side in sides])
    pairs = flat.view(torch.int16).numpy() if dtype == torch.bfloat16 else flat.numpy()
    made = {"pairs": pairs, "energy": energies, "first": first}
    return made if hidden is None else made | {"hidden": hidden}


BUILDERS[KIND] = _build
