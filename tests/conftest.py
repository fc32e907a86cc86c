"""Workspaces that many tests read, made once a run in a temporary folder."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import streamlit as st
import torch
from streamlit.testing.v1 import AppTest

from attribution.index import build, parts
from attribution.registry import standard_parts
from attribution.training import Recipe, train
from attribution.workspace import Workspace
from dashboard import jobs, workspaces
from tests.apps import APP, OpenApp
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


@pytest.fixture(scope="session", autouse=True)
def own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the dashboard remembers of a user, the workspaces opened lately, is that of the tests alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(autouse=True)
def own_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """AppTest leaves its page behind as the program itself, which every process spawned later would run again."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


@pytest.fixture
def no_memory() -> Iterator[None]:
    """Nothing kept from another workspace, and no job left behind."""
    st.cache_resource.clear()
    yield
    for found in jobs._jobs().values():
        found.stop()
        found.process.wait()
        found.close()
    st.cache_resource.clear()


@pytest.fixture
def open_app(no_memory: None, monkeypatch: pytest.MonkeyPatch) -> OpenApp:
    """Run the dashboard's first page on a workspace folder, with these query parameters."""

    def run(folder: Path, **query: str) -> AppTest:
        monkeypatch.setenv(workspaces.WORKSPACE_VARIABLE, str(folder))
        app = AppTest.from_file(APP, default_timeout=120)
        app.query_params.update(query)
        return app.run()

    return run


@pytest.fixture
def indexed(request: pytest.FixtureRequest) -> Workspace:
    """The workspace that the test names (single texts unless it does), with its index."""
    opened: Workspace = request.getfixturevalue(getattr(request, "param", "workspace"))
    build(opened, [*parts(opened, "features", "all"), *parts(opened, "word_gradients", "all"), *standard_parts(opened)])
    return opened
