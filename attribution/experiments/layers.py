"""The layers of a classifier as groups of its parameters, and the gradients of single examples over them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attribution.scope import above
from attribution.workspace import Workspace

WEIGHTS, BIASES = "weights", "biases"


@dataclass(frozen=True, kw_only=True)
class Group:
    """Parameters of a layer, by name; kind: its weight matrices, or its biases and LayerNorms."""

    layer: str
    kind: str
    names: tuple[str, ...]


def layer_groups(workspace: Workspace) -> list[Group]:
    """Every parameter in one group: by layer from below, and by kind.

    Layers are the word embeddings, what else is below the blocks, each block, what is above them, and the head.
    """
    classifier = workspace.classifier
    anatomy, count = classifier.anatomy, len(classifier.anatomy.blocks)
    parameters = dict(classifier.model.named_parameters())
    block_of = {id(p): k for k, block in enumerate(anatomy.blocks, start=1) for p in block.parameters()}
    upper = above(classifier, count)
    order = ["word embeddings", "other embeddings", *(f"block {k + 1}" for k in range(count)), "above blocks", "head"]
    found: dict[tuple[str, str], list[str]] = {}
    for name, parameter in parameters.items():
        if name.rpartition(".")[0] == anatomy.embeddings_name:
            layer = order[0]
        elif id(parameter) in block_of:
            layer = f"block {block_of[id(parameter)]}"
        elif name.rpartition(".")[0] == anatomy.head_name:
            layer = order[-1]
        else:
            layer = order[-2] if name in upper else order[1]
        found.setdefault((layer, WEIGHTS if parameter.dim() > 1 else BIASES), []).append(name)
    keys = sorted(found, key=lambda key: (order.index(key[0]), key[1] != WEIGHTS))
    return [Group(layer=layer, kind=kind, names=tuple(found[layer, kind])) for layer, kind in keys]


def example_gradients(
    workspace: Workspace, part: str, ids: Sequence[int], names: Sequence[str], state: int
) -> Iterator[dict[str, Tensor]]:
    """∇ℓ of one example after the other over named parameters, by name, at a saved state; ℓ = −log p(true label).

    `part`: "train" or "test"; `ids`: positions in its table. Cost: a forward and a backward pass an example.
    """
    classifier, table = workspace.classifier, workspace.train if part == "train" else workspace.test
    rows = table.iloc[list(ids)]
    encoded = classifier.tokenize(rows["text"].tolist(), rows["text_pair"].tolist() if workspace.is_pair else None)
    labels = torch.from_numpy(workspace.label_ids(rows)).to(classifier.device)
    weights = workspace.weights(state)
    values: dict[str, Tensor] = {**dict(classifier.model.named_parameters()), **weights}
    leaves = {name: values[name].detach().requires_grad_() for name in names}
    for row in range(len(rows)):
        logits, _ = classifier.run(classifier.pad(encoded, [row]), weights={**weights, **leaves})
        loss = torch.nn.functional.cross_entropy(logits.float(), labels[row : row + 1])
        found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True, materialize_grads=True)
        yield dict(zip(names, found, strict=True))


def group_dot(group: Group, one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """The inner product of two gradients over a group's parameters."""
    return sum(float(torch.vdot(one[name].flatten(), other[name].flatten())) for name in group.names)
