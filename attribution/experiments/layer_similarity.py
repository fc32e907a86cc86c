"""How alike the gradients of different examples are in every layer (Yeh et al. 2022 §3.3)."""

import time
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from attribution.errors import UserError
from attribution.experiments.layers import Group, example_gradients, group_dot, layer_groups
from attribution.experiments.measures import drawn_tests
from attribution.experiments.registry import Findings, Row, Run, experiment
from attribution.parameters import Range
from attribution.workspace import Workspace

MODEL = "a CNN with word embeddings, trained from scratch on AG News; weights, and no error"
PAPER = [
    {"layer": layer, "kind": "weights", "cosine": cosine, "place": "§3.3", "differs": MODEL}
    for layer, cosine in (("first", 0.035), ("second", 0.075), ("third", 0.21), ("last", 0.23))
]


def _seconds(run: Run, *, tests: int) -> float:
    some = _positions(run, 3)
    _mean_cosines(run.workspace, some)
    began = time.perf_counter()
    _mean_cosines(run.workspace, some)
    run.progress(1, 1, "gradients timed")
    return (time.perf_counter() - began) / len(some) * len(_positions(run, tests))


@experiment(
    title="Likeness of gradients by layer",
    paper="Yeh 2022 §3.3",
    cost="two forward and backward passes a test example",
    small={"tests": 4},
    estimate=_seconds,
)
def layer_similarity(
    run: Run,
    *,
    tests: Annotated[int, Range(low=3, high=1_000_000, help="Test examples at most, drawn.")] = 100,
) -> Findings:
    """E cos(∇_W ℓ_a, ∇_W ℓ_b), −1 to 1, over pairs of different test examples, by layer, weights and biases apart.

    ℓ is the loss of the true label under the final model, and every layer counts, trained or frozen. The standard error
    is that of a mean over pairs of the same examples; an example without a gradient in a layer is left out of it (`n`).
    A layer whose gradients are alike tells examples apart badly.
    """
    workspace, positions = run.workspace, _positions(run, tests)
    question = {"experiment": "layer_similarity", "tests": tests, "seed": run.seed}
    found = run.kept(question, lambda: {"cosines": _mean_cosines(workspace, positions, run)})["cosines"]
    run.progress(1, 1, "gradients of test examples")
    groups = layer_groups(workspace)
    rows = [_row(group, found[:, g]) for g, group in enumerate(groups)]
    return Findings(
        summary={f"{row['layer']}, {row['kind']}": row["cosine"] for row in rows if row["cosine"] is not None},
        table=rows,
        paper=PAPER,
    )


def _positions(run: Run, tests: int) -> list[int]:
    found = run.workspace.test.index.get_indexer(drawn_tests(run, tests)).tolist()
    if len(found) < 3:
        raise UserError(f"layer_similarity needs 3 test examples, and there are {len(found)}.")
    return found


def _mean_cosines(workspace: Workspace, positions: list[int], run: Run | None = None) -> np.ndarray:
    """Every example's mean cosine with the others: (examples, groups), NaN where its gradient vanishes.

    A mean over pairs is an inner product with the sum of all unit gradients, so nothing is kept of single examples: the
    first pass makes the sum, the second meets it.
    """
    groups, done = layer_groups(workspace), 0
    names = [name for group in groups for name in group.names]
    state, total = workspace.states()[-1], {}
    lengths, inside = (np.zeros((len(positions), len(groups))) for _ in range(2))
    for again in (False, True):
        for row, gradient in enumerate(example_gradients(workspace, "test", positions, names, state)):
            for g, group in enumerate(groups):
                if again:
                    inside[row, g] = group_dot(group, gradient, total)
                else:
                    lengths[row, g] = group_dot(group, gradient, gradient) ** 0.5
                    _add(total, group, gradient, float(lengths[row, g]))
            done += 1
            if run is not None:
                run.progress(done, 2 * len(positions), "gradients of test examples")
    lengths[lengths == 0] = np.nan
    return (inside / lengths - 1) / (np.isfinite(lengths).sum(axis=0) - 1)


def _add(total: dict[str, Tensor], group: Group, gradient: dict[str, Tensor], length: float) -> None:
    """Add the unit vector of a gradient over a group's parameters to the sum, where it has a direction."""
    for name in group.names:
        unit = gradient[name] / length if length > 0 else torch.zeros_like(gradient[name])
        total[name] = total[name].add_(unit) if name in total else unit


def _row(group: Group, cosines: np.ndarray) -> Row:
    found = cosines[np.isfinite(cosines)]
    row: Row = {"layer": group.layer, "kind": group.kind, "cosine": None, "standard_error": None, "n": len(found)}
    if len(found) > 2:
        # The error of a U-statistic of pairs is to first order twice that of the mean over its examples.
        row["cosine"], row["standard_error"] = float(found.mean()), float(2 * found.std(ddof=1) / len(found) ** 0.5)
    return row
