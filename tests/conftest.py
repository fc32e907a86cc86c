"""Workspaces that many tests read, made once a run in a temporary folder."""

import shutil
from pathlib import Path

import pytest
import torch

from attribution import factor_index
from attribution.factor_index import factor_parts, open_factors
from attribution.training import Recipe, train
from attribution.workspace import Workspace
from tests.oracles import Convex, reopened
from tests.pages import no_memory, open_app
from tests.tiny import tiny_workspace

# Fixtures by being named here.
__all__ = ["no_memory", "open_app"]

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
def whole(workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A copy of the workspace, in whose index every gradient keeps all its pairs."""
    folder = tmp_path_factory.mktemp("whole") / "whole"
    shutil.copytree(workspace.directory, folder, ignore=shutil.ignore_patterns("index", "results"))
    made = reopened(workspace, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(factor_index, "LOST", 0)
        for scope in ("last:1", "last:2"):
            open_factors(made, factor_parts(made, scope)[0])
    return made


@pytest.fixture(scope="session")
def convex(tmp_path_factory: pytest.TempPathFactory) -> Convex:
    """A ridge-penalised head at its optimum, that can be trained again without an example."""
    return Convex(tmp_path_factory.mktemp("convex"))


@pytest.fixture
def fresh(workspace: Workspace, tmp_path: Path) -> Workspace:
    """A copy of `workspace` without an index, that a test may change."""
    shutil.copytree(workspace.directory, tmp_path / "fresh", ignore=shutil.ignore_patterns("index", "results"))
    return reopened(workspace, tmp_path / "fresh")
