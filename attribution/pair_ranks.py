"""How many singular pairs of each layer's gradients the index keeps: as many as serve the scores most, within a room.

What is dropped of a gradient is missed in its products with questions, v = P∇F. P is not known when the index is made,
but every curvature's inverse makes directions alike, and gradients of training losses stand in for questions: the error
of a number of pairs is the mean square of what it leaves out of products of training gradients with each other under
their own damped Kronecker-factored inverse, (A + ρ_A I)⁻¹ ⊗ (G + ρ_G I)⁻¹ (Martens & Grosse 2015 §6.3).
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from attribution.factors import Pass, gram, leading, read_tokens
from attribution.matrices import Pair

HIGHEST_RANK = 16
QUESTIONS = 16
DAMPING = 0.1
NOTHING = 1e-9


def fill(errors: np.ndarray, numbers: np.ndarray, room: float) -> tuple[np.ndarray, bool]:
    """Pairs of each layer (layers,), at least 1, in `room` numbers an example; whether nothing was left to win.

    `errors` (layers, highest rank) by the number of pairs kept; `numbers` (layers,) that a pair of each takes. The next
    are those that win most a number.
    """
    ranks = np.ones(len(errors), dtype=int)
    while True:
        gains = [_best_step(row[rank - 1 :]) for row, rank in zip(errors, ranks, strict=True)]
        worth = np.array([gain for gain, _ in gains]) / numbers
        best = int(worth.argmax())
        step = gains[best][1]
        if worth[best] <= 0 or ranks @ numbers + step * numbers[best] > room:
            return ranks, bool(worth[best] <= 0)
        ranks[best] += step


def _best_step(errors: np.ndarray) -> tuple[float, int]:
    """What a pair wins, and how many more it takes, where that is most: an error may fall late."""
    gains = (errors[0] - errors[1:]) / np.arange(1, len(errors))
    return (float(gains.max()), int(gains.argmax()) + 1) if len(gains) else (0.0, 0)


def errors_of(passes: Iterable[Pass], layers: Sequence[str]) -> np.ndarray:
    """The error of 1, 2, … pairs of each layer over some training examples: (layers, 16), 0 where nothing is left out.

    Cost: the passes, two inverses of a layer's size, and products of pairs with pairs.
    """
    pairs: dict[str, list[Pair]] = {name: [] for name in layers}
    covariances: dict[str, Pair] = {}
    for found in passes:
        for name in layers:
            inputs, gradients = read_tokens(found.factors[name])
            grams = (gram(gradients), gram(inputs))
            before = covariances.get(name)
            covariances[name] = grams if before is None else (before[0] + grams[0], before[1] + grams[1])
            pairs[name].append(leading(found.factors[name], HIGHEST_RANK)[:2])
    return np.stack([_errors(pairs[name], covariances[name]) for name in layers])


def _errors(pairs: Sequence[Pair], covariances: Pair) -> np.ndarray:
    sides = [torch.cat(side) for side in zip(*pairs, strict=True)]
    count, rank, _ = sides[0].shape
    asking = np.unique(np.linspace(0, count - 1, QUESTIONS).astype(int))
    first, second = (
        (side[asking].flatten(0, 1) @ _inverse(covariance / count)) @ side.flatten(0, 1).mT
        for side, covariance in zip(sides, covariances, strict=True)
    )
    products = (first * second).double().view(len(asking), rank, count, rank).sum(dim=1)
    products[np.arange(len(asking)), asking] = 0  # a question is not a training example's own
    left_out = products.flip(2).cumsum(dim=2).flip(2).square().mean(dim=(0, 1)).cpu().numpy()
    found = np.append(left_out[1:], 0)
    return np.where(found > NOTHING * left_out[0], found, 0)


def _inverse(covariance: Tensor) -> Tensor:
    """(C + ρI)⁻¹ with ρ² the damping times the square of C's mean eigenvalue."""
    size = covariance.diagonal().mean().clamp_min(1e-30)
    damped = covariance + DAMPING**0.5 * size * torch.eye(len(covariance), device=covariance.device)
    return torch.cholesky_inverse(torch.linalg.cholesky(damped))
