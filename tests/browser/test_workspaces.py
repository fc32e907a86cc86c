"""Several workspaces in a real browser: another one by a click, one that breaks, and a server that restarts."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from attribution.index import build
from attribution.registry import standard_parts
from attribution.workspace import write_settings
from tests.browser.conftest import HOST, free_port, spawn, stop, wait_until_healthy
from tests.browser.test_app import click, settled, tokens
from tests.tiny import tiny_workspace, write_tables


class Server:
    """The dashboard on a workspace, at a port that stays the same when it is started again."""

    def __init__(self, workspace: Path, log: Path) -> None:
        self.workspace, self.log, self.port = workspace, log, free_port()
        self.url = f"http://{HOST}:{self.port}"

    def start(self) -> None:
        command = ["attribution", "dashboard", str(self.workspace), "--port", str(self.port)]
        self.process = spawn(command, self.log)
        wait_until_healthy(self.process, self.url, self.log)

    def stop(self) -> None:
        stop(self.process)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two workspaces, one of single texts and one of pairs, and with files to make a third one of."""
    made: Path = tmp_path_factory.mktemp("several")
    for name, pair in (("single", False), ("pairs", True)):
        workspace = tiny_workspace(made / f"{name} files", n_train=30, n_test=8, pair=pair)
        build(workspace, standard_parts(workspace))
        shutil.move(workspace.directory, made / name)
        write_settings(made / name, replace(workspace.settings, name=name))
    write_tables(made)
    return made


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    """The dashboard on the workspace of single texts; what lies beside it may be opened."""
    made = Server(folder / "single", folder / "server.log")
    made.start()
    yield made
    made.stop()


def card(page: Page):
    return page.get_by_test_id("stSidebar").locator("strong")


def test_another_workspace_in_one_tab(server: Server, open_page):
    """A click opens it; reload and other pages keep it; the tab beside it keeps its own workspace and example."""
    beside = settled(open_page(f"{server.url}/?test=3"))
    page = settled(open_page(f"{server.url}/workspaces"))
    expect(card(page)).to_have_text("single")
    click(page.get_by_role("button", name="pairs", exact=True))
    expect(card(page)).to_have_text("pairs")
    page.get_by_role("link", name="Explain", exact=True).click()
    expect(page.get_by_text("What the model looks at")).to_be_visible()
    expect(page).to_have_url(re.compile(r"[?&]workspace=[^&]*pairs"))
    before = settled(page).url
    page.keyboard.press("j")
    expect(page).not_to_have_url(before)
    chosen = page.url
    settled(page).reload()
    expect(card(page)).to_have_text("pairs")
    expect(page).to_have_url(chosen)

    beside.keyboard.press("j")
    expect(beside).not_to_have_url(re.compile(r"[?&]test=3(&|$)"))
    expect(card(beside)).to_have_text("single")
    page = settled(open_page(f"{server.url}/?workspace=/etc"))
    expect(page.get_by_test_id("stAlert")).to_contain_text("is outside the folders that this dashboard may read")
    expect(card(page)).to_have_text("single")


def test_one_is_made_from_files(server: Server, folder: Path, open_page):
    """The form previews the file; a mistake is a red box that loses nothing; mended, the new workspace is open."""
    page = settled(open_page(f"{server.url}/workspaces"))
    fields = {"Model": "single files/nothing", "Training file": "train.csv", "Test file": "test.csv", "Name": "third"}
    for name, value in fields.items():
        page.get_by_role("textbox", name=name, exact=True).fill(value)
        page.keyboard.press("Tab")
        settled(page)
    expect(page.get_by_text(re.compile(r"Training file · 20 rows · labels "))).to_be_visible()
    make = page.get_by_role("button", name="Make the workspace")
    make.click()
    expect(page.get_by_test_id("stAlert").filter(has_text="No model folder")).to_be_visible()
    for name, value in fields.items():
        expect(page.get_by_role("textbox", name=name, exact=True)).to_have_value(value)
    page.get_by_role("textbox", name="Model", exact=True).fill("single files/model")
    page.keyboard.press("Tab")
    settled(page)
    make.click()
    expect(card(page)).to_have_text("third")
    expect(page.get_by_test_id("stAlert").filter(has_text="Made and opened")).to_be_visible()
    assert (folder / "third" / "workspace.toml").exists()


def test_one_that_breaks_while_open(server: Server, folder: Path, open_page):
    """Its manifest gone: one red box that names it and no traceback; back in its place, a reload shows the example."""
    page = settled(open_page(server.url))
    manifest = folder / "single" / "workspace.toml"
    aside = manifest.rename(folder / "aside.toml")
    try:
        page.keyboard.press("j")
        expect(page.get_by_test_id("stAlert")).to_contain_text("workspace.toml")
        expect(page.get_by_text("Traceback")).to_have_count(0)
        page.get_by_role("link", name="Workspaces", exact=True).click()
        expect(page.get_by_role("heading", name="Make one from files")).to_be_visible()
    finally:
        aside.rename(manifest)
    page.get_by_role("link", name="Explain", exact=True).click()
    expect(page.get_by_text("What the model looks at")).to_be_visible()
    expect(page.get_by_test_id("stAlert")).to_have_count(0)


def test_word_clicked_while_the_page_is_drawn(server: Server, open_page):
    """A word is asked about as soon as it can be clicked, though the page is still being drawn, and nothing breaks."""
    page = settled(open_page(f"{server.url}/?test=2"))
    for _ in range(6):
        page.reload()
        word = tokens(page).and_(page.locator(":not(.special)")).first
        name = str(word.text_content())
        click(word)
        expect(page.get_by_role("heading", name=f"Why does it look at “{name}”?")).to_be_visible()
        page.goto(f"{server.url}/?test=2")


def test_server_restarts_under_an_open_page(server: Server, contexts):
    """The page connects again by itself and shows the same example and word; it goes on working."""
    page = contexts("light").new_page()  # not watched: a server that is gone is an error in its console
    page.goto(f"{server.url}/?token=2&method=nn_cos")
    expect(page.get_by_role("heading", name=re.compile("Why does it look at"))).to_be_visible(timeout=60_000)
    settled(page)
    before, asked = page.url, page.get_by_role("heading", name=re.compile("Why does it look at")).inner_text()
    server.stop()
    expect(
        page.get_by_test_id("stConnectionStatus").or_(page.get_by_text(re.compile("Connecting|Connection error"))).first
    ).to_be_visible(timeout=60_000)
    server.start()
    expect(page.get_by_text(re.compile("Connecting|Connection error"))).to_have_count(0, timeout=60_000)
    settled(page)
    expect(page.get_by_role("heading", name=re.compile("Why does it look at"))).to_have_text(asked)
    assert page.url == before
    page.keyboard.press("j")
    expect(page).not_to_have_url(before, timeout=60_000)
    expect(page.get_by_text("What the model looks at")).to_be_visible()
    page.close()
