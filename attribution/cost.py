"""About how long an answer will take, or the index that it reads: from a few training examples, or from what was built.

The figures are for a person who decides whether to wait: right to a factor of about two.
"""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from attribution import iterative
from attribution.index import Part
from attribution.masked_texts import KIND as MASKED
from attribution.masked_texts import forward_passes
from attribution.parameters import checked
from attribution.registry import get_method
from attribution.scope import Scope
from attribution.scoring import kept_states, plan
from attribution.sweep import sweep
from attribution.workspace import Workspace

TIMED = 32
# In passes that carry tangents: a product with the curvature adds a backward pass; exact norms form whole gradients.
A_PRODUCT, A_NORM = 3, 4
# In forward passes: what an index of gradients takes, where none of its kind was built yet.
AN_INDEX = 3


def answer_seconds(workspace: Workspace, name: str, parameters: Mapping[str, Any] | None = None) -> float:
    """About how long a method takes for one question once its index is there; 0 for what needs no pass over the data.

    Counts the exact sweep, and the products of an iterative solver at its most steps. Takes a fraction of a second
    itself, once a scope. Raises UserError for parameters that do not fit one another or the model.
    """
    method = get_method(name)
    values = checked(name, method.parameters, parameters or {})
    if method.preset is None:
        return 0.0
    planned = plan(workspace, method.preset.overlaid(values))
    states, steps = len(planned.states(workspace)), iterative.STEPS.get(planned.solver, 0)
    passes = 0
    if planned.scorer == "sweep":
        passes += states * len(workspace.train) * (1 if planned.choices.normalise == "none" else 1 + A_NORM)
    if steps:
        products = steps + iterative.PROBES
        passes += states * min(iterative.SAMPLE, len(workspace.train)) * products * A_PRODUCT
    return passes * pass_seconds(workspace, planned.scope) if passes else 0.0


def build_seconds(workspace: Workspace, missing: Sequence[Part]) -> float | None:
    """About how long it takes to build these parts; None where nothing was built here that they can be held against.

    As long as a part of the same kind took; for a kind that is new, three times the features, which are one pass.
    Of masked texts there is one for every span.
    """
    took = _built(workspace)
    one = took.get("features")

    def seconds(part: Part) -> float | None:
        if part.kind == MASKED:
            return None if one is None else forward_passes(workspace, part) * one
        return took.get(part.kind, None if one is None else AN_INDEX * one)

    each = [seconds(part) for part in missing]
    return None if None in each else float(sum(found for found in each if found is not None))


def _built(workspace: Workspace) -> dict[str, float]:
    """By kind the mean seconds that the parts of this workspace's index took."""
    seconds: dict[str, list[float]] = {}
    for path in (workspace.storage / "index").glob("*/manifest.json"):
        said = json.loads(path.read_text(encoding="utf8"))
        if said["workspace"] == workspace.digest:
            seconds.setdefault(said["kind"], []).append(said["seconds"])
    return {kind: float(np.mean(all_of_it)) for kind, all_of_it in seconds.items()}


def pass_seconds(workspace: Workspace, scope: Scope) -> float:
    """The seconds that the exact sweep over a scope takes a training example, at the final state."""
    return workspace.memo(("seconds of a pass", scope), lambda: _timed(workspace, scope))


def _timed(workspace: Workspace, scope: Scope) -> float:
    classifier, state = workspace.classifier, workspace.states()[-1]
    rows = np.unique(np.linspace(0, len(workspace.train) - 1, TIMED).astype(np.int64))
    encoded, labels = workspace.encoded_train(rows)
    parameters = dict(classifier.model.named_parameters())
    vector = {name: torch.zeros_like(parameters[name]) for name in scope.names}
    index = kept_states(workspace, scope, state, state)
    states, took = None if index is None else index.states(rows), []
    for _ in range(2):  # the first time some things are made that stay
        began = time.perf_counter()
        sweep(classifier, encoded, labels, vector, states=states)
        took.append(time.perf_counter() - began)
    return min(took) / len(rows)
