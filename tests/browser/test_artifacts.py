"""The Artifacts page in a real browser: a click on a point of the WebGL plot, with texts that look like code."""

import re
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Page, expect

from attribution import create_workspace
from attribution.data import Columns
from attribution.index import build
from attribution.registry import standard_parts
from tests.browser.test_app import HOSTILE, LABELS, nothing_came_alive
from tests.browser.waiting import click, settled
from tests.tiny import sentences, tiny_bert

# Where a point lies in the window, and the training example it stands for.
PLACE = """position => {
  const plot = document.querySelector('.js-plotly-plot'), { xaxis, yaxis } = plot._fullLayout;
  const cloud = plot._fullData[0], box = plot.getBoundingClientRect();
  const order = Array.from(cloud.y, (_, at) => at).sort((a, b) => cloud.y[b] - cloud.y[a]);
  const at = order[position];
  return [box.left + xaxis._offset + xaxis.d2p(cloud.x[at]), box.top + yaxis._offset + yaxis.d2p(cloud.y[at]),
          cloud.customdata[at]];
}"""


@pytest.fixture(scope="module")
def hostile_pairs(launch, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, pd.DataFrame]:
    """The dashboard on a small workspace of pairs in which texts and a label look like code."""
    folder: Path = tmp_path_factory.mktemp("hostile-pairs")
    made = {}
    for name, count in (("train", 24), ("test", 10)):
        frame = sentences(count, seed=count, labels=LABELS)
        frame["premise"] = sentences(count, seed=count + 1)["text"] + " " + HOSTILE
        frame["text"] = [f"{text} {row} {HOSTILE}" for row, text in enumerate(frame["text"])]
        frame.to_csv(folder / f"{name}.csv", index=False)
        made[name] = frame
    workspace, _ = create_workspace(
        folder / "workspace",
        model=tiny_bert(folder / "model", labels=LABELS),
        train=folder / "train.csv",
        test=folder / "test.csv",
        columns=Columns(text="premise", text_pair="text"),
    )
    build(workspace, standard_parts(workspace))
    return launch(workspace.directory), made["train"]


def click_point(page: Page, position: int) -> int:
    """Click on the point of the first label with the position-th highest score; the training example it stands for."""
    x, y, row = settled(page).evaluate(PLACE, position)
    page.mouse.move(x - 4, y)
    page.mouse.click(x, y)
    return row


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_click_on_a_point_shows_its_training_pair(hostile_pairs, open_page, scheme):
    """A point's pair is shown beside the plot as it was written, stays through another choice, and nothing runs."""
    url, train = hostile_pairs
    page = open_page(f"{url}/artifacts?feature=length", color_scheme=scheme)
    expect(page.locator(".js-plotly-plot .gl-canvas").first).to_be_attached()
    expect(page.get_by_role("heading", name="Click a point")).to_be_visible()
    expect(page.locator(".legendtext").filter(has_text=re.compile(re.escape(HOSTILE[:20])))).to_have_count(1)
    nothing_came_alive(page)

    row = click_point(page, 0)
    expect(page.get_by_role("heading", name=f"Training example {row}")).to_be_visible()
    shown = page.locator(".rows .part")
    expect(shown).to_have_text([train.at[row, "premise"], train.at[row, "text"]])
    expect(page.locator(".rows .word").first).to_be_visible()
    expect(page).to_have_url(re.compile(rf"[?&]row={row}(&|$)"))
    nothing_came_alive(page)

    click(page.get_by_role("combobox", name="Feature of the training examples"))
    page.get_by_role("option", name="Cue words").click()
    expect(page).to_have_url(re.compile("feature=cue_words"))
    expect(page.get_by_role("heading", name=f"Training example {row}")).to_be_visible()
    expect(shown.last).to_have_text(train.at[row, "text"])
    nothing_came_alive(page)


def test_explain_opens_the_check_and_leads_to_the_page(hostile_pairs, open_page):
    """'Only matching words?' draws nothing until it is opened; its link leads to the page with the same example."""
    url, _ = hostile_pairs
    page = open_page(f"{url}/?test=3")
    expect(page.locator(".js-plotly-plot")).to_have_count(0)
    click(page.get_by_text("Only matching words?").last)
    expect(page.locator(".js-plotly-plot")).to_have_count(1)
    expect(page.get_by_text(re.compile("^Training pairs .*lexical overlap raised the probability of"))).to_be_visible()
    nothing_came_alive(page)
    click(page.get_by_role("link", name="Other features and slices"))
    expect(page.get_by_role("heading", name="Click a point")).to_be_visible()
    expect(page).to_have_url(re.compile(r"/artifacts\?test=3&"))
