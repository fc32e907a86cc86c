"""Models trained again on subsets of the training data, each kept as soon as it is made."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np

from attribution.index import Progress
from attribution.loading import load_classifier
from attribution.retraining.blocks import Blocks
from attribution.retraining.heads import RefittedHeads, TrainedHeads
from attribution.retraining.jobs import Added, Engine, Job
from attribution.retraining.plan import Plan
from attribution.storage import digest_bytes
from attribution.workspace import Workspace

Kept = Callable[[Mapping[str, Any], Callable[[], Mapping[str, np.ndarray]]], dict[str, np.ndarray]]
VERSION = 1


class Retrainer:
    """Trains models by a plan. `tests`: the positions of the test examples that may be asked for.

    `added`: training examples that a job may name beside the workspace's own. `kept` is `Run.kept` of an experiment:
    what it holds is not made again. The same examples and seed give the same model. Nothing is computed before the
    first model that is not kept yet.
    """

    def __init__(
        self,
        workspace: Workspace,
        plan: Plan,
        tests: np.ndarray,
        kept: Kept,
        progress: Progress,
        added: Added | None = None,
    ) -> None:
        self.workspace, self.plan, self.tests, self.added = workspace, plan, tests, added
        self._kept, self._progress = kept, progress

    def logits(self, jobs: Sequence[Job]) -> list[np.ndarray]:
        """The test logits (tests, labels) of each job's model. An interrupted run loses the models it was at."""
        made: dict[int, np.ndarray] = {}
        for places in self._groups(jobs):
            group = [jobs[place] for place in places]
            make = partial(self._make, group, len(made), len(jobs))
            found = self._kept(self._question(group), make)
            made |= {place: found[str(number)] for number, place in enumerate(places)}
            self._progress(len(made), len(jobs), "models trained again")
        return [made[place] for place in range(len(jobs))]

    def seconds(self, sizes: Sequence[int]) -> float:
        """About how long models on so many examples each take, with what they share; times a little of one.

        A model may be of more examples than there are yet, with those that are still to be added.
        """
        most = min(max(sizes), self.workspace.settings.n_train)
        began = time.perf_counter()
        engine = self._engine
        shared = time.perf_counter() - began
        one = engine.seconds(Job(rows=np.arange(most), seed=0, tests=self.tests))
        return shared + one * sum(sizes) / most

    @cached_property
    def _engine(self) -> Engine:
        workspace, recipe = self.workspace, self.plan.recipe
        if recipe is None:
            return RefittedHeads(workspace, self.plan.l2, self.tests, self._progress, self.added)
        if self._trains_last_layer:
            return TrainedHeads(workspace, recipe, self.tests, self._progress, self.added)
        return Blocks(workspace, recipe, self.tests, self._progress, added=self.added)

    @cached_property
    def _trains_last_layer(self) -> bool:
        """Whether a recipe trains the last layer and nothing below it, so that the features stay what they are."""
        workspace, recipe = self.workspace, self.plan.recipe
        if recipe is None or recipe.trainable != "head":
            return False
        classifier, missing = load_classifier(workspace.model_folder, workspace.labels)
        return all(name.rpartition(".")[0] == classifier.anatomy.head_name for name in missing)

    def _groups(self, jobs: Sequence[Job]) -> list[list[int]]:
        """Places of the jobs that are made at once: side by side where they have as many examples."""
        together = TrainedHeads.together if self._trains_last_layer else 1
        by_size: dict[int, list[int]] = {}
        for place, job in enumerate(jobs):
            by_size.setdefault(len(job.rows) if together > 1 else place, []).append(place)
        return [places[at : at + together] for places in by_size.values() for at in range(0, len(places), together)]

    def _question(self, group: Sequence[Job]) -> dict[str, Any]:
        """Everything that the group's logits depend on; a head that is solved depends on no seed."""
        seeded = self.plan.recipe is not None
        models = [[_digest(job.rows), job.seed if seeded else 0, _digest(job.tests)] for job in group]
        question = {"retraining": VERSION, **self.plan.describe(), "models": models}
        n = self.workspace.settings.n_train
        if self.added is None or all((job.rows < n).all() for job in group):
            return question
        return {**question, "added": [self.added.digest(job.rows[job.rows >= n] - n) for job in group]}

    def _make(self, group: Sequence[Job], done: int, total: int) -> dict[str, np.ndarray]:
        recipe = self.plan.recipe
        steps = 1 if recipe is None else recipe.steps(len(group[0].rows)) * recipe.epochs

        def stepped(step: int) -> None:
            at = done * steps + step * len(group)
            self._progress(at, total * steps, f"steps, {done} of {total} models trained again")

        return {str(number): logits for number, logits in enumerate(self._engine.logits(group, stepped))}


def _digest(positions: np.ndarray) -> str:
    return digest_bytes(np.asarray(positions, dtype="<i8").tobytes())[:32]
