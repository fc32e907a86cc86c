"""When a page of the dashboard may be read or acted on, and clicks that wait for it."""

from playwright.sync_api import Locator, Page

# Runs in a page before its own scripts: keeps when it last asked its server for anything, heard from it, was used by a
# person, or changed.
LISTEN = """
window.lately = { asked: 0, heard: 0, used: 0, changed: 0 };
window.WebSocket = class extends WebSocket {
  constructor(...address) {
    super(...address);
    this.addEventListener("message", () => (lately.heard = performance.now()));
  }
  send(message) {
    lately.asked = performance.now();
    super.send(message);
  }
};
for (const use of ["pointerup", "keydown", "keyup", "input"]) {
  window.addEventListener(use, () => (lately.used = performance.now()), { capture: true });
}
new MutationObserver(() => (lately.changed = performance.now())).observe(document, {
  subtree: true, childList: true, attributes: true, characterData: true,
});
"""
# Longer than Streamlit's widgets keep back what a person does (150 ms, tables).
QUIET = 200
SETTLED = """quiet => {
  const every = (selector, holds) => Array.from(document.querySelectorAll(selector)).every(holds);
  const app = document.querySelector("[data-testid=stApp]");
  return app?.dataset.testScriptState === "notRunning" && lately.heard > lately.asked
    && performance.now() - Math.max(lately.heard, lately.used, lately.changed) > quiet
    && !document.querySelector("[data-stale=true], [data-testid=stSkeleton], .stSkeleton")
    && every("[data-testid=stBidiComponentIsolated]", (it) => it.shadowRoot?.querySelector(".root")?.hasChildNodes())
    && every("[data-testid=stPlotlyChart]", (it) => it.querySelector(".js-plotly-plot .main-svg"))
    && every("[data-testid=stDataFrame]", (it) => it.querySelector("canvas"));
}"""


def settled(page: Page, *, timeout: float = 120_000) -> Page:
    """The page once every question to the server is answered and whatever the answers show is drawn.

    No script runs or is about to, no element waits for another one, and the components, charts and tables, whose
    scripts arrive later than the page, have drawn what they hold.
    """
    page.wait_for_function(SETTLED, arg=QUIET, polling=50, timeout=timeout)
    return page


def click(place: Locator) -> None:
    """Click once the page is settled, since Streamlit may draw anew what is clicked before that."""
    settled(place.page)
    place.click()


def click_token(token: Locator) -> None:
    """Click on a token's text: left to itself, Playwright may aim at its mark, which lets clicks through."""
    settled(token.page)
    token.click(position={"x": 6, "y": 16})


def press(page: Page, place: Locator, *, x: float = 10, y: float = 10) -> None:
    """Click on something drawn, so far from its upper left corner, through whatever lies above it."""
    settled(page)
    box = place.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + x, box["y"] + y)
