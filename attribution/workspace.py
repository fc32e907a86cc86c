"""A workspace: one folder with a classifier, its training data, its test data and all that was computed from them."""

import tomllib
from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from threading import Lock, RLock
from typing import Any, TypeVar, get_origin

import numpy as np
import pandas as pd
import platformdirs
import tomli_w
import torch
from torch import Tensor

from attribution.checkpoints import (
    Checkpoint,
    checkpoint_folders,
    checkpoint_weights,
    checkpoints_digest,
    read_checkpoint,
)
from attribution.data import data_digest
from attribution.errors import UserError
from attribution.loading import find_model, load_classifier, model_digest
from attribution.model import Classifier
from attribution.sources import read_source
from attribution.storage import atomic_path, digest_json, is_writable, write_atomically

FORMAT = 1
SETTINGS = "workspace.toml"
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What workspace.toml says; written once when the workspace is made, and again by training."""

    format: int
    name: str
    task: str
    labels: list[str]
    has_head: bool
    model: str
    model_digest: str
    source: str
    train_digest: str
    test_digest: str
    n_train: int
    n_test: int
    max_length: int
    trainable: str = ""
    columns: dict[str, str]

    def __post_init__(self) -> None:
        for field in fields(self):
            kind: Any = get_origin(field.type) or field.type
            if not isinstance(getattr(self, field.name), kind):
                raise ValueError(f"{field.name} must be of type {kind.__name__}")
        if self.task not in ("single", "pair"):
            raise ValueError(f"task must be single or pair, not '{self.task}'")


class Workspace:
    """An open workspace.

    `train` and `test` are DataFrames with columns text, text_pair (pairs only), label and the file's other columns;
    their index is the row number in the given file. `model` and `tokenizer` are plain transformers objects in
    evaluation mode. Tables and model are read on first use.
    """

    def __init__(self, directory: Path, settings: Settings, *, device: str = "auto") -> None:
        self.directory = directory
        self.settings = settings
        self.device = device
        self._memo: dict[Hashable, Any] = {}
        self._locks: dict[Hashable, RLock] = {}
        self._lock = Lock()

    def __repr__(self) -> str:
        return f"<Workspace {self.name}: {self.settings.n_train} train, {self.settings.n_test} test, {self.directory}>"

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.settings.labels)

    @property
    def is_pair(self) -> bool:
        return self.settings.task == "pair"

    @cached_property
    def digest(self) -> str:
        """Everything that a score depends on: data, base model, checkpoints, labels and maximum length."""
        kept = {k: v for k, v in asdict(self.settings).items() if k not in ("name", "trainable")}
        return digest_json({**kept, "checkpoints": checkpoints_digest(self.directory)})

    def describe(self) -> dict[str, Any]:
        """What an answer says of the workspace it is from: name, digest and sizes."""
        settings = self.settings
        return {"name": self.name, "digest": self.digest, "n_train": settings.n_train, "n_test": settings.n_test}

    @cached_property
    def storage(self) -> Path:
        """Where computed things go: the workspace itself, or the user's cache where it cannot be written."""
        if is_writable(self.directory):
            return self.directory
        return Path(platformdirs.user_cache_path("influscope")) / self.digest[:16]

    @cached_property
    def train(self) -> pd.DataFrame:
        return self._tables[0]

    @cached_property
    def same_texts(self) -> np.ndarray:
        """(train,): one number for all training examples of the same texts and label."""
        return same_texts(self.train)

    @cached_property
    def test(self) -> pd.DataFrame:
        return self._tables[1]

    @cached_property
    def _tables(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        wanted = (self.settings.train_digest, self.settings.test_digest)
        if self.settings.source == "files":
            paths = (self.directory / "train.parquet", self.directory / "test.parquet")
        else:
            paths = (self.storage / "train.parquet", self.storage / "test.parquet")
            if not all(path.exists() for path in paths):
                write_tables(read_source(self.settings.source), paths)
        tables = (_read_parquet(paths[0]), _read_parquet(paths[1]))
        for path, table, digest in zip(paths, tables, wanted, strict=True):
            if data_digest(table) != digest:
                raise UserError(f"{path} is not the data this workspace was made with (its digest differs).")
        return tables

    @cached_property
    def classifier(self) -> Classifier:
        """The classifier with the weights of the last checkpoint."""
        if not self.settings.has_head:
            raise UserError(
                f"The model of workspace '{self.name}' has no trained classification head: "
                f"run influscope train {self.directory} first."
            )
        classifier = self.base_classifier()
        if self.checkpoint_folders:
            weights = checkpoint_weights(self.checkpoint_folders[-1], dict(classifier.model.named_parameters()))
            parameters = dict(classifier.model.named_parameters())
            with torch.no_grad():
                for name, value in weights.items():
                    parameters[name].copy_(value)
        return classifier

    def base_classifier(self, *, seed: int = 0) -> Classifier:
        """The base model before fine-tuning, with a random head (from `seed`) where it has none."""
        classifier, _ = load_classifier(
            self.model_folder, self.labels, max_length=self.settings.max_length, device=self.device, seed=seed
        )
        return classifier

    @cached_property
    def model_folder(self) -> Path:
        """The folder of the base model, checked against the digest it had when the workspace was made."""
        reference = self.settings.model
        if not reference.startswith("package:"):
            reference = str(self.directory / reference)
            if not Path(reference).is_dir():  # else a relative path would be looked for on the hub
                raise UserError(f"The workspace '{self.directory}' is damaged: its model folder {reference} is gone.")
        folder = find_model(reference)
        if model_digest(folder) != self.settings.model_digest:
            raise UserError(f"The base model in {folder} is not the one this workspace was made with (digest differs).")
        return folder

    @property
    def model(self) -> Any:
        return self.classifier.model

    @property
    def tokenizer(self) -> Any:
        return self.classifier.tokenizer

    @cached_property
    def checkpoint_folders(self) -> list[Path]:
        return checkpoint_folders(self.directory)

    @cached_property
    def checkpoints(self) -> list[Checkpoint]:
        """The saved checkpoints by rising step; empty where the model came fine-tuned."""
        return [read_checkpoint(folder) for folder in self.checkpoint_folders]

    @cached_property
    def trained(self) -> frozenset[str]:
        """The names of the parameters that fine-tuning changed; all of a model that came fine-tuned."""
        named = dict(self.classifier.model.named_parameters())
        return frozenset(checkpoint_weights(self.checkpoint_folders[-1], named) if self.checkpoint_folders else named)

    def states(self, checkpoints: str = "all") -> list[int]:
        """The numbers of "all" saved states, or of the "final" one; a model that came fine-tuned has state 0 only."""
        last = max(0, len(self.checkpoints) - 1)
        return list(range(last + 1)) if checkpoints == "all" else [last]

    def rate(self, checkpoint: int) -> float:
        """η of a saved state; 1 for a model that came fine-tuned."""
        return self.checkpoints[checkpoint].learning_rate if self.checkpoints else 1.0

    def weights(self, checkpoint: int) -> dict[str, Tensor]:
        """Parameters of the `checkpoint`-th saved state, to stand in for the model's own; {} for the last state."""
        if checkpoint >= self.states()[-1]:
            return {}
        return self.memo(("weights", checkpoint), lambda: self._earlier_weights(self.checkpoint_folders[checkpoint]))

    def _earlier_weights(self, folder: Path) -> dict[str, Tensor]:
        """A checkpoint's parameters, with the base's own where only the last checkpoint has moved one."""
        base = self._base_parameters
        moved = checkpoint_weights(self.checkpoint_folders[-1], base)
        return {name: base[name] for name in moved} | checkpoint_weights(folder, base)

    @cached_property
    def _base_parameters(self) -> dict[str, Tensor]:
        return dict(self.base_classifier().model.named_parameters())

    def memo(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` returned the first time for this key; one thread makes it, others that ask for it wait."""
        with self._lock:
            lock = self._locks.setdefault(key, RLock())
        with lock:
            if key not in self._memo:
                self._memo[key] = make()
            return self._memo[key]

    def texts(self, part: str) -> tuple[list[str], list[str] | None]:
        """The texts of the "train" or "test" part and, for pairs, the second texts."""
        table = self.train if part == "train" else self.test
        return table["text"].tolist(), table["text_pair"].tolist() if self.is_pair else None

    def encoded_train(self, positions: np.ndarray | slice = slice(None)) -> tuple[Any, np.ndarray]:
        """Token ids of the training examples at these positions, not padded, and their label ids (positions,)."""
        table = self.train.iloc[positions]
        pairs = table["text_pair"].tolist() if self.is_pair else None
        return self.classifier.tokenize(table["text"].tolist(), pairs), self.label_ids(table)

    def label_ids(self, table: pd.DataFrame) -> np.ndarray:
        """The label of each row as the model's output number: (rows,) int64."""
        return np.array([self.labels.index(label) for label in table["label"]], dtype=np.int64)

    def predict(self, texts: Sequence[str], text_pairs: Sequence[str] | None = None) -> pd.DataFrame:
        """Probabilities (texts × labels), columns named by label. Cost: one forward pass a text."""
        if self.is_pair and text_pairs is None:
            raise UserError(f"Workspace '{self.name}' classifies pairs of texts: give text_pairs too.")
        logits = self.classifier.collect(self.classifier.tokenize(texts, text_pairs))[1]
        return pd.DataFrame(softmax(logits), columns=list(self.labels))

    def predict_test(self) -> pd.DataFrame:
        """Probabilities of every test example (index: test id), kept on disk after the first time."""
        path = self.storage / "results" / f"predictions-{self.digest[:16]}.parquet"
        if path.exists():
            return pd.read_parquet(path)
        made = self.predict(*self.texts("test"))
        made.index = self.test.index
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as target:
            made.to_parquet(target)
        return made

    def test_row(self, test: int) -> pd.Series:
        """One test example by its row number in the test file."""
        if test not in self.test.index:
            ids = self.test.index.to_numpy()
            raise UserError(f"No test example {test}: test ids of '{self.name}' go from {ids.min()} to {ids.max()}.")
        return self.test.loc[test]

    def train_positions(self, train_ids: Sequence[int]) -> list[int]:
        """Where training examples stand in the training table; UserError for an id that it does not have."""
        found, ids = self.train.index.get_indexer(list(train_ids)), self.train.index
        if (found < 0).any():
            missing = train_ids[int(np.argmax(found < 0))]
            raise UserError(f"No training example {missing}: ids go from {ids.min()} to {ids.max()}.")
        return found.tolist()


def same_texts(table: pd.DataFrame) -> np.ndarray:
    """(rows,): one number for all rows of the same texts and label."""
    same = [name for name in ("text", "text_pair", "label") if name in table]
    return table.groupby(same, sort=False).ngroup().to_numpy()


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities in float64, over the last axis: (…, labels) to (…, labels)."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def open_workspace(directory: str | Path, *, device: str = "auto") -> Workspace:
    """Open a workspace folder. Reads one small file; data and model are read when first needed.

    Raises UserError where the folder is missing, is no workspace, or where workspace.toml is damaged.
    """
    directory = Path(directory)
    if not directory.exists():
        raise UserError(f"No workspace '{directory}': make one with influscope new {directory} --model … --train … .")
    if not (directory / SETTINGS).is_file():
        raise UserError(
            f"'{directory}' is not a workspace: it has no {SETTINGS}. Put the file back, or make a workspace with "
            "influscope new."
        )
    try:
        values = tomllib.loads((directory / SETTINGS).read_text(encoding="utf8"))
        found = values.get("format")
        if found != FORMAT:
            raise UserError(f"'{directory}' has format {found}; this version of influscope reads format {FORMAT}.")
        settings = Settings(**values)
    except (ValueError, TypeError, OSError) as error:
        raise UserError(f"The workspace '{directory}' is damaged: {SETTINGS} cannot be read ({error}).") from error
    return Workspace(directory, settings, device=device)


def write_settings(directory: Path, settings: Settings) -> None:
    """Write workspace.toml atomically."""
    write_atomically(directory / SETTINGS, tomli_w.dumps(asdict(settings)).encode())


def write_tables(tables: tuple[pd.DataFrame, pd.DataFrame], paths: tuple[Path, Path]) -> None:
    """Write the training and the test table as parquet, each atomically."""
    for table, path in zip(tables, paths, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as target:
            table.to_parquet(target)


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise UserError(f"The workspace is damaged: {path} cannot be read ({error}).") from error
