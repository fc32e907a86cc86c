"""Data: what was written is read back, unusable rows are named, and every mistake is one clear line."""

import codecs
import csv
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.data import Columns, Table, data_digest, describe_unusable, read_table
from attribution.errors import UserError
from attribution.readers import READERS

PAIR = Columns(text="premise", text_pair="hypothesis")
TRICKY = [
    *("NA", "null", "None", "nan", "-", "007", " spaces kept ", 'say "so"', "a\tb,c;d", "two\nlines", "cr\rlf\r\n"),
    *("e\u0301", "🙂👩\u200d👧", "中文", "שלום \u200fabc", "a\u2028b\x85c\x0bd"),
]
TEXT = st.sampled_from(TRICKY) | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
BLANK = st.sampled_from(["", " ", "\n", "\t \u3000"])
LABEL = st.sampled_from(["NA", "null", "nan", "positive ", "0", "-1", "中", "🙂", "1.5"])


def write_delimited(path: Path, columns: dict[str, list[str]], *, delimiter: str, end: str, encoding: str) -> None:
    # Before Python 3.13 the writer quotes "\r" on its own only where it ends lines with it.
    quoting = csv.QUOTE_MINIMAL if end == "\r\n" else csv.QUOTE_ALL
    with path.open("w", newline="", encoding=encoding) as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator=end, quoting=quoting)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def write_csv(path: Path, columns: dict[str, list[str]]) -> None:
    write_delimited(path, columns, delimiter=",", end="\r\n", encoding="utf-8")


def write_csv_with_mark(path: Path, columns: dict[str, list[str]]) -> None:
    write_delimited(path, columns, delimiter=",", end="\n", encoding="utf-8-sig")


def write_tsv(path: Path, columns: dict[str, list[str]]) -> None:
    write_delimited(path, columns, delimiter="\t", end="\n", encoding="utf-8")


def write_jsonl(path: Path, columns: dict[str, list[str]]) -> None:
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    # Every other row escaped, so that both ways to write a character are read.
    lines = [json.dumps(row, ensure_ascii=bool(number % 2)) for number, row in enumerate(rows)]
    path.write_text("\n".join(lines), encoding="utf-8")


def write_parquet(path: Path, columns: dict[str, list[str]]) -> None:
    pq.write_table(pa.table(columns), path)


FORMATS = {
    ".csv": write_csv,
    ".CSV": write_csv_with_mark,
    ".tsv": write_tsv,
    ".txt": write_tsv,
    ".jsonl": write_jsonl,
    ".ndjson": write_jsonl,
    ".parquet": write_parquet,
}
every_format = pytest.mark.parametrize(("suffix", "write"), FORMATS.items(), ids=FORMATS.keys())


def write_and_read(
    write: Callable[[Path, dict[str, list[str]]], None],
    suffix: str,
    columns: dict[str, list[str]],
    chosen: Columns,
    **options: bool,
) -> Table:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"file{suffix}"
        write(path, columns)
        return read_table(path, chosen, **options)


def one_line(path: Path | str, columns: Columns | None = None) -> str:
    """The message of the UserError with which `path` is refused, which is one line."""
    with pytest.raises(UserError) as error:
        read_table(path, columns or Columns())
    message = str(error.value)
    assert len(message.splitlines()) == 1
    return message


def as_rows(frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    return list(frame.itertuples(name=None))


def test_every_reader_is_tested() -> None:
    """A format that is registered is among those written and read back here."""
    assert {suffix.lower() for suffix in FORMATS} == set(READERS)


@every_format
@settings(deadline=None, max_examples=25)
@given(rows=st.lists(st.tuples(TEXT | BLANK, TEXT | BLANK, LABEL | BLANK, TEXT), min_size=1, max_size=12))
def test_what_is_written_is_read_back(
    suffix: str, write: Callable[[Path, dict[str, list[str]]], None], rows: list[tuple[str, str, str, str]]
) -> None:
    """Usable rows come back character by character under their row numbers; each other row is named with its reasons.

    The oracle is a loop over the rows as they were written.
    """
    premise, hypothesis, label, note = (list(column) for column in zip(*rows, strict=True))
    note = [f"n{text}" for text in note]
    columns = {"note": note, "label": label, "hypothesis": hypothesis, "premise": premise}
    expected, unusable = [], {}
    for row in range(len(rows)):
        reasons = []
        if premise[row].isspace() or not premise[row]:
            reasons.append("blank text")
        if hypothesis[row].isspace() or not hypothesis[row]:
            reasons.append("blank text_pair")
        if label[row].isspace() or not label[row]:
            reasons.append("no label")
        if reasons:
            unusable[row] = ", ".join(reasons)
        else:
            expected.append((row, premise[row], hypothesis[row], label[row], note[row]))
    if not expected:
        with pytest.raises(UserError, match=r"no row is left|lack a label"):
            write_and_read(write, suffix, columns, PAIR)
        return
    table = write_and_read(write, suffix, columns, PAIR)
    assert list(table.frame.columns) == ["text", "text_pair", "label", "note"]
    assert table.frame.index.name == "row"
    assert as_rows(table.frame) == expected
    assert table.unusable == unusable


@every_format
def test_tricky_texts_survive(suffix: str, write: Callable[[Path, dict[str, list[str]]], None]) -> None:
    """Words for "missing", quotes, line ends, combining accents, emoji, Chinese and Hebrew are text like any other."""
    table = write_and_read(write, suffix, {"text": TRICKY, "label": TRICKY}, Columns())
    assert as_rows(table.frame) == [(row, text, text) for row, text in enumerate(TRICKY)]
    assert table.unusable == {}


def test_single_texts_have_no_second_column(tmp_path: Path) -> None:
    """Without a pair column there is no text_pair; the file's column of that name is kept under another one."""
    (tmp_path / "a.csv").write_text("text_pair,review,row,text,label,text (file)\n1,good,9,id,yes,x\n")
    frame = read_table(tmp_path / "a.csv", Columns(text="review")).frame
    assert frame.reset_index().to_dict("records") == [
        {
            "row": 0,
            "text": "good",
            "label": "yes",
            "text_pair (file)": 1,
            "row (file)": 9,
            "text (file) (file)": "id",
            "text (file)": "x",
        }
    ]


def test_other_columns_are_numbers_where_all_values_are(tmp_path: Path) -> None:
    """One value that is no number, a leading zero or a gap leaves a column as it is written."""
    rows = [
        "text,label,whole,real,mixed,code,gap,long,huge",
        f"a,x,1,1.5,1,007,1,{'9' * 30},1e999",
        "b,y,-2,2e3,x,1,,1,1",
    ]
    (tmp_path / "a.csv").write_text("\n".join(rows))
    frame = read_table(tmp_path / "a.csv", Columns()).frame
    assert frame["whole"].tolist() == [1, -2] and frame["whole"].dtype == "int64"
    assert frame["real"].tolist() == [1.5, 2000.0]
    assert frame["mixed"].tolist() == ["1", "x"]
    assert frame["code"].tolist() == ["007", "1"]
    assert frame["gap"].tolist() == ["1", ""]
    assert frame["long"].tolist() == ["9" * 30, "1"]
    assert frame["huge"].tolist() == ["1e999", "1"]


def test_other_columns_of_jsonl_can_be_stored(tmp_path: Path) -> None:
    """Plain columns keep their values, nested and mixed ones become JSON text, and the frame goes through parquet."""
    others = [
        {"n": 1, "s": "é", "b": True, "list": [1, "é"], "mixed": "a", "empty": {}, "big": 2**70},
        {"n": 2, "s": None, "b": False, "list": [], "mixed": {"k": None}, "empty": {}, "big": 1},
    ]
    lines = [json.dumps({"text": "t", "label": 0, **other}) for other in others]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    frame = read_table(tmp_path / "a.jsonl", Columns()).frame
    assert frame["n"].tolist() == [1, 2] and frame["b"].tolist() == [True, False]
    assert frame["s"].iloc[0] == "é" and pd.isna(frame["s"].iloc[1])
    assert frame["list"].tolist() == ['[1, "é"]', "[]"]
    assert frame["mixed"].tolist() == ["a", '{"k": null}']
    assert frame["empty"].tolist() == ["{}", "{}"]
    assert frame["big"].tolist() == [str(2**70), "1"]
    frame.to_parquet(tmp_path / "b.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "b.parquet"), frame)


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([0, 1, 12], ["0", "1", "12"]),
        ([1.0, None, -3.0], ["1", None, "-3"]),
        ([float("nan"), 2.0], [None, "2"]),
        ([1.0, 2.5], ["1.0", "2.5"]),
        ([True, False, None], ["true", "false", None]),
        (["1.0", "", "0.0"], ["1", None, "0"]),
        (["1.0", "one"], ["1.0", "one"]),
        (["True", " "], ["True", None]),
    ],
)
@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_labels_become_strings(tmp_path: Path, suffix: str, values: list[Any], labels: list[str | None]) -> None:
    """Integers give their decimals, floats too where all are whole, booleans true and false.

    None, NaN and blank strings are missing labels.
    """
    path = tmp_path / f"a{suffix}"
    frame = pd.DataFrame({"text": "t", "label": pd.Series(values, dtype=object)})
    if suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in frame.to_dict("records")))
    else:
        pq.write_table(pa.table({"text": list(frame["text"]), "label": pa.array(values)}), path)
    table = read_table(path, Columns())
    assert table.frame["label"].to_dict() == {row: label for row, label in enumerate(labels) if label is not None}
    assert table.unusable == {row: "no label" for row, label in enumerate(labels) if label is None}


def test_integer_labels_of_a_csv_that_pandas_wrote_with_a_gap(tmp_path: Path) -> None:
    """A train file with a missing label and a test file without name their classes alike."""
    for name, labels in {"train": [0, 1, None], "test": [0, 1, 1]}.items():
        pd.DataFrame({"text": "t", "label": labels}).to_csv(tmp_path / f"{name}.csv")
    train, test = (read_table(tmp_path / f"{name}.csv", Columns()).frame for name in ("train", "test"))
    assert train["label"].tolist() == ["0", "1"] and test["label"].tolist() == ["0", "1", "1"]


def test_texts_that_are_numbers_are_their_decimals(tmp_path: Path) -> None:
    """A text column that a program wrote as numbers is text all the same; unlike in a label, 1.0 stays 1.0."""
    (tmp_path / "a.jsonl").write_text('{"text": 5, "label": 1}\n{"text": 1.0, "label": 1}\n{"label": 1}')
    table = read_table(tmp_path / "a.jsonl", Columns())
    assert table.frame["text"].tolist() == ["5", "1.0"]
    assert table.unusable == {2: "blank text"}


def test_labels_are_optional_where_none_is_needed(tmp_path: Path) -> None:
    """Without need_label a row or a file without labels is read; a blank text is still unusable."""
    (tmp_path / "a.csv").write_text("text,label\na,\n,x\nb,y\n")
    table = read_table(tmp_path / "a.csv", Columns(), need_label=False)
    assert [None if pd.isna(label) else label for label in table.frame["label"]] == [None, "y"]
    assert table.frame.index.tolist() == [0, 2] and table.unusable == {1: "blank text"}
    (tmp_path / "b.csv").write_text("text\na\n\nb\n")
    table = read_table(tmp_path / "b.csv", Columns(), need_label=False)
    assert as_rows(table.frame) == [(0, "a"), (2, "b")]
    assert table.unusable == {1: "blank text"}, "an empty line of a one-column file is an empty value"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_empty_lines_between_rows_are_no_rows(tmp_path: Path, end: str) -> None:
    """Row numbers count rows, not lines, whatever ends a line."""
    (tmp_path / "a.csv").write_bytes(end.join(["", "text,label", "a,x", "", "b,y", "", ""]).encode())
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "a", "label": "x"}\n\n{"text": "b", "label": "y"}\r\n\n')
    for name in ("a.csv", "a.jsonl"):
        assert as_rows(read_table(tmp_path / name, Columns()).frame) == [(0, "a", "x"), (1, "b", "y")]


def test_a_very_long_text_is_read(tmp_path: Path) -> None:
    """The csv module's limit of 128 KiB a field does not hold."""
    text = "long " * 100_000
    assert write_and_read(write_csv, ".csv", {"text": [text], "label": ["x"]}, Columns()).frame["text"].item() == text


def test_describe_unusable_counts_all_and_names_five(tmp_path: Path) -> None:
    """The summary counts every unusable row of all rows and names the first five with their reasons."""
    good, bad = "a,x\n", {1: ",x\n", 3: "a,\n", 4: ",\n", 5: ",x\n", 7: ",x\n", 8: ",x\n", 9: ",x\n"}
    lines = [bad.get(row, good) for row in range(20)]
    (tmp_path / "a.csv").write_text("text,label\n" + "".join(lines))
    assert describe_unusable(read_table(tmp_path / "a.csv", Columns())) == (
        "7 of 20 rows cannot be used: row 1 (blank text), row 3 (no label), row 4 (blank text, no label), "
        "row 5 (blank text), row 7 (blank text) and 2 more"
    )
    (tmp_path / "b.csv").write_text("text,label\n" + "".join(lines[:4]))
    assert describe_unusable(read_table(tmp_path / "b.csv", Columns())) == (
        "2 of 4 rows cannot be used: row 1 (blank text), row 3 (no label)"
    )
    (tmp_path / "c.csv").write_text("text,label\n" + good)
    assert describe_unusable(read_table(tmp_path / "c.csv", Columns())) == ""


def quoted(*rows: str) -> bytes:
    return "\n".join(rows).encode()


GOOD = "good,x"
ERRORS: dict[str, tuple[str, bytes, list[str]]] = {
    "unknown suffix": ("a.xlsx", b"x", [".xlsx", ".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".parquet"]),
    "empty": ("a.csv", b"", ["empty"]),
    "only a byte order mark": ("a.csv", codecs.BOM_UTF8, ["empty"]),
    "only empty lines": ("a.csv", b"\n\n", ["empty"]),
    "header only": ("a.csv", b"text,label\n", ["no rows"]),
    "jsonl of empty lines": ("a.jsonl", b"\n \n", ["no rows"]),
    "missing column": ("a.csv", b"id,txt,label\n1,a,b", ["text column", "'text'", "mean 'txt'", "id, txt, label"]),
    "missing label column": ("a.jsonl", b'{"text": "a", "class": 1}', ["'label'", "text, class"]),
    "empty objects": ("a.jsonl", b"{}", ["'text'", "none"]),
    "not UTF-8": ("a.csv", b"text,label\r\nb,x\r\ncaf\xe9,y\r\n", ["UTF-8", "byte 20", "line 3", "0xe9"]),
    "not UTF-8 after a mark": ("a.tsv", codecs.BOM_UTF8 + b"te\xff", ["byte 5", "line 1"]),
    "cut in a character": ("a.jsonl", '{"text": "é'.encode()[:-1], ["byte 10", "line 1"]),
    "UTF-16": ("a.csv", "text,label\na,b".encode("utf-16"), ["UTF-16", "UTF-8"]),
    "UTF-16 big end first": ("a.jsonl", codecs.BOM_UTF16_BE + "{}".encode("utf-16-be"), ["UTF-16", "UTF-8"]),
    "UTF-32": ("a.csv", "text,label\na,b".encode("utf-32"), ["UTF-32", "UTF-8"]),
    "NUL": ("a.csv", b"text,label\na,b\n\0,c", ["NUL", "byte 15", "line 3"]),
    "too many fields": ("a.csv", quoted("text,label", GOOD, "a,b,c"), ["line 3", "has 3", "has 2"]),
    "too few fields": ("a.tsv", quoted("text\tlabel\tid", "a\tb\t1", "", "a\tb"), ["line 4", "has 2", "has 3"]),
    "ragged row over lines": ("a.csv", quoted("text,label", '"1\n2\n3",x', '"5\n6",x,y', GOOD), ["line 5", "has 3"]),
    "open quote": ("a.csv", quoted("text,label", '"a\nb",x', '"open,y', GOOD), ["line 4", "quoted"]),
    "text after a quote": ("a.csv", quoted("text,label", GOOD, '"a"b,y'), ["line 3", "quoted"]),
    "not JSON": (
        "a.jsonl",
        quoted('{"text": "a", "label": 1}', "", "{'text': 1}"),
        ["line 3", "not JSON", "character 2"],
    ),
    "cut JSON": ("a.ndjson", b'{"text": "a", "la', ["line 1", "not JSON"]),
    "not an object": ("a.jsonl", quoted('{"text": "a", "label": 1}', "[1]"), ["line 2", "object", "list"]),
    "deep JSON": ("a.jsonl", b"[" * 100_000, ["line 1", "not JSON"]),
    "half a character": ("a.jsonl", b'{"text": "\\ud83d", "label": 1}', ["line 1", "surrogate"]),
    "nested text": ("a.jsonl", quoted('{"text": "a", "label": 1}', '{"text": ["b"], "label": 1}'), ["row 1", "list"]),
    "nested label": ("a.jsonl", b'{"text": "a", "label": {"id": 1}}', ["row 0", "dict", "'label'"]),
    "same column twice": ("a.csv", b"text,label,text\na,b,c", ["2", "'text'", "differ"]),
    "same key twice": ("a.jsonl", b'{"text": "a", "label": 1, "text": "b"}', ["line 1", "'text'", "differ"]),
    "not parquet": ("a.parquet", b"PAR1 and then nothing", ["damaged"]),
    "all labels missing": ("a.csv", b"text,label\na,\nb, ", ["all 2 rows", "'label'"]),
    "no usable row": ("a.csv", b"text,label\n ,x\nb,", ["2 of 2", "row 0 (blank text)", "row 1 (no label)"]),
}


@pytest.mark.parametrize("case", ERRORS)
def test_each_mistake_in_a_file_is_one_line(tmp_path: Path, case: str) -> None:
    """The line names the file and what this mistake needs: the rule, the place, the value, the choices."""
    name, data, mentions = ERRORS[case]
    (tmp_path / name).write_bytes(data)
    message = one_line(tmp_path / name)
    for mention in [str(tmp_path / name), *mentions]:
        assert mention in message, f"'{mention}' is not in: {message}"


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    """Neither is mistaken for an empty file."""
    assert str(tmp_path / "no.csv") in one_line(tmp_path / "no.csv")
    (tmp_path / "folder.csv").mkdir()
    assert "is a folder" in one_line(tmp_path / "folder.csv")
    assert "cannot be read" in one_line(tmp_path / f"{'long' * 100}.csv")


def test_parquet_mistakes(tmp_path: Path) -> None:
    """Nested values, bytes, repeated columns, no rows and invalid UTF-8 are each told."""
    path = tmp_path / "a.parquet"
    for column, mentions in {
        "list": (pa.array([["a"]]), ["row 0", "list"]),
        "struct": (pa.array([{"a": 1}]), ["row 0", "dict"]),
        "bytes": (pa.array([b"a"]), ["row 0", "bytes"]),
        "no rows": (pa.array([], pa.string()), ["no rows"]),
        "damaged": (
            pa.StringArray.from_buffers(1, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff")),
            ["damaged"],
        ),
    }.values():
        pq.write_table(pa.table({"text": column, "label": pa.array(["x"] * len(column), pa.string())}), path)
        message = one_line(path)
        assert all(mention in message for mention in [str(path), *mentions]), message
    twice = pa.Table.from_arrays([pa.array(["a"])] * 2, names=["text", "text"])
    pq.write_table(twice, path)
    assert "differ" in one_line(path)


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_a_cut_parquet_file_is_told(data: st.DataObject) -> None:
    """Every shorter beginning of a parquet file is one line, whatever arrow makes of it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.parquet"
        write_parquet(path, {"text": TRICKY, "label": TRICKY})
        whole = path.read_bytes()
        path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
        assert str(path) in one_line(path)


def test_columns_must_differ() -> None:
    """One column cannot be both text and label."""
    with pytest.raises(UserError, match="'a' is chosen 2 times"):
        Columns(text="a", label="a")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for data sets, with the caches of `datasets` beside it and the hub out of reach."""
    import huggingface_hub
    from datasets import config

    monkeypatch.setattr(config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    (tmp_path / "set").mkdir()
    return tmp_path / "set"


def test_a_hub_split_is_read_from_a_folder(hub: Path) -> None:
    """The split, or a slice of it, is read like a file; rows are numbered from 0 in it."""
    write_csv(hub / "train.csv", {"text": ["中文", "b", " "], "label": ["1", "0", "1"], "id": ["5", "6", "7"]})
    table = read_table(f"hub:{hub}:train", Columns())
    assert as_rows(table.frame) == [(0, "中文", "1", 5), (1, "b", "0", 6)]
    assert table.unusable == {2: "blank text"} and table.source == f"hub:{hub}:train"
    assert as_rows(read_table(f"hub:{hub}:default:train[1:]", Columns()).frame) == [(0, "b", "0", 6)]


def test_class_labels_of_a_hub_data_set_become_their_names(hub: Path) -> None:
    """The numbers of a ClassLabel are never seen, and its -1 is a missing label."""
    from datasets import ClassLabel, Dataset, Features, Value

    features = Features({"label": ClassLabel(names=["neg", "pos"]), "text": Value("string")})
    columns = {"label": [1, -1, 0], "text": ["a", "b", "c"]}
    Dataset.from_dict(columns, features=features).to_parquet(str(hub / "train.parquet"))
    table = read_table(f"hub:{hub}:train", Columns())
    assert as_rows(table.frame) == [(0, "a", "pos"), (2, "c", "neg")]
    assert table.unusable == {1: "no label"}


def test_hub_mistakes_are_one_line(hub: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A wrong form, split or configuration, no connection and no data set are told, and nothing else is printed."""
    write_csv(hub / "train.csv", {"text": ["a"], "label": ["1"]})
    read_table(f"hub:{hub}:train", Columns())
    capfd.readouterr()
    for source, mentions in {
        "hub:imdb": ["hub:NAME[:CONFIG]:SPLIT"],
        "hub:a:b:c:d": ["hub:NAME[:CONFIG]:SPLIT"],
        f"hub:{hub}:tset": ["tset", "train"],
        f"hub:{hub}:other:train": ["other", "default"],
        f"hub:{hub}/none:train": [f"{hub}/none"],
        "hub:influscope/none:train": ["hub cannot be reached"],
    }.items():
        message = one_line(source)
        assert all(mention in message for mention in [source, *mentions]), message
    captured = capfd.readouterr()
    assert captured.out == "" and captured.err == ""


def test_a_hub_data_set_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line says what to install."""
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert "pip install 'influscope[hub]'" in one_line("hub:imdb:train")


def frame_of(*rows: tuple[str, ...], names: tuple[str, ...] = ("text", "text_pair", "label")) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=pd.Index(names))


@settings(deadline=None, max_examples=50)
@given(
    one=st.lists(st.tuples(TEXT, TEXT, LABEL), min_size=1, max_size=3),
    other=st.lists(st.tuples(TEXT, TEXT, LABEL), min_size=1, max_size=3),
)
def test_equal_digests_mean_equal_rows(one: list[tuple[str, ...]], other: list[tuple[str, ...]]) -> None:
    """Two tables have one digest if and only if they have the same rows in the same order."""
    assert (data_digest(frame_of(*one)) == data_digest(frame_of(*other))) == (one == other)


def test_a_digest_is_of_texts_and_labels_only() -> None:
    """Boundaries and order count; dtypes, row numbers, the order of columns and the other columns do not."""
    frame = frame_of(("a", "bc", "x"), ("d", "e", "y"))
    digest = data_digest(frame)
    assert digest != data_digest(frame_of(("ab", "c", "x"), ("d", "e", "y")))
    assert digest != data_digest(frame.sort_index(ascending=False))
    assert digest != data_digest(frame.drop(columns="text_pair"))
    single, unlabelled = (frame_of(("a", "x"), names=("text", other)) for other in ("label", "text_pair"))
    assert data_digest(single) != data_digest(unlabelled)
    assert digest == data_digest(frame.astype(object).assign(extra=1).set_axis([7, 9]))
    assert digest == data_digest(frame.reindex(columns=["label", "text", "text_pair"]))
    missing = frame.assign(label=[None, "y"])
    assert data_digest(missing) == data_digest(missing.astype(object)) != data_digest(frame.assign(label=["None", "y"]))
