"""Tiny random-weight models and workspaces for the tests, built from an invented vocabulary."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypedDict

import pandas as pd
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, BertModel, BertTokenizer

from attribution import create_workspace
from attribution.data import Columns
from attribution.errors import UserError
from attribution.loading import quiet
from attribution.training import Recipe, train
from attribution.workspace import Workspace

GOOD = ["bright", "warm", "clever", "lively", "tender"]
BAD = ["dull", "cold", "clumsy", "stale", "empty"]
FILLER = ["the", "plot", "cast", "song", "scene", "and", "was", "with", "a", "very", "film", "story", "."]
WORDS = [*GOOD, *BAD, *FILLER]
PIECES = ["un", "##warm", "##ly", "##ness", "not"]


def tiny_bert(folder: Path, *, labels: Sequence[str] | None = ("negative", "positive"), seed: int = 0) -> Path:
    """A 3-block BERT of width 16 saved to a folder; without labels, an encoder that has no head."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *PIECES]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf8")
    tokenizer = BertTokenizer(vocab=str(folder / "vocab.txt"), model_max_length=48)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=48,
        initializer_range=0.3,
        id2label=dict(enumerate(labels or ())) or None,
        label2id={label: i for i, label in enumerate(labels or ())} or None,
    )
    torch.manual_seed(seed)
    model = BertForSequenceClassification(config) if labels else BertModel(config)
    with quiet():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


def sentences(count: int, *, seed: int, labels: Sequence[str] = ("negative", "positive")) -> pd.DataFrame:
    """Sentences whose label follows from one word of GOOD or BAD."""
    draw = random.Random(seed)
    rows = []
    for _ in range(count):
        positive = draw.random() < 0.5
        words = draw.choices(FILLER, k=draw.randint(2, 9))
        words.insert(draw.randint(0, len(words)), draw.choice(GOOD if positive else BAD))
        rows.append({"text": " ".join(words), "label": labels[int(positive)]})
    return pd.DataFrame(rows)


class Tables(TypedDict):
    """The two data files of a workspace, as `create_workspace` takes them."""

    train: Path
    test: Path


def write_tables(folder: Path, *, n_train: int = 20, n_test: int = 6, seed: int = 0) -> Tables:
    """Sentences as train.csv and test.csv in a folder."""
    tables: Tables = {"train": folder / "train.csv", "test": folder / "test.csv"}
    sentences(n_train, seed=seed).to_csv(tables["train"], index=False)
    sentences(n_test, seed=seed + 1000).to_csv(tables["test"], index=False)
    return tables


def refusal(action: Callable[[], Any]) -> str:
    """The message of the UserError that `action` raises, which is one line."""
    with pytest.raises(UserError) as error:
        action()
    message = str(error.value)
    assert message and len(message.splitlines()) == 1
    return message


def tiny_workspace(
    folder: Path, *, n_train: int = 40, n_test: int = 11, pair: bool = False, epochs: int = 2, seed: int = 0
) -> Workspace:
    """A workspace on a tiny BERT, fine-tuned for some epochs (0: as it comes, with a random head)."""
    parts = {"train": sentences(n_train, seed=seed), "test": sentences(n_test, seed=seed + 1000)}
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in parts.items():
        if pair:
            frame["premise"] = sentences(len(frame), seed=seed + 77)["text"]
        frame.to_csv(folder / f"{name}.csv", index=False)
    made, _ = create_workspace(
        folder / "workspace",
        model=tiny_bert(folder / "model", seed=seed),
        train=folder / "train.csv",
        test=folder / "test.csv",
        columns=Columns(text="premise", text_pair="text") if pair else Columns(),
    )
    if not epochs:
        return made
    return train(made, Recipe(trainable="last:1", epochs=epochs, batch_size=8, learning_rate=1e-2, seed=seed))


def workspace_of(
    folder: Path, train_rows: pd.DataFrame, test_rows: pd.DataFrame, *, labels: Sequence[str] = ("negative", "positive")
) -> Workspace:
    """A workspace on rows of one's own (text, label) and a tiny BERT with these labels and a random head."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in (("train", train_rows), ("test", test_rows)):
        frame.to_csv(folder / f"{name}.csv", index=False)
    made, _ = create_workspace(
        folder / "workspace",
        model=tiny_bert(folder / "model", labels=labels),
        train=folder / "train.csv",
        test=folder / "test.csv",
    )
    return made
