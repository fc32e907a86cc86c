"""How many of their top training examples methods have in common (Pezeshkpour et al. 2021 appendix B and C)."""

import numpy as np

from attribution.comparison import TOPS, overlap
from attribution.errors import UserError
from attribution.experiments.measures import answers, asking_seconds, drawn_tests
from attribution.experiments.pairwise import METHODS, MODEL, Damped, ScopeOf, Tests, Wider, asked, entries, pair_rows
from attribution.experiments.registry import Findings, Run, experiment

DIFFERS = f"{MODEL}. The figures print no numbers that can be read off; what the text says of them"
PAPER = [
    {"method": method, "other": other, "finding": finding, "place": place, "differs": DIFFERS}
    for method, other, finding, place in (
        ("influence", "gd", "very high", "Figs 5–6"),
        ("relatif", "gc", "very high", "Figs 5–6"),
        ("nn_euc", "nn_cos", "very high", "Figs 5–6"),
        ("influence", "influence, top 5 blocks", "very high", "Fig. 4"),
    )
]
TOLD = (("influence", "gd"), ("relatif", "gc"), ("nn_euc", "nn_cos"))


def _seconds(run: Run, *, tests: int, scope: str, wider: str, damping: float) -> float:
    compared = list(entries(run, scope, wider, damping).values())
    return asking_seconds(run, compared, len(drawn_tests(run, tests)), rerank=True)


@experiment(
    title="Top examples that methods share",
    paper="Pezeshkpour 2021 appendices B and C, Figs 4–6",
    cost="one question a test example and method, an index's top rows scored exactly",
    methods=METHODS,
    small={"tests": 3, "wider": ""},
    estimate=_seconds,
)
def top_overlap(
    run: Run, *, tests: Tests = 50, scope: ScopeOf = "head", wider: Wider = "last:2", damping: Damped = 0.0
) -> Findings:
    """The share, 0 to 1, of the top 10 and the top 50 training examples that each two methods have in common.

    Means over the test examples, each explained for its predicted label, with standard errors. By chance it is
    k / training examples, which the rows of `random` show. The paper takes 50 test examples.
    """
    workspace, compared = run.workspace, entries(run, scope, wider, damping)
    if len(workspace.train) <= TOPS[0]:
        raise UserError(f"The top {TOPS[0]} of {len(workspace.train)} training examples are all of them.")
    ids, found = drawn_tests(run, tests), []
    for done, test in enumerate(ids, start=1):
        question = {"experiment": "top_overlap", "test": test, "of": asked(compared), "seed": run.seed}

        def make(test: int = test) -> dict[str, np.ndarray]:
            orders = np.stack([table.order for table in answers(run, test, list(compared.values()), rerank=True)])
            return {f"top_{top}": overlap(orders, top) for top in TOPS}

        found.append(run.kept(question, make))
        run.progress(done, len(ids), "test examples explained")
    measured = {f"top_{top}": np.stack([each[f"top_{top}"] for each in found]) for top in TOPS}
    rows = pair_rows(list(compared), measured)
    values = {(row["method"], row["other"]): row["top_10"] for row in rows}
    pairs = [pair for one, other in TOLD for pair in ((one, other), (other, one)) if pair in values]
    chance = {f"chance of top_{top}": min(1.0, top / len(workspace.train)) for top in TOPS}
    return Findings(
        summary={"tests": len(ids), **chance, **{f"{a} and {b}": values[a, b] for a, b in pairs}},
        table=rows,
        paper=PAPER,
    )
