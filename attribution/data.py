"""Training and test data as one typed table, whatever the file they come from.

A row keeps its number in the file, from 0, for good: rows that cannot be used leave gaps, and are named.
"""

import hashlib
import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from attribution.errors import UserError, unknown
from attribution.hub import PREFIX, read_hub
from attribution.readers import RawTable, read_file

# The names a table gives a meaning to, its index included: no other column may have them.
_RESERVED = ("row", "text", "text_pair", "label")
# SNLI's and MNLI's column, with "-" where the annotators agreed on no label.
GOLD = "gold_label"
_WHOLE = re.compile(r"-?[0-9]+(?:\.0)?")


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which columns of a file hold the text, the second text of a pair (None: single texts) and the label."""

    text: str = "text"
    text_pair: str | None = None
    label: str = "label"

    def __post_init__(self) -> None:
        for name, uses in Counter(self.roles().values()).items():
            if uses > 1:
                raise UserError(f"Text and label columns must differ; '{name}' is chosen {uses} times.")

    def roles(self) -> dict[str, str]:
        """The file's column for each of text, text_pair (pairs only) and label."""
        roles = {"text": self.text, "text_pair": self.text_pair, "label": self.label}
        return {role: name for role, name in roles.items() if name is not None}


@dataclass(frozen=True, kw_only=True)
class Table:
    """The usable rows of a file and why the others are not.

    `frame` is indexed by "row", the row's number in the file from 0, and has the columns text, text_pair (pairs
    only), label, then the file's other columns. `unusable` maps the numbers of all other rows to the reason.
    """

    frame: pd.DataFrame
    unusable: dict[int, str]
    source: str


def read_table(source: str | Path, columns: Columns, *, need_label: bool = True) -> Table:
    """Read a csv, tsv, jsonl, ndjson or parquet file, or `hub:NAME[:CONFIG]:SPLIT`.

    Texts and labels are strings, kept exactly; a number becomes its decimal text, a boolean "true" or "false", and
    where all labels are whole numbers 1.0 becomes "1" (a missing value turns a column of integers into floats). A row
    with a blank text or, if `need_label`, no label is unusable. Without `need_label` the label may be missing from a
    row (None or NaN in the frame) or the whole file (no such column). "-" in a column gold_label is no label. Another
    column of the file that is named row, text, text_pair or label gets " (file)" appended.

    UserError: the source cannot be read, lacks a column, or has no usable row.
    """
    name = str(source)
    raw = read_hub(name) if name.startswith(PREFIX) else read_file(name)
    if raw.n_rows == 0:
        raise UserError(f"'{name}' has no rows.")
    roles = columns.roles()
    if not need_label and columns.label not in raw.names:
        del roles["label"]
    chosen = {role: _strings(name, raw, role, column) for role, column in roles.items()}
    if "label" in chosen:
        chosen["label"] = _labels(_agreed(chosen["label"]) if columns.label == GOLD else chosen["label"])
        if need_label and not any(label is not None for label in chosen["label"]):
            raise UserError(f"{name}: all {raw.n_rows} rows lack a label in column '{columns.label}'.")
    others = {_free_name(column, raw.names): raw.series(column) for column in raw.names if column not in roles.values()}
    unusable = _unusable(chosen, need_label)
    frame = pd.DataFrame({**chosen, **others}, index=pd.RangeIndex(raw.n_rows, name="row")).drop(index=list(unusable))
    table = Table(frame=frame, unusable=unusable, source=name)
    if frame.empty:
        raise UserError(f"{name}: no row is left: {describe_unusable(table)}.")
    return table


def describe_unusable(table: Table, *, most: int = 5) -> str:
    """How many rows cannot be used and which, at most `most` of them by number; "" where all can."""
    if not table.unusable:
        return ""
    named = [f"row {row} ({reason})" for row, reason in list(table.unusable.items())[:most]]
    more = len(table.unusable) - len(named)
    listed = ", ".join(named) + (f" and {more} more" if more else "")
    return f"{len(table.unusable)} of {len(table.unusable) + len(table.frame)} rows cannot be used: {listed}"


def data_digest(frame: pd.DataFrame) -> str:
    """sha256 (hexadecimal) of the texts and labels of `frame`, row by row in order, nothing else of it."""
    names = [name for name in ("text", "text_pair", "label") if name in frame]
    columns = [[None if pd.isna(value) else value for value in frame[name]] for name in names]
    digest = hashlib.sha256()
    for row in [names, *zip(*columns, strict=True)]:
        # JSON, because a plain join could not tell ("a", "bc") from ("ab", "c").
        digest.update(json.dumps(row).encode() + b"\n")
    return digest.hexdigest()


def _strings(source: str, raw: RawTable, role: str, column: str) -> list[str | None]:
    if column not in raw.names:
        raise UserError(f"{source}: {unknown(f'{role} column', column, raw.names)}")
    strings = []
    for row, value in enumerate(raw.values(column)):
        if isinstance(value, list | dict | bytes):
            kind = type(value).__name__
            raise UserError(f"{source}: row {row} holds a {kind} in column '{column}'; a {role} is one string.")
        strings.append(_string(value))
    return strings


def _string(value: Any) -> str | None:
    if value is None or value != value:  # NaN
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _agreed(values: list[str | None]) -> list[str | None]:
    return [None if value == "-" else value for value in values]


def _labels(values: list[str | None]) -> list[str | None]:
    labels = [None if value is None or not value.strip() else value for value in values]
    if all(label is None or _WHOLE.fullmatch(label) for label in labels):
        return [label and label.removesuffix(".0") for label in labels]
    return labels


def _unusable(chosen: dict[str, list[str | None]], need_label: bool) -> dict[int, str]:
    texts = {role: values for role, values in chosen.items() if role != "label"}
    unusable = {}
    for row in range(len(chosen["text"])):
        reasons = [f"blank {role}" for role, values in texts.items() if not (values[row] or "").strip()]
        if need_label and chosen["label"][row] is None:
            reasons.append("no label")
        if reasons:
            unusable[row] = ", ".join(reasons)
    return unusable


def _free_name(column: str, taken: list[str]) -> str:
    if column in _RESERVED:
        column = f"{column} (file)"
        while column in taken:
            column = f"{column} (file)"
    return column
