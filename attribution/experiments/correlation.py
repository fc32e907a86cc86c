"""How alike methods rank the training set: Spearman's correlation of each two (Pezeshkpour et al. 2021 §4)."""

from typing import Annotated

import numpy as np

from attribution.experiments.measures import answers, asking_seconds, drawn_tests
from attribution.experiments.pairwise import METHODS, MODEL, Damped, ScopeOf, Tests, Wider, asked, entries, pair_rows
from attribution.experiments.registry import Findings, Run, experiment
from attribution.parameters import Range
from attribution.query import sample_ids
from attribution.rank_correlation import spearman

DIFFERS = f"{MODEL}. The figures print no numbers that can be read off; what the text says of them"
PAPER = [
    {"method": method, "other": other, "finding": finding, "place": place, "differs": DIFFERS}
    for method, other, finding, place in (
        ("influence", "gd", "alike", "Fig. 2, (1)"),
        ("relatif", "gc", "alike", "Fig. 2, (1)"),
        ("influence", "influence, top 5 blocks", "highly correlated", "Fig. 2, (2)"),
        ("nn_*", "gradient methods", "modestly correlated", "Fig. 2, (3)"),
        ("sbert_*", "all others", "very small", "Fig. 3"),
    )
]
TOLD = (("influence", "gd"), ("relatif", "gc"), ("nn_euc", "nn_cos"), ("nn_cos", "gd"), ("nn_cos", "gc"))


def _seconds(run: Run, *, tests: int, train: int, scope: str, wider: str, damping: float) -> float:
    compared = list(entries(run, scope, wider, damping).values())
    return asking_seconds(run, compared, len(drawn_tests(run, tests)))


@experiment(
    title="Correlation between methods",
    paper="Pezeshkpour 2021 §4, Figs 2–3",
    cost="one question a test example and method; over the head some milliseconds each",
    methods=METHODS,
    small={"tests": 3, "wider": ""},
    estimate=_seconds,
)
def correlation(
    run: Run,
    *,
    tests: Tests = 100,
    train: Annotated[
        int, Range(low=2, high=10_000_000, help="Training examples that are ranked, at most, drawn.")
    ] = 500,
    scope: ScopeOf = "head",
    wider: Wider = "last:2",
    damping: Damped = 0.0,
) -> Findings:
    """Spearman's rank correlation, −1 to 1, of each two methods' scores of the same drawn training examples.

    Means over the test examples, each explained for its predicted label, with standard errors; an example for which a
    method's scores are all equal is left out of that method's means (`n`). The paper takes 100 test and 500 training
    examples. The stronger the damping, the more influence ranks as gd and relatif as gc. An index's scores are read as
    they are.
    """
    workspace, compared = run.workspace, entries(run, scope, wider, damping)
    drawn = np.array(sample_ids(range(len(workspace.train)), train, run.seed))
    ids, found = drawn_tests(run, tests), []
    for done, test in enumerate(ids, start=1):
        question = {"experiment": "correlation", "test": test, "of": asked(compared), "train": train, "seed": run.seed}

        def make(test: int = test) -> dict[str, np.ndarray]:
            tables = answers(run, test, list(compared.values()))
            return {"spearman": spearman(np.stack([table.scores[drawn] for table in tables]))}

        found.append(run.kept(question, make)["spearman"])
        run.progress(done, len(ids), "test examples explained")
    rows = pair_rows(list(compared), {"spearman": np.stack(found)})
    values = {(row["method"], row["other"]): row["spearman"] for row in rows if row["spearman"] is not None}
    pairs = [pair for one, other in TOLD for pair in ((one, other), (other, one)) if pair in values]
    return Findings(
        summary={"tests": len(ids), "train": len(drawn), **{f"{a} and {b}": values[a, b] for a, b in pairs}},
        table=rows,
        paper=PAPER,
    )
