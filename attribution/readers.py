"""The file formats csv, tsv, jsonl and parquet, each read by one function into named columns.

What the columns mean (text, label) and which rows can be used is decided in `attribution.data`.
"""

import codecs
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from attribution.errors import UserError, unknown

# The numbers of JSON: an id such as 007 is none, and keeps its zeros.
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)")
_NUMBER = re.compile(rf"{_INTEGER.pattern}(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


@dataclass(frozen=True, kw_only=True)
class RawTable:
    """Columns of one length, their names unique, as they are in the source."""

    names: list[str]
    n_rows: int
    values: Callable[[str], list[Any]]
    """A column as Python values, None where there is none."""
    series: Callable[[str], pd.Series]
    """A column in the pandas type that suits it, index 0, 1, …"""


def read_file(source: str) -> RawTable:
    """The columns of a file, in the format that its suffix names. UserError: it cannot be read."""
    path = Path(source)
    suffix = path.suffix.lower()
    try:
        if path.is_dir():
            raise UserError(f"'{source}' is a folder; give a file in it, or hub:{source}:SPLIT.")
        if not path.exists():
            raise UserError(f"No file '{source}'.")
        if suffix not in READERS:
            raise UserError(f"{source}: {unknown('reader for files that end in', path.suffix, READERS)}")
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        raise UserError(f"'{source}' cannot be read: {error}.") from error
    if not data:
        raise UserError(f"'{source}' is empty.")
    return READERS[suffix](source, data)


def read_csv(source: str, data: bytes, delimiter: str = ",", quotes: bool = True) -> RawTable:
    """A header and rows of one length. All values stay as written: there is no text that means "missing".

    As a series, a column is numeric where every value is a number. A line with nothing on it is no row, except in a
    file of one column, where it is an empty value.
    """
    records = _csv_records(source, _decode(source, data), delimiter, quotes)
    names = next((record for _, record in records if record), None)
    if names is None:
        raise UserError(f"'{source}' is empty.")
    _check_unique(source, names)
    rows = []
    for line, record in records:
        row = record or ([""] if len(names) == 1 else [])
        if row and len(row) != len(names):
            raise UserError(f"{source}: line {line} has {len(row)} fields; the header has {len(names)}.")
        if row:
            rows.append(row)
    columns = dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(names, ())
    return RawTable(
        names=names,
        n_rows=len(rows),
        values=lambda name: list(columns[name]),
        series=lambda name: _numbers_or_text(columns[name]),
    )


def read_tsv(source: str, data: bytes) -> RawTable:
    """Like csv with tabs between the fields; where the quotes do not fit, they are characters like any other.

    So are they in the files of SNLI, MNLI and HANS, which escape none.
    """
    try:
        return read_csv(source, data, "\t")
    except UserError as quoted:
        try:
            return read_csv(source, data, "\t", quotes=False)
        except UserError:
            raise quoted from None


def read_jsonl(source: str, data: bytes) -> RawTable:
    """One JSON object a line; a key that a line lacks is None there. A line with nothing on it is no row.

    As a series, a column of nested values or of several types holds each value's JSON text (strings as they are).
    """
    records = [
        _json_object(source, number, line)
        for number, line in enumerate(_decode(source, data).split("\n"), start=1)
        if line.strip()
    ]
    names = list(dict.fromkeys(name for record in records for name in record))
    columns = {name: [record.get(name) for record in records] for name in names}
    return RawTable(
        names=names,
        n_rows=len(records),
        values=columns.__getitem__,
        series=lambda name: _plain_or_json(columns[name]),
    )


def read_parquet(source: str, data: bytes) -> RawTable:
    """A parquet file's columns; what pandas noted in it about an index is ignored."""
    try:
        table = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True).read()
        table.validate(full=True)
        _check_unique(source, table.column_names)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"'{source}' is damaged or not a parquet file: {error}") from error
    return from_arrow(table)


def from_arrow(table: pa.Table) -> RawTable:
    """An Arrow table whose column names are unique."""
    return RawTable(
        names=table.column_names,
        n_rows=table.num_rows,
        values=lambda name: table.column(name).to_pylist(),
        series=lambda name: table.column(name).to_pandas(),
    )


READERS: dict[str, Callable[[str, bytes], RawTable]] = {
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".txt": read_tsv,
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".parquet": read_parquet,
}


def _check_unique(source: str, names: list[str]) -> None:
    for name, times in Counter(names).items():
        if times > 1:
            raise UserError(f"{source}: column names must differ; {times} are '{name}'.")


def _decode(source: str, data: bytes) -> str:
    for mark, encoding in _BYTE_ORDER_MARKS.items():
        if data.startswith(mark):
            raise UserError(f"'{source}' is {encoding}; text files must be UTF-8: save it as UTF-8.")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        where = f"byte {error.start} (line {_line_of(data, error.start)})"
        raise UserError(
            f"'{source}' is not UTF-8: {where} is 0x{data[error.start]:02x}, {error.reason}. Save it as UTF-8."
        ) from error
    if (offset := data.find(b"\0")) >= 0:
        raise UserError(f"'{source}' is not a text file: byte {offset} (line {_line_of(data, offset)}) is NUL.")
    return text.removeprefix("\ufeff")


def _line_of(data: bytes, offset: int) -> int:
    """The line, from 1, of the byte at `offset`; \\n, \\r\\n and \\r each end one."""
    return len(data[: offset + 1].splitlines())


def _csv_records(source: str, text: str, delimiter: str, quotes: bool) -> Iterator[tuple[int, list[str]]]:
    """Each record with the line, from 1, on which it begins; an empty line is a record without fields."""
    csv.field_size_limit(2**31 - 1)
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=delimiter,
        quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE,
        strict=True,
    )
    line = 1
    try:
        for record in reader:
            yield line, record
            line = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{source}: the row that begins on line {line} is not quoted correctly: {error}.") from error


def _numbers_or_text(values: tuple[str, ...]) -> pd.Series:
    if all(map(_NUMBER.fullmatch, values)):
        try:
            if all(map(_INTEGER.fullmatch, values)):
                return pd.Series(np.array([int(value) for value in values], dtype=np.int64))
            floats = np.array([float(value) for value in values])
            if np.isfinite(floats).all():
                return pd.Series(floats)
        except (OverflowError, ValueError):  # more digits than an integer can hold: an id
            pass
    return pd.Series(values)


def _json_object(source: str, line: int, text: str) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        record = dict(pairs)
        if len(record) < len(pairs):
            _check_unique(f"{source}: line {line}", [name for name, _ in pairs])
        return record

    try:
        record = json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:  # its own text counts lines from this one
        raise UserError(f"{source}: line {line} is not JSON: {error.msg} at character {error.pos + 1}.") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{source}: line {line} is not JSON: {error}.") from error
    if not isinstance(record, dict):
        raise UserError(f"{source}: line {line} must be a JSON object; its type is {type(record).__name__}.")
    if _SURROGATE.search(text):
        try:
            json.dumps(record, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise UserError(f"{source}: line {line} holds half a surrogate pair, which is no character.") from error
    return record


def _plain_or_json(values: list[Any]) -> pd.Series:
    try:
        array = pa.array(values)
        if not pa.types.is_nested(array.type):
            return array.to_pandas()
    except (pa.ArrowException, OverflowError):
        pass
    return pd.Series(
        [value if isinstance(value, str | None) else json.dumps(value, ensure_ascii=False) for value in values]
    )
