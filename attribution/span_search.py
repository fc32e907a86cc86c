"""Which spans of the training examples are worth scoring: foretold by what masking each does to the head's gradient.

A span's score is that of its example less that of the example with the span masked (Huang et al. 2021 §3.1), and an
index of examples holds no masked one; nor does an example whole foretell what its spans score, for that is nearly all
from the masked text, whose loss is large. So the penultimate features and logits of every masked text are kept. The
gradient of the head, (p − e_y) fᵀ, foretells the gradients below it well enough to rank by: a question's scores of
whole examples, which its index has, are regressed on the head's gradients of these, and the fit is read off at the
masked ones.
"""

from dataclasses import dataclass

import numpy as np
import scipy.linalg

from attribution.head import HeadUnits, head_units
from attribution.index import Part, Progress, load, parts
from attribution.masked_texts import masked_part, open_masked
from attribution.spans import Finder
from attribution.workspace import Workspace

FITTED = 2000
RIDGE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Foretold:
    """The spans that were looked at, each by its example's position (spans,) and its place among that example's spans.

    `scores` are those foretold, in the unit of the scores given. `examples`: how many training examples were looked at.
    """

    owner: np.ndarray
    place: np.ndarray
    scores: np.ndarray
    examples: int

    def ends(self, count: int) -> dict[int, set[int]]:
        """The places of `count` spans, half of them from either end of the ranking, by their examples' positions."""
        order, half = np.argsort(-self.scores, kind="stable"), (count + 1) // 2
        chosen: dict[int, set[int]] = {}
        for at in np.unique(np.concatenate([order[:half], order[max(half, len(order) - (count - half)) :]])):
            chosen.setdefault(int(self.owner[at]), set()).add(int(self.place[at]))
        return chosen


def search_parts(workspace: Workspace, finder: Finder) -> list[Part]:
    """What a search reads of the final model: the features of the training texts, whole and with spans masked."""
    return [*parts(workspace, "features"), masked_part(workspace, finder)]


def foretell(workspace: Workspace, finder: Finder, scores: np.ndarray, progress: Progress) -> Foretold:
    """The scores of spans, foretold from those of the training examples whole (train,).

    Cost, once its parts are there: a product of every masked text's features with a matrix (labels, width).
    """
    of_whole, of_masked = search_parts(workspace, finder)
    kept, found = load(workspace, of_whole, progress), open_masked(workspace, of_masked, progress)
    rows, units, factor = workspace.memo(
        (of_whole, "fit"), lambda: _fitted(_units(workspace, kept["features"], kept["logits"]))
    )
    masked = workspace.memo((of_masked, "units"), lambda: _units(workspace, found.features, found.logits, found.owner))
    weights = scipy.linalg.cho_solve((factor, True), scores[rows])
    along = (units.residuals * weights[:, None]).T @ units.features
    return Foretold(
        owner=found.owner,
        place=found.place,
        scores=scores[found.owner] - masked.dot(along),
        examples=found.examples,
    )


def _units(
    workspace: Workspace, features: np.ndarray, logits: np.ndarray, owner: np.ndarray | slice = slice(None)
) -> HeadUnits:
    """The head's gradients of texts made of some training examples, under these examples' labels."""
    labels = workspace.label_ids(workspace.train)[owner]
    return head_units(np.asarray(features, dtype=np.float32), np.asarray(logits), labels, bias=False)


def _fitted(units: HeadUnits) -> tuple[np.ndarray, HeadUnits, np.ndarray]:
    """A sample of training examples, their gradients, and the Cholesky factor of K + λI, K their inner products.

    λ is a thousandth of the mean of K's diagonal.
    """
    count = len(units.features)
    rows = np.sort(np.random.default_rng(0).choice(count, min(count, FITTED), replace=False))
    some = HeadUnits(
        features=units.features[rows].astype(np.float64),
        probabilities=units.probabilities[rows],
        residuals=units.residuals[rows],
    )
    products = (some.features @ some.features.T) * (some.residuals @ some.residuals.T)
    penalty = max(RIDGE * np.trace(products) / len(rows), np.finfo(np.float64).eps)
    products[np.diag_indices(len(rows))] += penalty
    return rows, some, np.linalg.cholesky(products)
