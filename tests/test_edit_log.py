"""The log of edits: what holds after each, what an undo brings back, and that nothing written is lost."""

import json
import os
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from attribution import create_workspace, open_workspace
from attribution.data import Columns, data_digest
from attribution.editing import EditLog, RowEdit, edited_table, note, perturb, relabel, remove
from attribution.editing.apply import imported_columns, log_table, write_new
from attribution.workspace import Workspace
from tests.tiny import refusal, tiny_bert


def other(workspace: Workspace, row: int) -> str:
    """The label that a training example does not have."""
    (label,) = set(workspace.labels) - {workspace.train.loc[row, "label"]}
    return label


def test_edits_of_a_row_hold_side_by_side_and_the_later_of_a_kind_wins(fresh: Workspace) -> None:
    """Relabel, two texts, a note and a removal of one row; taking each back leaves what the others say."""
    log, label = EditLog(fresh), other(fresh, 3)
    before = fresh.directory.joinpath("train.parquet").read_bytes()
    log.append(relabel(3, label))
    log.append(perturb(3, text="a warm plot"))
    log.append(perturb(3, text="a cold plot"))
    log.append(note(3, "doubtful"), remove(3))
    assert log.current()[3].removed
    log.undo(4)
    assert log.current()[3] == RowEdit(label=label, text="a cold plot", numbers={"relabel": 1, "perturb": 3})
    log.undo(3)
    assert log.current()[3].text == "a warm plot", "undoing the later text must bring the earlier one back"
    log.append(relabel(3, str(fresh.train.loc[3, "label"])))
    assert log.current()[3] == RowEdit(text="a warm plot", numbers={"perturb": 2}), "its own label is no edit"
    log.undo(6)  # the first undo
    assert log.current()[3].removed and log.current()[3].note == "doubtful", "undoing an undo must bring it back"
    before_both = log.current()
    log.undo(1, 5, 4)
    assert log.current() == {3: RowEdit(text="a warm plot", numbers={"perturb": 2})}, "4 and 5 are one batch"
    log.undo(log.entries[-1].number)
    assert log.current() == before_both, "one undo must bring back what was taken back at once"
    assert fresh.directory.joinpath("train.parquet").read_bytes() == before


def test_the_state_is_a_replay_of_the_file(fresh: Workspace) -> None:
    """After random edits and undos another object reads the same state, that a plain loop over the file gives too."""
    log, draw = EditLog(fresh), np.random.default_rng(0)
    for _ in range(60):
        row = int(draw.integers(0, 40))
        try:
            if draw.random() < 0.35 and log.entries:
                log.undo(int(draw.integers(1, len(log.entries) + 1)))
            elif draw.random() < 0.5:
                log.append(relabel(row, str(draw.choice(fresh.labels))))
            else:
                log.append(perturb(row, text=f"text {draw.integers(0, 9)}"), note(row + 1, "seen"))
        except Exception as error:
            assert "already" in str(error) or "No training example" in str(error), error
    lines = [json.loads(line) for line in log.path.read_text().splitlines()[1:]]
    holds = {line["number"]: True for line in lines}
    for line in reversed(lines):
        if line["action"] == "undo" and holds[line["number"]]:
            holds |= {found["number"]: False for found in lines if found["first"] == line["of"]}
    expected = fresh.train.copy()
    for line in lines:
        for column in ("text", "label"):
            if holds[line["number"]] and column in line:
                expected.loc[line["row"], column] = line[column]
    assert len(lines) > 30 and not all(holds.values())
    pd.testing.assert_frame_equal(edited_table(fresh, EditLog(fresh).current()), expected)


def test_what_cannot_be_edited_is_refused_and_nothing_is_written(fresh: Workspace) -> None:
    """Unknown rows, labels and numbers, changes that change nothing, and a class that would be lost."""
    log, own = EditLog(fresh), str(fresh.train.loc[0, "label"])
    log.append(remove(7))
    last, *rest = (row for row, label in enumerate(fresh.train["label"]) if label == own and row != 7)
    removals = [remove(row) for row in rest]
    written = log.path.read_bytes()
    for action, said in (
        (lambda: log.append(relabel(99, own)), "No training example 99: ids go from 0 to 39"),
        (lambda: log.append(relabel(0, "neutral")), "No label 'neutral'"),
        (lambda: log.append(relabel(0, own)), "has the label"),
        (lambda: log.append(relabel(0, other(fresh, 0)), relabel(0, other(fresh, 0))), "two of 'relabel'"),
        (lambda: log.append(perturb(0, text=fresh.train.loc[0, "text"])), "this text already"),
        (lambda: log.append(perturb(0)), "this text already"),
        (lambda: log.append(perturb(0, text="  ")), "blank"),
        (lambda: log.append(perturb(0, text_pair="x")), "single texts"),
        (lambda: log.append(note(0, " ")), "blank"),
        (lambda: log.append(remove(7)), "is removed (edit 1)"),
        (lambda: log.append(relabel(1, other(fresh, 1)), relabel(99, own)), "No training example 99"),
        (lambda: log.preview(*removals, relabel(last, other(fresh, 0))), "no training example"),
        (lambda: log.append(*removals, remove(last)), f"no training example with the label '{own}'"),
        (lambda: log.append(), "No change"),
        (lambda: log.undo(), "No edit to undo"),
        (lambda: log.undo(2), "No edit 2: numbers go from 1 to 1"),
    ):
        assert said in refusal(action)
    assert log.path.read_bytes() == written
    log.append(remove(2))
    log.undo(1)
    assert "Edit 1 is undone already" in refusal(lambda: log.undo(2, 1))
    assert set(log.current()) == {2}, "all of them are undone or none"


def test_two_tabs_lose_nothing(fresh: Workspace) -> None:
    """Edits from several threads and objects at once are all there, numbered in the order of the file."""
    logs = [EditLog(open_workspace(fresh.directory)) for _ in range(4)]

    def edit(number: int) -> None:
        for row in range(number, 12, 4):
            logs[number].append(note(row, f"by {number}"))

    threads = [threading.Thread(target=edit, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [edit.number for edit in logs[0].entries] == list(range(1, 13))
    assert {row: edit.note for row, edit in logs[1].current().items()} == {row: f"by {row % 4}" for row in range(12)}


@pytest.mark.parametrize("cut", [1, 30, 200])
def test_an_interrupted_write_is_said_and_cut_off(fresh: Workspace, cut: int) -> None:
    """Bytes missing at the end take the last batch with them whole, and the next edit follows the one before it."""
    log = EditLog(fresh)
    log.append(note(1, "first"))
    whole = log.path.stat().st_size
    log.append(note(2, "second"), note(3, "second"), note(4, "second"))
    os.truncate(log.path, log.path.stat().st_size - cut)
    log = EditLog(fresh)
    assert set(log.current()) == {1} and "interrupted" in log.notice
    assert log.append(note(5, "third"))[0].number == 2
    assert set(log.current()) == {1, 5} and log.path.read_bytes().count(b"\n") == 3
    assert log.path.read_bytes()[:whole].endswith(b"}\n")


def test_a_foreign_or_damaged_log_is_refused(fresh: Workspace) -> None:
    """The log of other training data, of a later version, and one with a broken line in the middle."""
    log = EditLog(fresh)
    log.append(note(1, "a"), note(2, "b"))
    good = log.path.read_text()
    digest = fresh.settings.train_digest
    for text, said in (
        (good.replace(digest, "0" * 64), "other training data"),
        (good.replace('"format": 1', '"format": 2'), "reads format 1"),
        (good.replace('"number": 1', '"number": 7'), "line 2 cannot be read"),
        ("[]\n" + good, "first line"),
    ):
        log.path.write_text(text)
        assert said in refusal(lambda: EditLog(fresh).current())
        assert said in refusal(lambda: EditLog(fresh).append(note(3, "c")))


def test_cleaned_data_read_again_is_the_edited_data(fresh: Workspace, tmp_path: Path) -> None:
    """A workspace made from each exported file has the digest of the edited table, under the imported column names."""
    texts = ['"quoted", and a comma', "=1+1", "two\nlines", "lone\rreturn", "NA", " spaces ", "ünïcode"]
    table = fresh.train.assign(source="x", text=[*texts, *fresh.train["text"][len(texts) :]])
    table.rename(columns={"text": "sentence", "label": "text", "source": "label"}).to_parquet(
        tmp_path / "train.parquet"
    )
    fresh.test.rename(columns={"text": "sentence", "label": "text"}).to_csv(tmp_path / "test.csv", index=False)
    columns, model = Columns(text="sentence", label="text"), tiny_bert(tmp_path / "model")
    test = tmp_path / "test.csv"
    made, _ = create_workspace(
        tmp_path / "made", model=model, train=tmp_path / "train.parquet", test=test, columns=columns
    )
    log = EditLog(made)
    log.append(relabel(0, other(made, 0)), remove(9), perturb(2, text="three\nlines\n"), note(1, "kept"))
    edited = edited_table(made, log.current())
    assert len(edited) == 39 and 9 not in edited.index
    for suffix in ("csv", "jsonl", "parquet"):
        file = write_new(imported_columns(made, edited), tmp_path / f"cleaned.{suffix}")
        again, _ = create_workspace(tmp_path / suffix, model=model, train=file, test=test, columns=columns)
        assert again.settings.train_digest == data_digest(edited), suffix
        assert list(again.train.columns) == list(made.train.columns) and set(again.train["label (file)"]) == {"x"}
    assert "choose a new file" in refusal(lambda: write_new(edited, tmp_path / "cleaned.csv"))
    assert "No suffix '.xlsx'" in refusal(lambda: write_new(edited, tmp_path / "cleaned.xlsx"))


def test_the_log_as_a_table_says_what_was_undone(fresh: Workspace) -> None:
    """One row an edit; what was taken back is marked, and so is what an undone undo took back no longer."""
    log = EditLog(fresh)
    log.append(note(1, "a"), note(2, "b"))
    log.append(note(3, "c"))
    log.undo(2)
    assert log_table(log)["undone"].tolist() == [True, True, False, False]
    log.undo(4)
    assert log_table(log)["undone"].tolist() == [False, False, False, True, False]
    assert log_table(log)["row"].tolist()[:3] == [1, 2, 3] and log_table(log)["of"].tolist()[3:] == [1, 4]
