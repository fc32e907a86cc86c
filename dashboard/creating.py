"""Making a workspace from files on the page: what columns a file has, what would be read of it, and the making."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import streamlit as st

from attribution.creation import create_workspace
from attribution.data import Columns, Table, read_table
from attribution.errors import UserError
from attribution.loading import HUB_ID
from attribution.readers import read_file
from attribution.workspace import SETTINGS
from dashboard import workspaces

ROWS = 5
NAMED = 20
_LABELS = ("label", "gold_label", "labels", "class", "category", "sentiment", "target", "y")
_TEXTS = ("text", "sentence", "review", "content", "body", "comment", "document")
_PAIRS = (
    ("premise", "hypothesis"),
    ("sentence1", "sentence2"),
    ("question", "sentence"),
    ("question1", "question2"),
    ("text", "text_pair"),
    ("text_a", "text_b"),
)


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What would be read of a file: its first rows, how many of each label, and why other rows are left out.

    `dropped` has a row for each of the first NAMED: its number in the file from 0, and the reason.
    """

    first: pd.DataFrame
    usable: int
    unusable: int
    labels: Mapping[str, int]
    dropped: pd.DataFrame


def data_file(path: str) -> Path:
    """A file that may be read; UserError where it is none, or outside the allowed folders."""
    found = workspaces.confined(path)
    if not found.is_file():
        raise UserError(f"No file '{found}'.")
    return found


def column_names(file: Path) -> list[str]:
    """The columns of a file, in its order; UserError where it cannot be read."""
    return list(_names(str(file), *_state(file)))


def preview(file: Path, columns: Columns) -> Preview:
    """What would be read of a file; UserError where that is nothing."""
    table = _table(str(file), columns, *_state(file))
    reasons = list(table.unusable.items())[:NAMED]
    shown = [name for name in ("text", "text_pair", "label") if name in table.frame]
    return Preview(
        first=table.frame.filter(shown).head(ROWS),
        usable=len(table.frame),
        unusable=len(table.unusable),
        labels={str(label): int(count) for label, count in table.frame["label"].value_counts().items()},
        dropped=pd.DataFrame(reasons, columns=["row", "why"]),
    )


def _state(file: Path) -> tuple[int, int]:
    found = file.stat()
    return found.st_size, found.st_mtime_ns


@st.cache_resource(show_spinner=False, max_entries=4)
def _names(file: str, size: int, changed: int) -> Sequence[str]:
    return read_file(file).names


@st.cache_resource(show_spinner=False, max_entries=4)
def _table(file: str, columns: Columns, size: int, changed: int) -> Table:
    return read_table(file, columns)


def guess(names: Sequence[str]) -> tuple[str | None, str | None, str | None]:
    """The columns that look like text, second text and label; None for each that none looks like."""
    lower = {name.lower(): name for name in reversed(names)}
    label = next((lower[each] for each in _LABELS if each in lower), None)
    pair = next((pair for pair in _PAIRS if pair[0] in lower and pair[1] in lower), None)
    if pair is not None:
        return lower[pair[0]], lower[pair[1]], label
    text = next((lower[each] for each in _TEXTS if each in lower), None)
    others = [name for name in names if name != label]
    return text or (others[0] if len(others) == 1 else None), None, label


def places() -> list[Path]:
    """The allowed folders in which a workspace can be made: those that are none themselves."""
    return [folder for folder in workspaces.allowed() if not (folder / SETTINGS).exists()]


def model_reference(given: str) -> str:
    """A model as `create_workspace` takes it: package:NAME, a folder that may be read, or a hub id."""
    given = given.strip()
    if not given:
        raise UserError("A workspace needs a model: a folder, package:NAME, or a hub id such as org/name.")
    if given.startswith("package:"):
        return given
    folder = workspaces.confined(given)
    return given if not folder.exists() and HUB_ID.fullmatch(given) else str(folder)


def create(name: str, place: Path, *, model: str, train: Path, test: Path, columns: Columns) -> tuple[Path, list[str]]:
    """Make the workspace; its folder, and what there is to say about it. UserError for every mistake in the input."""
    name = name.strip()
    if not name or name.startswith(".") or Path(name).name != name:
        raise UserError(f"A workspace's name is that of a new folder in {place}, without slashes; not '{name}'.")
    made, notices = create_workspace(
        workspaces.confined(str(place / name)), model=model_reference(model), train=train, test=test, columns=columns
    )
    if not made.settings.has_head:
        notices.append(f"The model has no classification head yet: run influscope train {made.directory}")
    return made.directory, notices
