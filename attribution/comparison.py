"""How alike the answers of several methods are: ranks, Spearman's correlation, and the top rows they share.

Pezeshkpour et al. 2021 §4 compare instance attribution methods so (Fig. 2-6), over many test examples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from attribution.errors import UserError
from attribution.index import Progress, silent
from attribution.query import make_query, sample_ids
from attribution.rank_correlation import spearman
from attribution.registry import get_method, run_method
from attribution.results import ScoreTable
from attribution.workspace import Workspace

TOPS = (10, 50)


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How alike methods rank the training set, as means over `tests` test examples.

    `spearman`: (methods, methods) in [-1, 1], NaN where it is defined for no example. `defined`: (methods, methods),
    the number of examples that its mean is over. `overlaps`: by the k of the top, (methods, methods) in [0, 1].
    `seconds`: (methods,), what an answer took.
    """

    methods: tuple[str, ...]
    tests: int
    spearman: np.ndarray
    defined: np.ndarray
    overlaps: Mapping[int, np.ndarray]
    seconds: np.ndarray


def overlap(orders: np.ndarray, top: int) -> np.ndarray:
    """The share of the `top` first positions that two rows of orders (methods, train) have in common.

    (methods, methods) in [0, 1]; a training set that is smaller than `top` counts whole.
    """
    k = min(top, orders.shape[1])
    inside = np.zeros(orders.shape, dtype=np.int64)
    np.put_along_axis(inside, orders[:, :k], 1, axis=1)
    return inside @ inside.T / k


def agreement(tables: Sequence[ScoreTable]) -> Agreement:
    """How alike the answers of several methods to one question are."""
    correlation = spearman(np.stack([table.scores for table in tables]))
    orders = np.stack([table.order for table in tables])
    return Agreement(
        methods=tuple(table.method for table in tables),
        tests=1,
        spearman=correlation,
        defined=np.isfinite(correlation).astype(np.int64),
        overlaps={top: overlap(orders, top) for top in TOPS},
        seconds=np.array([table.seconds for table in tables]),
    )


def mean_agreement(single: Sequence[Agreement]) -> Agreement:
    """The means of agreements of the same methods on one test example each.

    A correlation that an example leaves undefined is left out of its mean, and not counted in `defined`.
    """
    found = np.stack([each.spearman for each in single])
    defined = np.isfinite(found).sum(axis=0)
    total = np.where(np.isfinite(found), found, 0.0).sum(axis=0)
    return Agreement(
        methods=single[0].methods,
        tests=len(single),
        spearman=np.where(defined > 0, total / np.maximum(defined, 1), np.nan),
        defined=defined,
        overlaps={top: np.mean([each.overlaps[top] for each in single], axis=0) for top in single[0].overlaps},
        seconds=np.mean([each.seconds for each in single], axis=0),
    )


def sample_tests(workspace: Workspace, count: int, seed: int = 0) -> tuple[int, ...]:
    """The ids of `count` test examples drawn without replacement, in rising order; the same for the same seed.

    Raises UserError for more examples than there are, or none.
    """
    ids = workspace.test.index.tolist()
    if not 1 <= count <= len(ids):
        raise UserError(f"The number of test examples must be from 1 to {len(ids)}, not {count}.")
    return tuple(sample_ids(ids, count, seed))


def compare(
    workspace: Workspace,
    methods: Sequence[str],
    tests: Sequence[int],
    *,
    label: str = "predicted",
    parameters: Mapping[str, Mapping[str, Any]] | None = None,
    progress: Progress = silent,
) -> Agreement:
    """Mean agreement of methods over test examples; `label` as in `make_query`, `parameters` by method.

    Answers of an index have their top scored exactly, as where one is shown. Raises UserError for a method that does
    not score training examples for a prediction. Cost: every method's answer to every test example.
    """
    for name in methods:
        if get_method(name).explains != "examples" or get_method(name).clicked:
            raise UserError(f"{name} does not explain a prediction by training examples: it cannot be compared.")
    found = []
    for test in tests:
        query = make_query(workspace, test=test, label=label)
        tables = [run_method(query, name, (parameters or {}).get(name)) for name in methods]
        found.append(agreement([table for table in tables if isinstance(table, ScoreTable)]))
        progress(len(found), len(tests), "test examples compared")
    return mean_agreement(found)
