"""Making a workspace: a model, two data files and perhaps the checkpoints of its training, in one folder."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from attribution.data import Columns, Table, data_digest, describe_unusable, read_table
from attribution.errors import UserError
from attribution.loading import copy_model, find_model, load_classifier, model_digest, own_labels
from attribution.trainer import read_saved, store
from attribution.workspace import FORMAT, SETTINGS, Settings, Workspace, open_workspace, write_settings, write_tables

DEFAULT_COLUMNS = Columns()


def create_workspace(
    directory: str | Path,
    *,
    model: str | Path,
    train: str | Path,
    test: str | Path,
    columns: Columns = DEFAULT_COLUMNS,
    max_length: int = 0,
    force: bool = False,
    checkpoints: Sequence[str | Path] = (),
    learning_rates: Sequence[float] | None = None,
) -> tuple[Workspace, list[str]]:
    """Make a workspace from a model and two data files; also returns notices about rows that cannot be used.

    The model is copied (safetensors, configuration, tokenizer), the data is kept as parquet. `checkpoints` are folders
    that a Hugging Face Trainer saved, in any order, of which the differences from the model are kept; the last is the
    state that is explained. `learning_rates`, one a checkpoint by rising step, stand in for those it logged.
    Everything is written to a sibling folder first and renamed, so a failure leaves nothing behind. An existing folder
    is only replaced with `force`, and only where it is a workspace or empty. Raises UserError for every mistake in the
    input.
    """
    directory = Path(directory)
    _check_target(directory, force)
    folder = find_model(str(model))
    own = own_labels(folder)
    saved = read_saved(checkpoints, learning_rates, model=folder, labels=own)
    tables = [read_table(train, columns), read_table(test, columns)]
    labels, frames = _fit_labels(own or (saved[-1].labels if saved else None), tables)
    classifier, missing = load_classifier(folder, labels, device="cpu")  # refuses what could not be explained later
    reference = str(model) if str(model).startswith("package:") else "model"
    settings = Settings(
        format=FORMAT,
        name=directory.resolve().name,
        task="pair" if columns.text_pair else "single",
        labels=labels,
        has_head=not missing or bool(saved),
        model=reference,
        model_digest=model_digest(folder),
        source="files",
        train_digest=data_digest(frames[0]),
        test_digest=data_digest(frames[1]),
        n_train=len(frames[0]),
        n_test=len(frames[1]),
        max_length=max_length,
        columns={k: v for k, v in asdict(columns).items() if v},
    )
    notices = [describe_unusable(table) for table in tables if table.unusable]
    fresh = directory.parent / f".{directory.name}.{os.getpid()}"
    old = fresh.with_name(f"{fresh.name}.old")
    try:
        fresh.mkdir(parents=True)
        if reference == "model":
            copy_model(folder, fresh / "model")
        write_tables((frames[0], frames[1]), (fresh / "train.parquet", fresh / "test.parquet"))
        notices += store(saved, classifier.model, missing, fresh / "checkpoints")
        write_settings(fresh, settings)
        if directory.exists():
            directory.rename(old)
        fresh.rename(directory)
    except OSError as error:
        raise UserError(f"The workspace '{directory}' cannot be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        if directory.exists():
            shutil.rmtree(old, ignore_errors=True)
    return open_workspace(directory), notices


def _check_target(directory: Path, force: bool) -> None:
    if not directory.exists():
        return
    if not directory.is_dir():
        raise UserError(f"'{directory}' exists and is a file: choose another name for the workspace.")
    is_workspace = (directory / SETTINGS).exists()
    if any(directory.iterdir()) and not is_workspace:
        raise UserError(f"'{directory}' exists and is not a workspace: choose another name; it is left as it is.")
    if is_workspace and not force:
        raise UserError(f"The workspace '{directory}' exists: choose another name, or replace it with --force.")


def _fit_labels(own: list[str] | None, tables: list[Table]) -> tuple[list[str], list[pd.DataFrame]]:
    """The labels, the model's own where it has a head, and the two tables with their labels in these words."""
    present = sorted({label for table in tables for label in table.frame["label"]}, key=_label_order)
    trained = sorted(set(tables[0].frame["label"]))
    if len(trained) < 2:
        raise UserError(
            f"{tables[0].source} has one label only ('{trained[0]}'): a classifier needs at least two labels."
        )
    if own is None:
        unseen = next((label for label in present if label not in trained), None)
        if unseen is not None:
            raise UserError(
                f"Label '{unseen}' of {tables[1].source} is in none of the training examples, "
                f"whose labels are {', '.join(sorted(trained, key=_label_order))}."
            )
        return present, [table.frame for table in tables]
    if set(present) <= set(own):
        return own, [table.frame for table in tables]
    numbers = {str(i): label for i, label in enumerate(own)}
    if set(present) <= set(numbers):
        frames = [table.frame.assign(label=table.frame["label"].map(lambda label: numbers[label])) for table in tables]
        return own, frames
    strange = next(label for label in present if label not in own)
    where = next(table.source for table in tables if strange in set(table.frame["label"]))
    raise UserError(
        f"Label '{strange}' of {where} is unknown to the model, whose labels are {', '.join(own)} "
        f"(or their numbers 0 to {len(own) - 1})."
    )


def _label_order(label: str) -> tuple[int, int, str]:
    return (0, int(label), "") if label.lstrip("-").isdecimal() else (1, 0, label)
