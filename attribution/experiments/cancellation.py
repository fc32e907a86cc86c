"""How far the steps of single examples cancel in a layer: much gradient, little change (Yeh et al. 2022 §3)."""

import time
from typing import Annotated

import numpy as np
import torch

from attribution.errors import UserError
from attribution.experiments.layers import BIASES, WEIGHTS, Group, example_gradients, group_dot, layer_groups
from attribution.experiments.measures import mean_error
from attribution.experiments.registry import Findings, Row, Run, experiment
from attribution.parameters import Range
from attribution.query import sample_ids
from attribution.workspace import Workspace

ALL = "all layers"
MODEL = "a CNN of 3 convolutional layers with word embeddings, trained from scratch on AG News; no LayerNorm"
PAPER = [
    {"layer": layer, "kind": kind, "gradient": g, "change": c, "ratio": ratio, "place": place, "differs": MODEL}
    for layer, kind, g, c, ratio, place in (
        (ALL, BIASES, 627206, 0.74, 16789, "§3.2"),
        (ALL, WEIGHTS, 559142, 4.37, 2555, "§3.2"),
        ("first", WEIGHTS, None, None, 1863, "Table 1"),
        ("second", WEIGHTS, None, None, 2019, "Table 1"),
        ("third", WEIGHTS, None, None, 3126, "Table 1"),
        ("last", WEIGHTS, None, None, 2966, "Table 1"),
        (ALL, WEIGHTS, None, None, 2368, "Table 1"),
    )
]


def _seconds(run: Run, *, examples: int) -> float:
    groups, names = _groups(run.workspace)
    some = sample_ids(range(len(run.workspace.train)), 12, run.seed)
    list(_norms(run.workspace, groups, names, some[:1], 0))
    began = time.perf_counter()
    list(_norms(run.workspace, groups, names, some, 0))
    run.progress(1, 1, "gradients timed")
    each = (time.perf_counter() - began) / len(some)
    return each * min(examples, len(run.workspace.train)) * (len(run.workspace.checkpoints) - 1)


@experiment(
    title="Cancellation by layer",
    paper="Yeh 2022 §3.1–3.3, Table 1",
    cost="a forward and a backward pass a training example and checkpoint",
    small={"examples": 6},
    estimate=_seconds,
)
def cancellation(
    run: Run,
    *,
    examples: Annotated[int, Range(low=2, high=10_000_000, help="Training examples at most, drawn.")] = 300,
) -> Findings:
    """The cancellation ratio C(W) = Σ_c G(W)_c / Σ_c ΔW_c of every trained layer, weights and biases apart.

    G(W)_c = η_c Σ_i ‖∇_W ℓ_i‖ over the training examples (`gradient`), estimated from the drawn ones, with the standard
    error that this brings into the ratio; ΔW_c = ‖W_c+1 − W_c‖ from one saved checkpoint to the next (`change`). c runs
    over the checkpoints but the last, for nothing is known of what follows it. Biases are counted with LayerNorms. C
    grows with the number of training examples and shrinks with the steps an epoch: compare layers, not models.
    """
    workspace = run.workspace
    if len(workspace.checkpoints) < 2:
        raise UserError(
            f"cancellation needs two saved checkpoints at least, and workspace '{workspace.name}' has "
            f"{len(workspace.checkpoints)}: train it for 2 epochs or more, or give new --checkpoints."
        )
    groups, names = _groups(workspace)
    positions = sample_ids(range(len(workspace.train)), examples, run.seed)
    states = workspace.states()[:-1]
    norms = []
    for done, state in enumerate(states):

        def make(state: int = state, done: int = done) -> dict[str, np.ndarray]:
            made = []
            for found in _norms(workspace, groups, names, positions, state):
                made.append(found)
                run.progress(done * len(positions) + len(made), len(states) * len(positions), "gradients of examples")
            return {"norms": np.array(made)}

        question = {"experiment": "cancellation", "state": state, "examples": examples, "seed": run.seed}
        norms.append(workspace.rate(state) * run.kept(question, make)["norms"])
    run.progress(1, 1, "gradients of examples")
    changes = np.sum([_changes(workspace, groups, state) for state in states], axis=0)
    total = len(workspace.train) * np.sum(norms, axis=0)
    rows = [_row(group, total[:, g], float(changes[g])) for g, group in enumerate(groups)]
    frozen = sorted({group.layer for group in layer_groups(workspace)} - {group.layer for group in groups})
    note = f"Without a ratio, because training did not change them: {', '.join(frozen)}."
    return Findings(
        summary={f"{row['layer']}, {row['kind']}": row["ratio"] for row in rows if row["ratio"] is not None},
        table=rows,
        paper=PAPER,
        notes=(note,) if frozen else (),
    )


def _groups(workspace: Workspace) -> tuple[list[Group], list[str]]:
    """The groups of trained parameters, at the end all of a kind together; and the parameters' names."""
    trained = [
        Group(layer=group.layer, kind=group.kind, names=names)
        for group in layer_groups(workspace)
        if (names := tuple(name for name in group.names if name in workspace.trained))
    ]
    together = [
        Group(layer=ALL, kind=kind, names=tuple(name for g in trained if g.kind == kind for name in g.names))
        for kind in (WEIGHTS, BIASES)
    ]
    return trained + [group for group in together if group.names], [name for g in trained for name in g.names]


def _norms(workspace: Workspace, groups: list[Group], names: list[str], positions: list[int], state: int):
    """‖∇_W ℓ_i‖ of every group, one training example after the other: each (groups,)."""
    for found in example_gradients(workspace, "train", positions, names, state):
        yield [group_dot(group, found, found) ** 0.5 for group in groups]


def _changes(workspace: Workspace, groups: list[Group], state: int) -> np.ndarray:
    """‖W_c+1 − W_c‖ of every group: (groups,)."""
    own = dict(workspace.classifier.model.named_parameters())
    now, then = (own | workspace.weights(k) for k in (state, state + 1))
    return np.array([float(torch.stack([(then[n] - now[n]).norm() for n in g.names]).norm()) for g in groups])


def _row(group: Group, strength: np.ndarray, change: float) -> Row:
    """A row from what each drawn example would make G, were all as it is."""
    gradient, error = mean_error(strength)
    assert gradient is not None
    row: Row = {"layer": group.layer, "kind": group.kind, "gradient": gradient, "change": change}
    ratio, ratio_error = (gradient / change, error / change if error else None) if change > 0 else (None, None)
    return {**row, "ratio": ratio, "ratio_error": ratio_error, "n": len(strength)}
