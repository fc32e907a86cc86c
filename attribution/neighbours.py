"""The training examples nearest to a training example, in the final model's features.

Those of every example are kept as a part of the index; those of one are found anew.
"""

from pathlib import Path

import numpy as np

from attribution.errors import UserError
from attribution.index import BUILDERS, Part, Progress, load, parts, silent
from attribution.methods.similarity import cosines
from attribution.workspace import Workspace

KIND = "neighbours"
NEAREST = 10
BLOCK = 16_000_000  # cosines held at once


def neighbours_part(workspace: Workspace, count: int = NEAREST) -> Part:
    """The part that holds the `count` nearest of every training example; UserError where there are not so many."""
    most = len(workspace.train) - 1
    if not 1 <= count <= most:
        raise UserError(f"Neighbours must be from 1 to {most}, the other training examples, not {count}.")
    (part,) = parts(workspace, KIND, count=str(count))
    return part


def neighbours(
    workspace: Workspace, count: int = NEAREST, progress: Progress = silent
) -> tuple[np.ndarray, np.ndarray]:
    """Positions in the training set (train, count) of the nearest other examples by cosine, and these (train, count).

    Nearest first; 0 where a vector vanishes. Cost, once: train² products of features, in blocks of bounded size.
    """
    arrays = load(workspace, neighbours_part(workspace, count), progress)
    return np.asarray(arrays["positions"]), np.asarray(arrays["cosines"])


def nearest(
    vectors: np.ndarray, count: int, progress: Progress = silent, *, block: int = BLOCK
) -> tuple[np.ndarray, np.ndarray]:
    """As `neighbours`, of vectors (rows, width), with at most `block` cosines, or one row of them, in memory."""
    n = len(vectors)
    units = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    positions, alike = np.empty((n, count), dtype=np.int32), np.empty((n, count), dtype=np.float32)
    step = max(1, block // n)
    for start in range(0, n, step):
        rows = np.arange(start, min(start + step, n))
        found = units[rows] @ units.T
        found[np.arange(len(rows)), rows] = -np.inf
        best = np.argpartition(-found, count - 1, axis=1)[:, :count]
        values = np.take_along_axis(found, best, axis=1)
        order = np.lexsort((best, -values), axis=1)
        positions[rows] = np.take_along_axis(best, order, axis=1)
        alike[rows] = np.take_along_axis(values, order, axis=1)
        progress(int(rows[-1]) + 1, n, "neighbours of the training examples")
    return positions, alike


def nearest_examples(
    workspace: Workspace, train_id: int, *, count: int = 3, progress: Progress = silent
) -> list[tuple[int, float]]:
    """The `count` other training examples nearest to one, with the cosine of their penultimate features.

    The nearest first, equal ones by rising id. Raises UserError for an id that the training set does not have. Cost:
    one pass over the features (train × width), which are computed where they are not yet.
    """
    ids = workspace.train.index
    (at,) = workspace.train_positions([train_id])
    (part,) = parts(workspace, "features")
    features = np.asarray(load(workspace, part, progress)["features"])
    alike = cosines(features[at], features)
    order = np.argsort(-alike, kind="stable")
    return [(int(ids[other]), float(alike[other])) for other in order[order != at][:count]]


def _build(workspace: Workspace, part: Part, folder: Path, progress: Progress) -> tuple[str, ...]:
    (read,) = parts(workspace, "features")
    features = np.asarray(load(workspace, read, progress)["features"])
    positions, alike = nearest(features, int(part.option("count")), progress)
    np.save(folder / "positions.npy", positions)
    np.save(folder / "cosines.npy", alike)
    return "positions", "cosines"


BUILDERS[KIND] = _build
