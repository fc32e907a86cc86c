"""What test accuracy loses when a method's leading training examples go (Huang et al. 2021 §4.2, Ral)."""

from collections.abc import Mapping

import numpy as np

from attribution.experiments.registry import Run
from attribution.experiments.retrained import lost_labels, removal_count
from attribution.retraining import Job, Plan, Retrainer


def read_shares(remove: str, n: int) -> dict[str, int]:
    """How many of n examples go, by the share or number as it was written; UserError for anything else."""
    return {part.strip(): removal_count(part, "remove", n) for part in remove.split(",")}


def accuracy_losses(
    run: Run, plan: Plan, totals: Mapping[str, np.ndarray], shares: Mapping[str, int], seeds: int
) -> tuple[dict[tuple[str, str], np.ndarray], list[str]]:
    """By method and share Acc(θ) − Acc(θ′) on all test examples, a value a seed; NaN where nothing of a label is left.

    `totals`: a method's scores (train,), by the highest of which θ′ is trained without; ties are broken at random. θ is
    trained on everything with the same seed. The notes tell how many removals have no value. Cost: a retraining each.
    """
    n, everyone = len(run.workspace.train), np.arange(len(run.workspace.test))
    ties = np.random.default_rng(run.seed).permutation(n)
    orders = {method: np.lexsort((ties, -scores)) for method, scores in totals.items()}
    left = {(m, share): np.sort(order[count:]) for m, order in orders.items() for share, count in shares.items()}
    kept = {key: rows for key, rows in left.items() if not lost_labels(run, rows)}
    sets = [np.arange(n), *kept.values()]
    jobs = [Job(rows=rows, seed=run.seed + seed, tests=everyone) for rows in sets for seed in range(seeds)]
    logits = Retrainer(run.workspace, plan, everyone, run.kept, run.progress).logits(jobs)
    right = run.workspace.label_ids(run.workspace.test)
    accuracy = np.array([(found.argmax(axis=1) == right).mean() for found in logits]).reshape(len(sets), seeds)
    made = dict.fromkeys(left, np.full(seeds, np.nan)) | dict(zip(kept, accuracy[0] - accuracy[1:], strict=True))
    lost = len(left) - len(kept)
    return made, [f"{lost} removals would leave nothing of a label: they have no Ral."] if lost else []
