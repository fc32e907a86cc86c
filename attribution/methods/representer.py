"""Representer points: a ridge-penalised head is a weighted sum of the training features, so its logits split exactly.

Where W minimises (1/n) Σ_i ℓ_i + λ‖W‖² with logits φ = W f, its gradient vanishes and row j of W is Σ_i α_ij f_i with
α_ij = −(1/2λn) ∂ℓ_i/∂φ_j. So the logit of label j on a test example is Σ_i α_ij f_i · f′ (Yeh et al. 2018 theorem 3.1).
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from scipy.sparse.linalg import LinearOperator, cg

from attribution.errors import UserError
from attribution.index import Progress, load, parts
from attribution.model import Encoded
from attribution.parameters import Range
from attribution.query import Query
from attribution.registry import example_method
from attribution.results import Scored
from attribution.words import words_by_erasure
from attribution.workspace import softmax

MOST_STEPS = 100


@dataclass(frozen=True, kw_only=True)
class RidgeHead:
    """The head refitted on fixed features. weight: (labels, width); alpha: (train, labels)."""

    weight: np.ndarray
    alpha: np.ndarray


def refit(features: np.ndarray, labels: np.ndarray, count: int, l2: float) -> RidgeHead:
    """Minimise mean cross-entropy + l2 ‖W‖² over a head of `count` labels without a bias, by Newton's method.

    features: (train, width); labels: (train,) ids. The gradient's norm ends below 1e-5 l2, so that the α reproduce a
    logit to 5e-6 ‖f′‖. Raises UserError where rounding does not let it. Cost: a few hundred passes over the features.
    """
    x, n = features.astype(np.float64), len(labels)
    target = np.eye(count)[labels]

    def value(weight: np.ndarray) -> float:
        logits = x @ weight.T
        top = logits.max(axis=1)
        log_sum = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
        return float((log_sum - (logits * target).sum(axis=1)).mean() + l2 * (weight**2).sum())

    weight, before = np.zeros((count, x.shape[1])), np.log(count)
    for _ in range(MOST_STEPS):
        p = softmax(x @ weight.T)
        gradient = (p - target).T @ x / n + 2 * l2 * weight
        if np.linalg.norm(gradient) <= 1e-5 * l2:
            return RidgeHead(weight=weight, alpha=(target - p) / (2 * l2 * n))
        step = _newton_step(x, p, gradient, l2)
        while (after := value(weight + step)) > before + 1e-12 and np.abs(step).max() > 1e-12:
            step /= 2
        weight, before = weight + step, after
    raise UserError(
        f"The penalised head did not settle in {MOST_STEPS} steps with l2={l2:g}: take more, such as 0.003."
    )


def _newton_step(x: np.ndarray, p: np.ndarray, gradient: np.ndarray, l2: float) -> np.ndarray:
    """−H⁻¹ gradient by conjugate gradients, where H v is two passes over the features."""

    def curve(flat: np.ndarray) -> np.ndarray:
        moved = p * (x @ flat.reshape(gradient.shape).T)
        moved -= p * moved.sum(axis=1, keepdims=True)
        return (moved.T @ x / len(x)).ravel() + 2 * l2 * flat

    size = gradient.size
    exactness = min(0.1, float(np.linalg.norm(gradient)))
    operator = LinearOperator((size, size), matvec=curve, dtype=np.float64)  # pyright: ignore[reportCallIssue]
    return cg(operator, -gradient.ravel(), rtol=exactness, maxiter=10 * size)[0].reshape(gradient.shape)


@example_method(
    title="Representer points",
    family="representer",
    paper="Yeh 2018 §3; Pezeshkpour 2021 §2, REP; Yeh 2022 §2.1 eq. 1",
    formula=r"\alpha_{ij}\, f_i^\top f',\quad \alpha_{ij} = -\tfrac{1}{2 \lambda n} \partial \ell_i / \partial \phi_j",
    unit="part of the label's logit under the refitted head; the parts sum to it",
    cost="one pass over the features; the head is refitted once, in a second",
    weakness="Explains a refitted head without a bias, not the model's own; high-loss examples lead.",
    words=True,
    index=("features",),
)
def representer(
    query: Query,
    progress: Progress,
    *,
    l2: Annotated[
        float,
        Range(
            low=1e-6, high=10, help="λ of the penalty λ‖W‖² beside the mean loss; larger = smaller, more even parts."
        ),
    ] = 0.003,
) -> Scored:
    """α_ij f_i · f′ for the explained label j, on a ridge-penalised head refitted to the training labels.

    The papers' sign and ours agree: positive = the example raised the label's logit. Its own label's α is positive and
    grows with its loss. A word's part is by erasure, with the α that the erased text would have. The head has no bias,
    as in the representer theorem, so the parts sum to the whole logit. Features are the final model's; only the last
    layer is refitted.
    """
    workspace = query.workspace
    (part,) = parts(workspace, "features")
    features = np.asarray(load(workspace, part, progress)["features"])
    labels = workspace.label_ids(workspace.train)
    head = workspace.memo(("representer", l2), lambda: refit(features, labels, len(workspace.labels), l2))
    scores = head.alpha[:, query.label] * (features @ query.features)

    def copies(encoded: Encoded, targets: np.ndarray, owner: np.ndarray) -> np.ndarray:
        changed = query.classifier.collect(encoded)[0].astype(np.float64)
        wrong = (targets == query.label) - softmax(changed @ head.weight.T)[:, query.label]
        return wrong / (2 * l2 * len(labels)) * (changed @ query.features)

    return Scored(
        scores=scores.astype(np.float64),
        scorer="head",
        exact=True,
        quantity="logit",
        words=lambda positions: words_by_erasure(query, copies, positions),
    )
