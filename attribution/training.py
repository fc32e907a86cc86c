"""Fine-tuning: AdamW with linear warm-up and decay, seeded, over cached activations of the frozen blocks."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from attribution.checkpoints import Checkpoint, checkpoint_folders, save_checkpoint
from attribution.dropout import quick_dropout
from attribution.errors import UserError
from attribution.frozen import FrozenPart
from attribution.index import Progress, silent
from attribution.loading import load_classifier
from attribution.model import Classifier
from attribution.scope import above
from attribution.storage import locked, work_folder
from attribution.workspace import Workspace, open_workspace, write_settings

WARM_UP = 0.06
WEIGHT_DECAY = 0.01
MOST_NORM = 1.0


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Settings of one fine-tuning run. `trainable` is head, last:K or all; parameters the base lacks always train."""

    trainable: str = "last:2"
    epochs: int = 3
    learning_rate: float = 3e-4
    batch_size: int = 32
    max_length: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if not re.fullmatch(r"head|all|last:[1-9]\d*", self.trainable):
            raise UserError(f"No trainable part '{self.trainable}'. Known: head, last:K (K from 1), all.")
        for name in ("epochs", "batch_size", "learning_rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise UserError(f"{name} must be above 0 and finite, not {getattr(self, name)}.")
        if self.max_length < 0 or self.max_length in (1, 2):
            raise UserError(f"max_length must be at least 3 tokens (0: the model's own), not {self.max_length}.")
        if self.seed < 0:
            raise UserError(f"seed must be 0 or more, not {self.seed}.")

    def steps(self, count: int) -> int:
        """Steps an epoch with so many training examples."""
        return -(-count // self.batch_size)


def train(workspace: Workspace, recipe: Recipe, progress: Progress = silent) -> Workspace:
    """Fine-tune the workspace's base model and save a checkpoint an epoch; returns the workspace opened anew.

    The earlier checkpoints are replaced once the new ones are written. Cost: the frozen blocks run once, the others
    forward and backward each epoch.
    """
    classifier, missing = load_classifier(
        workspace.model_folder,
        workspace.labels,
        max_length=recipe.max_length or workspace.settings.max_length,
        device=workspace.device,
        seed=recipe.seed,
    )
    base = {k: v.clone() for k, v in classifier.model.named_parameters() if k not in missing}
    names, cut = select(classifier, recipe.trainable, missing)
    with locked(workspace.directory), work_folder(workspace.directory, ".training-") as temporary:
        folders = []
        for state in _epochs(classifier, workspace, recipe, names, cut, temporary, progress):
            folder = temporary / str(state.step)
            new = {k: v for k, v in classifier.model.named_parameters() if k in names}
            save_checkpoint(folder, state, new=new, base=base)
            folders.append(folder)
        home = workspace.directory / "checkpoints"
        home.mkdir(exist_ok=True)
        old = checkpoint_folders(workspace.directory)
        for number, folder in enumerate(old):
            folder.rename(temporary / f"old-{number}")
        for folder in folders:
            folder.rename(home / folder.name)
        settings = replace(
            workspace.settings,
            has_head=True,
            trainable=recipe.trainable,
            max_length=recipe.max_length or workspace.settings.max_length,
        )
        write_settings(workspace.directory, settings)
    return open_workspace(workspace.directory, device=workspace.device)


def select(classifier: Classifier, trainable: str, missing: frozenset[str]) -> tuple[set[str], int | None]:
    """The names of the parameters to train, and the first block that has to run again each epoch (None: the whole)."""
    blocks = classifier.anatomy.blocks
    everything = dict(classifier.model.named_parameters())
    if trainable == "all":
        return set(everything), None
    if trainable == "head":
        head = {id(p) for p in classifier.anatomy.head.parameters()}
        return {n for n, p in everything.items() if id(p) in head or n in missing}, len(blocks) - 1
    count = int(trainable.removeprefix("last:"))
    return above(classifier, count) | missing, len(blocks) - count


def _epochs(
    classifier: Classifier,
    workspace: Workspace,
    recipe: Recipe,
    names: set[str],
    cut: int | None,
    temporary: Path,
    progress: Progress,
) -> Iterator[Checkpoint]:
    encoded = classifier.tokenize(*workspace.texts("train"))
    train_set = FrozenPart(classifier, encoded, cut, temporary, progress)
    labels = torch.from_numpy(workspace.label_ids(workspace.train)).to(classifier.device)
    parameters = [p.requires_grad_() for n, p in classifier.model.named_parameters() if n in names]
    learner = Learner(parameters, recipe, len(labels))
    test_set, test_labels = classifier.tokenize(*workspace.texts("test")), workspace.label_ids(workspace.test)
    step, rates = 0, []
    with torch.random.fork_rng(devices=[]), quick_dropout(classifier.model, recipe.seed):
        torch.manual_seed(recipe.seed)
        for epoch, batches in enumerate(epochs_of(recipe, len(labels)), start=1):
            classifier.model.train()
            with train_set.model() as logits:
                for rows in batches:
                    rates.append(learner.rate)
                    loss = nn.functional.cross_entropy(logits(rows), labels[rows])
                    learner.step(loss)
                    step += 1
                    progress(step, learner.steps, f"epoch {epoch} of {recipe.epochs}, loss {loss.item():.3f}")
            classifier.model.eval()
            rate = float(np.mean(rates))
            rates.clear()
            accuracy = float((classifier.collect(test_set)[1].argmax(axis=1) == test_labels).mean())
            progress(step, learner.steps, f"epoch {epoch} of {recipe.epochs}, test accuracy {accuracy:.4f}")
            yield Checkpoint(step=step, epoch=float(epoch), learning_rate=rate, test_accuracy=accuracy)


def epochs_of(recipe: Recipe, count: int) -> Iterator[list[np.ndarray]]:
    """For each epoch the positions of every batch among `count` examples, in an order that the recipe's seed draws."""
    order = np.random.default_rng(recipe.seed)
    for _ in range(recipe.epochs):
        yield np.array_split(order.permutation(count), recipe.steps(count))


def mean_rates(recipe: Recipe, count: int) -> list[float]:
    """The mean learning rate of each epoch's steps with `count` examples."""
    steps = recipe.steps(count)
    rates = [recipe.learning_rate * _share(step, steps * recipe.epochs) for step in range(steps * recipe.epochs)]
    return np.reshape(rates, (recipe.epochs, steps)).mean(axis=1).tolist()


def schedule_of(optimiser: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LambdaLR:
    """Linear warm-up over the first 6 % of the steps, then linear decay to 0."""
    return torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _share(step, steps))


def _share(step: int, steps: int) -> float:
    """The share of the learning rate that a step takes."""
    warm_up = max(1, round(WARM_UP * steps))
    return min((step + 1) / warm_up, (steps - step) / max(1, steps - warm_up))


class Learner:
    """AdamW on some parameters over all steps of a recipe with `count` examples; gradients are clipped to norm 1."""

    def __init__(self, parameters: list[nn.Parameter], recipe: Recipe, count: int) -> None:
        self.parameters = parameters
        self.steps = recipe.steps(count) * recipe.epochs
        fused = parameters[0].device.type in ("cpu", "cuda")
        self.optimiser = torch.optim.AdamW(
            parameters, lr=recipe.learning_rate, weight_decay=WEIGHT_DECAY, fused=fused or None
        )
        self.schedule = schedule_of(self.optimiser, self.steps)

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        return float(self.schedule.get_last_lr()[0])

    def step(self, loss: Tensor) -> None:
        """One step down a loss."""
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, MOST_NORM)
        self.optimiser.step()
        self.schedule.step()
