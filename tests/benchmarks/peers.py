"""The same question put to other libraries, on the same model, scope and a part of the training data."""

import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from attribution.creation import create_workspace
from attribution.ekfac import sample
from attribution.model import Classifier
from attribution.query import make_query
from attribution.registry import run_method
from attribution.scope import make_scope
from attribution.workspace import Workspace
from tests.benchmarks.agreement import spearman

ROWS = 512
TESTS = 8


class Rows(Dataset):
    """Padded inputs and a label of some texts."""

    def __init__(self, classifier: Classifier, texts: list[str], labels: np.ndarray) -> None:
        encoded = classifier.tokenize(texts)
        padded = classifier.pad(encoded, range(len(texts)))
        self.columns: tuple[torch.Tensor, ...] = (
            padded["input_ids"],
            padded["attention_mask"],
            torch.from_numpy(labels),
        )

    def __len__(self) -> int:
        return len(self.columns[0])

    def __getitem__(self, row: int) -> tuple[torch.Tensor, ...]:
        return tuple(column[row] for column in self.columns)


class Plain(nn.Module):
    """The classifier as a module of two tensors, with gradients for the scope's weights.

    Its last block computes what is read, as it does for us: a Kronecker factor of all positions would be another one.
    """

    def __init__(self, workspace: Workspace, scope: str) -> None:
        super().__init__()
        self.classifier = workspace.base_classifier()
        self.model, self.blocks = self.classifier.model, self.classifier.anatomy.blocks
        self.model.load_state_dict(workspace.model.state_dict())
        wanted = make_scope(workspace.classifier, scope).names
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(name in wanted)
        self.layers = []
        for name in make_scope(workspace.classifier, scope).layers:
            parent, _, child = name.rpartition(".")
            setattr(self.model.get_submodule(parent), child, BiasApart(self.model.get_submodule(name)))
            self.layers.append(f"model.{name}.linear")

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        with self.classifier.narrowed():
            return self.model(input_ids=ids, attention_mask=mask).logits


class BiasApart(nn.Module):
    """A linear layer whose bias is added outside it, so that the peers explain the weight alone, as we do."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.linear = nn.Linear(layer.in_features, layer.out_features, bias=False)
        self.linear.weight = layer.weight
        self.added = layer.bias

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.linear(values) + self.added


def ours(workspace: Workspace, solver: str) -> float:
    """Our milliseconds a query over the whole training set, its top scored exactly."""
    times = []
    for test in workspace.test.index[:TESTS]:
        query = make_query(workspace, test=int(test), label="true")
        began = time.perf_counter()
        run_method(query, "influence", {"solver": solver, "damping": 0.1})
        times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times[1:])


def captum_tracincp(workspace: Workspace, *, by_batch: bool = False) -> dict[str, Any]:
    """captum's TracInCP over the same weights, one query and eight at once; it sees 512 training examples.

    by_batch: its gradients of a batch's examples at once, which here are not those of autograd (captum 0.9).
    """
    from captum.influence import TracInCP

    module = Plain(workspace, "last:2")
    # captum hooks the inputs of the layers, which need a gradient for that even above frozen blocks.
    module.blocks[-2].register_forward_pre_hook(lambda _, given: (given[0].requires_grad_(), *given[1:]))
    train, test = _rows(workspace)
    peer: Any = TracInCP(
        module,
        train,
        [""],
        checkpoints_load_func=lambda *_: 1.0,
        layers=module.layers,
        loss_fn=nn.CrossEntropyLoss(reduction="sum" if by_batch else "none"),
        batch_size=32,
        sample_wise_grads_per_batch=by_batch,
    )
    began = time.perf_counter()
    one = peer.influence(tuple(c[:1] for c in test.columns))
    single = 1000 * (time.perf_counter() - began)
    began = time.perf_counter()
    eight = peer.influence(test.columns)
    batch = 1000 * (time.perf_counter() - began) / TESTS
    assert one.shape == (1, ROWS)
    return _compared(workspace, "identity", single, batch, eight.detach().numpy())


def kronfluence_ekfac(workspace: Workspace) -> dict[str, Any]:
    """kronfluence's EK-FAC at full rank, fitted on the same 512 examples that it scores.

    The Fisher's labels are the ones that we draw: two draws of so few labels differ by more than the two programs.
    """
    from kronfluence.analyzer import Analyzer, prepare_model  # pyright: ignore[reportMissingImports]
    from kronfluence.task import Task  # pyright: ignore[reportMissingImports]

    class Classification(Task):
        def compute_train_loss(self, batch: Any, model: Any, sample: bool = False) -> torch.Tensor:
            logits = model(batch[0], batch[1])
            below = logits.detach().double().softmax(-1).cumsum(-1) < batch[3][:, None]
            labels = below.sum(-1).clamp_max(logits.shape[-1] - 1) if sample else batch[2]
            return nn.functional.cross_entropy(logits, labels, reduction="sum")

        def compute_measurement(self, batch: Any, model: Any) -> torch.Tensor:
            return nn.functional.cross_entropy(model(batch[0], batch[1]), batch[2], reduction="sum")

        def get_influence_tracked_modules(self) -> list[str]:
            return module.layers

        def get_attention_mask(self, batch: Any) -> torch.Tensor:
            return batch[1]

    from kronfluence.arguments import FactorArguments, ScoreArguments  # pyright: ignore[reportMissingImports]

    train, test = _rows(workspace)
    with tempfile.TemporaryDirectory() as folder:
        train.columns += (torch.from_numpy(sample(part_of(workspace, Path(folder)), ROWS)[1]),)
    module = Plain(workspace, "last:2")
    # A peer that ran before may have left gradients off.
    with tempfile.TemporaryDirectory() as folder, torch.enable_grad():
        analyzer = Analyzer("demo", prepare_model(module, Classification()), Classification(), output_dir=folder)
        began = time.perf_counter()
        analyzer.fit_all_factors("f", train, per_device_batch_size=16, factor_args=FactorArguments(strategy="ekfac"))
        fitted = time.perf_counter() - began
        began = time.perf_counter()
        analyzer.compute_pairwise_scores(
            "s", "f", test, train, TESTS, per_device_train_batch_size=16, score_args=ScoreArguments(damping_factor=None)
        )
        batch = 1000 * (time.perf_counter() - began) / TESTS
        scores = analyzer.load_pairwise_scores("s")["all_modules"].numpy()
    found = _compared(workspace, "ekfac", batch * TESTS, batch, scores)
    return {**found, "peer_fit_seconds": round(fitted, 1)}


def _rows(workspace: Workspace) -> tuple[Rows, Rows]:
    train, test = workspace.train.iloc[:ROWS], workspace.test.iloc[:TESTS]
    sets = [Rows(workspace.classifier, t["text"].tolist(), workspace.label_ids(t)) for t in (train, test)]
    return sets[0], sets[1]


def part_of(workspace: Workspace, folder: Path) -> Workspace:
    """A workspace of the model and of the training examples that the peers see, with its own curvature."""
    workspace.model.save_pretrained(folder / "model")
    workspace.tokenizer.save_pretrained(folder / "model")
    for name, table in (("train", workspace.train.iloc[:ROWS]), ("test", workspace.test.iloc[:TESTS])):
        table.to_csv(folder / f"{name}.csv", index=False)
    return create_workspace(
        folder / "part", model=folder / "model", train=folder / "train.csv", test=folder / "test.csv"
    )[0]


def exact_scores(workspace: Workspace, solver: str) -> np.ndarray:
    """Our exact scores at full rank: (tests, train)."""
    settings = {"solver": solver, "damping": 0.1, "scorer": "sweep"}
    with tempfile.TemporaryDirectory() as folder:
        part = part_of(workspace, Path(folder))
        queries = [make_query(part, test=test, label="true") for test in range(TESTS)]
        return np.stack([run_method(query, "influence", settings).scores for query in queries])  # pyright: ignore


def _compared(workspace: Workspace, solver: str, single: float, batch: float, scores: np.ndarray) -> dict[str, Any]:
    """Times a query, the peer's scaled from 512 examples to all; the median agreement with our exact scores."""
    mine, scale = ours(workspace, solver), len(workspace.train) / ROWS
    agreeing = [spearman(a, b) for a, b in zip(exact_scores(workspace, solver), scores, strict=True)]
    return {
        "ours_ms": round(mine, 1),
        "peer_ms": round(single * scale, 1),
        "peer_ms_8_at_once": round(batch * scale, 1),
        "ratio": round(single * scale / mine, 1),
        "spearman": round(statistics.median(agreeing), 4),
    }


PEERS = {
    "captum_tracincp": captum_tracincp,
    "captum_tracincp_by_batch": partial(captum_tracincp, by_batch=True),
    "kronfluence_ekfac": kronfluence_ekfac,
}
