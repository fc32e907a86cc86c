"""Compare, Methods and every page in a real browser: linked rows, formulas drawn offline, and access for everybody."""

import re
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, expect

from attribution import list_methods
from attribution.index import build
from attribution.registry import standard_parts
from dashboard import catalogue
from tests.browser.test_app import HOSTILE, LABELS, nothing_came_alive
from tests.browser.waiting import click, press, settled
from tests.tiny import sentences, workspace_of


@pytest.fixture(scope="module")
def hostile(launch, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The dashboard on a small workspace where every text and a label look like code."""
    made = {}
    for name, count in (("train", 30), ("test", 8)):
        made[name] = sentences(count, seed=count, labels=LABELS)
        made[name]["text"] += " " + HOSTILE
    folder: Path = tmp_path_factory.mktemp("hostile")
    workspace = workspace_of(folder, made["train"], made["test"], labels=LABELS)
    build(workspace, standard_parts(workspace))
    return launch(workspace.directory)


def opened_rows(page: Page) -> Locator:
    return page.locator(".rows .row.open")


def sentence(page: Page) -> Locator:
    return page.locator("p").filter(has_text=re.compile(r"Training example \d+ is in"))


def marked(page: Page) -> int:
    """The training example that the sentence above the lists is about."""
    found = re.search(r"Training example (\d+)", sentence(page).inner_text())
    assert found
    return int(found[1])


def test_rows_are_linked_over_all_lists(hostile, open_page):
    """A click marks a row in every list and says its ranks; arrows and Enter mark another, Escape none.

    A row that is pointed at lights up in every list that has it, until the pointer leaves. Words are shaded in each.
    """
    page = open_page(f"{hostile}/compare?methods=relatif,nn_cos,bm25")
    lists = page.locator(".rows")
    expect(lists).to_have_count(3)
    for position in range(3):
        expect(lists.nth(position).locator(".word").first).to_be_visible()
    first = lists.nth(0).locator(".head").first
    expect(first.locator(".note")).to_have_text(re.compile(r"^nn_cos\s\d+ · bm25\s\d+$"))
    click(first)
    expect(opened_rows(page)).to_have_count(3)
    expect(sentence(page)).to_contain_text("in the top 10 of")
    row = marked(page)
    expect(page).to_have_url(re.compile(rf"[?&]row={row}(&|$)"))
    for position in range(3):
        fact = opened_rows(page).nth(position).locator("dd").first
        expect(fact).to_have_text(str(row))
    linked = page.locator(".rows .row.linked")
    first.hover()
    expect(linked).to_have_count(3)
    expect(linked.and_(opened_rows(page))).to_have_count(3)
    page.mouse.move(2, 2)
    expect(linked).to_have_count(0)

    expect(first).to_be_focused()
    settled(page).keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page).not_to_have_url(re.compile(rf"[?&]row={row}(&|$)"))
    expect(opened_rows(page)).to_have_count(3)
    expect(sentence(page)).not_to_contain_text(f"Training example {row} ")
    assert marked(settled(page)) != row
    page.keyboard.press("Escape")
    expect(opened_rows(page)).to_have_count(0)
    expect(page).not_to_have_url(re.compile("row="))


def test_scatter_marks_the_row_of_a_click(hostile, open_page):
    """A click on a point marks its training example in every list, and again on another point."""
    page = open_page(f"{hostile}/compare?methods=nn_cos,bm25")
    chart = page.locator(".js-plotly-plot").first
    expect(chart).to_be_visible()
    for number in (0, 1):
        settled(page)
        place = chart.evaluate(
            """(node, number) => {
                const trace = node.data[0], {xaxis, yaxis} = node._fullLayout;
                return { id: trace.customdata[number][0], x: xaxis._offset + xaxis.l2p(trace.x[number]),
                         y: yaxis._offset + yaxis.l2p(trace.y[number]) };
            }""",
            number,
        )
        chart.scroll_into_view_if_needed()
        press(page, chart, x=place["x"], y=place["y"])
        expect(page).to_have_url(re.compile(rf"[?&]row={place['id']}(&|$)"))
        expect(opened_rows(page)).to_have_count(2)
        assert marked(settled(page)) == place["id"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_compare_shows_hostile_texts_as_texts(hostile, open_page, scheme):
    """Texts and labels that look like markup are shown as written, beside each other on a narrow page too."""
    page = open_page(f"{hostile}/compare?methods=relatif,bm25&row=3", color_scheme=scheme, width=390)
    expect(page.locator(".rows .part").first).to_contain_text("<script>window.hacked=1</script>")
    expect(page.get_by_text("How far do they agree?")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"
    for frame in page.locator(".rows").all():
        assert frame.evaluate("node => node.scrollWidth <= node.clientWidth"), "a list is wider than its column"
    nothing_came_alive(page)


def test_sample_is_compared_in_the_background(hostile, open_page):
    """The button starts the comparison over test examples, whose means appear by themselves."""
    page = open_page(f"{hostile}/compare?methods=nn_cos,bm25")
    click(page.get_by_role("button", name="Compare over 8 test examples"))
    expect(page.get_by_text("Mean of 8 test examples, seed 0.")).to_be_visible(timeout=60_000)
    expect(page.locator(".js-plotly-plot")).to_have_count(7)


def test_methods_draws_formulas_and_leads_to_explain(hostile, open_page):
    """Formulas are drawn without another machine, a family narrows the page, and a link opens Explain with a method."""
    page = open_page(f"{hostile}/methods")
    expect(page.locator(".katex-display")).to_have_count(len(list_methods()))
    expect(page.locator(".katex-error")).to_have_count(0)
    click(page.get_by_role("button", name="Pairing").or_(page.get_by_role("radio", name="Pairing")))
    expect(page.locator(".katex-display")).to_have_count(
        len(catalogue.grouped(list_methods(), family="pairing")["pairing"])
    )
    expect(page).to_have_url(re.compile("family=pairing"))
    page = open_page(f"{hostile}/methods?find=lexical+robertson")
    expect(page.locator(".katex-display")).to_have_count(1)
    click(page.get_by_role("link", name="Open on Explain").first)
    expect(page.get_by_role("heading", name=re.compile("^Why “"))).to_be_visible()
    expect(page).to_have_url(re.compile(r"[?&]method=bm25(&|$)"))


# What is Streamlit's own and no option changes: a formula wider than its column scrolls and takes no focus.
STREAMLITS_OWN = [[".katex-display"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_accessible(hostile, open_page, scheme):
    """axe-core finds nothing serious or critical on any page of the sidebar, in either scheme."""
    page = open_page(f"{hostile}/?token=1&row=3", color_scheme=scheme, width=1280)
    links = page.get_by_test_id("stSidebarNavLink")
    names = links.all_inner_texts()
    assert len(names) >= 6
    found = []
    for number, name in enumerate(names):
        if number:
            click(links.nth(number))
            expect(links.nth(number)).to_have_attribute("aria-current", "page")
        answer = Axe().run(settled(page), context={"exclude": STREAMLITS_OWN}).response
        for violation in answer["violations"]:
            if violation["impact"] in ("serious", "critical"):
                found += [f"{name}: {violation['id']}: {node['html']}" for node in violation["nodes"]]
    assert not found, "\n".join(found)
