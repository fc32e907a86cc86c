"""How faithful explanations by spans are to the one final model (Huang et al. 2021 §6.3)."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np

from attribution.errors import UserError
from attribution.experiments.measures import drawn_tests, mean_error
from attribution.experiments.registry import CONTROL, Findings, Row, Run, experiment
from attribution.parameters import Choice, Name, Range
from attribution.quantity import Quantity
from attribution.query import Query, make_query, sample_ids
from attribution.rank_correlation import spearman
from attribution.registry import get_method, list_methods
from attribution.scoring import Choices, plan, sides_of
from attribution.span_scores import Units, explained_span
from attribution.spans import Finder

CHECKPOINTS = "checkpoints"
FINDERS = ("clauses", "sentences", "aspect", "given")
DIFFERS = (
    "RoBERTa-large fine-tuned on aspect sentiment (MAMS or sentihood), 3 copies, curvature by a stochastic "
    "approximation; 5 runs, of which it does not say what is drawn anew, nor whether its variance is over them. Its "
    "per cent are shares here, and its variance is divided by 10,000"
)
PAPER = [
    {"method": method, "name": name, "spearman": mean / 100, "variance": variance / 1e4, "differs": DIFFERS}
    for method, name, mean, variance in (
        (CHECKPOINTS, "Control", 55.11, 4.84),
        ("tracin_plus_plus", "TracIn++", 60.14, 3.57),
        ("if_plus_plus", "IF++", 59.37, 20.50),
    )
]


@dataclass(frozen=True, kw_only=True)
class Setup:
    """The spans that are scored, those of the training examples at some positions, and over which parameters."""

    run: Run
    finder: Finder
    positions: list[int]
    scope: str
    solver: str

    def choices(self, method: str, number: int) -> Choices:
        """A method's choices of the equation in a run of this number; of "" the truth's."""
        if method == "":
            made = Choices(scope=self.scope)
        elif method == CHECKPOINTS:
            made = Choices(scope=self.scope, checkpoints="all")
        else:
            preset = get_method(method).preset
            assert preset is not None
            made = preset.overlaid({"scope": self.scope, "seed": (self.run.seed + number) % 2**31})
            made = replace(made, solver=self.solver) if made.solver == "auto" else made
        solver = plan(self.run.workspace, made).solver
        return replace(made, scorer="head" if solver == "exact" else "sweep")

    def draws(self, method: str) -> bool:
        """Whether a method's answers depend on a seed."""
        planned = plan(self.run.workspace, self.choices(method, 0))
        return planned.choices.checkpoints == "copies" or planned.solver in ("cg", "lissa", "arnoldi")

    def scores(self, query: Query, method: str, *, of: str, number: int = 0) -> np.ndarray:
        """Exact scores of all the spans, in the order of the text, for the quantity that the method `of` explains."""
        quantity: Quantity = query.quantity()
        if get_method(of).spans == "both":
            quantity, _ = explained_span(query, self.finder)
        planned = plan(query.workspace, self.choices(method, number))
        sides = sides_of(query, quantity, planned, self.run.progress, [])
        units = Units(query=query, finder=self.finder, sides=sides)
        units.learn(self.positions, self.run.progress)
        ordered = [sorted(units.known[at], key=lambda s: (s.segment, s.start, s.end)) for at in self.positions]
        return np.array([span.score for spans in ordered for span in spans])


def _setup(run: Run, *, train: int, finder: str, scope: str, solver: str) -> Setup:
    for name in run.methods:
        if get_method(name).spans == "none":
            known = ", ".join(m.name for m in list_methods("examples") if m.spans != "none")
            raise UserError(f"faithfulness is for methods that score spans, and {name} does not. Known: {known}.")
    positions = sample_ids(range(len(run.workspace.train)), train, run.seed)
    return Setup(run=run, finder=Finder(name=finder), positions=positions, scope=scope, solver=solver)


def _seconds(run: Run, *, tests: int, runs: int, **values: Any) -> float:
    """The time of the truth's answer to one question, as often as a state of the model is asked."""
    setup, query = _setup(run, **values), make_query(run.workspace, test=drawn_tests(run, 1)[0])
    for name in ("", *run.methods):  # the first answers open what they read
        setup.scores(query, name, of=run.methods[0])
    began = time.perf_counter()
    setup.scores(query, "", of=run.methods[0])
    each, states = time.perf_counter() - began, len(run.workspace.states())
    run.progress(1, 1, "spans timed")
    for name in run.methods:
        copies = len(plan(run.workspace, setup.choices(name, 0)).states(run.workspace))
        states += 1 + copies * (runs if setup.draws(name) else 1)
    return len(drawn_tests(run, tests)) * each * states


@experiment(
    title="Faithfulness of spans to the final model",
    paper="Huang 2021 §6.3, Table 4",
    cost="every span of the drawn training examples through the exact sweep, for each test, method, copy and run",
    methods=("tracin_plus_plus", "if_plus_plus"),
    small={"tests": 3, "train": 8, "runs": 2},
    estimate=_seconds,
)
def faithfulness(
    run: Run,
    *,
    tests: Annotated[int, Range(low=1, high=1_000_000, help="Test examples at most, drawn.")] = 8,
    train: Annotated[int, Range(low=2, high=10_000_000, help="Training examples with spans, at most, drawn.")] = 50,
    runs: Annotated[int, Range(low=1, high=1000, help="Runs with other seeds, of what is drawn.")] = 3,
    finder: Annotated[str, Choice(choices=FINDERS, help="How spans are found, as for the methods.")] = "clauses",
    scope: Annotated[str, Name(choices=("head", "last:2"), help="Parameters the gradients are over.")] = "last:2",
    solver: Annotated[
        str, Choice(choices=("auto", "ekfac", "cg", "lissa", "arnoldi"), help="What inverts the curvature of if_*.")
    ] = "auto",
) -> Findings:
    """Spearman's correlation, −1 to 1, of a method's span scores with those of the single final model.

    The truth is −⟨∇F, ∇ℓ(z) − ∇ℓ(z with a span masked)⟩ at the final model, without copies or curvature, over all spans
    of the drawn training examples; F is the importance of the test text's most important span (++) or log p (+).
    `checkpoints` is the paper's control, the same summed over all saved checkpoints; `random` draws numbers. Means over
    test examples and runs, with the standard error over the test examples; `over_runs` is the variance of the runs'
    means, 0 where nothing is drawn, `over_tests` that of the tests' means. Every score is exact.
    """
    values = {"train": train, "finder": finder, "scope": scope, "solver": solver}
    setup, ids, found = _setup(run, **values), drawn_tests(run, tests), []
    names = [*run.methods, CHECKPOINTS, CONTROL]
    for done, test in enumerate(ids, start=1):
        question = {"experiment": "faithfulness", "test": test, "methods": names, "runs": runs, **values}

        def make(test: int = test) -> dict[str, np.ndarray]:
            return {"spearman": _correlations(setup, test, names, runs)}

        found.append(run.kept({**question, "seed": run.seed}, make)["spearman"])
        run.progress(done, len(ids), "test examples explained")
    rows = [_row(name, np.stack(found)[:, m]) for m, name in enumerate(names)]
    told = {row["method"]: row["spearman"] for row in rows if row["spearman"] is not None}
    return Findings(summary={"tests": len(ids), "runs": runs, **told}, table=rows, paper=PAPER)


def _correlations(setup: Setup, test: int, names: Sequence[str], runs: int) -> np.ndarray:
    """The correlation of every method in every run for one test example: (methods, runs)."""
    query, made = make_query(setup.run.workspace, test=test), np.empty((len(names), runs))
    truths: dict[str, np.ndarray] = {}
    for m, name in enumerate(names):
        of = setup.run.methods[0] if name in (CHECKPOINTS, CONTROL) else name
        kind = get_method(of).spans
        if kind not in truths:
            truths[kind] = setup.scores(query, "", of=of)
        truth = truths[kind]
        for number in range(runs):
            if name == CONTROL:
                scores = np.random.default_rng([setup.run.seed, test, number]).standard_normal(len(truth))
            elif number == 0 or setup.draws(name):
                scores = setup.scores(query, name, of=of, number=number)
            else:
                made[m, number] = made[m, 0]
                continue
            made[m, number] = spearman(np.stack([truth, scores]))[0, 1]
    return made


def _row(method: str, found: np.ndarray) -> Row:
    """A row from correlations (tests, runs)."""
    kept = found[np.isfinite(found).all(axis=1)]
    mean, error = mean_error(kept.mean(axis=1))
    over_runs = float(kept.mean(axis=0).var(ddof=1)) if len(kept) and found.shape[1] > 1 else None
    over_tests = float(kept.mean(axis=1).var(ddof=1)) if len(kept) > 1 else None
    row: Row = {"method": method, "spearman": mean, "standard_error": error}
    return {**row, "over_runs": over_runs, "over_tests": over_tests, "n": len(kept)}
