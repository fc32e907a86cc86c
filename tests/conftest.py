"""Workspaces that many tests read, made once a run in a temporary folder."""

import shutil
from pathlib import Path

import pytest
import torch

from attribution.training import Recipe, train
from attribution.workspace import Workspace
from tests.oracles import Convex, reopened
from tests.tiny import tiny_workspace

# The models are so small that handing work to a second thread costs more than the work.
torch.set_num_threads(1)

N_TRAIN, N_TEST = 40, 11


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Single texts, two checkpoints of the last block; n_test differs from n_train so that no transposition hides."""
    return tiny_workspace(tmp_path_factory.mktemp("single"), n_train=N_TRAIN, n_test=N_TEST)


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Pairs of texts, two checkpoints of the last block."""
    return tiny_workspace(tmp_path_factory.mktemp("pairs"), n_train=N_TRAIN, n_test=N_TEST, pair=True, seed=3)


@pytest.fixture(scope="session")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Single texts; every parameter, the word embeddings too, differs between the three checkpoints."""
    untrained = tiny_workspace(tmp_path_factory.mktemp("moving"), n_train=N_TRAIN, n_test=N_TEST, epochs=0, seed=5)
    return train(untrained, Recipe(trainable="all", epochs=3, batch_size=8, learning_rate=1e-2, seed=5))


@pytest.fixture(scope="session")
def convex(tmp_path_factory: pytest.TempPathFactory) -> Convex:
    """A ridge-penalised head at its optimum, that can be trained again without an example."""
    return Convex(tmp_path_factory.mktemp("convex"))


@pytest.fixture
def fresh(workspace: Workspace, tmp_path: Path) -> Workspace:
    """A copy of `workspace` without an index, that a test may change."""
    shutil.copytree(workspace.directory, tmp_path / "fresh", ignore=shutil.ignore_patterns("index", "results"))
    return reopened(workspace, tmp_path / "fresh")
