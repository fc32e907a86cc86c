"""How faithful an index is: its scores against the exact ones, measured when it is built."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from attribution.ekfac import sample
from attribution.head import cosine
from attribution.index import BUILDERS, Part, Progress, silent
from attribution.query import make_query
from attribution.rank_correlation import spearman
from attribution.scoring import FIDELITY, Choices, plan, side_of
from attribution.sides import IndexSide
from attribution.workspace import Workspace

TESTS = 5
ROWS = 256


def _build(workspace: Workspace, part: Part, folder: Path, progress: Progress) -> tuple[str, ...]:
    """Spearman correlation of index and exact scores over 256 training examples, for five test examples: (tests,)."""
    choices = Choices(
        scope=part.option("scope"),
        solver=part.option("solver"),
        normalise=part.option("normalise"),
        damping=float(part.option("damping")),
        scorer="index",
    )
    planned, rows = plan(workspace, choices), sample(workspace, ROWS)[0]
    found, norms = [], None
    for test in workspace.test.index[:: max(1, len(workspace.test) // TESTS)][:TESTS]:
        query = make_query(workspace, test=int(test))
        side = side_of(query, query.quantity(), planned, part.checkpoint, silent, [])
        assert isinstance(side, IndexSide)
        exact = replace(side.sweep, normalise="none").exactly(rows)
        if choices.normalise != "none":
            norms = side.sweep.norms(rows) if norms is None else norms
            exact = cosine(exact, norms, side.sweep.norm)
        found.append(spearman(np.stack([side.train(silent)[rows], exact]))[0, 1])
        progress(len(found), TESTS, f"agreement with exact scores over {choices.scope}")
    np.save(folder / "spearman.npy", np.array(found))
    return ("spearman",)


BUILDERS[FIDELITY] = _build
