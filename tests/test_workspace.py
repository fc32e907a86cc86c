"""Workspaces: made whole or not at all, opened only as they were made, every mistake one line."""

import os
import shutil
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import platformdirs
import pytest
import tomli_w

from attribution import attribute, create_workspace, open_workspace
from attribution.data import Columns
from attribution.training import Recipe, train
from attribution.workspace import SETTINGS, Workspace, write_settings
from tests.tiny import refusal, sentences, tiny_bert, write_tables

LABELS = ("negative", "positive")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("models") / "classifier")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("models") / "encoder", labels=None)


def write_csv(path: Path, rows: Sequence[tuple[str, object]], head: str = "text,label") -> Path:
    path.write_text("\n".join([head, *(f"{text},{label}" for text, label in rows)]) + "\n")
    return path


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes, hidden ones included."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def edit_settings(directory: Path, **changes: Any) -> None:
    path = directory / SETTINGS
    path.write_text(tomli_w.dumps({**tomllib.loads(path.read_text()), **changes}))


BAD_DATA: dict[str, tuple[list[tuple[str, object]], str]] = {
    "no rows": ([], "has no rows"),
    "blank texts": ([(" ", "negative"), ("", "positive")], "no row is left: 2 of 2 rows cannot be used"),
    "no labels": ([("a", ""), ("b", "")], "all 2 rows lack a label"),
    "one label": ([("a", "positive"), ("b", "positive")], "has one label only ('positive')"),
    "unknown label": ([("a", "positive"), ("b", "neutral")], "Label 'neutral' of"),
    "numbers out of range": ([("a", 0), ("b", 2)], "(or their numbers 0 to 1)"),
    "names and numbers": ([("a", "positive"), ("b", 0)], "Label '0' of"),
}


@pytest.mark.parametrize("mistake", BAD_DATA)
def test_bad_training_data_is_one_line(mistake: str, model: Path, tmp_path: Path) -> None:
    """The line names the file and what is wrong with it; no folder appears."""
    rows, reason = BAD_DATA[mistake]
    bad, good = write_csv(tmp_path / "bad.csv", rows), write_tables(tmp_path)["test"]
    message = refusal(lambda: create_workspace(tmp_path / "new" / "w", model=model, train=bad, test=good))
    assert reason in message and str(bad) in message
    assert {path.name for path in tmp_path.iterdir()} == {"bad.csv", "train.csv", "test.csv"}


def test_an_unknown_label_lists_the_models(model: Path, tmp_path: Path) -> None:
    """In the test file too, and with every label that the model has."""
    tables = write_tables(tmp_path)
    write_csv(tables["test"], [("a", "positive"), ("b", "mixed")])
    message = refusal(lambda: create_workspace(tmp_path / "w", model=model, **tables))
    assert "'mixed'" in message and "negative, positive" in message and str(tables["test"]) in message


def test_a_missing_column_lists_the_files(model: Path, tmp_path: Path) -> None:
    """The nearest column is suggested and all are named."""
    tables = write_tables(tmp_path)
    for columns in (Columns(text="txt"), Columns(label="lable"), Columns(text_pair="texts")):
        message = refusal(
            lambda columns=columns: create_workspace(tmp_path / "w", model=model, columns=columns, **tables)
        )
        assert "Did you mean" in message and "text, label" in message


@pytest.mark.parametrize("content", [None, b"", b"text,label\n", b"\xff\xfe"])
def test_an_unreadable_file_is_one_line(content: bytes | None, model: Path, tmp_path: Path) -> None:
    """A file that is missing, empty, without rows or in another encoding is named."""
    tables = write_tables(tmp_path)
    for part in ("train", "test"):
        given = {**tables, part: tmp_path / "odd.csv"}
        if content is not None:
            (tmp_path / "odd.csv").write_bytes(content)
        message = refusal(lambda given=given: create_workspace(tmp_path / "w", model=model, **given))
        assert str(tmp_path / "odd.csv") in message


def test_an_encoder_learns_the_labels_of_the_training_data(encoder: Path, tmp_path: Path) -> None:
    """Whole numbers in their own order, else in the alphabet's; a test label that training lacks is refused."""
    rows = [("a plot", 10), ("the cast", 9), ("a song", 2)]
    train_file, test_file = write_csv(tmp_path / "a.csv", rows), write_csv(tmp_path / "b.csv", rows[:1])
    made, notices = create_workspace(tmp_path / "w", model=encoder, train=train_file, test=test_file)
    assert made.labels == ("2", "9", "10") and not made.settings.has_head and notices == []
    assert "influscope train" in refusal(lambda: made.classifier)
    write_csv(test_file, [("a scene", 3)])
    message = refusal(lambda: create_workspace(tmp_path / "x", model=encoder, train=train_file, test=test_file))
    assert "'3'" in message and "2, 9, 10" in message


def test_integer_labels_are_the_numbers_of_the_models(model: Path, tmp_path: Path) -> None:
    """0 and 1 become the names of the model's outputs 0 and 1, in both tables."""
    rows = [("a plot", 1), ("the cast", 0), ("a song", 1)]
    data = write_csv(tmp_path / "a.csv", rows)
    made, _ = create_workspace(tmp_path / "w", model=model, train=data, test=data)
    for table in (made.train, made.test):
        assert table["label"].tolist() == ["positive", "negative", "positive"]
    assert made.label_ids(made.train).tolist() == [1, 0, 1]


def test_row_numbers_survive_unusable_rows(model: Path, tmp_path: Path) -> None:
    """Rows without text or label are named in a notice; the others keep their numbers in every answer."""
    rows = [
        ("", "positive"),
        ("a warm plot", "positive"),
        ("a dull cast", ""),
        ("a dull plot", "negative"),
        ("the cast", "negative"),
    ]
    data = write_csv(tmp_path / "a.csv", rows)
    made, notices = create_workspace(tmp_path / "w", model=model, train=data, test=data)
    assert len(notices) == 2 and all("row 0 (blank text), row 2 (no label)" in notice for notice in notices)
    made = train(made, Recipe(trainable="head", epochs=1, batch_size=2))
    assert made.train.index.tolist() == made.test.index.tolist() == [1, 3, 4]
    assert str(made.test_row(3)["text"]) == "a dull plot"
    assert sorted(attribute(made, "gd", test=4).frame(0)["train_id"]) == [1, 3, 4]
    assert "1 to 4" in refusal(lambda: made.test_row(0))
    assert made.predict_test().index.tolist() == [1, 3, 4]


def test_pairs_need_both_texts(model: Path, tmp_path: Path) -> None:
    """A workspace of pairs keeps both texts, and refuses to classify one alone."""
    frame = sentences(8, seed=1).assign(second=sentences(8, seed=2)["text"])
    frame.to_csv(tmp_path / "a.csv", index=False)
    made, _ = create_workspace(
        tmp_path / "w",
        model=model,
        train=tmp_path / "a.csv",
        test=tmp_path / "a.csv",
        columns=Columns(text="text", text_pair="second"),
    )
    assert made.is_pair and made.train["text_pair"].tolist() == frame["second"].tolist()
    assert "text_pairs" in refusal(lambda: made.predict(["a"]))
    assert made.predict(["a"], ["b"]).shape == (1, 2)


def test_a_workspace_is_plain_and_complete(model: Path, tmp_path: Path) -> None:
    """What was given is read back from the folder alone, after the sources are gone."""
    tables = write_tables(tmp_path)
    given = {part: pd.read_csv(str(path)).to_dict("records") for part, path in tables.items()}
    source = shutil.copytree(model, tmp_path / "model")
    made, _ = create_workspace(tmp_path / "deep" / "w", model=source, **tables)
    shutil.rmtree(source)
    for part in ("train", "test"):
        tables[part].unlink()
    moved = Path(shutil.move(tmp_path / "deep" / "w", tmp_path / "elsewhere"))
    opened = open_workspace(moved)
    assert opened.train.to_dict("records") == given["train"]
    assert opened.test.to_dict("records") == given["test"]
    assert opened.digest == made.digest
    assert opened.name == "w" and opened.labels == LABELS
    shares = opened.predict(["a warm plot", "a dull plot"])
    assert list(shares.columns) == list(LABELS)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert {path.name for path in moved.iterdir()} <= {SETTINGS, "model", "train.parquet", "test.parquet", ".lock"}


def test_an_existing_folder_is_never_lost(model: Path, tmp_path: Path) -> None:
    """A file, someone's folder and a workspace stay as they are; force replaces a workspace and nothing else."""
    tables = write_tables(tmp_path)

    def make(name: str, **options: Any) -> Workspace:
        return create_workspace(tmp_path / name, model=model, **tables, **options)[0]

    (tmp_path / "file").write_text("mine")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    (tmp_path / "empty").mkdir()
    assert make("empty").settings.n_train == 20
    make("made")
    before = snapshot(tmp_path)
    for force in (False, True):
        assert "is a file" in refusal(lambda force=force: make("file", force=force))
        assert "is not a workspace" in refusal(lambda force=force: make("mine", force=force))
    assert "--force" in refusal(lambda: make("made"))
    assert snapshot(tmp_path) == before
    write_csv(tables["train"], [("a plot", "positive"), ("the cast", "negative")])
    assert make("made", force=True).settings.n_train == 2


@pytest.mark.parametrize("failing", ["attribution.creation.write_tables", "attribution.creation.copy_model"])
def test_a_failure_half_way_leaves_everything_as_it_was(
    failing: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interruption while files are written leaves no folder behind, and the old workspace whole with force."""
    tables = write_tables(tmp_path)
    create_workspace(tmp_path / "w", model=model, **tables)
    before = snapshot(tmp_path)
    folders = {path for path in tmp_path.rglob("*") if path.is_dir()}

    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(failing, interrupt)
    for name, force in (("w", True), ("new", False)):
        with pytest.raises(KeyboardInterrupt):
            create_workspace(tmp_path / name, model=model, force=force, **tables)
    assert snapshot(tmp_path) == before
    assert {path for path in tmp_path.rglob("*") if path.is_dir()} == folders


def test_a_refused_input_leaves_the_old_workspace(model: Path, tmp_path: Path) -> None:
    """With force, a mistake in the new data is found before the old workspace is touched."""
    tables = write_tables(tmp_path)
    create_workspace(tmp_path / "w", model=model, **tables)
    write_csv(tables["train"], [("a", "x"), ("b", "y")])
    before = snapshot(tmp_path)
    refusal(lambda: create_workspace(tmp_path / "w", model=model, force=True, **tables))
    assert snapshot(tmp_path) == before


def test_a_place_that_cannot_be_written_is_one_line(model: Path, tmp_path: Path) -> None:
    """A workspace below a file cannot be made."""
    tables = write_tables(tmp_path)
    message = refusal(lambda: create_workspace(tables["train"] / "w", model=model, **tables))
    assert str(tables["train"] / "w") in message


NO_WORKSPACE: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda d: shutil.rmtree(d), "influscope new"),
    "a file": (lambda d: (shutil.rmtree(d), d.write_text("")), "is not a workspace"),
    "no settings": (lambda d: (d / SETTINGS).unlink(), "is not a workspace"),
    "no toml": (lambda d: (d / SETTINGS).write_text("format = "), "is damaged"),
    "not UTF-8": (lambda d: (d / SETTINGS).write_bytes(b"\xff"), "is damaged"),
    "a setting gone": (lambda d: (d / SETTINGS).write_text("format = 1\n"), "is damaged"),
    "a setting too many": (lambda d: edit_settings(d, colour="red"), "is damaged"),
    "another format": (lambda d: edit_settings(d, format=2), "format 2"),
    "another format with other settings": (lambda d: (d / SETTINGS).write_text("format = 7\nnew = 1\n"), "format 7"),
    "another task": (lambda d: edit_settings(d, task="tagging"), "'tagging'"),
    "labels of another type": (lambda d: edit_settings(d, labels=3), "is damaged"),
}


@pytest.mark.parametrize("damage", NO_WORKSPACE)
def test_what_is_no_workspace_is_not_opened(damage: str, fresh: Workspace) -> None:
    """Opening says in one line what is wrong with the folder, and names it."""
    spoil, reason = NO_WORKSPACE[damage]
    spoil(fresh.directory)
    message = refusal(lambda: open_workspace(fresh.directory))
    assert reason in message and str(fresh.directory) in message


def other_rows(path: Path) -> None:
    frame = pd.read_parquet(path)
    frame.loc[frame.index[0], "text"] = "something else"
    frame.to_parquet(path)


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b"PAR1 and nothing more"),
        lambda path: path.write_bytes(path.read_bytes()[:-50]),
        lambda path: path.write_bytes(path.read_bytes().replace(b"warm", b"cold")),
        other_rows,
        lambda path: pd.DataFrame({"x": [1]}).to_parquet(path),
    ],
    ids=["missing", "no parquet", "cut short", "a word replaced", "another text", "another table"],
)
def test_changed_data_is_noticed(spoil: Callable[[Path], object], part: str, fresh: Workspace) -> None:
    """Data that is damaged, or not what the workspace was made with, is never computed with."""
    path = fresh.directory / f"{part}.parquet"
    spoil(path)
    opened = open_workspace(fresh.directory)
    assert str(path) in refusal(lambda: getattr(opened, part))


def test_a_changed_base_model_is_noticed(fresh: Workspace) -> None:
    """Other weights, other settings or no weights at all are refused before anything is computed."""
    tiny_bert(fresh.directory / "model", seed=99)
    assert "digest" in refusal(lambda: open_workspace(fresh.directory).classifier)
    shutil.rmtree(fresh.directory / "model")
    assert str(fresh.directory / "model") in refusal(lambda: open_workspace(fresh.directory).classifier)


@pytest.mark.parametrize("name", ["meta.json", "delta.safetensors"])
@pytest.mark.parametrize("content", [None, b"", b"{}", b"[]", b'{"whole": 3}', b"\xff" * 40])
def test_a_damaged_checkpoint_is_one_line(name: str, content: bytes | None, fresh: Workspace) -> None:
    """Whichever of its files is gone or spoilt, the checkpoint is named and nothing is computed with it."""
    path = fresh.checkpoint_folders[-1] / name
    path.unlink() if content is None else path.write_bytes(content)
    opened = open_workspace(fresh.directory)

    def use() -> None:
        attribute(opened, "gradient_x_input", test=0)
        assert opened.checkpoints and opened.digest

    message = refusal(use)
    assert str(path.parent) in message and "damaged" in message


def test_a_read_only_workspace_works(fresh: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the folder cannot be written, everything computed goes to the user's cache, with the same scores."""
    wanted = attribute(open_workspace(fresh.directory), "relatif", test=0).scores
    shutil.rmtree(fresh.directory / "index")
    before = snapshot(fresh.directory)
    monkeypatch.setattr("attribution.workspace.is_writable", lambda directory: False)
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: tmp_path / "cache" / name)
    opened = open_workspace(fresh.directory)
    assert opened.storage == tmp_path / "cache" / "influscope" / opened.digest[:16]
    np.testing.assert_array_equal(attribute(opened, "relatif", test=0).scores, wanted)
    assert len(opened.predict_test()) == opened.settings.n_test
    assert snapshot(fresh.directory) == before
    assert list(opened.storage.rglob("*.npy")) and list(opened.storage.rglob("*.parquet"))


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_without_write_permission_is_found_out(fresh: Workspace) -> None:
    """Permissions of the real file system lead to the user's cache."""
    fresh.directory.chmod(0o555)
    try:
        assert not str(open_workspace(fresh.directory).storage).startswith(str(fresh.directory))
    finally:
        fresh.directory.chmod(0o755)


def test_the_digest_is_everything_a_score_depends_on(fresh: Workspace) -> None:
    """Data, model, labels, maximum length and checkpoints change it; the name and the device do not."""
    digest = fresh.digest
    opened = open_workspace(fresh.directory, device="cpu")
    assert opened.digest == digest
    for changes in ({"max_length": 9}, {"labels": ["b", "a"]}, {"train_digest": "0"}, {"model_digest": "0"}):
        assert Workspace(fresh.directory, replace(fresh.settings, **changes)).digest != digest, changes
    assert Workspace(fresh.directory, replace(fresh.settings, name="other")).digest == digest
    shutil.rmtree(fresh.checkpoint_folders[0])
    assert open_workspace(fresh.directory).digest != digest


def test_predictions_of_the_test_set_are_kept(fresh: Workspace) -> None:
    """The second call reads what the first wrote, and both are what the classifier says."""
    first = fresh.predict_test()
    np.testing.assert_allclose(first, fresh.predict(*fresh.texts("test")), atol=1e-6)
    again = open_workspace(fresh.directory).predict_test()
    pd.testing.assert_frame_equal(again, first)
    assert [path.name for path in (fresh.storage / "results").iterdir()] == [f"predictions-{fresh.digest[:16]}.parquet"]


def test_settings_are_written_whole(fresh: Workspace) -> None:
    """Settings survive being written and read, also with quotes and other scripts in them."""
    changed = replace(fresh.settings, name='a "name"\n中', labels=["schön", "x = 1"])
    write_settings(fresh.directory, changed)
    assert open_workspace(fresh.directory).settings == changed
