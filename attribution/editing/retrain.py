"""Retraining with the edits, against random edits and against the data as it was imported, and what came of it.

An improvement may be the edits', or that of any change of as many examples, or of the seed: so each of several seeds
trains a model on the imported data, one with the edits and one with random edits (`editing.control`).
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from attribution.editing.apply import changed_ids, edited_table
from attribution.editing.changes import RowEdit, State
from attribution.editing.control import random_edits
from attribution.editing.log import EditLog
from attribution.editing.measure import BASELINE, CONTROL, EDITED, Measured
from attribution.editing.union import derived_workspace, union_of
from attribution.editing.versions import Version, keep_version, making
from attribution.errors import UserError
from attribution.experiments.registry import Run
from attribution.index import Progress, silent
from attribution.retraining import Job, Plan, Retrainer, make_plan
from attribution.workspace import Workspace

PENALTY = 1e-3
MOST_SEEDS = 100


@dataclass(frozen=True, kw_only=True)
class Retraining:
    """What retraining with some edits found, and the version that it left."""

    workspace: Workspace
    version: Version
    measured: Measured
    seconds: float

    def describe(self) -> dict[str, Any]:
        """What `influscope retrain --format json` prints."""
        return {
            "workspace": self.workspace.describe(),
            "version": self.version.number,
            "folder": str(self.version.folder),
            "seconds": round(self.seconds, 1),
            **self.version.about,
        }


def retrain(
    workspace: Workspace,
    *,
    seeds: int = 3,
    tests: Sequence[int] = (),
    progress: Progress = silent,
) -> Retraining:
    """Train with the edits that hold, measure, and keep the result as a new version of the workspace.

    The models are trained as the workspace's checkpoints were; of a model that came fine-tuned the head is solved anew
    (then seeds differ in the random edits only). `tests`: ids of test examples that are told of one by one. Models that
    an interrupted run has made are not made again. Raises UserError where no edit changes the data, for an unknown test
    id, and where another process retrains. Cost: three trainings a seed, and one for the version.
    """
    began, log = time.perf_counter(), EditLog(workspace)
    # Before the training, during which other edits may be made.
    known = {"log": log.version, "last": len(log.entries)}
    edits = _checked(log, seeds, tests, workspace)
    plan = plan_of(workspace)
    with making(workspace) as folder:
        controls = [random_edits(workspace.train, edits, seed) for seed in range(seeds)]
        table, positions = union_of(workspace, [edits, *controls])
        union = derived_workspace(workspace, table, folder / "union", name="union")
        measured = _measured(workspace, union, plan, positions, seeds, progress)
        about = {
            "of": workspace.describe(),
            "edits": {**_counted(edits), **known},
            "retraining": plan.sentence(),
            "seeds": list(range(seeds)),
            **_found(workspace, measured, tests),
        }
        edited = edited_table(workspace, edits)
        version = keep_version(workspace, plan, edited, folder, about, seed=0, progress=progress)
    return Retraining(workspace=workspace, version=version, measured=measured, seconds=time.perf_counter() - began)


def plan_of(workspace: Workspace) -> Plan:
    """How a workspace's model is trained again: as its checkpoints tell, or else the head alone."""
    return make_plan(workspace, "auto", epochs=0, learning_rate=0.0, batch_size=0, l2=PENALTY)


def estimate_seconds(workspace: Workspace, *, seeds: int = 3, progress: Progress = silent) -> float:
    """About how long `retrain` takes where no model is kept yet; times a little of it."""
    edits = _checked(EditLog(workspace), seeds, (), workspace)
    count = len(edited_table(workspace, edits))
    tests = np.arange(len(workspace.test))
    kept = Run(workspace=workspace, methods=(), seed=0, progress=progress).kept
    retrainer = Retrainer(workspace, plan_of(workspace), tests, kept, progress)
    return retrainer.seconds([count] * (3 * seeds + 1))


def _checked(log: EditLog, seeds: int, tests: Sequence[int], workspace: Workspace) -> State:
    if not 1 <= seeds <= MOST_SEEDS:
        raise UserError(f"seeds must be from 1 to {MOST_SEEDS}, not {seeds}.")
    for test in tests:
        workspace.test_row(test)
    edits = log.current()
    if not len(changed_ids(edits)):
        raise UserError(f"No edit changes the training data of workspace '{workspace.name}': edit an example first.")
    return edits


def _measured(
    workspace: Workspace,
    union: Workspace,
    plan: Plan,
    positions: Sequence[np.ndarray],
    seeds: int,
    progress: Progress,
) -> Measured:
    """The test predictions of the models on the imported data, with the edits, and with each seed's random edits."""
    tests = np.arange(len(workspace.test))
    kept = Run(workspace=workspace, methods=(), seed=0, progress=progress).kept

    def kept_of_union(
        question: Mapping[str, Any], make: Callable[[], Mapping[str, np.ndarray]]
    ) -> dict[str, np.ndarray]:
        return kept({**question, "train_digest": union.settings.train_digest}, make)

    before, edited, *controls = positions
    jobs = {
        BASELINE: [Job(rows=before, seed=seed, tests=tests) for seed in range(seeds)],
        EDITED: [Job(rows=edited, seed=seed, tests=tests) for seed in range(seeds)],
        CONTROL: [Job(rows=rows, seed=seed, tests=tests) for seed, rows in enumerate(controls)],
    }
    # Apart from the others, so that its models are kept for the next edits too.
    logits = Retrainer(workspace, plan, tests, kept, progress).logits(jobs[BASELINE])
    changed = Retrainer(union, plan, tests, kept_of_union, progress)
    logits += changed.logits([*jobs[EDITED], *jobs[CONTROL]])
    made = {kind: np.stack(logits[at * seeds : (at + 1) * seeds]) for at, kind in enumerate(jobs)}
    return Measured.of(made, workspace.label_ids(workspace.test))


def _counted(edits: Mapping[int, RowEdit]) -> dict[str, int]:
    """How many training examples the edits remove, relabel and perturb; a removed one counts as that only."""
    counts: Counter[str] = Counter()
    for edit in edits.values():
        counts["removed"] += edit.removed
        counts["relabelled"] += not edit.removed and edit.label is not None
        counts["perturbed"] += not edit.removed and (edit.text is not None or edit.text_pair is not None)
    return {name: counts[name] for name in ("removed", "relabelled", "perturbed")}


def _found(workspace: Workspace, measured: Measured, tests: Sequence[int]) -> dict[str, Any]:
    """What was measured, as plain data; test examples by their ids."""
    ids, outcomes = workspace.test.index, {}
    for kind in (EDITED, CONTROL):
        found = measured.outcomes(kind)
        outcomes[kind] = {name: ids[found[name]].tolist() for name in ("fixed", "broken")} | {
            "same": len(found["same"])
        }
    return {
        "accuracy": measured.accuracies(),
        "differences": measured.differences(),
        "outcomes": outcomes,
        "tests": [_example(workspace, measured, test) for test in tests],
    }


def _example(workspace: Workspace, measured: Measured, test: int) -> dict[str, Any]:
    rows = measured.example(int(workspace.test.index.get_indexer([test])[0]))
    named = [{**row, "predicted": workspace.labels[row["predicted"]]} for row in rows]
    return {"test": int(test), "true_label": str(workspace.test.loc[test, "label"]), "models": named}
