"""The states of the model that scores are taken at: saved checkpoints, or slightly changed copies of the final one."""

from dataclasses import dataclass

import torch
from torch import Tensor

from attribution.ekfac import sample
from attribution.scope import first_block
from attribution.workspace import Workspace

BATCH = 32


@dataclass(frozen=True, kw_only=True)
class Copy:
    """The final model after one step of gradient descent on a random mini-batch (Huang et al. 2021 §3.2, δ-faithful).

    `step` is η of θ − η ∇ mean ℓ over 32 training examples that the seed and the copy's number draw.
    """

    number: int
    step: float
    seed: int


State = int | Copy


def weights_of(workspace: Workspace, state: State) -> dict[str, Tensor]:
    """What stands in for the model's own parameters at a state; {} for the final one."""
    if isinstance(state, int):
        return workspace.weights(state)
    return workspace.memo(state, lambda: _stepped(workspace, state))


def unmoved_below(workspace: Workspace, state: State) -> int:
    """The transformer block below which a state's weights are those of the final one."""
    own = weights_of(workspace, state)
    return first_block(workspace.classifier, own) or 0 if own else len(workspace.classifier.anatomy.blocks)


def _stepped(workspace: Workspace, copy: Copy) -> dict[str, Tensor]:
    """The parameters that fine-tuning trained (all of a model that came fine-tuned), after the copy's step."""
    classifier = workspace.classifier
    encoded, labels = workspace.encoded_train(sample(workspace, BATCH, draw=f"{copy.seed} {copy.number}")[0])
    trained = workspace.trained
    leaves = {n: p.clone().requires_grad_() for n, p in classifier.model.named_parameters() if n in trained}
    logits, _ = classifier.run(classifier.pad(encoded, range(len(labels))), weights=leaves)
    loss = torch.nn.functional.cross_entropy(logits.float(), torch.from_numpy(labels).to(classifier.device))
    slopes = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True, materialize_grads=True)
    return {name: (leaves[name] - copy.step * slope).detach() for name, slope in zip(leaves, slopes, strict=True)}
