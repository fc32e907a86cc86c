"""Several workspaces on one server: what may be opened, what is remembered, what breaks, and how one is made."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from attribution.data import Columns
from attribution.index import build
from attribution.registry import standard_parts
from attribution.workspace import Workspace, open_workspace, write_settings
from dashboard import background, cache, creating, recent, workspaces
from tests.apps import OpenApp, said
from tests.oracles import reopened
from tests.tiny import refusal, sentences, tiny_bert

PAGE = "views/workspaces.py"


@pytest.fixture
def two(workspace: Workspace, pairs: Workspace, tmp_path: Path) -> tuple[Workspace, Workspace]:
    """Copies of two workspaces in one folder, each with the index of the first answers."""
    made = []
    for name, original in (("one", workspace), ("two", pairs)):
        build(original, standard_parts(original))
        shutil.copytree(original.directory, tmp_path / "all" / name)
        write_settings(tmp_path / "all" / name, replace(original.settings, name=name))
        made.append(reopened(original, tmp_path / "all" / name))
    return made[0], made[1]


def card(app: AppTest) -> str:
    return said(app.sidebar.markdown) + said(app.sidebar.caption)


def test_another_workspace_is_opened_and_stays(two: tuple[Workspace, Workspace], open_app: OpenApp):
    """It is offered, a click opens it, the URL names it on every page, and a session of that URL has it too."""
    one, other = two
    app = open_app(one.directory, test="3")
    assert f"{one.settings.n_train} train" in card(app) and "workspace" not in app.query_params
    app.switch_page(PAGE).run()
    app.button(key=f"open {other.directory}").click().run()
    assert not app.exception and not app.error
    assert f"**{other.name}**" in card(app)
    assert app.query_params["workspace"] == str(other.directory)
    app.switch_page("views/errors.py").run()
    assert "Where the model goes wrong" in said(app.markdown) and not app.exception
    assert app.query_params["workspace"] == str(other.directory)

    linked = open_app(one.directory, workspace=str(other.directory), test="2")
    assert not linked.exception and not linked.error and not linked.warning
    assert "Test example 2" in said(linked.markdown)
    assert recent.folders()[0] == other.directory


def test_two_sessions_look_at_two_workspaces(two: tuple[Workspace, Workspace], open_app: OpenApp):
    """Neither sees the other's example, answers or work, and the files of each are open once."""
    one, other = two
    first = open_app(one.directory, test="3")
    second = AppTest.from_file(str(Path(workspaces.__file__).with_name("app.py")), default_timeout=30)
    second.query_params.update({"workspace": str(other.directory), "test": "4"})
    second.run()
    first.run()
    assert "Test example 3" in said(first.markdown) and "Test example 4" in said(second.markdown)
    held = workspaces._shelf().held
    assert set(held) == {one.directory, other.directory}
    assert workspaces.opened(one.directory) is held[one.directory].workspace
    work = background.start("x", lambda progress: 1)
    work.wait(5)
    assert background.find("x") is work
    assert list(background._works()) == [(workspaces.key_of(held[one.directory].workspace), "x")]


def test_only_so_many_stay_open(two: tuple[Workspace, Workspace], open_app: OpenApp, monkeypatch: pytest.MonkeyPatch):
    """The one used longest ago is closed, and nothing that was kept holds it or its model."""
    one, other = two
    monkeypatch.setattr(workspaces, "MOST_OPEN", 1)
    open_app(one.directory)
    answers = cache.query(0, None, None, "predicted", ())
    workspaces.opened(other.directory)
    assert list(workspaces._shelf().held) == [other.directory]
    assert cache.query(0, None, None, "predicted", ()) is not answers


def test_paths_are_confined(two: tuple[Workspace, Workspace], tmp_path: Path, open_app: OpenApp, monkeypatch):
    """Outside the allowed folders, by a link or dots too, nothing is opened: one red line that names them."""
    one, other = two
    outside = tmp_path / "secret"
    shutil.copytree(other.directory, outside)
    (one.directory.parent / "link").symlink_to(outside)
    app = open_app(one.directory)
    app.switch_page(PAGE).run()
    for path in (str(outside), "link", "../secret", "~root"):
        app.text_input(key="open path field").set_value(path)
        next(button for button in app.button if button.label == "Open this folder").click().run()
        (box,) = app.error
        assert str(one.directory.parent) in said([box]) and "--allow" in said([box])
        assert f"**{one.name}**" in card(app)
    app = open_app(one.directory, workspace=str(outside))
    assert "is ignored" in said(app.warning) and f"**{one.name}**" in card(app)

    monkeypatch.setenv(workspaces.ALLOWED_VARIABLE, json.dumps([str(tmp_path / "secret")]))
    assert workspaces.allowed() == [one.directory, outside]
    assert workspaces.confined(str(outside)) == outside
    assert workspaces.is_allowed(one.directory / "versions" / "1"), "what retraining left is part of its workspace"
    assert not workspaces.is_allowed(other.directory / "versions" / "1")
    assert str(other.directory) in refusal(lambda: workspaces.confined(str(other.directory)))


def test_damaged_list_of_recent_ones_is_no_list():
    """Whatever is in the file: no error; a workspace that is gone is not listed."""
    for text in ("{", "3", '["/nowhere", 4]'):
        recent._file().parent.mkdir(parents=True, exist_ok=True)
        recent._file().write_text(text)
        assert recent.folders() == []


@pytest.mark.parametrize(
    ("broken", "how"),
    [
        ("workspace.toml", Path.unlink),
        ("train.parquet", lambda path: path.write_bytes(path.read_bytes()[:100])),
        ("model", shutil.rmtree),
        ("checkpoints", shutil.rmtree),
    ],
)
def test_workspace_that_breaks_while_open(
    two: tuple[Workspace, Workspace], open_app: OpenApp, tmp_path: Path, broken: str, how: Callable[[Path], object]
):
    """One red box names the file and the way out, on every page; back in its place it works in the same session."""
    folder = two[0].directory
    shutil.copytree(folder, tmp_path / "kept")
    app = open_app(folder, test="3")
    assert "Test example 3" in said(app.markdown)
    how(folder / broken)
    for page in ("views/explain.py", "views/errors.py"):
        app.switch_page(page).run()
        assert not app.exception
        (box,) = app.error
        assert str(folder) in said([box]) and broken in said([box]) and " back" in said([box])
        assert "Traceback" not in box.value
    app.switch_page(PAGE).run()
    assert "Make one from files" in said(app.markdown), "the way to another workspace is open"
    shutil.copytree(tmp_path / "kept", folder, dirs_exist_ok=True)
    app.switch_page("views/explain.py").run()
    assert not app.error and not app.exception
    assert "Test example 3" in said(app.markdown)


# Making one


def test_columns_are_guessed():
    """By their usual names, whatever the case; nothing is guessed among strange ones."""
    assert creating.guess(["id", "Premise", "hypothesis", "gold_label"]) == ("Premise", "hypothesis", "gold_label")
    assert creating.guess(["sentiment", "review"]) == ("review", None, "sentiment")
    assert creating.guess(["label", "words"]) == ("words", None, "label")
    assert creating.guess(["a", "b", "c"]) == (None, None, None)


@pytest.fixture
def files(workspace: Workspace, tmp_path: Path) -> Path:
    """A folder with a workspace, a model and two files, of which the first has rows that cannot be used."""
    shutil.copytree(workspace.directory, tmp_path / "old")
    tiny_bert(tmp_path / "bert")
    rows = sentences(20, seed=1).rename(columns={"text": "review"})
    rows.loc[3, "review"], rows.loc[5, "label"] = "  ", None
    rows.to_csv(tmp_path / "train.csv", index=False)
    sentences(6, seed=2).rename(columns={"text": "review"}).to_csv(tmp_path / "test.csv", index=False)
    return tmp_path


def test_preview_says_what_is_left_out(files: Path, monkeypatch: pytest.MonkeyPatch):
    """Rows and labels are counted as a loop does; every row that is left out is there with its reason."""
    monkeypatch.setenv(workspaces.WORKSPACE_VARIABLE, str(files / "old"))
    found = creating.preview(creating.data_file("train.csv"), Columns(text="review"))
    rows = pd.read_csv(files / "train.csv", keep_default_na=False)
    usable = [row for row in rows.to_dict("records") if row["review"].strip() and row["label"]]
    assert (found.usable, found.unusable) == (len(usable), 2)
    assert found.labels == {label: sum(row["label"] == label for row in usable) for label in set(found.labels)}
    assert found.dropped.to_numpy().tolist() == [[3, "blank text"], [5, "no label"]]
    assert found.first["text"].tolist() == [row["review"] for row in usable][: creating.ROWS]


def test_workspace_is_made_on_the_page(files: Path, open_app: OpenApp):
    """A mistake is one red box that stays and loses nothing of the form; mended, the new workspace is open."""
    app = open_app(files / "old")
    app.switch_page(PAGE).run()
    for key, value in (("model", "nowhere/bert"), ("train", "train.csv"), ("test", "test.csv"), ("name", "new one")):
        app.text_input(key=f"new {key}").set_value(value)
    app.run()
    assert "2 rows cannot be used" in str([each.label for each in app.expander])
    app.text_input(key="new model").set_value(str(files / "bert" / "nothing"))
    next(button for button in app.button if button.label == "Make the workspace").click().run()
    (box,) = app.error
    assert "No model folder" in said([box]) and not app.exception
    app.run()
    assert len(app.error) == 1 and not (files / "new one").exists()
    assert app.text_input(key="new name").value == "new one" and app.text_input(key="new train").value == "train.csv"
    app.text_input(key="new model").set_value("bert")
    next(button for button in app.button if button.label == "Make the workspace").click().run()
    assert not app.error and not app.exception
    assert "**new one**" in card(app) and "2 of 20 rows cannot be used" in said(app.warning)
    made = open_workspace(files / "new one")
    assert (made.settings.n_train, made.settings.n_test, made.labels) == (18, 6, ("negative", "positive"))


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "old"])
def test_names_that_cannot_be(files: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    """A name is that of one new folder; another one is refused, and what has it stays."""
    monkeypatch.setenv(workspaces.WORKSPACE_VARIABLE, str(files / "old"))
    tables = {"train": files / "train.csv", "test": files / "test.csv"}
    before = sorted(files.rglob("*"))
    message = refusal(
        lambda: creating.create(name, files, model=str(files / "bert"), columns=Columns(text="review"), **tables)
    )
    assert f"'{name}'" in message or name in message
    assert sorted(files.rglob("*")) == before
