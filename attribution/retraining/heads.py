"""Heads trained again on features that were computed once: solved to the optimum, or by a recipe, many at once."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from attribution.index import Progress, load, parts
from attribution.retraining.jobs import Added, Job, Step
from attribution.training import MOST_NORM, WEIGHT_DECAY, Recipe, epochs_of, schedule_of
from attribution.workspace import Workspace

MOST_NEWTON = 3_000


class RefittedHeads:
    """Heads solved to the optimum of mean cross-entropy + l2 ‖(W, b)‖² on the final model's features: no seed matters.

    Each is solved from the optimum on all examples. Cost of a head: some Newton steps, of train × (labels × width)²
    each; with more than `MOST_NEWTON` parameters some hundred passes over the features instead.
    """

    together = 1

    def __init__(
        self, workspace: Workspace, l2: float, tests: np.ndarray, progress: Progress, added: Added | None = None
    ) -> None:
        (part,) = parts(workspace, "features")
        self.l2, self.count = l2, len(workspace.labels)
        found = [np.asarray(load(workspace, part, progress)["features"], dtype=np.float64)]
        if added is not None:
            found.append(workspace.classifier.collect(workspace.classifier.tokenize(added.texts, added.pairs))[0])
        self.train, self.labels = _with_one(np.concatenate(found)), (added or Added()).beside(workspace)[2]
        encoded = _tokenized(workspace, tests)
        self.test = dict(zip(tests.tolist(), _with_one(workspace.classifier.collect(encoded)[0]), strict=True))
        self.start = self._solved(np.arange(len(workspace.train)), None)

    def logits(self, jobs: Sequence[Job], stepped: Step) -> list[np.ndarray]:
        """The test logits (tests, labels) of each job's head."""
        made = []
        for job in jobs:
            found = np.stack([self.test[test] for test in job.tests.tolist()]) @ self._solved(job.rows, self.start).T
            # scikit-learn's one row for two labels is the difference of the two that have the smallest norm.
            made.append(np.hstack([-found, found]) / 2 if found.shape[1] == 1 else found)
        return made

    def solution(self) -> tuple[np.ndarray, np.ndarray]:
        """The weight (labels, width) and bias (labels,) of the head on all examples, as float32."""
        found = np.vstack([-self.start, self.start]) / 2 if len(self.start) == 1 else self.start
        return found[:, :-1].astype(np.float32), found[:, -1].astype(np.float32)

    def _solved(self, rows: np.ndarray, start: np.ndarray | None) -> np.ndarray:
        """The weight with the bias as last column: (labels, width + 1), or (1, width + 1) for two labels."""
        several = 1 if self.count == 2 else self.count
        model = LogisticRegression(
            C=(1 if self.count == 2 else 0.5) / (self.l2 * len(rows)),
            fit_intercept=False,
            solver="newton-cholesky" if several * self.train.shape[1] <= MOST_NEWTON else "lbfgs",
            tol=1e-7,
            max_iter=1000,
            warm_start=True,
        )
        if start is not None:
            model.coef_ = start.copy()
        return model.fit(self.train[rows], self.labels[rows]).coef_

    def seconds(self, job: Job) -> float:
        """How long one model takes: as midway between one solved from nothing and one from a near optimum."""
        began = time.perf_counter()
        self._solved(job.rows, None)
        self._solved(np.delete(job.rows, np.s_[::10]), self.start)
        return (time.perf_counter() - began) / 2


class TrainedHeads:
    """Heads trained by a recipe on the base model's features, which carry no dropout here."""

    together = 16

    def __init__(
        self, workspace: Workspace, recipe: Recipe, tests: np.ndarray, progress: Progress, added: Added | None = None
    ) -> None:
        self.workspace, self.recipe = workspace, recipe
        classifier = workspace.base_classifier()
        texts, pairs, labels = (added or Added()).beside(workspace)
        found = classifier.collect(
            classifier.tokenize(texts, pairs),
            progress=lambda done: progress(done, len(labels), "reading the training set once"),
        )[0]
        self.train = torch.from_numpy(found).to(classifier.device)
        made = torch.from_numpy(classifier.collect(_tokenized(workspace, tests))[0])
        self.test = dict(zip(tests.tolist(), made.to(classifier.device), strict=True))
        self.labels = torch.from_numpy(labels).to(classifier.device)
        self.starts: dict[int, tuple[Tensor, Tensor]] = {}

    def logits(self, jobs: Sequence[Job], stepped: Step) -> list[np.ndarray]:
        """The test logits (tests, labels) of each job's head; the jobs have as many examples each."""
        starts = [self._start(job.seed) for job in jobs]
        weight, bias = trained_heads(
            self.train,
            self.labels,
            np.stack([job.rows for job in jobs]),
            self.recipe,
            [job.seed for job in jobs],
            (torch.stack([w for w, _ in starts]), torch.stack([b for _, b in starts])),
            stepped,
        )
        return [
            (torch.stack([self.test[test] for test in job.tests.tolist()]) @ w.T + b).cpu().numpy()
            for job, w, b in zip(jobs, weight, bias, strict=True)
        ]

    def seconds(self, job: Job) -> float:
        """How long one model takes beside others, by making some."""
        began = time.perf_counter()
        self.logits([replace(job, seed=seed) for seed in range(self.together)], lambda step: None)
        return (time.perf_counter() - began) / self.together

    def _start(self, seed: int) -> tuple[Tensor, Tensor]:
        if seed not in self.starts:
            head = self.workspace.base_classifier(seed=seed).anatomy.head
            self.starts[seed] = (head.weight.detach(), head.bias.detach())
        return self.starts[seed]


def trained_heads(
    features: Tensor,
    labels: Tensor,
    rows: np.ndarray,
    recipe: Recipe,
    seeds: Sequence[int],
    start: tuple[Tensor, Tensor],
    stepped: Step,
) -> tuple[Tensor, Tensor]:
    """Heads (models, labels, width) and their biases (models, labels), trained side by side by a recipe.

    features: (train, width); rows (models, examples): each model's training examples, as many for each; start: the
    weights (models, labels, width) and biases they start from. Each model is what it would be alone: its batches are
    drawn with its own seed and its gradient is clipped by its own norm. The features carry no dropout.
    """
    weight, bias = (part.clone().requires_grad_() for part in start)
    count = rows.shape[1]
    optimiser = torch.optim.AdamW([weight, bias], lr=recipe.learning_rate, weight_decay=WEIGHT_DECAY)
    schedule = schedule_of(optimiser, recipe.steps(count) * recipe.epochs)
    done = 0
    for epochs in zip(*(epochs_of(replace(recipe, seed=seed), count) for seed in seeds), strict=True):
        for batches in zip(*epochs, strict=True):
            chosen = torch.from_numpy(np.stack([own[at] for own, at in zip(rows, batches, strict=True)]))
            chosen = chosen.to(features.device)
            logits = features[chosen] @ weight.mT + bias[:, None]
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), labels[chosen].flatten(), reduction="sum")
            slopes = torch.autograd.grad(loss / chosen.shape[1], [weight, bias])
            norm = torch.sqrt(slopes[0].square().sum(dim=(1, 2)) + slopes[1].square().sum(dim=1))
            clip = (MOST_NORM / (norm + 1e-6)).clamp(max=1)
            weight.grad, bias.grad = slopes[0] * clip[:, None, None], slopes[1] * clip[:, None]
            optimiser.step()
            schedule.step()
            done += 1
            stepped(done)
    return weight.detach(), bias.detach()


def _with_one(features: np.ndarray) -> np.ndarray:
    return np.hstack([features, np.ones((len(features), 1), dtype=features.dtype)])


def _tokenized(workspace: Workspace, tests: np.ndarray) -> Any:
    texts, pairs = workspace.texts("test")
    return workspace.classifier.tokenize(
        [texts[i] for i in tests], None if pairs is None else [pairs[i] for i in tests]
    )
