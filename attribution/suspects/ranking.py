"""Which labels are likely wrong: three signs of it, the rank of every training example by each, and a better label."""

import numpy as np
import pandas as pd

from attribution.errors import unknown
from attribution.index import Progress, load, parts, silent
from attribution.neighbours import NEAREST, neighbours
from attribution.self_influence import LOSS, SELF, losses
from attribution.workspace import Workspace, softmax

CRITERIA = {
    "together": "All three together",
    "self_influence": "Self-influence",
    "loss": "Loss",
    "disagreement": "Disagreement with neighbours",
}
BOTH, MODEL, NEIGHBOURS = "model and neighbours", "model", "neighbours"


def suspicious_labels(
    workspace: Workspace, *, method: str = "influence_head", count: int = NEAREST, progress: Progress = silent
) -> pd.DataFrame:
    """One row a training example, indexed by its id:

    label, predicted, probability (of its own label); self_influence, by a method of `self_influence.SELF`; loss, −log p
    of its own label; disagreement, the share of its `count` nearest in feature space that have another label, each
    counted by its cosine; suspected_label, suspected_by; and for every criterion c a `rank_c` from 1, the most
    suspicious. `together` ranks by the mean of the three ranks.

    The suspected label is what the model predicts and the neighbours' majority has, where this is one other label; else
    the model's prediction, where that is another label; else the neighbours'; else the model's likeliest other.
    The model has learnt from the labels it is asked about: it agrees with many of the wrong ones.
    """
    known = [name for name in SELF if name != LOSS]
    if method not in known:
        raise unknown("method with an influence on itself", method, known)
    (part,) = parts(workspace, "features")
    probabilities = softmax(np.asarray(load(workspace, part, progress)["logits"]))
    labels, rows = workspace.label_ids(workspace.train), np.arange(len(workspace.train))
    votes = neighbour_votes(*neighbours(workspace, count, progress), labels, len(workspace.labels))
    names = np.array(workspace.labels)
    suspected, by = suspected_labels(labels, probabilities, votes)
    table = pd.DataFrame(
        {
            "label": names[labels],
            "predicted": names[probabilities.argmax(axis=1)],
            "probability": probabilities[rows, labels],
            "self_influence": SELF[method](workspace, progress),
            "loss": losses(workspace, progress),
            "disagreement": 1 - votes[rows, labels],
            "suspected_label": names[suspected],
            "suspected_by": by,
        },
        index=workspace.train.index,
    )
    single = [name for name in CRITERIA if name != "together"]
    for name in single:
        table[f"rank_{name}"] = _ranks(table[name].to_numpy())
    mean = table[[f"rank_{name}" for name in single]].mean(axis=1)
    return table.assign(together=mean, rank_together=_ranks(-mean.to_numpy()))


def neighbour_votes(positions: np.ndarray, cosines: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """The share of each label among the neighbours of each example, counted by cosine: (train, labels); rows sum to 1.

    A neighbour that points away counts next to nothing.
    """
    weights = np.maximum(cosines.astype(np.float64), 1e-9)
    weights /= weights.sum(axis=1, keepdims=True)
    theirs = labels[positions]
    return np.stack([(weights * (theirs == label)).sum(axis=1) for label in range(count)], axis=1)


def suspected_labels(labels: np.ndarray, probabilities: np.ndarray, votes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The better label id of each example (train,), and who says so; see `suspicious_labels`."""
    predicted, voted = probabilities.argmax(axis=1), votes.argmax(axis=1)
    agreed = (predicted == voted) & (predicted != labels)
    by_neighbours = (predicted == labels) & (voted != labels)
    suspected = np.where(by_neighbours, voted, likeliest_others(probabilities, labels))
    return suspected, np.select([agreed, by_neighbours], [BOTH, NEIGHBOURS], MODEL)


def likeliest_others(found: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The label id other than its own that a model gives each example the most for: (rows,).

    found: logits or probabilities (rows, labels); labels: the ids of their own (rows,).
    """
    others = found.astype(np.float64)
    others[np.arange(len(labels)), labels] = -np.inf
    return others.argmax(axis=1)


def _ranks(values: np.ndarray) -> np.ndarray:
    """1 for the largest; equal ones in their order."""
    ranks = np.empty(len(values), dtype=np.int64)
    ranks[np.argsort(-values, kind="stable")] = np.arange(1, len(values) + 1)
    return ranks
