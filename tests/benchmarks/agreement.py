"""How well quick answers agree with exact ones, over many test examples."""

import statistics
from typing import Any

import numpy as np

from attribution import rank_correlation
from attribution.ekfac import sample
from attribution.index import silent
from attribution.query import Query, make_query
from attribution.registry import get_method, run_method
from attribution.results import ScoreTable
from attribution.scoring import plan, side_of
from attribution.workspace import Workspace

ROWS = 128
CANDIDATES = 40


def spearman(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's rank correlation of two rows of scores."""
    return float(rank_correlation.spearman(np.stack([one, other]))[0, 1])


def questions(workspace: Workspace, tests: int) -> list[Query]:
    """Test examples spread over the test set, each with its most salient word clicked."""
    step = max(1, len(workspace.test) // tests)
    found = []
    for test in workspace.test.index[::step][:tests]:
        whole = make_query(workspace, test=int(test))
        raw = np.abs(run_method(whole, "gradient_x_input").raw)  # pyright: ignore[reportAttributeAccessIssue]
        plain = [t.index for t in whole.example.tokens if not t.special] or [0]
        found.append(make_query(workspace, test=int(test), token=max(plain, key=lambda i: raw[i])))
    return found


def agreement(query: Query, method: str, settings: dict[str, Any]) -> tuple[float, float]:
    """Spearman with the exact scores over 128 sampled training examples, and overlap with the exact top 20.

    The exact top 20 is looked for among the index's first 40, each scored exactly.
    """
    chosen, workspace = get_method(method), query.workspace
    assert chosen.preset is not None
    planned = plan(workspace, chosen.preset.overlaid(settings))
    quantity = query.saliency("gradient_x_input") if chosen.clicked else query.quantity()
    side = side_of(query, quantity, planned, workspace.states()[-1], silent, [])
    quick = side.train(silent)
    rows, first = sample(workspace, ROWS)[0], np.argsort(-quick, kind="stable")[:CANDIDATES]
    exact = side.exactly(np.concatenate([rows, first]))
    best = first[np.argsort(-exact[len(rows) :], kind="stable")[:20]]
    table = run_method(query, method, settings)
    assert isinstance(table, ScoreTable)
    shown = table.order[:20]
    return spearman(quick[rows], exact[: len(rows)]), len(set(shown) & set(best)) / 20


def measure(workspace: Workspace, tests: int) -> dict[str, Any]:
    """The agreement block of the benchmark's JSON."""
    made: dict[str, Any] = {"tests": tests, "rows": ROWS}
    asked = questions(workspace, tests)
    for solver in ("identity", "ekfac"):
        settings = {"solver": solver, "normalise": "none"}
        found = {name: [agreement(q, name, settings) for q in asked] for name in ("saliency_influence", "influence")}
        for name, short in (("saliency_influence", "saliency"), ("influence", "loss")):
            values = [correlation for correlation, _ in found[name]]
            prefix = f"{'ekfac_' if solver == 'ekfac' else ''}{short}"
            made[f"{prefix}_spearman_median"] = round(statistics.median(values), 4)
            made[f"{prefix}_spearman_min"] = round(min(values), 4)
        overlaps = [overlap for pairs in found.values() for _, overlap in pairs]
        made[f"{'ekfac_' if solver == 'ekfac' else ''}top20_overlap_after_rerank"] = round(statistics.mean(overlaps), 3)
    return made
