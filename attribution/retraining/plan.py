"""How models are trained again: by the workspace's own recipe, which its checkpoints tell, or the head alone."""

import re
from dataclasses import asdict, dataclass
from typing import Any

from attribution.errors import UserError
from attribution.scope import above
from attribution.training import Recipe, mean_rates
from attribution.workspace import Workspace

REFIT = "refit"
AUTO = "auto"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """`recipe`: fine-tuning anew from the base model. None: the head alone, solved to the optimum of mean cross-entropy
    + l2 ‖(W, b)‖² on the final model's features, which is convex and has no seed.
    """

    recipe: Recipe | None
    l2: float

    def describe(self) -> dict[str, Any]:
        """What the models depend on besides the workspace, their examples and their seeds."""
        if self.recipe is None:
            return {"retrain": REFIT, "l2": self.l2}
        return {name: value for name, value in asdict(self.recipe).items() if name != "seed"}

    def sentence(self) -> str:
        """One sentence for a reader."""
        made = self.recipe
        if made is None:
            return f"Retrained is the head alone, on the final model's features, to its optimum with l2={self.l2:g}."
        return (
            f"Retrained from the base model: {made.trainable}, {made.epochs} epochs, learning rate "
            f"{made.learning_rate:g}, batches of {made.batch_size}."
        )


def make_plan(
    workspace: Workspace, retrain: str, *, epochs: int, learning_rate: float, batch_size: int, l2: float
) -> Plan:
    """The plan for what a user wrote: `retrain` is auto, refit, head, last:K or all; 0 stands for "as it was trained".

    auto is what the workspace was trained with, or else refit: a model that came fine-tuned has seen all examples
    before a retraining begins. Raises UserError for anything else.
    """
    own = recipe_of(workspace)
    if retrain == AUTO:
        retrain = own.trainable if own is not None else REFIT
    if not re.fullmatch(r"refit|head|all|last:[1-9]\d*", retrain):
        raise UserError(f"No retraining '{retrain}'. Known: auto, refit, head, last:K (K from 1), all.")
    if retrain == REFIT:
        return Plan(recipe=None, l2=l2)
    if retrain.startswith("last:"):
        above(workspace.classifier, int(retrain.removeprefix("last:")))
    default = own or Recipe()
    recipe = Recipe(
        trainable=retrain,
        epochs=epochs or default.epochs,
        learning_rate=learning_rate or default.learning_rate,
        batch_size=batch_size or default.batch_size,
        max_length=workspace.settings.max_length,
    )
    return Plan(recipe=recipe, l2=l2)


def recipe_of(workspace: Workspace) -> Recipe | None:
    """The recipe that `influscope train` made the checkpoints with, read from them; None for a model trained elsewhere.

    The seed is not told. The batch size is the smallest that makes as many steps, and so the same batches.
    """
    states, trainable = workspace.checkpoints, workspace.settings.trainable
    if not trainable or not states:
        return None
    last = states[-1]
    epochs = round(last.epoch)
    steps = last.step // epochs
    recipe = Recipe(
        trainable=trainable,
        epochs=epochs,
        learning_rate=1.0,
        batch_size=-(-workspace.settings.n_train // steps),
        max_length=workspace.settings.max_length,
    )
    rate = states[0].learning_rate / mean_rates(recipe, workspace.settings.n_train)[0]
    return Recipe(**{**asdict(recipe), "learning_rate": float(f"{rate:.6g}")})
