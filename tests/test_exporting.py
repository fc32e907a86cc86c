"""The classifier as a plain Hugging Face folder: transformers alone must load it and say the same."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from attribution.cli import app
from attribution.creation import create_workspace
from attribution.data import Columns
from attribution.exporting import export_model
from attribution.workspace import Workspace
from tests.tiny import refusal


@pytest.mark.parametrize("space", ["workspace", "pairs"])
def test_transformers_loads_what_was_exported(space: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Labels and probabilities of the folder, read by transformers alone, are the workspace's."""
    workspace: Workspace = request.getfixturevalue(space)
    folder = tmp_path / "model"
    app(["export", str(workspace.directory), "--model", str(folder)], standalone_mode=False)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert [model.config.id2label[i] for i in range(len(workspace.labels))] == list(workspace.labels)
    columns = [list(texts[:5]) for texts in workspace.texts("test") if texts is not None]
    with torch.no_grad():
        found = model.eval()(**tokenizer(*columns, padding=True, truncation=True, return_tensors="pt"))
    expected = workspace.predict_test().to_numpy()[:5]
    np.testing.assert_allclose(found.logits.softmax(dim=-1).numpy(), expected, atol=1e-5)


def test_what_was_exported_makes_a_workspace(workspace: Workspace, tmp_path: Path) -> None:
    """A workspace made from the folder and the same data predicts the same."""
    folder = export_model(workspace, tmp_path / "model")
    for name, table in (("train", workspace.train), ("test", workspace.test)):
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    again, _ = create_workspace(
        tmp_path / "again", model=folder, train=tmp_path / "train.csv", test=tmp_path / "test.csv", columns=Columns()
    )
    np.testing.assert_allclose(again.predict_test(), workspace.predict_test(), atol=1e-5)


def test_nothing_is_overwritten_and_nothing_half_written(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder with files, a missing parent, no target and a full disk are one line each, and leave what was there."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    assert "is there already" in refusal(lambda: export_model(workspace, tmp_path / "full"))
    assert "its parent folder must exist" in refusal(lambda: export_model(workspace, tmp_path / "no" / "model"))
    assert "--model FOLDER" in refusal(lambda: app(["export", str(workspace.directory)], standalone_mode=False))

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(workspace.tokenizer, "save_pretrained", full)
    assert "No space left" in refusal(lambda: export_model(workspace, tmp_path / "model"))
    assert [path.name for path in tmp_path.iterdir()] == ["full"]
