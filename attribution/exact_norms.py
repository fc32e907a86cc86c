"""Norms of the training gradients, of which nothing is dropped: made once, since every exact answer divides by them.

‖∇ℓ_i‖, or √(∇ℓ_iᵀ(H + λI)⁻¹∇ℓ_i) with EK-FAC. They do not depend on the question, and take several times longer than
the products with one.
"""

from pathlib import Path

import numpy as np

from attribution.ekfac import curvature_parts, open_curvature
from attribution.factor_index import DTYPES, FactorIndex, factor_parts, open_factors
from attribution.index import BUILDERS, Part, Progress, parts
from attribution.scope import make_scope
from attribution.sweep import Metric, products
from attribution.workspace import Workspace

KIND = "exact_norms"
PLAIN = "none"


def exact_norms_part(workspace: Workspace, scope: str, state: int, *, damping: float | None, precision: str) -> Part:
    """The norms at a saved state; with a damping those in EK-FAC's metric, of which `precision` turns the gradients."""
    metric = {"damping": PLAIN if damping is None else repr(float(damping)), "precision": precision}
    return next(part for part in parts(workspace, KIND, "all", scope=scope, **metric) if part.checkpoint == state)


def kept_index(workspace: Workspace, scope: str, state: int) -> FactorIndex | None:
    """The index of a scope, where it is there already: a pass starts from the states that it keeps."""
    (part,) = [part for part in factor_parts(workspace, scope, "all") if part.checkpoint == state]
    return open_factors(workspace, part) if part.is_built(workspace) else None


def _build(workspace: Workspace, part: Part, folder: Path, progress: Progress) -> tuple[str, ...]:
    """In float32 but for the turn into the eigenbasis. Cost: a pass over the training set that forms each gradient."""
    text, damping, positions = part.option("scope"), part.option("damping"), np.arange(len(workspace.train))
    metric = Metric(names=make_scope(workspace.classifier, text).layers)
    if damping != PLAIN:
        (fitted,) = [p for p in curvature_parts(workspace, text, "all") if p.checkpoint == part.checkpoint]
        metric = Metric(names=metric.names, layers=open_curvature(workspace, fitted, progress), damping=float(damping))
    index = kept_index(workspace, text, part.checkpoint)
    squares = products(
        workspace.classifier,
        *workspace.encoded_train(positions),
        {},
        metric,
        weights=workspace.weights(part.checkpoint),
        states=None if index is None else index.states(positions),
        metric_dtype=DTYPES[part.option("precision")],
        progress=lambda done: progress(done, len(positions), f"exact norms over {text}"),
    )[1]
    np.save(folder / "norms.npy", np.sqrt(squares))
    return ("norms",)


BUILDERS[KIND] = _build
