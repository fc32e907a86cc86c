"""Confidence after removing the most positive, most negative, least influential or random examples (Han 2020)."""

from typing import Annotated, Any

import numpy as np

from attribution.experiments.measures import mean_error
from attribution.experiments.registry import CONTROL, Findings, Row, Run, experiment
from attribution.experiments.removing import Together, changes, removal_seconds
from attribution.experiments.retrained import (
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
    removal_count,
    support,
    usable,
)
from attribution.parameters import Name, Range
from attribution.retraining import Plan, make_plan

KINDS = ("positive", "negative", "least")
HAN = "BERT-base on {}, its last 4 blocks, influence by LiSSA; mean over 5 seeds, with the paper's own ±"
PEZESHKPOUR = "BERT-base on {}; 50 test examples, methods over the last layer; no errors given but .02 for random"
PAPER = [
    {
        "method": method,
        "removed": removed,
        "amount": amount,
        "mean_change": change,
        "error": error,
        "place": place,
        "differs": differs,
    }
    for method, removed, amount, change, error, place, differs in (
        ("influence", "positive", "10%", -0.0600, 0.0112, "Han Table 1", HAN.format("SST-2")),
        ("influence", "negative", "10%", 0.0017, 0.0050, "Han Table 1", HAN.format("SST-2")),
        ("influence", "least", "10%", -0.0130, 0.0054, "Han Table 1", HAN.format("SST-2")),
        ("random", "random", "10%", -0.0167, 0.0054, "Han Table 1", HAN.format("SST-2")),
        ("influence", "positive", "10%", -0.1162, 0.0209, "Han Table 2", HAN.format("MNLI")),
        ("influence", "negative", "10%", 0.0201, 0.0144, "Han Table 2", HAN.format("MNLI")),
        ("influence", "least", "10%", 0.0101, 0.0097, "Han Table 2", HAN.format("MNLI")),
        ("random", "random", "10%", 0.0013, 0.0107, "Han Table 2", HAN.format("MNLI")),
        *(
            (method, "positive" if method != "random" else "random", amount, change, None, "Pezeshkpour Table 1", text)
            for text, numbers in (
                (
                    PEZESHKPOUR.format("SST"),
                    (
                        ("random", -0.028, -0.021),
                        ("nn_euc", -0.028, -0.540),
                        ("nn_cos", -0.072, -0.430),
                        ("nn_dot", -0.059, -0.513),
                        ("influence_head", -0.054, -0.526),
                        ("representer", -0.114, -0.490),
                        ("relatif", -0.071, -0.537),
                        ("gd", -0.058, -0.516),
                        ("gc", -0.082, -0.528),
                    ),
                ),
                (
                    PEZESHKPOUR.format("MNLI"),
                    (
                        ("random", -0.039, -0.029),
                        ("nn_euc", -0.102, -0.266),
                        ("nn_cos", -0.088, -0.306),
                        ("nn_dot", -0.106, -0.273),
                        ("influence_head", -0.042, -0.407),
                        ("representer", -0.002, -0.230),
                        ("relatif", -0.068, -0.347),
                        ("gd", -0.022, -0.446),
                        ("gc", -0.030, -0.279),
                    ),
                ),
            )
            for method, few, many in numbers
            for amount, change in (("50", few), ("500", many))
        ),
    )
]


def _estimate(run: Run, **values: Any) -> float:
    """The retrainings, and one question a test example and method."""
    plan, counts, tests = _settings(run, **values)
    methods, _ = usable(run)
    removals = ((len(methods) - 1) * len(KINDS) + 1) * len(counts)
    asked = explaining_seconds(run, methods, tests, values["scope"])
    return asked + removal_seconds(run, plan, tests, removals, seeds=values["seeds"], together=values["together"])


@experiment(
    title="Removing influential examples",
    paper="Han 2020 §4, Tables 1–2; Pezeshkpour 2021 Table 1",
    cost="3 × methods × amounts × seeds retrainings for every test example",
    methods=("influence", "relatif", "influence_head", "representer", "gd", "gc", "nn_euc", "nn_cos", "nn_dot"),
    small={"tests": 3, "amount": "10%,3", "retrain": "refit"},
    estimate=_estimate,
)
def removal(
    run: Run,
    *,
    amount: Annotated[
        str, Name(choices=("10%", "50,500"), help="How many to remove: shares with % and numbers, commas between.")
    ] = "10%",
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
    """The mean change of the predicted label's output after removing examples by their scores, and as many at random.

    positive and negative are the highest and the lowest scores, least those nearest 0. Errors are standard errors over
    the test examples, each a mean over the seeds.
    """
    given = {"epochs": epochs, "learning_rate": learning_rate, "batch_size": batch_size, "l2": l2}
    plan, counts, positions = _settings(run, amount=amount, tests=tests, retrain=retrain, **given)
    methods, notes = usable(run)
    removed = {}
    for method in methods:
        scores = support(run, method, positions, label="predicted", scope=scope, agreement=agreement)
        highest, nearest = np.argsort(-scores, axis=1, kind="stable"), np.argsort(np.abs(scores), axis=1, kind="stable")
        orders = {"positive": highest, "negative": highest[:, ::-1], "least": nearest}
        for kind, order in orders.items() if method != CONTROL else ((CONTROL, highest),):
            for count in counts:
                removed[method, kind, count] = list(order[:, :count])
    made, more = changes(
        run, plan, positions, removed, label="predicted", output=output, seeds=seeds, together=together
    )
    n = len(run.workspace.train)
    table = [_row(method, kind, count, n, values) for (method, kind, count), values in made.items()]
    found = {
        f"{row['removed']} {row['k']}, {row['method']}": row["mean_change"]
        for row in table
        if row["mean_change"] is not None
    }
    return Findings(
        summary={"tests": len(positions), **found}, table=table, paper=PAPER, notes=(*notes, *more, plan.sentence())
    )


def _settings(
    run: Run,
    *,
    amount: str,
    tests: int,
    retrain: str,
    epochs: int,
    learning_rate: float,
    batch_size: int,
    l2: float,
    **_: object,
) -> tuple[Plan, list[int], np.ndarray]:
    """The plan, how many examples to remove, and the test positions."""
    plan = make_plan(run.workspace, retrain, epochs=epochs, learning_rate=learning_rate, batch_size=batch_size, l2=l2)
    counts = {removal_count(part, "amount", len(run.workspace.train)) for part in amount.split(",")}
    return plan, sorted(counts), chosen_tests(run, tests)


def _row(method: str, kind: str, count: int, n: int, values: np.ndarray) -> Row:
    mean, error = mean_error(values)
    found = {"method": method, "removed": kind, "k": count, "share": count / n, "mean_change": mean}
    return {**found, "standard_error": error, "n": int(np.isfinite(values).sum())}
