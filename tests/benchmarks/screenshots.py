"""The README's pictures, of invented texts only: `python -m tests.benchmarks.screenshots FOLDER`."""

import argparse
import shutil
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, ViewportSize

from attribution.cli import Reporter
from attribution.demo import demo_directory
from attribution.experiments.registry import run_experiment
from attribution.experiments.results import keep, list_kept
from attribution.index import build
from attribution.registry import standard_parts
from attribution.workspace import Workspace, open_workspace
from tests.benchmarks.invented import invented_workspace
from tests.benchmarks.serving import chromium, opened, serving, settle

WINDOW: ViewportSize = {"width": 1366, "height": 1000}
# Scatter plots of many points are drawn by WebGL, here without a GPU.
WEBGL = ("--use-gl=swiftshader", "--enable-unsafe-swiftshader")


def click_a_word(page: Page) -> None:
    """Ask about the first longer word of the text."""
    word = (
        page.locator(".token:not(.special)").filter(has_text="never").or_(page.locator(".token:not(.special)").nth(3))
    )
    word.first.click(position={"x": 6, "y": 16})
    page.get_by_text("raised the saliency of").first.wait_for()


def choose_a_row(page: Page) -> None:
    """Click a cell of the table's first row."""
    box = page.get_by_test_id("stDataFrame").first.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] / 3, box["y"] + 54)


def scroll(page: Page) -> None:
    """What lies half a window below."""
    page.mouse.move(WINDOW["width"] / 2, WINDOW["height"] / 2)
    page.mouse.wheel(0, WINDOW["height"] / 2)


def nothing(page: Page) -> None:
    """The page as it opens."""


Pages = dict[str, tuple[str, Callable[[Page], None]]]


def pages_of_reviews(workspace: Workspace) -> Pages:
    """Path and preparation of every page but those of pairs and of folders, which show paths."""
    (finished, *_), _ = list_kept(workspace)
    return {
        "explain": ("", click_a_word),
        "errors": ("errors", nothing),
        "compare": ("compare?methods=relatif,nn_cos,bm25", nothing),
        "data": ("data", choose_a_row),
        "evaluate": (f"evaluate?experiment={finished.experiment}&result={finished.name}", scroll),
        "methods": ("methods", nothing),
    }


def shoot(workspace: Workspace, pages: Pages, folder: Path) -> None:
    """A picture of each page in the light scheme, as NAME-light.png."""
    with serving(workspace.directory) as address, chromium(*WEBGL) as browser:
        for name, (path, prepare) in pages.items():
            page = opened(browser, f"{address}/{path}", WINDOW)
            prepare(page)
            page.mouse.move(WINDOW["width"] - 5, 5)
            settle(page).screenshot(path=folder / f"{name}-light.png")
            print(folder / f"{name}-light.png", flush=True)
            page.context.close()


def with_a_run(workspace: Workspace) -> Workspace:
    """The workspace with a finished experiment for the Evaluate page."""
    if not list_kept(workspace)[0]:
        keep(run_experiment(workspace, "top_overlap", progress=Reporter()))
    return workspace


def main() -> None:
    """Make what is missing, then take the pictures."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.screenshots", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--workspaces", type=Path, default=Path("workspaces"), help="where the texts' workspaces are")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    reviews = with_a_run(invented_workspace(given.workspaces / "invented-reviews"))
    shoot(reviews, pages_of_reviews(reviews), given.folder)
    pairs = given.workspaces / "invented-pairs"
    if not pairs.exists():
        shutil.copytree(demo_directory("nli"), pairs, ignore=shutil.ignore_patterns("index", "results", "*.parquet"))
    opened = open_workspace(pairs)
    build(opened, standard_parts(opened), Reporter())
    shoot(opened, {"artifacts": ("artifacts", nothing)}, given.folder)


if __name__ == "__main__":
    main()
