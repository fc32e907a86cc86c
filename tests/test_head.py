"""The closed form of a softmax head: against a loop of autograd, autograd's own Hessian, and eigendecompositions."""

import numpy as np
import pytest
import torch

from attribution.errors import UserError
from attribution.head import MOST_PARAMETERS, HeadUnits, cosine, head_hessian, head_units
from tests.oracles import assert_close, damped, mean_loss_hessian


class Head:
    """A random softmax head and training set in float64."""

    def __init__(self, *, labels: int, bias: bool, train: int = 30, width: int = 5, seed: int = 0) -> None:
        draw = np.random.default_rng(seed)
        self.features = draw.normal(size=(train, width))
        self.weight = draw.normal(size=(labels, width))
        self.bias = draw.normal(size=labels) if bias else None
        self.labels = draw.integers(labels, size=train)
        self.logits = self.features @ self.weight.T + (0 if self.bias is None else self.bias)
        self.query = draw.normal(size=(labels, width + bias))

    @property
    def units(self) -> HeadUnits:
        return head_units(self.features, self.logits, self.labels, bias=self.bias is not None)

    def gradients(self) -> np.ndarray:
        """∇ℓ_i over (W | b), one example at a time by autograd: (train, labels, width)."""
        found = []
        for feature, label in zip(self.features, self.labels, strict=True):
            w = torch.from_numpy(self.weight).requires_grad_()
            b = torch.from_numpy(np.zeros(len(w)) if self.bias is None else self.bias).requires_grad_()
            loss = torch.nn.functional.cross_entropy(w @ torch.from_numpy(feature) + b, torch.tensor(int(label)))
            by_weight, by_bias = torch.autograd.grad(loss, (w, b))
            columns = [by_weight.numpy()] + ([] if self.bias is None else [by_bias.numpy()[:, None]])
            found.append(np.hstack(columns))
        return np.stack(found)

    def hessian(self) -> np.ndarray:
        """Autograd's Hessian of the mean loss, its rows and columns in the order (label, width with the bias last)."""
        found = mean_loss_hessian(self.features, self.labels, self.weight, self.bias)
        if self.bias is None:
            return found
        labels, width = self.weight.shape
        order = [i for k in range(labels) for i in (*range(k * width, (k + 1) * width), labels * width + k)]
        return found[np.ix_(order, order)]


@pytest.fixture(params=[(2, False), (2, True), (3, False), (3, True)], ids=lambda p: f"{p[0]}labels-bias={p[1]}")
def head(request: pytest.FixtureRequest) -> Head:
    return Head(labels=request.param[0], bias=request.param[1])


def test_units_are_the_gradients(head: Head) -> None:
    """residual ⊗ feature of every example is ∇ℓ_i over the head by autograd."""
    units = head.units
    found = np.einsum("nc,nd->ncd", units.residuals, units.features)
    assert_close(found, head.gradients(), relative=1e-12, what="gradients")


def test_dots_and_norms(head: Head) -> None:
    """⟨query, ∇ℓ_i⟩ and ‖∇ℓ_i‖ equal those of the gradients written out."""
    gradients = head.gradients()
    assert_close(head.units.dot(head.query), (gradients * head.query).sum(axis=(1, 2)), relative=1e-12, what="dots")
    assert_close(head.units.norms(), np.sqrt(np.square(gradients).sum(axis=(1, 2))), relative=1e-12, what="norms")


@pytest.mark.parametrize("damping", [0.01, 3.0])
def test_the_hessian_is_autograds(head: Head, damping: float) -> None:
    """L Lᵀ = H + λI: H by double autograd over (W, b), λ the stated multiple of its mean eigenvalue."""
    factor = head_hessian(head.units, damping=damping).factor
    assert not np.triu(factor, 1).any(), "the factor is not lower triangular"
    assert_close(factor @ factor.T, damped(head.hessian(), damping), relative=1e-10, what="entries of the Hessian")


def test_damping_is_in_mean_eigenvalues(head: Head) -> None:
    """Doubling the damping adds damping × mean eigenvalue of H to every eigenvalue of H + λI."""
    once, twice = (head_hessian(head.units, damping=d).factor for d in (0.5, 1.0))
    added = np.linalg.eigvalsh(twice @ twice.T) - np.linalg.eigvalsh(once @ once.T)
    expected = 0.5 * np.linalg.eigvalsh(head.hessian()).mean()
    assert_close(added, np.full(len(added), expected), relative=1e-9, what="eigenvalues added")


def test_solving_and_norms_in_the_inverse_metric(head: Head) -> None:
    """(H + λI)⁻¹q, √(qᵀ(H + λI)⁻¹q) and the same norm of every ∇ℓ_i, by an eigendecomposition written out."""
    found = head_hessian(head.units, damping=0.1)
    values, vectors = np.linalg.eigh(damped(head.hessian(), 0.1))
    flat, gradients = head.query.ravel(), head.gradients().reshape(len(head.features), -1)
    inverse = vectors @ np.diag(1 / values) @ vectors.T
    root = vectors @ np.diag(values**-0.5) @ vectors.T
    assert found.solve(head.query).shape == head.query.shape
    assert_close(found.solve(head.query).ravel(), inverse @ flat, relative=1e-9, what="the solution")
    assert found.norm(head.query) == pytest.approx(np.linalg.norm(root @ flat), rel=1e-9)
    assert_close(found.norms(head.units), np.linalg.norm(gradients @ root, axis=1), relative=1e-9, what="norms")
    assert_close(found.norms(head.units, chunk=7), found.norms(head.units), relative=1e-12, what="norms in chunks")


def test_a_confident_example_keeps_its_digits() -> None:
    """With a margin of 40 the residual of the true label is −e⁻⁴⁰, not the 0 that p − 1 would round to."""
    logits = np.array([[40.0, 0.0], [0.0, 40.0], [20.0, -20.0]], dtype=np.float32)
    residuals = head_units(np.ones((3, 2)), logits, np.array([0, 1, 0]), bias=False).residuals
    expected = np.exp(-40) / (1 + np.exp(-40))
    for row, label in enumerate([0, 1, 0]):
        assert residuals[row, 1 - label] == pytest.approx(expected, rel=1e-12, abs=0)
        assert residuals[row, label] == pytest.approx(-expected, rel=1e-12, abs=0)


def test_residuals_sum_to_zero_and_probabilities_to_one(head: Head) -> None:
    """Σ_c (p − e_y)_c = 0 and Σ_c p_c = 1 for every example, however large the logits."""
    units = head_units(head.features, head.logits * 1e4, head.labels, bias=False)
    assert np.allclose(units.residuals.sum(axis=1), 0, atol=1e-15)
    assert np.allclose(units.probabilities.sum(axis=1), 1)


def test_a_head_too_large_to_factor_is_refused() -> None:
    """More than MOST_PARAMETERS parameters: one line with the number, the limit and what to choose instead."""
    width = MOST_PARAMETERS // 2 + 1
    units = head_units(np.zeros((1, width)), np.zeros((1, 2)), np.array([0]), bias=False)
    with pytest.raises(UserError, match=r"12,002 parameters.*at most 12,000.*gd, gc") as caught:
        head_hessian(units, damping=0.1)
    assert "\n" not in str(caught.value)


def test_a_damping_lost_in_rounding_is_refused() -> None:
    """The softmax Hessian is singular, so without real damping it has no inverse: one line, and what to choose."""
    units = Head(labels=3, bias=True).units
    with pytest.raises(UserError, match=r"damping 1e-30 .* such as 0\.01"):
        head_hessian(units, damping=1e-30)


def test_a_vanished_gradient_has_cosine_zero() -> None:
    """Where a gradient is exactly 0, on either side, the cosine is 0 and not NaN; elsewhere dots / norms."""
    dots, norms = np.array([0.0, 2.0, -3.0]), np.array([0.0, 4.0, 3.0])
    assert np.array_equal(cosine(dots, norms, 0.5), [0, 1, -2])
    assert np.array_equal(cosine(np.zeros(3), norms, 0.0), [0, 0, 0])
