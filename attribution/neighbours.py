"""The training examples nearest to a training example, in the final model's features."""

import numpy as np

from attribution.errors import UserError
from attribution.index import Progress, load, parts, silent
from attribution.methods.similarity import cosines
from attribution.workspace import Workspace


def nearest_examples(
    workspace: Workspace, train_id: int, *, count: int = 3, progress: Progress = silent
) -> list[tuple[int, float]]:
    """The `count` other training examples nearest to one, with the cosine of their penultimate features.

    The nearest first, equal ones by rising id. Raises UserError for an id that the training set does not have. Cost:
    one pass over the features (train × width), which are computed where they are not yet.
    """
    ids = workspace.train.index
    if train_id not in ids:
        raise UserError(f"No training example {train_id}: workspace '{workspace.name}' has {ids[0]} to {ids[-1]}.")
    (part,) = parts(workspace, "features")
    features = np.asarray(load(workspace, part, progress)["features"])
    at = ids.get_loc(train_id)
    alike = cosines(features[at], features)
    order = np.argsort(-alike, kind="stable")
    return [(int(ids[other]), float(alike[other])) for other in order[order != at][:count]]
