"""The label that an artifact is thought to stand for."""

import numpy as np

from attribution.artifacts import feature_values
from attribution.errors import unknown
from attribution.workspace import Workspace

ENTAILMENT = "entailment"


def label_of(workspace: Workspace, label: str) -> str:
    """The label named; for "auto" entailment, or else the one whose training pairs overlap most."""
    if label != "auto":
        if label not in workspace.labels:
            raise unknown("label", label, ("auto", *workspace.labels))
        return label
    if ENTAILMENT in workspace.labels:
        return ENTAILMENT
    overlap, labels = feature_values(workspace, "lexical_overlap"), workspace.label_ids(workspace.train)
    kept = np.isfinite(overlap)
    sums = np.bincount(labels[kept], weights=overlap[kept], minlength=len(workspace.labels))
    rates = sums / np.maximum(1, np.bincount(labels[kept], minlength=len(workspace.labels)))
    return workspace.labels[int(rates.argmax())]
