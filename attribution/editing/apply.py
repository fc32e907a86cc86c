"""The training data with edits applied: as a table, and as a file in the columns that were imported."""

import csv
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from attribution.editing.changes import RowEdit, undone
from attribution.editing.log import EditLog
from attribution.errors import UserError, unknown
from attribution.storage import atomic_path
from attribution.workspace import Workspace

SUFFIXES = (".csv", ".jsonl", ".parquet")
ROLES = ("text", "text_pair", "label")
MARK = " (file)"


def edited_table(workspace: Workspace, state: Mapping[int, RowEdit]) -> pd.DataFrame:
    """A copy of `workspace.train` with a state of edits applied: same columns, and the training ids that are left."""
    table = workspace.train.copy()
    for row, edit in state.items():
        for name in ROLES:
            value = getattr(edit, name)
            if value is not None:
                table.loc[row, name] = value
    return table.drop(index=[row for row, edit in state.items() if edit.removed])


def changed_ids(state: Mapping[int, RowEdit]) -> np.ndarray:
    """The training ids whose data a state changes or leaves out, rising: (changed,) int64."""
    return np.array(sorted(row for row, edit in state.items() if edit.is_changed), dtype=np.int64)


def imported_columns(workspace: Workspace, table: pd.DataFrame) -> pd.DataFrame:
    """A training table with the column names of the file that it was imported from."""
    roles = {role: name for role, name in workspace.settings.columns.items() if role in table}
    # The reader marks a column that has a role's name without the role: the mark goes again.
    marked = {f"{name}{MARK}": name for name in ("row", *ROLES) if name not in roles.values()}
    names = {column: roles.get(column, marked.get(column, column)) for column in table.columns}
    return table.rename(columns=names)


def log_table(log: EditLog) -> pd.DataFrame:
    """Every edit as a row, with `undone`: whether it was taken back."""
    edits = log.entries
    gone = undone(edits)
    names = ("number", "first", "last", "when", "action", "row", "label", "text", "text_pair", "note", "of")
    rows = [{name: asdict(edit)[name] for name in names} | {"undone": edit.first in gone} for edit in edits]
    numbers = {name: "Int64" for name in ("number", "first", "last", "row", "of")}
    return pd.DataFrame(rows, columns=[*names, "undone"]).astype(numbers)


def export_cleaned(workspace: Workspace, path: str | Path) -> Path:
    """Write the training data with the edits that hold, in the imported columns; UserError as `write_new`."""
    return write_new(imported_columns(workspace, edited_table(workspace, EditLog(workspace).current())), path)


def export_log(workspace: Workspace, path: str | Path) -> Path:
    """Write every edit, those that were undone too; UserError as `write_new`, and where nothing was edited yet."""
    log = EditLog(workspace)
    if not log.entries:
        raise UserError(f"Nothing was edited yet in workspace '{workspace.name}': there is no log to write.")
    return write_new(log_table(log), path)


def write_new(table: pd.DataFrame, path: str | Path) -> Path:
    """Write a table as csv, jsonl or parquet, by the file's suffix, atomically; the index is not written.

    Raises UserError for another suffix, for a file that is there already and where it cannot be written.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise unknown("suffix", path.suffix, SUFFIXES)
    if path.exists():
        raise UserError(f"{path} is there already: choose a new file.")
    try:
        with atomic_path(path) as target:
            if path.suffix == ".csv":
                # Python before 3.13 leaves a lone carriage return unquoted, where it would end the line.
                table.to_csv(target, index=False, quoting=csv.QUOTE_NONNUMERIC)
            elif path.suffix == ".jsonl":
                table.to_json(target, orient="records", lines=True, force_ascii=False)
            else:
                table.to_parquet(target, index=False)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}.") from error
    return path
