"""A planted artifact is found and its absence too: MiniLM fine-tuned on our grammar's pairs, with and without it."""

from pathlib import Path
from typing import Any

import pytest

from attribution.creation import create_workspace
from attribution.data import Columns
from attribution.demo import MODEL
from attribution.experiments.registry import run_experiment
from attribution.grammar import sentence_pairs
from attribution.training import Recipe, train
from attribution.workspace import Workspace

PAIRS = Columns(text_pair="text_pair")


def fine_tuned(folder: Path, artifact: float) -> Workspace:
    """A workspace whose training pairs have the overlap that predicts their label as often as `artifact` says."""
    for name, table in zip(
        ("train", "test"),
        sentence_pairs(artifact=artifact, n_train=1000, n_natural=100, n_case=20, seed=1),
        strict=True,
    ):
        table.to_parquet(folder / f"{name}.parquet")
    files: dict[str, Any] = {name: folder / f"{name}.parquet" for name in ("train", "test")}
    made, _ = create_workspace(folder / "workspace", model=MODEL, columns=PAIRS, **files)
    return train(made, Recipe(trainable="last:2", epochs=2))


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return fine_tuned(tmp_path_factory.mktemp("planted"), 1.0)


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return fine_tuned(tmp_path_factory.mktemp("control"), 0.5)


def coefficient(workspace: Workspace) -> dict[str, Any]:
    """The quadratic coefficient of z-scored influence on overlap, averaged over natural test pairs."""
    asked = {"features": "lexical_overlap", "by": "column:case", "tests": 60, "scope": "head", "response": "influence"}
    found = run_experiment(workspace, "artifact_fit", methods=["relatif"], parameters=asked)
    return next(row for row in found.findings.table if row["slice"] == "case natural")


def test_the_fit_finds_the_artifact_where_it_is(planted: Workspace, control: Workspace) -> None:
    """A clearly positive coefficient where overlap gives the label away; an interval that contains 0 elsewhere."""
    with_it, without = coefficient(planted), coefficient(control)
    assert with_it["low"] > 0.3, with_it
    assert without["low"] < 0 < without["high"], without
    assert with_it["low"] > without["high"]


def test_overlap_of_the_rows_found_separates_likewise(planted: Workspace, control: Workspace) -> None:
    """For mispredictions as entailment, the top 10 overlap far above the training set with the artifact only."""

    def excess(workspace: Workspace) -> float:
        asked = {"label": "entailment", "tests": 40}
        found = run_experiment(workspace, "lexical_overlap", methods=["relatif"], parameters=asked).findings
        return found.summary["top_10, relatif"] - found.summary["base_rate"]

    assert excess(planted) > 0.2
    assert abs(excess(control)) < 0.15
