"""The index of gradients over linear layers: the leading singular pairs of every training example's gradient.

A part holds shards of 1,024 training examples, each made on its own from the model and the data and finished by a
listing of checksums, so that an interrupted build goes on where it was and a damaged shard alone is made again.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from attribution.factors import Pass, fast_dtype, leading, run_pass
from attribution.index import BUILDERS, Part, Progress, finish_shard, load, parts, silent
from attribution.matrices import Pair
from attribution.model import Classifier, Encoded, Entering, length_sorted_batches
from attribution.pair_ranks import errors_of, fill
from attribution.scope import Scope, make_scope
from attribution.workspace import Workspace

KIND = "factors"
SHARD = 1024
SAMPLE = 128
SCORED = 256
PIECE = 1024
BYTES = 0.9e9
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
    def count(self) -> int:
        """The number of training examples."""
        return sum(len(shard.energy) for shard in self.shards)

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

    @cached_property
    def sample(self) -> dict[str, Pair]:
        """The pairs of some 256 training examples, evenly spaced."""
        return self.pairs_of(np.arange(0, self.count, -(-self.count // SCORED)))

    def pairs_of(self, rows: np.ndarray) -> dict[str, Pair]:
        """The pairs of some training examples in float32, in the order of their shards."""
        taken = [(shard, torch.from_numpy(rows[rows // SHARD == k] % SHARD)) for k, shard in enumerate(self.shards)]

        def of(layer: str, side: int) -> Tensor:
            return torch.cat([shard.pairs[layer][side][at] for shard, at in taken if len(at)]).float()

        return {layer: (of(layer, 0), of(layer, 1)) for layer in self.scope.layers}

    def dot(self, vectors: Mapping[str, Pair], counts: Mapping[str, int] | None = None) -> np.ndarray:
        """⟨V, ∇_S ℓ_i⟩ for V given by layer as left (rank, out), right (rank, in), V = leftᵀ right: (train,).

        `counts`: of which layers how many of the leading pairs are read; all of them without it.
        """
        stored = {name: pair[0] for name, pair in self.shards[0].pairs.items()}
        counts = counts or {name: side.shape[1] for name, side in stored.items()}
        fast = {torch.bfloat16: fast_dtype(torch.device("cpu"))}
        given = {
            name: tuple(side.to("cpu", fast.get(stored[name].dtype, side.dtype)).contiguous() for side in vectors[name])
            for name in counts
        }
        return np.concatenate([_dot(shard, given, counts) for shard in self.shards])


def _dot(shard: Shard, vectors: Mapping[str, tuple[Tensor, ...]], counts: Mapping[str, int]) -> np.ndarray:
    total = torch.zeros(len(shard.energy), dtype=torch.float64)
    for name, given in vectors.items():
        kept = (side[:, : counts[name]] for side in shard.pairs[name])
        first, second = (_columns(side, mine) for side, mine in zip(kept, given, strict=True))
        total += torch.linalg.vecdot(first.float(), second.float()).view(len(total), -1).sum(dim=1)
    return total.numpy()


def _columns(side: Tensor, vectors: Tensor) -> Tensor:
    """Products of every kept pair's side with some vectors, in the precision of these: (rows · rank, vectors).

    Another precision is turned to theirs a piece at a time, in memory that was just in use: twice as fast.
    """
    rank, width = side.shape[1:]
    # With so few columns `linear` is up to 1.7 times as fast as a product with the transpose.
    if side.dtype == vectors.dtype and side.is_contiguous():
        return functional.linear(side.view(-1, width), vectors)
    pieces = side.split(max(1, PIECE // rank))
    room = torch.empty(len(pieces[0]), rank, width, dtype=vectors.dtype)
    return torch.cat([functional.linear(room[: len(p)].copy_(p).view(-1, width), vectors) for p in pieces])


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
        flat = flat.view(torch.bfloat16) if flat.dtype == torch.int16 else flat
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
    np.save(folder / "ranks.npy", choose_layout(workspace, part).ranks)
    return "ranks", *names


def finish_rows(workspace: Workspace, part: Part, number: int, folder: Path, progress: Progress = silent) -> list[str]:
    """Make one shard in a folder unless it is there and sound; the names of its arrays."""

    def make() -> dict[str, np.ndarray]:
        rows = np.arange(number * SHARD, min((number + 1) * SHARD, len(workspace.train)))
        made = make_shard(workspace, part, rows, choose_layout(workspace, part), progress)
        return {"" if name == "pairs" else name: array for name, array in made.items()}

    return finish_shard(folder, number, make)


def _what(part: Part) -> str:
    return f"gradients of the training set over {part.option('scope')} (state {part.checkpoint + 1})"


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How many pairs of each layer are kept (layers,), and in which precision."""

    ranks: np.ndarray
    dtype: torch.dtype


def choose_layout(workspace: Workspace, part: Part) -> Layout:
    """Between one pair of each layer and 16: all that add something, or those that serve most in 0.9 GB.

    A part in fp32 whose pairs do not all fit keeps them in bfloat16, twice as many. Seen at 128 training examples.
    """
    return workspace.memo((part, "layout"), lambda: layout_for(workspace, part, len(workspace.train)))


def layout_for(workspace: Workspace, part: Part, count: int) -> Layout:
    """As `choose_layout`, were there so many training examples."""
    scope = make_scope(workspace.classifier, part.option("scope"))
    rows = np.unique(np.linspace(0, len(workspace.train) - 1, SAMPLE).astype(int))
    passes = (found for _, found in _passes(workspace, part, scope, *workspace.encoded_train(rows)))
    errors = workspace.memo((part, "errors"), lambda: errors_of(passes, scope.layers))
    numbers = np.array(_shapes(workspace.classifier, scope)).sum(axis=1)
    whole, fits = fill(errors, numbers, BYTES / (4 * count))
    if fits and part.option("precision") == "fp32":
        return Layout(ranks=whole, dtype=torch.float32)
    return Layout(ranks=fill(errors, numbers, BYTES / (2 * count))[0], dtype=torch.bfloat16)


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
    workspace: Workspace, part: Part, rows: np.ndarray, layout: Layout, progress: Progress = silent
) -> dict[str, np.ndarray]:
    """The arrays of a shard from its rows of the training set; depends on nothing else that was built."""
    classifier = workspace.classifier
    scope = make_scope(classifier, part.option("scope"))
    encoded, labels = workspace.encoded_train(rows)
    lengths = [len(ids) for ids in encoded["input_ids"]]
    first = np.concatenate([[0], np.cumsum(lengths)])
    block = scope.first_block or None
    sides = [
        torch.zeros(len(rows), rank, width, dtype=layout.dtype)
        for shape, rank in zip(_shapes(classifier, scope), layout.ranks.tolist(), strict=True)
        for width in shape
    ]
    energies = np.empty((len(rows), len(scope.layers), 2), dtype=np.float32)
    hidden = np.empty((first[-1], classifier.model.config.hidden_size), dtype=np.float16) if block else None
    done = 0
    for batch, found in _passes(workspace, part, scope, encoded, labels, watch=block):
        for layer, name in enumerate(scope.layers):
            left, right, energy = leading(found.factors[name], int(layout.ranks[layer]))
            for side, made in zip(sides[2 * layer : 2 * layer + 2], (left, right), strict=True):
                side[batch] = made.to("cpu", layout.dtype)
            energies[batch, layer] = energy.cpu()
        if hidden is not None and found.hidden is not None:
            states = found.hidden.half().cpu().numpy()
            for row, values in zip(batch, states, strict=True):
                hidden[first[row] : first[row + 1]] = values[: lengths[row]]
        done += len(batch)
        progress(int(rows[0]) + done, len(workspace.train), _what(part))
    flat = torch.cat([side.flatten() for side in sides])
    pairs = flat.view(torch.int16).numpy() if layout.dtype == torch.bfloat16 else flat.numpy()
    made = {"pairs": pairs, "energy": energies, "first": first}
    return made if hidden is None else made | {"hidden": hidden}


BUILDERS[KIND] = _build
