"""Independent computations for the tests: plain transformers models in float64, loops over examples, plain autograd.

Nothing here goes through `attribution.model`, `attribution.quantity` or `attribution.head`: a model is read from its
files, gradients come from `torch.autograd` on the model's own parameters, one example at a time.
"""

import copy
import json
import shutil
from collections.abc import Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForSequenceClassification

from attribution import create_workspace, open_workspace
from attribution.data import Columns
from attribution.loading import quiet
from attribution.model import Classifier
from attribution.workspace import Workspace
from tests.tiny import tiny_workspace

HEAD = ("classifier.weight",)
HEAD_AND_BIAS = ("classifier.weight", "classifier.bias")


def plain_model(workspace: Workspace, state: int = -1) -> Any:
    """The classifier of a saved state as a transformers model in float64: the base's file plus the change's file.

    It is shared: a test that changes it takes `own_model`.
    """
    return _read_model(workspace.directory, state)


def own_model(workspace: Workspace, state: int = -1) -> Any:
    """A copy of `plain_model` that may be changed."""
    return copy.deepcopy(_read_model(workspace.directory, state))


def reopened(workspace: Workspace, directory: Path | None = None) -> Workspace:
    """The workspace as another process opens it, here or where it was copied to; only the model is not read again."""
    opened = open_workspace(directory or workspace.directory)
    opened.__dict__["classifier"] = workspace.classifier
    return opened


@cache
def _read_model(directory: Path, state: int) -> Any:
    with quiet():
        model = AutoModelForSequenceClassification.from_pretrained(directory / "model", attn_implementation="eager")
    model = model.double().eval().requires_grad_(False)
    folders = _checkpoints(directory)
    if folders:
        parameters = dict(model.named_parameters())
        for name, change in load_file(folders[state] / "delta.safetensors").items():
            parameters[name].add_(change.double())
    return model


def _checkpoints(directory: Path) -> list[Path]:
    return sorted((directory / "checkpoints").glob("*"), key=lambda folder: int(folder.name))


def learning_rates(workspace: Workspace) -> list[float]:
    """η_c of every checkpoint, by rising step, from the files."""
    return [json.loads((f / "meta.json").read_text())["learning_rate"] for f in _checkpoints(workspace.directory)]


def doubled(workspace: Workspace) -> Workspace:
    """The same workspace, opened again, whose classifier computes in float64."""
    twin = open_workspace(workspace.directory)
    model = plain_model(workspace)
    twin.__dict__["classifier"] = Classifier(
        model=model, tokenizer=workspace.tokenizer, labels=workspace.labels, max_length=workspace.classifier.max_length
    )
    return twin


def encoded(workspace: Workspace, row: pd.Series) -> dict[str, Tensor]:
    """Model inputs of one row of a table."""
    texts = (row["text"], row["text_pair"]) if "text_pair" in row else (row["text"],)
    return dict(workspace.tokenizer(*texts, truncation=True, max_length=48, return_tensors="pt"))


def log_probability(model: Any, inputs: dict[str, Tensor], label: int, embeds: Tensor | None = None) -> Tensor:
    """log p(label) of one example, or of embeddings that stand in for its word embeddings."""
    if embeds is not None:
        inputs = {k: v for k, v in inputs.items() if k != "input_ids"} | {"inputs_embeds": embeds}
    return model(**inputs).logits.log_softmax(dim=-1)[0, label]


def saliency(model: Any, inputs: dict[str, Tensor], label: int, kind: str) -> np.ndarray:
    """Raw gradient×input, or gradient sum where the first block begins, of a BERT's tokens: (tokens,)."""
    embeds = model.get_input_embeddings().weight[inputs["input_ids"]].detach().requires_grad_()
    entering: list[Tensor] = []
    hook = model.bert.encoder.layer[0].register_forward_pre_hook(lambda _, args: entering.append(args[0]))
    log_p = log_probability(model, inputs, label, embeds)
    hook.remove()
    if kind == "gradient_x_input":
        scores = (torch.autograd.grad(log_p, embeds)[0] * embeds).sum(dim=-1)
    else:
        scores = torch.autograd.grad(log_p.exp(), entering[0])[0].sum(dim=-1)
    return scores[0].detach().numpy()


def flat_gradient(model: Any, value: Tensor, names: Sequence[str]) -> np.ndarray:
    """∂value over the named parameters of the model, one after the other: (parameters,)."""
    parameters = dict(model.named_parameters())
    found = torch.autograd.grad(value, [parameters[name] for name in names])
    return np.concatenate([g.detach().numpy().ravel() for g in found])


@cache
def training_gradients(workspace: Workspace, names: tuple[str, ...], state: int = -1) -> np.ndarray:
    """∇ℓ_i of every training example over the named parameters, one example at a time: (train, parameters)."""
    model = own_model(workspace, state)
    for name in names:
        dict(model.named_parameters())[name].requires_grad_()
    rows = []
    for _, row in workspace.train.iterrows():
        label = workspace.labels.index(row["label"])
        loss = -log_probability(model, encoded(workspace, row), label)
        rows.append(flat_gradient(model, loss, names))
    made = np.stack(rows)
    made.flags.writeable = False  # kept for other tests
    return made


@cache
def query_gradient(workspace: Workspace, names: tuple[str, ...], test: int, label: int, state: int = -1) -> np.ndarray:
    """∇ log p(label) of one test example over the named parameters: (parameters,)."""
    model = own_model(workspace, state)
    for name in names:
        dict(model.named_parameters())[name].requires_grad_()
    value = log_probability(model, encoded(workspace, workspace.test.loc[test]), label)
    return flat_gradient(model, value, names)


def mean_loss_hessian(
    features: np.ndarray, labels: np.ndarray, weight: np.ndarray, bias: np.ndarray | None
) -> np.ndarray:
    """Hessian of the mean cross-entropy of a softmax head over (W, b), by double autograd: (parameters, parameters)."""
    x, y = torch.from_numpy(features).double(), torch.from_numpy(labels)
    size = weight.size

    def mean_loss(flat: Tensor) -> Tensor:
        logits = x @ flat[:size].view(weight.shape).T
        return torch.nn.functional.cross_entropy(logits if bias is None else logits + flat[size:], y)

    start = np.concatenate([weight.ravel(), [] if bias is None else bias]).astype(np.float64)
    found = torch.autograd.functional.hessian(mean_loss, torch.from_numpy(start))
    assert isinstance(found, Tensor)
    return found.numpy()


@cache
def head_hessian_of(workspace: Workspace, *, bias: bool, state: int = -1) -> np.ndarray:
    """`mean_loss_hessian` of a workspace's head at a saved state, on features computed one example at a time."""
    model = plain_model(workspace, state)
    features = np.stack([penultimate(model, encoded(workspace, row)) for _, row in workspace.train.iterrows()])
    labels = np.array([workspace.labels.index(label) for label in workspace.train["label"]])
    head = model.classifier
    whole = mean_loss_hessian(features, labels, head.weight.numpy(), head.bias.numpy())
    size = head.weight.numel()
    return whole if bias else whole[:size, :size]


def penultimate(model: Any, inputs: dict[str, Tensor]) -> np.ndarray:
    """The features that enter a BERT's head, for one example: (width,)."""
    with torch.no_grad():
        return model.dropout(model.bert(**inputs).pooler_output)[0].numpy()


def damped(hessian: np.ndarray, damping: float) -> np.ndarray:
    """H + λI with λ = damping × the mean eigenvalue of H."""
    return hessian + damping * np.linalg.eigvalsh(hessian).mean() * np.eye(len(hessian))


def with_training_data(workspace: Workspace, train: pd.DataFrame, folder: Path) -> Workspace:
    """A workspace with the same model, checkpoints and test set and with other training examples."""
    folder.mkdir(parents=True)
    train.to_csv(folder / "train.csv", index=False)
    workspace.test.to_csv(folder / "test.csv", index=False)
    columns = Columns(text="text", text_pair="text_pair") if workspace.is_pair else Columns()
    made, _ = create_workspace(
        folder / "workspace",
        model=workspace.directory / "model",
        train=folder / "train.csv",
        test=folder / "test.csv",
        columns=columns,
    )
    if (workspace.directory / "checkpoints").exists():
        shutil.copytree(workspace.directory / "checkpoints", made.directory / "checkpoints")
    return open_workspace(made.directory)


def worst(found: np.ndarray, expected: np.ndarray) -> str:
    """Where two arrays differ most, for a failure message."""
    difference = np.abs(np.asarray(found) - np.asarray(expected))
    at = np.unravel_index(difference.argmax(), difference.shape)
    return f"at {tuple(int(i) for i in at)}: {np.asarray(found)[at]!r}, expected {np.asarray(expected)[at]!r}"


def assert_close(found: np.ndarray, expected: np.ndarray, *, relative: float, what: str = "scores") -> None:
    """Equal up to `relative` × the largest expected value."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape, f"{what}: shape {found.shape}, expected {expected.shape}"
    scale = np.abs(expected).max()
    assert scale > 0, f"{what}: everything expected is zero, so the comparison says nothing"
    error = np.abs(found - expected).max() / scale
    assert error <= relative, f"{what} differ by {error:.2e} of the largest value; {worst(found, expected)}"


def assert_predicts(predicted: np.ndarray, actual: np.ndarray, *, pearson: float) -> None:
    """Predicted changes agree with actual ones in order and in size."""
    found = np.corrcoef(predicted, actual)[0, 1]
    slope = predicted @ actual / (predicted @ predicted)
    assert found > pearson, f"Pearson {found:.4f} between predicted and actual changes"
    assert 0.8 < slope < 1.25, f"the actual changes are {slope:.3f} × the predicted ones"


class Convex:
    """A softmax head with a ridge penalty, at its optimum on fixed features, as a workspace and as plain numpy.

    theta: (labels × (width + 1)), the bias last in each label's row, minimises mean loss + penalty/2 ‖θ‖². The damping
    at which influence_head's H + λI is the Hessian of that objective is `damping`.
    """

    def __init__(self, folder: Path, *, penalty: float = 0.02) -> None:
        self.penalty = penalty
        base = tiny_workspace(folder / "base", n_train=100, n_test=11, epochs=0, seed=2)
        model = own_model(base)
        self.features = np.stack([penultimate(model, encoded(base, row)) for _, row in base.train.iterrows()])
        self.test_features = np.stack([penultimate(model, encoded(base, row)) for _, row in base.test.iterrows()])
        self.labels = base.label_ids(base.train)
        self.theta = self.fit(np.ones(len(self.labels)))
        hessian = self._slopes(self.theta, np.ones(len(self.labels)))[1] - penalty * np.eye(len(self.theta))
        self.damping = penalty / np.linalg.eigvalsh(hessian).mean()
        with torch.no_grad(), quiet():
            for parameter, value in zip(model.classifier.parameters(), self.split(self.theta), strict=True):
                parameter.copy_(torch.from_numpy(value))
            model.float().save_pretrained(base.directory / "model")
        self.workspace = with_training_data(base, base.train, folder / "fitted")

    def split(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weight (labels, width) and bias (labels,)."""
        rows = theta.reshape(2, -1)
        return rows[:, :-1].copy(), rows[:, -1].copy()

    @cached_property
    def left_out(self) -> list[np.ndarray]:
        """The optimum after leaving out each example in turn; the others keep their weight 1/n."""
        counts = 1 - np.eye(len(self.labels))
        return [self.fit(row, start=self.theta) for row in counts]

    def fit(self, counts: np.ndarray, start: np.ndarray | None = None) -> np.ndarray:
        """Newton's method to convergence in float64."""
        theta = np.zeros(2 * (self.features.shape[1] + 1)) if start is None else start
        for _ in range(50):
            slope, hessian = self._slopes(theta, counts)
            theta = theta - np.linalg.solve(hessian, slope)
            if np.abs(slope).max() < 1e-12:
                return theta
        raise AssertionError("Newton's method did not converge in 50 steps")

    def _slopes(self, theta: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Gradient and Hessian of Σ counts_i ℓ_i / n + penalty/2 ‖θ‖²."""
        share = counts / len(self.labels)
        x = np.hstack([self.features, np.ones((len(self.features), 1))])
        p = np.exp(x @ theta.reshape(2, -1).T)
        p /= p.sum(axis=1, keepdims=True)
        gradient = ((p - np.eye(2)[self.labels]) * share[:, None]).T @ x
        spread = np.einsum("nc,ce->nce", p, np.eye(2)) - np.einsum("nc,ne->nce", p, p)
        hessian = np.einsum("n,nce,nd,nf->cdef", share, spread, x, x, optimize=True).reshape(len(theta), -1)
        return gradient.ravel() + self.penalty * theta, hessian + self.penalty * np.eye(len(theta))
