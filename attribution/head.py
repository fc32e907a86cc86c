"""The head scorer: gradients of a softmax head are rank one per example, so scores are exact and cost microseconds.

For logits W f + b and loss ℓ = −log p_y, ∇_W ℓ = (p − e_y) fᵀ and ∇_b ℓ = p − e_y. With a bias the features carry a
trailing 1, so both cases are one formula. The Hessian of the mean training loss is
H = (1/n) Σ_i (diag p_i − p_i p_iᵀ) ⊗ f_i f_iᵀ (Koh & Liang 2017 §4.2, for softmax).
"""

from dataclasses import dataclass

import numpy as np
import scipy.linalg

from attribution.errors import UserError

MOST_PARAMETERS = 12_000


@dataclass(frozen=True, kw_only=True)
class HeadUnits:
    """∇_head ℓ_i of every training example, factored.

    features: (train, width), with a trailing column of ones where the bias counts;
    probabilities: (train, labels); residuals: (train, labels) = p − e_y.
    """

    features: np.ndarray
    probabilities: np.ndarray
    residuals: np.ndarray

    def dot(self, query: np.ndarray) -> np.ndarray:
        """⟨query, ∇ℓ_i⟩ for a query (labels, width): (train,)."""
        return np.einsum("nc,nc->n", self.features @ query.T.astype(self.features.dtype), self.residuals)

    def norms(self) -> np.ndarray:
        """‖∇ℓ_i‖: (train,)."""
        return np.linalg.norm(self.features, axis=1) * np.linalg.norm(self.residuals, axis=1)


def head_units(features: np.ndarray, logits: np.ndarray, labels: np.ndarray, *, bias: bool) -> HeadUnits:
    """Factored gradients from penultimate features (train, width), logits (train, labels) and label ids (train,).

    The residual of the true label is minus the sum of the others, which keeps its digits where p_y is nearly 1.
    """
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    probabilities = np.exp(shifted)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    rows = np.arange(len(labels))
    residuals = probabilities.copy()
    residuals[rows, labels] = 0
    residuals[rows, labels] = -residuals.sum(axis=1)
    if bias:
        features = np.hstack([features, np.ones((len(features), 1), dtype=features.dtype)])
    return HeadUnits(features=features, probabilities=probabilities, residuals=residuals)


@dataclass(frozen=True, kw_only=True)
class HeadHessian:
    """(H + λI)⁻¹ of a softmax head through its Cholesky factor; λ = damping × mean eigenvalue of H.

    factor: lower triangle (parameters, parameters) with parameters = labels × width.
    """

    factor: np.ndarray

    def solve(self, query: np.ndarray) -> np.ndarray:
        """(H + λI)⁻¹ query, in the shape of the query (labels, width)."""
        return scipy.linalg.cho_solve((self.factor, True), query.astype(np.float64).ravel()).reshape(query.shape)

    def norm(self, query: np.ndarray) -> float:
        """√(gᵀ(H + λI)⁻¹g) of one gradient (labels, width)."""
        return float(np.linalg.norm(scipy.linalg.solve_triangular(self.factor, query.ravel(), lower=True)))

    def norms(self, units: HeadUnits, *, chunk: int = 2048) -> np.ndarray:
        """√(∇ℓ_iᵀ(H + λI)⁻¹∇ℓ_i) of every training example: (train,). Cost: train × parameters² / 2."""
        made = np.empty(len(units.features))
        for start in range(0, len(made), chunk):
            rows = slice(start, start + chunk)
            gradients = np.einsum("nc,nd->ncd", units.residuals[rows], units.features[rows])
            flat = gradients.reshape(len(gradients), -1).T.astype(self.factor.dtype)
            made[rows] = np.linalg.norm(scipy.linalg.solve_triangular(self.factor, flat, lower=True), axis=0)
        return made


def head_hessian(units: HeadUnits, *, damping: float) -> HeadHessian:
    """The damped exact Hessian of the mean training loss over the head, factored.

    Raises UserError for a head too large to factor, and where the damping is lost in rounding.
    Cost: labels² × train × width² + (labels × width)³ / 3.
    """
    labels, width = units.probabilities.shape[1], units.features.shape[1]
    size = labels * width
    if size > MOST_PARAMETERS:
        raise UserError(
            f"The exact Hessian of this head has {size:,} parameters a side; at most {MOST_PARAMETERS:,} fit: "
            "choose a method without curvature (gd, gc) or solver=identity."
        )
    features = units.features.astype(np.float64)
    hessian = np.empty((labels, width, labels, width))
    for k in range(labels):
        for m in range(k + 1):
            weight = units.probabilities[:, k] * ((k == m) - units.probabilities[:, m])
            block = features.T @ (features * weight[:, None]) / len(features)
            hessian[k, :, m, :] = hessian[m, :, k, :] = block
    flat = hessian.reshape(size, size)
    flat[np.diag_indices(size)] += damping * np.trace(flat) / size
    try:
        return HeadHessian(factor=np.linalg.cholesky(flat))
    except np.linalg.LinAlgError as error:
        raise UserError(
            f"damping {damping:g} leaves the head's Hessian without an inverse in float64: take more, such as 0.01."
        ) from error


def cosine(dots: np.ndarray, norms: np.ndarray, query_norm: float) -> np.ndarray:
    """dots / (norms · query_norm), and 0 where a gradient vanishes: (train,)."""
    scale = norms * query_norm
    return np.divide(dots, scale, out=np.zeros_like(dots, dtype=np.float64), where=scale > 0)
