"""Representer points: the parts sum to the refitted head's logit; the head is scikit-learn's and autograd's."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from attribution import attribute
from attribution.methods.representer import RidgeHead, refit
from attribution.workspace import Workspace
from tests.oracles import assert_close, encoded, penultimate, plain_model
from tests.tiny import refusal, sentences, workspace_of

SIZES = ((40, 8), (7, 9))


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace of three labels: two labels cannot tell a label's own logit from the other's turned round."""
    labels = ("bad", "good", "so-so")
    rows = [sentences(n, seed=seed).assign(label=lambda t: [labels[i % 3] for i in t.index]) for n, seed in SIZES]
    return workspace_of(tmp_path_factory.mktemp("three"), rows[0], rows[1], labels=labels)


@pytest.fixture(params=["workspace", "pairs", "three"])
def space(request: pytest.FixtureRequest) -> Workspace:
    return request.getfixturevalue(request.param)


def features_of(space: Workspace, table: pd.DataFrame) -> np.ndarray:
    """Penultimate features of a plain model, one example at a time: (rows, width)."""
    model = plain_model(space)
    return np.stack([penultimate(model, encoded(space, row)) for _, row in table.iterrows()])


def scikit_head(x: np.ndarray, y: np.ndarray, l2: float) -> np.ndarray:
    """The same ridge head by scikit-learn, whose two-label model has one row u = w_1 − w_0: (labels, width)."""
    count = len(set(y))
    strength = 1 / (l2 * len(y)) if count == 2 else 1 / (2 * l2 * len(y))
    model = LogisticRegression(C=strength, fit_intercept=False, solver="newton-cg", tol=1e-10, max_iter=10_000)
    rows = model.fit(x, y).coef_
    return np.vstack([-rows / 2, rows / 2]) if count == 2 else rows


@pytest.mark.oracle("representer")
@pytest.mark.parametrize("l2", [1e-3, 0.003, 0.5])
def test_parts_sum_to_the_refitted_heads_logit(space: Workspace, l2: float) -> None:
    """Σ_i score_i = w_j · f', with w fitted by scikit-learn on features of a plain model."""
    x, y = features_of(space, space.train), space.label_ids(space.train)
    weight = scikit_head(x, y, l2)
    for test in (0, 4):
        (mine,) = features_of(space, space.test.loc[[test]])
        expected = weight @ mine
        found = [attribute(space, "representer", test=test, label=label, l2=l2).scores.sum() for label in space.labels]
        assert_close(np.array(found), expected, relative=1e-4, what=f"logits of test example {test}")


@pytest.mark.oracle("representer")
def test_every_part_is_the_gradient_of_its_loss(space: Workspace) -> None:
    """α_ij = −(1/2λn) ∂ℓ_i/∂φ_j by autograd, one example at a time, at scikit-learn's head; times f_i · f'."""
    l2, label = 0.003, len(space.labels) - 1
    x, y = features_of(space, space.train), space.label_ids(space.train)
    weight = scikit_head(x, y, l2)
    (mine,) = features_of(space, space.test.loc[[4]])
    expected = []
    for features, target in zip(x, y, strict=True):
        logits = torch.from_numpy(weight @ features).requires_grad_()
        loss = torch.nn.functional.cross_entropy(logits[None], torch.tensor([target]))
        (slope,) = torch.autograd.grad(loss, logits)
        expected.append(-slope[label].item() / (2 * l2 * len(y)) * (features @ mine))
    found = attribute(space, "representer", test=4, label=space.labels[label]).scores
    assert_close(found, np.array(expected), relative=1e-4)


def test_own_label_supports_and_another_opposes(three: Workspace) -> None:
    """Where the features agree in direction, an example's part has the sign of 'its label is the one explained'."""
    x = features_of(three, three.train)
    (mine,) = features_of(three, three.test.loc[[0]])
    for number, label in enumerate(three.labels):
        own = three.label_ids(three.train) == number
        scores = attribute(three, "representer", test=0, label=label).scores
        assert np.array_equal(np.sign(scores), np.sign(x @ mine) * np.where(own, 1, -1))


@pytest.mark.parametrize("l2", [1e-6, 0.003, 10.0])
def test_the_head_is_stationary(l2: float) -> None:
    """The gradient of mean loss + λ‖φ‖² by autograd is below 1e-5 λ, also for separable and for large features."""
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 4, size=90)
    for scale in (0.01, 1.0, 30.0):
        x = (draw.normal(size=(90, 12)) + 3 * np.eye(12)[labels]) * scale
        head = refit(x, labels, 4, l2)
        assert gradient_norm(head, x, labels, l2) <= 1.1e-5 * l2
        assert_close(head.alpha.T @ x, head.weight, relative=1e-4, what="weights")


def gradient_norm(head: RidgeHead, x: np.ndarray, labels: np.ndarray, l2: float) -> float:
    weight = torch.from_numpy(head.weight).requires_grad_()
    loss = torch.nn.functional.cross_entropy(torch.from_numpy(x) @ weight.T, torch.from_numpy(labels))
    (found,) = torch.autograd.grad(loss + l2 * (weight**2).sum(), weight)
    return float(found.norm())


def test_a_label_without_examples_has_only_opponents() -> None:
    """A label of the model that no training example has gets α below 0 throughout."""
    x = np.random.default_rng(1).normal(size=(30, 5))
    head = refit(x, np.arange(30) % 2, 3, 0.01)
    assert (head.alpha[:, 2] < 0).all() and head.alpha.sum(axis=1) == pytest.approx(0)


def test_features_that_are_no_numbers_are_one_line() -> None:
    """What cannot settle is said, with what to change."""
    x = np.full((10, 3), np.nan)
    assert "l2=0.1" in refusal(lambda: refit(x, np.arange(10) % 2, 2, 0.1))
