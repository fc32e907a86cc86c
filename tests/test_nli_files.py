"""Files of the shapes in which SNLI, MNLI and HANS are published: quotes that mean nothing, and "-" for no label."""

import json
from pathlib import Path

import pytest

from attribution.creation import create_workspace
from attribution.data import Columns, Table, describe_unusable, read_table
from tests.families import tiny_model

COLUMNS = Columns(text="sentence1", text_pair="sentence2", label="gold_label")
# Invented sentences; quotes stand as they were typed, alone and at either end of a field.
PAIRS = [
    ('"Well, the pot is on, she said.', 'The pot is "on".', "entailment"),
    ("Nobody saw the kite.", '"Kite" is a word', "neutral"),
    ("Two hens slept.", "No hen slept.", "contradiction"),
    ("It rained.", "It may have rained.", "-"),
]


def as_jsonl(path: Path) -> Path:
    """SNLI's and MNLI's jsonl: five annotators' labels beside the one they agreed on."""
    rows = [
        {"annotator_labels": [label] * 5, "gold_label": label, "pairID": str(i), "sentence1": one, "sentence2": two}
        for i, (one, two, label) in enumerate(PAIRS)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def as_tabs(path: Path) -> Path:
    """MNLI's and HANS's tables: tabs, nothing quoted or escaped, and a column of the heuristic."""
    lines = ["gold_label\tsentence1\tsentence2\theuristic"]
    lines += [f"{label}\t{one}\t{two}\tsubsequence" for one, two, label in PAIRS]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(params=["train.jsonl", "train.tsv", "heuristics_evaluation_set.txt"])
def table(request: pytest.FixtureRequest, tmp_path: Path) -> Table:
    path = tmp_path / request.param
    return read_table((as_jsonl if path.suffix == ".jsonl" else as_tabs)(path), COLUMNS)


def test_every_pair_is_read_as_it_was_written(table: Table) -> None:
    """Texts to the character, labels as they are; the row without an agreed label is named and left out."""
    found = list(zip(table.frame["text"], table.frame["text_pair"], table.frame["label"], strict=True))
    assert found == PAIRS[:3]
    assert describe_unusable(table) == "1 of 4 rows cannot be used: row 3 (no label)"


def test_the_other_columns_stay(tmp_path: Path) -> None:
    """HANS's heuristic is there to choose slices by."""
    assert set(read_table(as_tabs(tmp_path / "hans.txt"), COLUMNS).frame["heuristic"]) == {"subsequence"}


def test_a_dash_is_a_label_elsewhere(tmp_path: Path) -> None:
    """In a column of any other name "-" is as good a label as "+"."""
    path = tmp_path / "signs.tsv"
    path.write_text("text\tlabel\nfine\t+\npoor\t-\n")
    assert read_table(path, Columns()).frame["label"].tolist() == ["+", "-"]


def test_a_damaged_table_is_still_refused(tmp_path: Path) -> None:
    """Without its quotes' meaning a row must still have the header's number of fields, else the quotes are blamed."""
    path = tmp_path / "damaged.tsv"
    path.write_text('text\tlabel\n"open\ta\nfine\tb\tc\n')
    with pytest.raises(Exception, match="not quoted correctly"):
        read_table(path, Columns())


def test_a_workspace_of_such_files(tmp_path: Path) -> None:
    """They open as a workspace of pairs with the labels that are agreed on, and what is left out is said."""
    made, notices = create_workspace(
        tmp_path / "w",
        model=tiny_model("bert", tmp_path / "model", labels=("contradiction", "entailment", "neutral")),
        train=as_jsonl(tmp_path / "train.jsonl"),
        test=as_tabs(tmp_path / "test.tsv"),
        columns=COLUMNS,
    )
    assert made.is_pair and sorted(made.labels) == ["contradiction", "entailment", "neutral"]
    assert len(made.train) == len(made.test) == 3
    assert sum("row 3 (no label)" in notice for notice in notices) == 2
