"""The Data page in a real browser: a suspect looked at, edited by keyboard, several at once, and taken back."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from attribution.editing import EditLog, remove
from attribution.index import build
from attribution.registry import standard_parts
from attribution.suspects import suspicious_labels
from attribution.workspace import Workspace
from tests.browser.waiting import click, settled
from tests.tiny import tiny_workspace

HEADER, ROW, BOX = 17, 35, 15


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A small workspace with its index."""
    workspace = tiny_workspace(tmp_path_factory.mktemp("data"), n_train=24, n_test=10)
    build(workspace, standard_parts(workspace))
    return workspace


def test_from_a_suspect_to_an_edit_and_back(made, launch, open_page):
    """A cell opens its row; L relabels it, U undoes that; ticked rows go after one preview; a link opens it.

    Where another tab has removed one of the rows in between, the preview's button says so, and nothing is done or lost.
    """
    page = open_page(f"{launch(Path(made.directory))}/data?by=loss", width=1280)
    log, order = EditLog(made), suspicious_labels(made).sort_values("rank_loss").index.tolist()
    table = page.get_by_test_id("stDataFrame").first
    expect(table).to_be_visible()

    def click_cell(row: int, x: int) -> None:
        settled(page)
        table.click(position={"x": x, "y": HEADER + ROW * row})

    click_cell(2, 150)
    expect(page).to_have_url(re.compile(rf"[?&]row={order[1]}(&|$)"))
    expect(page.get_by_role("heading", name=f"Training example {order[1]}")).to_be_visible()
    settled(page).keyboard.press("l")
    expect(page.get_by_text("1 edit", exact=True)).to_be_visible()
    assert set(log.current()) == {order[1]}
    expect(page.get_by_role("button", name="Undo")).to_be_enabled()  # before that its key does nothing
    settled(page).keyboard.press("u")
    expect(page.get_by_text("1 edit", exact=True)).to_have_count(0)
    assert log.current() == {}

    for row in (1, 3):
        click_cell(row, BOX)
    click(page.get_by_role("button", name="Remove 2…"))
    dialog = page.get_by_role("dialog")
    confirm = dialog.get_by_role("button", name="Remove 2 examples")
    expect(dialog.get_by_text("One undo takes all of it back")).to_be_visible()
    elsewhere = log.append(remove(order[0]))[0].number
    click(confirm)
    refused = dialog.get_by_text(f"Training example {order[0]} is removed (edit {elsewhere}): undo that first.")
    expect(refused).to_be_visible()
    settled(page)
    expect(refused).to_be_visible()
    expect(confirm).to_have_count(0)
    assert set(log.current()) == {order[0]}
    log.undo(elsewhere)
    settled(page).keyboard.press("Escape")
    expect(dialog).to_have_count(0)

    click(page.get_by_role("button", name="Remove 2…"))  # the rows are ticked still
    click(confirm)
    expect(page.get_by_text("2 edits", exact=True)).to_be_visible()
    assert set(log.current()) == {order[0], order[2]}

    again = open_page(page.url, color_scheme="dark", width=390)
    expect(again.get_by_role("heading", name=f"Training example {order[1]}")).to_be_visible()
    assert again.evaluate("document.documentElement.scrollWidth") <= 390
