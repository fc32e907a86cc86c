"""The linear datamodelling score: do sums of scores predict models trained on random subsets (Park et al. 2023)?"""

from typing import Annotated, Any

import numpy as np
from scipy.stats import rankdata

from attribution.experiments.measures import mean_error
from attribution.experiments.registry import Findings, Row, Run, experiment
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
    explained_labels,
    explaining_seconds,
    lost_labels,
    measured,
    support,
    usable,
)
from attribution.parameters import Range
from attribution.retraining import Job, Plan, Retrainer, make_plan

RESAMPLES = 200


def _estimate(run: Run, **values: Any) -> float:
    """The retrainings, and one question a test example and method."""
    plan, tests, subsets = _settings(run, **values)
    retrainer = Retrainer(run.workspace, plan, tests, run.kept, run.progress)
    methods, _ = usable(run)
    asked = explaining_seconds(run, methods, tests, values["scope"])
    return asked + retrainer.seconds([len(rows) for rows in subsets for _ in range(values["seeds"])])


@experiment(
    title="Linear datamodelling score",
    paper="Park 2023 §3.1",
    cost="subsets × seeds retrainings, then one question a test example and method",
    methods=METHODS,
    small={"tests": 4, "subsets": 6, "retrain": "refit"},
    estimate=_estimate,
)
def lds(
    run: Run,
    *,
    subsets: Annotated[int, Range(low=3, high=100_000, help="Random subsets of the training data.")] = 24,
    share: Annotated[
        float, Range(low=0, above=True, high=0.99, help="The share of the training data in each subset.")
    ] = 0.5,
    seeds: Seeds = 1,
    tests: Annotated[int, Range(low=1, high=1_000_000, help="Test examples at most, drawn.")] = 60,
    output: Output = "log_odds",
    agreement: Agreement = True,
    scope: Scope = "",
    retrain: Retrain = "auto",
    epochs: Epochs = 0,
    learning_rate: LearningRate = 0.0,
    batch_size: BatchSize = 0,
    l2: Penalty = 0.001,
) -> Findings:
    """Spearman's correlation over random subsets between the sum of their scores and their model's output: −1 to 1.

    The output is of each test example's true label, a mean over the seeds; the score is the mean of the correlations
    over the test examples. Its error is that of a bootstrap over subsets and test examples together. One seed a subset
    leaves its noise in: the score of a perfect method is then well below 1.
    """
    plan, positions, rows = _settings(
        run,
        subsets=subsets,
        share=share,
        tests=tests,
        retrain=retrain,
        epochs=epochs,
        learning_rate=learning_rate,
        batch_size=batch_size,
        l2=l2,
    )
    methods, notes = usable(run)
    whole = [chosen for chosen in rows if not lost_labels(run, chosen)]
    if len(whole) < len(rows):
        notes.append(f"{len(rows) - len(whole)} of {len(rows)} subsets hold no example of some label and are left out.")
    jobs = [Job(rows=chosen, seed=run.seed + seed, tests=positions) for chosen in whole for seed in range(seeds)]
    found = np.stack(Retrainer(run.workspace, plan, positions, run.kept, run.progress).logits(jobs))
    labels = explained_labels(run, positions, "true")
    true = measured(found, labels, output).reshape(len(whole), seeds, -1).mean(axis=1)
    member = np.zeros((len(whole), len(run.workspace.train)))
    for number, chosen in enumerate(whole):
        member[number, chosen] = 1
    table = []
    for method in methods:
        scores = support(run, method, positions, label="true", scope=scope, agreement=agreement)
        table.append(_row(method, member @ scores.T, true, run.seed))
    return Findings(
        summary={"models": len(jobs), **{row["method"]: row["lds"] for row in table if row["lds"] is not None}},
        table=table,
        notes=(*notes, plan.sentence()),
    )


def _settings(
    run: Run,
    *,
    subsets: int,
    share: float,
    tests: int,
    retrain: str,
    epochs: int,
    learning_rate: float,
    batch_size: int,
    l2: float,
    **_: object,
) -> tuple[Plan, np.ndarray, list[np.ndarray]]:
    """The plan, the test positions, and the training positions of each subset, drawn with the run's seed."""
    plan = make_plan(run.workspace, retrain, epochs=epochs, learning_rate=learning_rate, batch_size=batch_size, l2=l2)
    n, draw = len(run.workspace.train), np.random.default_rng(run.seed)
    size = max(1, round(share * n))
    return plan, chosen_tests(run, tests), [np.sort(draw.permutation(n)[:size]) for _ in range(subsets)]


def _row(method: str, predicted: np.ndarray, true: np.ndarray, seed: int) -> Row:
    """The mean over test examples of Spearman's correlation over the models; both are (models, tests)."""
    each = spearman(predicted, true)
    draw, means = np.random.default_rng(seed), []
    for _ in range(RESAMPLES):
        models, tests = (draw.integers(size, size=size) for size in true.shape)
        mean, _ = mean_error(spearman(predicted[models][:, tests], true[models][:, tests]))
        means += [] if mean is None else [mean]
    mean, _ = mean_error(each)
    return {
        "method": method,
        "lds": mean,
        "standard_error": float(np.std(means, ddof=1)) if len(means) > 1 else None,
        "n": int(np.isfinite(each).sum()),
        "models": len(true),
    }


def spearman(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Spearman's correlation of each pair of columns, ties at their mean rank; NaN for a constant one."""
    ranks = [rankdata(values, axis=0) for values in (first, second)]
    a, b = (values - values.mean(axis=0) for values in ranks)
    scale = np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    return np.divide((a * b).sum(axis=0), scale, out=np.full(a.shape[1], np.nan), where=scale > 0)
