"""The Evaluate page in a real browser: a small experiment from Start to its figure and table, and by link."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from attribution.index import build
from attribution.registry import standard_parts
from tests.browser.waiting import click, settled
from tests.tiny import tiny_workspace


@pytest.fixture(scope="module")
def served(launch, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The dashboard on a small workspace of pairs, with its index."""
    folder: Path = tmp_path_factory.mktemp("evaluate")
    workspace = tiny_workspace(folder, n_train=24, n_test=10, pair=True)
    build(workspace, standard_parts(workspace))
    return launch(workspace.directory)


def test_a_run_from_start_to_its_figure(served, open_page):
    """Start runs the experiment, its figure and table appear by themselves, and a link opens them again."""
    page = open_page(f"{served}/evaluate?experiment=artifact_fit", width=1280)
    expect(page.get_by_text("No experiment has been run on this workspace yet")).to_be_visible()
    tests = page.get_by_label(re.compile("^tests"))
    tests.fill("2")
    tests.press("Enter")
    expect(page.get_by_role("button", name="Start")).to_be_enabled()
    settled(page).get_by_role("button", name="Start").press("Enter")
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    expect(page.get_by_role("button", name="Run again")).to_be_visible(timeout=90_000)
    expect(page).to_have_url(re.compile(r"[?&]result=\d{8}T\d{12}-artifact_fit-[0-9a-f]{8}(&|$)"))
    expect(page.locator(".js-plotly-plot")).to_have_count(1)
    expect(page.get_by_role("heading", name="The paper's own")).to_be_visible()
    expect(page.get_by_text(re.compile("^Coefficient:|intervals"))).to_be_visible()

    again = open_page(page.url, color_scheme="dark", width=390)
    expect(again.locator(".js-plotly-plot")).to_have_count(1)
    assert again.evaluate("document.documentElement.scrollWidth") <= 390
    click(again.get_by_role("button", name="Delete"))
    click(again.get_by_role("button", name="Delete it"))
    expect(again.get_by_text("No experiment has been run on this workspace yet")).to_be_visible()
