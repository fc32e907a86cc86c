"""Spans in a real browser: marked by a drag, by Shift and by a chip, and the training spans behind them in bold."""

import re
from itertools import product
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Locator, Page, expect

from attribution.index import build
from attribution.registry import required_parts, standard_parts
from tests.browser.test_app import word
from tests.browser.waiting import click, click_token, settled
from tests.tiny import BAD, FILLER, GOOD, workspace_of

NOUNS = [name for name in FILLER if name in ("plot", "cast", "song", "scene", "film", "story")]


@pytest.fixture(scope="module")
def clauses(launch, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The dashboard on sentences of two clauses, of which the second gives the label."""
    rows = [
        {"text": f"the {noun} was {first} , but the story was {last} .", "label": label}
        for noun, (firsts, lasts, label) in product(NOUNS, ((GOOD, BAD, "negative"), (BAD, GOOD, "positive")))
        for first, last in zip(firsts[:3], lasts[1:4], strict=True)
    ]
    folder: Path = tmp_path_factory.mktemp("clauses")
    workspace = workspace_of(folder, pd.DataFrame(rows), pd.DataFrame(rows[::5]))
    build(workspace, [*standard_parts(workspace), *required_parts(workspace, "if_plus_plus")])
    return launch(workspace.directory)


def selected(page: Page) -> Locator:
    return page.locator(".token[aria-selected=true]")


def drag(page: Page, start: Locator, end: Locator) -> None:
    """The mouse pressed on one word, led over to another and let go."""
    settled(page)
    for number, box in enumerate((start.bounding_box(), end.bounding_box())):
        assert box
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=8)
        (page.mouse.up if number else page.mouse.down)()


def test_a_marked_span_is_explained_by_training_spans_in_bold(clauses, open_page):
    """A drag marks a run of words; its importance is explained, by rows with one bold span each, inside their texts."""
    page = open_page(f"{clauses}/?test=0&method=if_plus_plus")
    expect(page.locator(".token.explained").first).to_be_visible()
    drag(page, word(page, NOUNS[0]), word(page, GOOD[0]))
    expect(selected(page)).to_have_text([NOUNS[0], "was", GOOD[0]])
    expect(page).to_have_url(re.compile(r"[?&]token=2-4(&|$)"))
    phrase = f"{NOUNS[0]} was {GOOD[0]}"
    expect(page.get_by_role("heading", name=f"Why does it look at “{phrase}”?")).to_be_visible()
    expect(page.get_by_text(f"the example's span raised the importance of '{phrase}' for ")).to_be_visible()
    expect(page.locator(".token.explained")).to_have_count(0)
    rows = settled(page).locator(".rows").nth(1).locator(".row")
    for row in rows.all():
        strong = row.locator(".word.strong")
        expect(strong).to_have_count(1)
        expect(strong).to_have_css("font-weight", "700")
        assert str(strong.text_content()) in str(row.locator(".part").text_content())
    assert rows.count() > 1

    page = open_page(page.url)
    expect(selected(page)).to_have_text([NOUNS[0], "was", GOOD[0]])


def test_shift_marks_and_escape_clears(clauses, open_page):
    """Shift with the arrows, or with a click, marks from the word one came from; a chip marks the span it names."""
    page = open_page(f"{clauses}/?test=0&method=if_plus_plus")
    word(page, NOUNS[0]).focus()
    page.keyboard.down("Shift")
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    expect(selected(page)).to_have_text([NOUNS[0], "was", GOOD[0]])
    expect(page).not_to_have_url(re.compile("token="))
    page.keyboard.up("Shift")
    expect(page).to_have_url(re.compile(r"[?&]token=2-4(&|$)"))
    expect(word(settled(page), GOOD[0])).to_be_focused()
    settled(page).keyboard.press("Escape")
    expect(selected(page)).to_have_count(0)
    expect(page).not_to_have_url(re.compile("token="))

    click_token(word(page, "but"))
    expect(page).to_have_url(re.compile(r"[?&]token=6(&|$)"))
    settled(page)
    page.keyboard.down("Shift")
    click_token(word(page, "story"))
    page.keyboard.up("Shift")
    expect(page).to_have_url(re.compile(r"[?&]token=6-8(&|$)"))
    expect(selected(settled(page))).to_have_text(["but", "the", "story"])

    name = re.compile(f"^the {NOUNS[0]} was {GOOD[0]} ,")
    click(page.get_by_role("button", name=name).or_(page.get_by_role("radio", name=name)))
    expect(page).to_have_url(re.compile(r"[?&]token=1-5(&|$)"))
    expect(selected(page)).to_have_text(["the", NOUNS[0], "was", GOOD[0], ","])
