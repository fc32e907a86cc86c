"""What removing training examples and training again does to the outputs of test examples."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Annotated, TypeVar

import numpy as np

from attribution.experiments.registry import Run
from attribution.experiments.retrained import explained_labels, lost_labels, measured
from attribution.parameters import Range
from attribution.retraining import Job, Plan, Retrainer

Together = Annotated[
    int,
    Range(
        low=1,
        high=10_000,
        help="Test examples that share a retraining without all their sets; 1, as the papers have it, is each its own.",
    ),
]
Key = TypeVar("Key", bound=Hashable)


def changes(
    run: Run,
    plan: Plan,
    tests: np.ndarray,
    removed: Mapping[Key, Sequence[np.ndarray]],
    *,
    label: str,
    output: str,
    seeds: int,
    together: int,
) -> tuple[dict[Key, np.ndarray], list[str]]:
    """The change of each test example's output when some training examples are removed: (tests,) for every key.

    `removed`: for every key and test the positions that go. The change is against a model on all examples with the same
    seed, a mean over the seeds; NaN where nothing of a label would be left, which the notes say.
    """
    n, labels = len(run.workspace.train), explained_labels(run, tests, label)
    groups = [np.arange(at, min(at + together, len(tests))) for at in range(0, len(tests), together)]
    jobs = [Job(rows=np.arange(n), seed=run.seed + seed, tests=tests) for seed in range(seeds)]
    places: list[tuple[Key, np.ndarray, list[int]]] = []
    seen: dict[tuple[bytes, int], int] = {}
    lost = 0
    for key, sets in removed.items():
        for number, group in enumerate(groups):
            rows = np.setdiff1d(np.arange(n), np.concatenate([sets[int(at)] for at in group]))
            if lost_labels(run, rows):
                lost += 1
                continue
            if (rows.tobytes(), number) not in seen:
                seen[rows.tobytes(), number] = len(jobs)
                jobs += [Job(rows=rows, seed=run.seed + seed, tests=tests[group]) for seed in range(seeds)]
            first = seen[rows.tobytes(), number]
            places.append((key, group, list(range(first, first + seeds))))
    found = Retrainer(run.workspace, plan, tests, run.kept, run.progress).logits(jobs)
    whole = [measured(logits, labels, output) for logits in found[:seeds]]
    made = {key: np.full(len(tests), np.nan) for key in removed}
    for key, group, at in places:
        pairs = zip(at, whole, strict=True)
        made[key][group] = np.mean([measured(found[a], labels[group], output) - w[group] for a, w in pairs], axis=0)
    note = f"{lost} removals would leave nothing of a label: they are left out."
    return made, [note] if lost else []


def removal_seconds(run: Run, plan: Plan, tests: np.ndarray, removals: int, *, seeds: int, together: int) -> float:
    """About how long `removals` removals for every test example take."""
    groups = -(-len(tests) // together)
    sizes = [len(run.workspace.train)] * (seeds * (1 + removals * groups))
    return Retrainer(run.workspace, plan, tests, run.kept, run.progress).seconds(sizes)
