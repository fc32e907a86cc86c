"""Fine-tuning the last blocks again on subsets: what lies below ran once, and padding is left out where it can be."""

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from attribution.dropout import quick_dropout
from attribution.frozen import FrozenPart
from attribution.index import Progress
from attribution.loading import load_classifier
from attribution.model import Classifier, length_sorted_batches
from attribution.retraining.jobs import Added, Job, Step
from attribution.training import Learner, Recipe, epochs_of, select
from attribution.workspace import Workspace

TIMED_STEPS = 6


class _Enough(Exception):
    """Enough steps were timed."""


class Blocks:
    """A classifier whose trainable part is trained again and again by a recipe, from the base model's weights.

    `tests`: the positions of the test examples that may be asked for. `precision`: bf16, fp32 or auto, bf16 where it
    is faster. The steps are those of `attribution.training`, with the same order and the same start for a seed; only
    dropout draws otherwise where padding is left out.
    """

    together = 1

    def __init__(
        self,
        workspace: Workspace,
        recipe: Recipe,
        tests: np.ndarray,
        progress: Progress,
        precision: str = "auto",
        added: Added | None = None,
    ) -> None:
        self.workspace, self.recipe = workspace, recipe
        self.classifier, self.missing = self._load(0)
        classifier = self.classifier
        self.names, self.cut = select(classifier, recipe.trainable, self.missing)
        self.base = {n: p.detach().clone() for n, p in classifier.model.named_parameters() if n in self.names}
        workspace.storage.mkdir(parents=True, exist_ok=True)
        pairs = workspace.texts("test")[1]
        texts = [workspace.texts("test")[0][i] for i in tests]
        encoded = classifier.tokenize(texts, None if pairs is None else [pairs[i] for i in tests])
        texts, pairs, labels = (added or Added()).beside(workspace)
        self.train, self.test = (
            FrozenPart(classifier, part, self.cut, workspace.storage, progress, precision)
            for part in (classifier.tokenize(texts, pairs), encoded)
        )
        self.place = {int(test): at for at, test in enumerate(tests)}
        self.labels = torch.from_numpy(labels).to(classifier.device)

    def _load(self, seed: int) -> tuple[Classifier, frozenset[str]]:
        workspace = self.workspace
        return load_classifier(
            workspace.model_folder,
            workspace.labels,
            max_length=workspace.settings.max_length,
            device=workspace.device,
            seed=seed,
        )

    def logits(self, jobs: Sequence[Job], stepped: Step) -> list[np.ndarray]:
        """The test logits (tests, labels) of each job's model.

        Everything random is drawn from the job's seed; torch's own generator is left as it was.
        """
        return [self._logits(job.rows, job.seed, job.tests, stepped) for job in jobs]

    def seconds(self, job: Job) -> float:
        """How long one model takes, by some of its steps; its tests are answered in far less."""
        times: list[float] = []

        def stepped(step: int) -> None:
            times.append(time.perf_counter())
            if step > TIMED_STEPS:
                raise _Enough

        began = time.perf_counter()
        try:
            self.logits([job], stepped)
        except _Enough:
            return (times[-1] - times[0]) / TIMED_STEPS * self.recipe.steps(len(job.rows)) * self.recipe.epochs
        return time.perf_counter() - began

    def _logits(self, rows: np.ndarray, seed: int, tests: np.ndarray, stepped: Step) -> np.ndarray:
        parameters = self._restart(seed)
        learner = Learner(parameters, self.recipe, len(rows))
        devices = [self.classifier.device] if self.classifier.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), quick_dropout(self.classifier.model, seed):
            torch.manual_seed(seed)
            self.classifier.model.train()
            try:
                with self.train.model() as logits:
                    done = 0
                    for batches in epochs_of(replace(self.recipe, seed=seed), len(rows)):
                        for batch in batches:
                            learner.step(nn.functional.cross_entropy(logits(rows[batch]), self.labels[rows[batch]]))
                            done += 1
                            stepped(done)
            finally:
                self.classifier.model.eval()
        return self._test_logits(np.array([self.place[int(test)] for test in tests]))

    def _restart(self, seed: int) -> list[nn.Parameter]:
        """Put the base model's weights back, with what the base lacks drawn from the seed."""
        fresh = dict(self._load(seed)[0].model.named_parameters()) if self.missing else {}
        parameters = []
        with torch.no_grad():
            for name, parameter in self.classifier.model.named_parameters():
                if name in self.names:
                    parameter.copy_(fresh[name] if name in self.missing else self.base[name])
                    parameter.requires_grad_()
                    parameter.grad = None
                    parameters.append(parameter)
        return parameters

    def _test_logits(self, places: np.ndarray) -> np.ndarray:
        made = np.empty((len(places), len(self.workspace.labels)), dtype=np.float32)
        with torch.no_grad(), self.test.model() as logits:
            for rows in length_sorted_batches([self.test.lengths[place] for place in places]):
                made[rows] = logits(places[rows]).cpu().numpy()
        return made
