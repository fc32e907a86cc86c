"""What removing the top-k proponents or opponents of a test example does to it (Yeh et al. 2022 §2.2)."""

from typing import Annotated, Any

import numpy as np

from attribution.experiments.measures import mean_error
from attribution.experiments.registry import Findings, Row, Run, experiment
from attribution.experiments.removing import Together, changes, removal_seconds
from attribution.experiments.retrained import (
    METHODS,
    Agreement,
    BatchSize,
    Epochs,
    LearningRate,
    Output,
    Penalty,
    Retrain,
    Scope,
    Seeds,
    chosen_tests,
    explaining_seconds,
    read_counts,
    support,
    usable,
)
from attribution.parameters import Name, Range
from attribution.retraining import Plan, make_plan

SIDES = {"proponents": "DEL+", "opponents": "DEL-"}
SETTING = "{} fine-tuned on {}, k = {}, 10 retrainings each, mean over {} test examples"
TOXIC = SETTING.format("BERT-small", "50,000 comments", "10, 20, …, 100", 40)
AGNEWS = SETTING.format("BERT-small", "50,000 AG News texts", "10, 20, …, 100", 100)
PAPER = [
    {"method": ours, "name": theirs, "data": data, "AUC-DEL+": plus, "AUC-DEL-": minus, "differs": differs}
    for data, differs, rows in (
        (
            "Toxicity",
            TOXIC,
            (
                ("influence_head", "Inf-Last", -0.008, 0.014),
                ("representer", "Rep", -0.008, 0.021),
                ("tracin_last", "TR-last", -0.013, 0.023),
                ("tracin_we", "TR-WE", -0.100, 0.149),
                ("tracin_we_topk", "TR-WE-topk", -0.099, 0.151),
                ("tracin_tfidf", "TR-TFIDF", -0.067, 0.063),
                ("tracin_common", "TR-common", 0.016, 0.014),
            ),
        ),
        (
            "AG News",
            AGNEWS,
            (
                ("influence_head", "Inf-Last", -0.018, 0.033),
                ("representer", "Rep", -0.016, 0.028),
                ("tracin_last", "TR-last", -0.021, 0.028),
                ("tracin_we", "TR-WE", -0.166, 0.130),
                ("tracin_we_topk", "TR-WE-topk", -0.174, 0.131),
                ("tracin_tfidf", "TR-TFIDF", -0.090, 0.072),
                ("tracin_common", "TR-common", -0.017, 0.023),
            ),
        ),
    )
    for ours, theirs, plus, minus in rows
]


def _estimate(run: Run, **values: Any) -> float:
    """The retrainings, and one question a test example and method."""
    plan, counts, tests = _settings(run, **values)
    methods, _ = usable(run)
    removals = len(methods) * len(SIDES) * len(counts)
    asked = explaining_seconds(run, methods, tests, values["scope"])
    return asked + removal_seconds(run, plan, tests, removals, seeds=values["seeds"], together=values["together"])


@experiment(
    title="Deletion curves",
    paper="Yeh 2022 §2.2, Table 4",
    cost="2 × methods × ks × seeds retrainings for every test example",
    methods=METHODS,
    small={"tests": 3, "k": "2,5", "retrain": "refit"},
    estimate=_estimate,
)
def deletion_curve(
    run: Run,
    *,
    k: Annotated[
        str, Name(choices=("10,50,100",), help="How many examples to remove, with commas between.")
    ] = "10,50,100",
    tests: Annotated[int, Range(low=1, high=1_000_000, help="Test examples at most, drawn.")] = 12,
    seeds: Seeds = 1,
    together: Together = 1,
    output: Output = "probability",
    agreement: Agreement = True,
    scope: Scope = "",
    retrain: Retrain = "auto",
    epochs: Epochs = 0,
    learning_rate: LearningRate = 0.0,
    batch_size: BatchSize = 0,
    l2: Penalty = 0.001,
) -> Findings:
    """The mean change of the true label's output after removing k proponents (DEL+) or opponents (DEL-).

    Negative DEL+ and positive DEL- are what a method promises. AUC-DEL is the mean over the ks. Errors are standard
    errors over the test examples, each a mean over the seeds. The control removes as many at random.
    """
    given = {"epochs": epochs, "learning_rate": learning_rate, "batch_size": batch_size, "l2": l2}
    plan, counts, positions = _settings(run, k=k, tests=tests, retrain=retrain, **given)
    methods, notes = usable(run)
    removed = {}
    for method in methods:
        scores = support(run, method, positions, label="true", scope=scope, agreement=agreement)
        order = np.argsort(-scores, axis=1, kind="stable")
        for count in counts:
            removed[method, "proponents", count] = list(order[:, :count])
            removed[method, "opponents", count] = list(order[:, ::-1][:, :count])
    made, more = changes(run, plan, positions, removed, label="true", output=output, seeds=seeds, together=together)
    table: list[Row] = []
    summary: dict[str, float] = {}
    for method in methods:
        for side, measure in SIDES.items():
            every = np.stack([made[method, side, count] for count in counts])
            table += [_row(method, measure, side, count, row) for count, row in zip(counts, every, strict=True)]
            table.append(_row(method, f"AUC-{measure}", side, None, every.mean(axis=0)))
            if table[-1]["mean_change"] is not None:
                summary[f"AUC-{measure}, {method}"] = table[-1]["mean_change"]
    return Findings(
        summary={"tests": len(positions), **summary},
        table=table,
        paper=PAPER,
        notes=(*notes, *more, plan.sentence()),
    )


def _settings(
    run: Run,
    *,
    k: str,
    tests: int,
    retrain: str,
    epochs: int,
    learning_rate: float,
    batch_size: int,
    l2: float,
    **_: object,
) -> tuple[Plan, list[int], np.ndarray]:
    """The plan, the ks and the test positions."""
    plan = make_plan(run.workspace, retrain, epochs=epochs, learning_rate=learning_rate, batch_size=batch_size, l2=l2)
    return plan, read_counts(k, "k", len(run.workspace.train)), chosen_tests(run, tests)


def _row(method: str, measure: str, side: str, count: int | None, values: np.ndarray) -> Row:
    mean, error = mean_error(values)
    found = {"method": method, "measure": measure, "removed": side, "k": count, "mean_change": mean}
    return {**found, "standard_error": error, "n": int(np.isfinite(values).sum())}
