"""One question about several test examples: which training examples act on all of them (Koh et al. 2019, groups).

F is the mean of the quantity over the examples, so its gradient is the mean of theirs, and every method that is a
product with that gradient answers it as it answers a question about one example.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attribution.errors import UserError, unknown
from attribution.index import Progress, silent
from attribution.matrices import Matrix
from attribution.model import Classifier, length_sorted_batches
from attribution.parameters import checked
from attribution.quantity import LogOdds, LogProbability, Margin, Mean, Weights
from attribution.registry import get_method, list_methods
from attribution.results import Ranking
from attribution.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class Group:
    """Some test examples, by their ids, that are asked about together.

    `labels`: the number of each one's explained label; `against`: those of the labels they are held against, if any.
    """

    workspace: Workspace
    tests: tuple[int, ...]
    labels: tuple[int, ...]
    against: tuple[int, ...] | None = None

    @property
    def classifier(self) -> Classifier:
        return self.workspace.classifier

    def quantity(self) -> Mean:
        """The mean of log p of the explained labels, or of their margins over the labels they are held against."""
        if self.against is None:
            return Mean(parts=tuple(LogProbability(label=label) for label in self.labels))
        pairs = zip(self.labels, self.against, strict=True)
        return Mean(parts=tuple(Margin(label=label, against=other) for label, other in pairs))

    def odds(self) -> Mean:
        """The mean log odds of the explained labels against all others, or against the ones they are held against."""
        if self.against is not None:
            return self.quantity()
        return Mean(parts=tuple(LogOdds(label=label) for label in self.labels))

    def value(self) -> float:
        """`quantity` under the final model, from its kept predictions."""
        kept = self.workspace.predict_test().loc[list(self.tests)].to_numpy()
        log_p = np.log(np.maximum(kept, np.finfo(np.float64).tiny))
        return float(self.quantity().of_rows(torch.from_numpy(log_p), range(len(log_p))))

    def gradient(self, quantity: Mean, names: tuple[str, ...], weights: Weights) -> list[Tensor]:
        """∇F over the named parameters, where `weights` stand in for the model's.

        That of the whole test set under the final model is kept. Cost: a forward and a backward pass over the examples.
        """
        if weights or len(self.tests) < len(self.workspace.test):
            return self._gradient(quantity, names, weights)
        key = ("gradient of the test set", self.tests, quantity, names)
        return self.workspace.memo(key, lambda: self._gradient(quantity, names, weights))

    def over_layers(self, quantity: Mean, layers: tuple[str, ...], weights: Weights) -> dict[str, Matrix]:
        """As `gradient`, over the weights of linear layers, by layer."""
        found = self.gradient(quantity, tuple(f"{layer}.weight" for layer in layers), weights)
        return dict(zip(layers, found, strict=True))

    def _gradient(self, quantity: Mean, names: tuple[str, ...], weights: Weights) -> list[Tensor]:
        classifier, encoded = self.classifier, self._encoded()
        own = dict(classifier.model.named_parameters())
        leaves = {name: weights.get(name, own[name]).detach().clone().requires_grad_() for name in names}
        total = [torch.zeros_like(leaf) for leaf in leaves.values()]
        for rows in length_sorted_batches([len(ids) for ids in encoded["input_ids"]]):
            inputs = classifier.pad(encoded, rows.tolist())
            logits = classifier.run(inputs, weights={**weights, **leaves})[0].float()
            value = quantity.of_rows(logits, rows.tolist())
            found = torch.autograd.grad(value, list(leaves.values()), allow_unused=True, materialize_grads=True)
            total = [before + more for before, more in zip(total, found, strict=True)]
        return total

    def _encoded(self) -> Any:
        table = self.workspace.test.loc[list(self.tests)]
        pairs = table["text_pair"].tolist() if self.workspace.is_pair else None
        return self.classifier.tokenize(table["text"].tolist(), pairs)


@dataclass(frozen=True, kw_only=True)
class GroupTable(Ranking):
    """The scores of all training examples for a group: removing one is predicted to change the mean by −score/n."""

    group: Group

    @property
    def workspace(self) -> Workspace:
        return self.group.workspace


def make_group(
    workspace: Workspace, tests: Sequence[int], *, label: str = "predicted", against: str | None = None
) -> Group:
    """A group of test examples by their ids; `label` and `against` are predicted, true, or a label's name.

    Raises UserError for no example, an id twice or unknown, an unknown label, and where a label is held against itself.
    """
    if not tests:
        raise UserError("Choose at least one test example.")
    if len(set(tests)) < len(tests):
        raise UserError("A test example is chosen twice: give each once.")
    for test in tests:
        workspace.test_row(test)
    ids = tuple(int(test) for test in tests)
    labels = _label_ids(workspace, ids, label)
    others = None if against is None else _label_ids(workspace, ids, against)
    same = [test for test, one, other in zip(ids, labels, others or labels, strict=True) if others and one == other]
    if same:
        raise UserError(f"The margin of a label over itself is 0 for test example {same[0]}: choose another label.")
    return Group(workspace=workspace, tests=ids, labels=labels, against=others)


def whole_test_set(workspace: Workspace) -> Group:
    """Every test example with its true label: F is minus the mean loss."""
    return make_group(workspace, workspace.test.index.tolist(), label="true")


def attribute_group(
    group: Group,
    name: str,
    parameters: Mapping[str, Any] | None = None,
    progress: Progress = silent,
    *,
    rerank: bool = True,
) -> GroupTable:
    """The scores of a method for a group; without `rerank` an index's top rows are left for later.

    A method that is a plain product (`normalise=none`) gives the mean of its scores for each example alone. Raises
    UserError for a method that is not a product with the gradient of the prediction.
    """
    method = get_method(name)
    if name not in group_methods():
        raise unknown("method for several test examples at once", name, group_methods())
    values = checked(name, method.parameters, parameters or {})
    began = time.perf_counter()
    scored = method.function(group, progress, **values)
    seconds = time.perf_counter() - began
    table = GroupTable(group=group, method=name, parameters=values, scored=scored, seconds=seconds)
    return table.reranked() if rerank else table


def group_methods() -> list[str]:
    """The names of the methods that answer a question about a group."""
    found = (m for m in list_methods("examples") if m.preset is not None)
    return [method.name for method in found if not method.clicked and method.spans == "none"]


def _label_ids(workspace: Workspace, tests: tuple[int, ...], label: str) -> tuple[int, ...]:
    if label == "predicted":
        found = workspace.predict_test().loc[list(tests)].to_numpy().argmax(axis=1)
    elif label == "true":
        found = workspace.label_ids(workspace.test.loc[list(tests)])
    elif label in workspace.labels:
        found = np.full(len(tests), workspace.labels.index(label))
    else:
        raise unknown("label", label, ("predicted", "true", *workspace.labels))
    return tuple(int(one) for one in found)
