"""Several versions of one training set in one temporary workspace, so that one engine trains on each of them."""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from attribution.data import data_digest
from attribution.editing.apply import changed_ids, edited_table
from attribution.editing.changes import RowEdit
from attribution.workspace import Workspace, open_workspace, write_settings, write_tables


def union_of(workspace: Workspace, states: Sequence[Mapping[int, RowEdit]]) -> tuple[pd.DataFrame, list[np.ndarray]]:
    """A table of the training examples followed by all their edited copies; positions in it: unedited, then by state.

    The positions keep the order of the imported data, an edited copy in the place of its original: with the same seed
    an edited training set without removals is then learnt in the same batches.
    """
    train, pieces, chosen = workspace.train, [workspace.train], [np.arange(len(workspace.train))]
    end = len(train)
    for state in states:
        copies = edited_table(workspace, state)
        rows = np.array([row for row in changed_ids(state) if not state[row].removed], dtype=np.int64)
        places = np.arange(len(train))
        places[train.index.get_indexer(rows)] = np.arange(end, end + len(rows))
        chosen.append(places[train.index.get_indexer(copies.index)])
        pieces.append(copies.loc[rows])
        end += len(rows)
    return pd.concat(pieces, ignore_index=True).rename_axis("row"), chosen


def derived_workspace(workspace: Workspace, train: pd.DataFrame, folder: Path, *, name: str) -> Workspace:
    """A new workspace folder with other training data and the same model, checkpoints and test data."""
    folder.mkdir(parents=True)
    if (workspace.directory / "checkpoints").is_dir():
        shutil.copytree(workspace.directory / "checkpoints", folder / "checkpoints")
    write_tables((train, workspace.test), (folder / "train.parquet", folder / "test.parquet"))
    settings = replace(
        workspace.settings,
        name=name,
        source="files",
        train_digest=data_digest(train),
        n_train=len(train),
        model=_model_seen_from(workspace, folder),
    )
    write_settings(folder, settings)
    return open_workspace(folder, device=workspace.device)


def _model_seen_from(workspace: Workspace, folder: Path) -> str:
    """The reference of the workspace's model: relative where the folder is inside, so that both can be moved."""
    reference = workspace.settings.model
    if reference.startswith("package:"):
        return reference
    model = (workspace.directory / reference).resolve()
    if folder.resolve().is_relative_to(workspace.directory.resolve()):
        return os.path.relpath(model, folder.resolve())
    return str(model)
