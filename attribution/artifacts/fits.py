"""How influence goes with a feature: a quadratic regression for one test example, and its average over several.

Influence is standardised (z) over the training set. Two regressions are offered, named by what is explained:

    response="influence":  z ≈ a x² + b x + c      the influence that goes with each value x of the feature
    response="feature":    x ≈ a z² + b z + c      Han et al. 2020 §5.1, the unit of their Table 6

In the second a > 0 says that the most influential training examples, proponents and opponents alike, have more of the
feature than those of no influence.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attribution.errors import UserError, unknown

RESPONSES = ("influence", "feature")
LEAST = 10
GROUPS = 4096
POINTS = 50
# A resample without enough different values says nothing of the coefficient; its least eigenvalue is a rounding error.
SINGULAR = 1e-9


class NothingToFit(UserError):
    """Scores or a feature that determine no curve: constant, or too few."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The regression for one test example.

    coefficient: a, with its percentile bootstrap interval low to high; of the highest `degree`: 2, or 1 (the slope)
    where what is on the right has two values only. n: the training examples it is over; dropped: those without the
    feature. x (points,): a grid from the least to the greatest value; y: the curve there, y_low to y_high its band.
    """

    coefficient: float
    low: float
    high: float
    n: int
    dropped: int
    degree: int
    response: str
    x: np.ndarray
    y: np.ndarray
    y_low: np.ndarray
    y_high: np.ndarray


@dataclass(frozen=True, kw_only=True)
class SliceFit:
    """The mean regression over several test examples, with intervals from a bootstrap over these examples.

    coefficients (n,): one a test example; left_out: test examples for which the feature is constant. x (points,): a
    grid that the examples share; y: the mean curve there, y_low to y_high its band.
    """

    coefficient: float
    low: float
    high: float
    n: int
    left_out: int
    degree: int
    response: str
    coefficients: np.ndarray
    x: np.ndarray
    y: np.ndarray
    y_low: np.ndarray
    y_high: np.ndarray


@dataclass(frozen=True, kw_only=True)
class _Points:
    """What a regression is over: the right-hand side, its least and greatest value, and the left-hand side."""

    right: np.ndarray
    left: np.ndarray
    dropped: int

    @property
    def degree(self) -> int:
        return min(2, len(np.unique(self.right)) - 1)


def artifact_fit(
    scores: np.ndarray,
    values: np.ndarray,
    *,
    draws: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
    response: str = "influence",
) -> Fit:
    """The regression of scores (train,), standardised here, and a feature's values (train,), for one test example.

    Rows whose feature is NaN are dropped and counted. Over 4,096 rows are resampled as that many random groups, which
    changes the interval's width by about a hundredth and keeps the cost that of 4,096. Raises NothingToFit, a
    UserError, for fewer than 10 rows, and where the feature, or the scores, are constant: there is no curve then.
    """
    points = _points(scores, values, response)
    degree = points.degree
    centre, spread = float(points.right.mean()), float(points.right.std())
    design = ((points.right - centre) / spread)[:, None] ** np.arange(degree + 1)
    found = np.linalg.lstsq(design, points.left, rcond=None)[0]
    drawn = _resampled(design, points.left, draws, np.random.default_rng(seed))
    tails = [50 * (1 - confidence), 50 * (1 + confidence)]
    low, high = np.percentile(drawn[:, -1] / spread**degree, tails)
    x = np.linspace(points.right.min(), points.right.max(), POINTS)
    powers = ((x - centre) / spread)[:, None] ** np.arange(degree + 1)
    y_low, y_high = np.percentile(drawn @ powers.T, tails, axis=0)
    return Fit(
        coefficient=float(found[-1] / spread**degree),
        low=float(low),
        high=float(high),
        n=len(points.left),
        dropped=points.dropped,
        degree=degree,
        response=response,
        x=x,
        y=powers @ found,
        y_low=y_low,
        y_high=y_high,
    )


def slice_fit(
    score_rows: Sequence[np.ndarray],
    value_rows: Sequence[np.ndarray],
    *,
    draws: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
    response: str = "influence",
) -> SliceFit:
    """The mean of `artifact_fit`'s coefficients and curves over test examples, one row of scores and values each.

    The interval is a percentile bootstrap over the test examples, so it says what other examples of the slice might
    give. Where one of them has a feature of two values only, all are fitted with a line. Raises UserError as
    `artifact_fit` does where no test example is left, and for fewer than two.
    """
    kept, refused = [], None
    for scores, values in zip(score_rows, value_rows, strict=True):
        try:
            kept.append(_points(scores, values, response))
        except NothingToFit as error:
            refused = error
    if refused is not None and not kept:
        raise refused
    if len(kept) < 2:
        raise NothingToFit(f"An average needs at least 2 test examples whose feature varies, not {len(kept)}.")
    degree = min(points.degree for points in kept)
    fits = [np.polynomial.Polynomial.fit(points.right, points.left, degree) for points in kept]
    least, greatest = (np.median([end(points.right) for points in kept]) for end in (np.min, np.max))
    x = np.linspace(least, greatest, POINTS)
    curves = np.array([fit(x) for fit in fits])
    coefficients = np.array([fit.deriv(degree)(0.0) / degree for fit in fits])
    chosen = np.random.default_rng(seed).integers(0, len(fits), (draws, len(fits)))
    weights = np.apply_along_axis(np.bincount, 1, chosen, minlength=len(fits)) / len(fits)
    tails = [50 * (1 - confidence), 50 * (1 + confidence)]
    low, high = np.percentile(weights @ coefficients, tails)
    y_low, y_high = np.percentile(weights @ curves, tails, axis=0)
    return SliceFit(
        coefficient=float(coefficients.mean()),
        low=float(low),
        high=float(high),
        n=len(fits),
        left_out=len(score_rows) - len(kept),
        degree=degree,
        response=response,
        coefficients=coefficients,
        x=x,
        y=curves.mean(axis=0),
        y_low=y_low,
        y_high=y_high,
    )


def check_varies(values: np.ndarray) -> None:
    """UserError where a feature (train,) has too few values that are not NaN, or is constant."""
    x = values[np.isfinite(values)]
    if len(x) < LEAST:
        raise NothingToFit(f"A fit needs {LEAST} training examples that have the feature; there are {len(x)}.")
    if np.ptp(x) <= 1e-12 * max(1.0, np.abs(x).max()):
        raise NothingToFit(f"The feature is {x[0]:.4g} for all {len(x):,} training examples: there is nothing to fit.")


def _points(scores: np.ndarray, values: np.ndarray, response: str) -> _Points:
    """Standardised scores and the feature, in the places of the regression; UserError where there is nothing to fit."""
    if response not in RESPONSES:
        raise unknown("response", response, RESPONSES)
    scores, values = np.asarray(scores, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if scores.shape != values.shape or scores.ndim != 1:
        raise UserError(
            f"Scores and feature must be one number a training example, not {scores.shape}, {values.shape}."
        )
    check_varies(values)
    there = np.isfinite(values)
    x = values[there]
    if np.ptp(scores) == 0 or not np.isfinite(scores).all():
        raise NothingToFit("The scores are all equal or not all finite: there is nothing to fit.")
    z = ((scores - scores.mean()) / scores.std())[there]
    right, left = (x, z) if response == "influence" else (z, x)
    if np.ptp(right) == 0:
        raise NothingToFit("The training examples that have the feature all score alike: there is nothing to fit.")
    return _Points(right=right, left=left, dropped=int((~there).sum()))


def _resampled(design: np.ndarray, left: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Least-squares coefficients of bootstrap resamples: (draws, degree + 1), less the draws that determine none."""
    n, width = design.shape
    moments = np.concatenate([(design[:, :, None] * design[:, None, :]).reshape(n, -1), design * left[:, None]], axis=1)
    if n > GROUPS:
        order = np.argsort(rng.permutation(n) % GROUPS, kind="stable")
        starts = np.searchsorted(np.sort(np.arange(n) % GROUPS), np.arange(GROUPS))
        moments = np.add.reduceat(moments[order], starts)
    rows = len(moments)
    sums = np.empty((draws, moments.shape[1]))
    for draw in range(draws):
        sums[draw] = np.bincount(rng.integers(0, rows, rows), minlength=rows) @ moments
    normal = sums[:, : width * width].reshape(draws, width, width) / n
    eigenvalues = np.linalg.eigvalsh(normal)
    sound = eigenvalues[:, 0] > SINGULAR * eigenvalues[:, -1]
    if not sound.any():
        raise NothingToFit("The feature varies in too few training examples for an interval: there is nothing to fit.")
    return np.linalg.solve(normal[sound], sums[sound, width * width :, None] / n)[:, :, 0]
