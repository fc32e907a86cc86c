"""Hard use in a real browser: texts that fight the page, links to nothing, and many tabs at once."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from attribution.index import build
from attribution.registry import standard_parts
from tests.browser.test_app import nothing_came_alive, tokens
from tests.browser.waiting import click_token, settled
from tests.tiny import sentences, workspace_of

LABELS = ("<b>", "positive")
TURNED = "\u202egnp.live\u202c the scene"
UNSEEN = "wa\u200brm\ufeff the\u2060 song"
LONG = "the plot " * 1_200
TABS = 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small workspace with a label named <b> whose first texts turn the line round, hide letters, or never end."""
    made = {name: sentences(count, seed=count, labels=LABELS) for name, count in (("train", 24), ("test", 13))}
    for name in made:
        made[name].loc[[0, 1, 2], "text"] = [TURNED, UNSEEN, LONG]
    workspace = workspace_of(tmp_path_factory.mktemp("hard"), made["train"], made["test"], labels=LABELS)
    build(workspace, standard_parts(workspace))
    return workspace.directory


@pytest.fixture(scope="module")
def served(launch: Callable[[Path], str], folder: Path) -> str:
    return launch(folder)


def text_of(page: Page) -> str:
    """The words of the text that is explained, each once, as they are drawn."""
    return " ".join(page.locator(".token:not(.special)").all_text_contents())


@pytest.mark.parametrize(("test", "shown"), [(0, "gnp.live"), (1, "wa\u200brm"), (2, "the plot the plot")])
def test_texts_that_fight_the_page(served, open_page, test: int, shown: str):
    """Turned, hidden and endless texts are drawn as they are: the line is not turned, nor the page made wider."""
    page = open_page(f"{served}/?test={test}&row={test}", width=390)
    expect(page.get_by_role("listbox").first).to_contain_text(shown[:4])
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"
    expect(page.locator(".bars").first).to_contain_text("<b>")
    expect(page.get_by_role("heading", name="Why “")).to_be_visible()
    sign = page.get_by_text(re.compile("this token supports '.*'; negative: it opposes")).first
    assert re.search("'(<b>|positive)'", sign.inner_text())
    nothing_came_alive(page)


def test_links_that_ask_for_nothing_there(served, open_page):
    """Every wrong part of a link is named in a notice, and the page shows what it would without them."""
    wrong = "test=999&token=x&label=nobody&against=nobody&method=trakk&saliency=none&row=-1&side=up"
    page = open_page(f"{served}/?{wrong}")
    notices = page.get_by_test_id("stAlert")
    expect(notices.first).to_be_visible()
    said = " ".join(notices.all_inner_texts())
    for asked in ("'999'", "nobody", "trakk", "none", "-1", "up"):
        assert asked in said, f"no notice about {asked}"
    expect(tokens(page).first).to_be_visible()
    expect(page).not_to_have_url(re.compile("trakk|nobody"))


def test_two_tabs_keep_their_own_example(served, open_page):
    """What one tab selects does not reach another one."""
    one, other = open_page(f"{served}/?test=4"), open_page(f"{served}/?test=5")
    before = text_of(other)
    chosen = one.locator(".token:not(.special)").nth(1)
    name = chosen.inner_text()
    click_token(chosen)
    expect(one.get_by_role("heading", name=f"Why does it look at “{name}”?")).to_be_visible()
    expect(other.get_by_role("heading", name="Why does it look there?")).to_be_visible()
    assert text_of(other) == before != text_of(one)
    expect(settled(other)).to_have_url(re.compile(r"[?&]test=5&"))


def test_ten_tabs_clicking_at_once_each_get_their_own_answer(served, open_page):
    """Every tab clicks a word of its own example before any is answered; each is told why the model looks at it."""
    pages = [open_page(f"{served}/?test={test}") for test in range(3, 3 + TABS)]
    words = [page.locator(".token:not(.special)").first for page in pages]
    names = [word.inner_text() for word in words]
    texts = [text_of(page) for page in pages]
    for word in words:
        click_token(word)
    for page, name, text in zip(pages, names, texts, strict=True):
        expect(page.get_by_role("heading", name=f"Why does it look at “{name}”?")).to_be_visible(timeout=60_000)
        raised = page.get_by_text(f"Positive: training on this example raised the saliency of '{name}' for")
        expect(raised).to_be_visible(timeout=60_000)
        assert text_of(page) == text


def test_what_is_drawn_anew_does_not_fade(served, open_page):
    """A part that waits for its answer dims after a second at once: a fade is sixty frames a second in every tab."""
    page = open_page(f"{served}/?test=3")
    waiting = page.get_by_test_id("stElementContainer").filter(has=page.get_by_role("listbox")).first
    assert waiting.get_attribute("data-stale") == "false"
    assert waiting.evaluate("part => getComputedStyle(part).transition") == "all"
    waiting.evaluate("part => { part.dataset.stale = true }")
    assert waiting.evaluate("part => getComputedStyle(part).transition") == "opacity 0s 1s"
