"""What of a vector V meets the index, a matrix of low rank by layer, and how many of the index's pairs it needs."""

from bisect import bisect_left
from collections.abc import Mapping

import torch
from torch import Tensor

from attribution.factors import spanned
from attribution.matrices import Matrix, Pair
from attribution.rank_correlation import spearman

RANKS = (16, 64)
RANK_IN_METRIC = 16
SAME_ORDER = 0.998


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
    if min(vector.shape) <= RANKS[0]:
        side = torch.eye(min(vector.shape), dtype=vector.dtype, device=vector.device)
        return (side, vector) if vector.shape[0] <= vector.shape[1] else (vector.T, side)
    scaled = vector if scale is None else scale[0][:, None] * vector * scale[1]
    left = right = scaled
    for most in RANKS if scale is None else (RANK_IN_METRIC,):
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
    most = next(most for most in (*RANKS, len(values)) if squares[:most].sum() >= 0.99 * squares.sum())
    kept = min(most, RANKS[-1], max(1, int((squares > 1e-9 * squares[0]).sum())))
    return (rows @ u[:, :kept]).mT, values[:kept, None] * (columns @ vt[:kept].mT).mT


def needed_pairs(vectors: Mapping[str, Pair], sample: Mapping[str, Pair]) -> dict[str, int]:
    """How many of each layer's leading pairs leave a sample's scores in their order; layers of which none does are out.

    `sample`: the pairs (examples, rank, ·) of some training examples. Pairs go from the end of a layer, those first
    that are least of the scores, as long as Spearman's correlation with the whole ones is at least .998.
    """
    terms = {name: terms_of(pair, sample[name]) for name, pair in vectors.items()}
    scores = torch.stack([of_layer.sum(dim=1) for of_layer in terms.values()]).sum(dim=0)
    lost = {name: of_layer.flip(1).cumsum(dim=1).flip(1) for name, of_layer in terms.items()}
    steps = [(name, count) for name, of_layer in lost.items() for count in range(of_layer.shape[1])]
    steps.sort(key=lambda step: float(lost[step[0]][:, step[1]].square().sum()))

    def after(number: int) -> dict[str, int]:
        counts = {name: of_layer.shape[1] for name, of_layer in terms.items()}
        for name, count in steps[:number]:
            counts[name] = min(counts[name], count)
        return counts

    def disturbs(number: int) -> bool:
        missed = [lost[name][:, count] for name, count in after(number).items() if count < lost[name].shape[1]]
        return not spearman(torch.stack([scores, scores - torch.stack(missed).sum(dim=0)]).numpy())[0, 1] >= SAME_ORDER

    kept = bisect_left(range(1, len(steps) + 1), True, key=disturbs)
    return {name: count for name, count in after(kept).items() if count}


def products(vectors: Mapping[str, Pair], pairs: Mapping[str, Pair]) -> Tensor:
    """⟨V, Σ_k left_k right_kᵀ⟩ summed over the layers, for examples' pairs (examples, rank, ·): (examples,) float64."""
    return torch.stack([terms_of(vectors[name], pairs[name]).sum(dim=1) for name in vectors]).sum(dim=0)


def terms_of(pair: Pair, gradients: Pair) -> Tensor:
    """The products of V = leftᵀ right with each pair of some gradients, (examples, rank) float64."""
    first, second = (rows @ side.to(rows).mT for rows, side in zip(gradients, pair, strict=True))
    return torch.linalg.vecdot(first, second).double()
