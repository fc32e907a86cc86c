"""How long a person waits in a real Chromium, from the press of the button to what was asked for being drawn."""

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, ViewportSize

from tests.benchmarks.serving import PATIENT, chromium, opened, serving, settle

TIMES = 10
TABS = 10
TABS_LOOK = 100  # a look at every element of a page is work, and ten pages share the cores with the server
WINDOW: ViewportSize = {"width": 1440, "height": 1000}
COMPARED = "relatif,influence_head,nn_cos,bm25"

# Locators of Playwright wait up to half a second between looks; this looks every 15 ms. Components have shadow roots.
LISTS = """() => {
  const found = (root, lists) => {
    for (const each of root.querySelectorAll('*')) {
      if (each.matches('.rows') && !each.getRootNode().host?.closest('[data-stale=true]')) lists.push(each)
      if (each.shadowRoot) found(each.shadowRoot, lists)
    }
    return lists
  }
  return found(document, []).filter(each => each.getBoundingClientRect().height > 0)
    .map(each => [...each.querySelectorAll('.part')].map(part => part.textContent).join('|'))
}"""
DRAWN = f"""([before, count]) => {{
  const now = ({LISTS})()
  return now.length >= count && now.every(each => each && !before.includes(each))
}}"""
ONE_NEW = f"([before]) => ({LISTS})().some(each => each && !before.includes(each))"
ANSWERED = (
    """name => document.body.textContent.replaceAll('\\u2060', '').includes(`raised the saliency of '${name}'`)"""
)


def waited(page: Page, act: Callable[[], object], script: str, argument: Any) -> float:
    """Milliseconds from an act until a script says true."""
    began = time.perf_counter()
    act()
    page.wait_for_function(script, arg=argument, polling=15, timeout=PATIENT)
    return 1000 * (time.perf_counter() - began)


def median(times: Sequence[float]) -> int:
    return round(statistics.median(times))


def page_switches(browser: Browser, address: str) -> list[float]:
    """From a click on a page's name to its heading, to and fro between Explain and three other pages."""
    page, times = opened(browser, f"{address}/methods", WINDOW), []
    places = [("Errors", "Where the model goes wrong"), ("Compare", "Scores of two methods")]
    places += [("Methods", "Methods"), ("Explain", "What the model looks at")]
    for name, heading in (places * TIMES)[:TIMES]:
        script = "said => [...document.querySelectorAll('h4, h5')].some(each => each.textContent.includes(said))"
        link = page.get_by_role("link", name=name, exact=True)
        times.append(waited(page, link.click, script, heading))
        settle(page)
    return times


def word_click(page: Page, number: int) -> float:
    """From a click on a word to the first training examples that made the model look there."""
    words = page.locator(".token:not(.special)")
    word = words.nth(number % words.count())
    name, before = str(word.text_content()), page.evaluate(LISTS)
    began = time.perf_counter()
    word.click(position={"x": 6, "y": 14})
    page.wait_for_function(ANSWERED, arg=name, polling=15, timeout=PATIENT)
    page.wait_for_function(ONE_NEW, arg=[before], polling=15, timeout=PATIENT)
    taken = 1000 * (time.perf_counter() - began)
    settle(page)
    return taken


def method_changes(browser: Browser, address: str) -> list[float]:
    """From the choice of another method to its first training examples."""
    page, times = opened(browser, address, WINDOW), []
    box = page.get_by_role("combobox", name="Method", exact=True)
    for title in (["Influence function, head", "Nearest, cosine", "RelatIF", "BM25"] * TIMES)[:TIMES]:
        before = page.evaluate(LISTS)
        box.fill(title)
        option = page.get_by_role("option", name=title, exact=True)
        option.wait_for()
        times.append(waited(page, option.click, ONE_NEW, [before]))
        settle(page)
    return times


def comparisons(browser: Browser, address: str) -> list[float]:
    """From the key for the next example to the lists of four methods."""
    page, times = opened(browser, f"{address}/compare?methods={COMPARED}", WINDOW), []
    for _ in range(TIMES):
        before = page.evaluate(LISTS)
        times.append(waited(page, lambda: page.keyboard.press("j"), DRAWN, [before, 4]))
        settle(page)
    return times


def tabs_at_once(browser: Browser, address: str, tests: Sequence[int]) -> float:
    """The median wait of as many tabs as `tests`, each of which clicks on a word of its own example, all at once."""
    pages = [opened(browser, f"{address}/?test={test}", WINDOW) for test in tests]
    clicked = []
    for page in pages:
        word = page.locator(".token:not(.special)").nth(2)
        clicked.append((page, word, str(word.text_content()), page.evaluate(LISTS)))
    # The browser's clock, which goes on while this program waits for another tab.
    for page, _, name, before in clicked:
        page.evaluate(
            f"""([name, before]) => {{
              window.taken = null
              addEventListener('pointerdown', () => {{
                const began = performance.now()
                const look = setInterval(() => {{
                  if (!({ANSWERED})(name) || !({ONE_NEW})([before])) return
                  window.taken = performance.now() - began
                  clearInterval(look)
                }}, {TABS_LOOK})
              }}, {{once: true, capture: true}})
            }}""",
            [name, before],
        )
    for _, word, *_ in clicked:
        word.dispatch_event("pointerdown", {"bubbles": True, "composed": True})
        word.click(position={"x": 6, "y": 14}, no_wait_after=True)
    taken = []
    for page, *_ in clicked:
        page.wait_for_function("() => window.taken !== null", polling=TABS_LOOK, timeout=PATIENT)
        taken.append(page.evaluate("window.taken"))
        page.context.close()
    return statistics.median(taken)


def measure(workspace: Path) -> dict[str, Any]:
    """The browser block of the benchmark's JSON; medians of TIMES, in milliseconds."""
    with serving(workspace) as address, chromium() as browser:
        switches = page_switches(browser, address)
        page = opened(browser, f"{address}/?test=98", WINDOW)
        clicks = [word_click(page, number) for number in range(1, TIMES + 1)]
        changes = method_changes(browser, f"{address}/?test=20")
        compared = comparisons(browser, address)
        one = statistics.median(tabs_at_once(browser, address, [test]) for test in (30, 31, 32))
        many = tabs_at_once(browser, address, range(40, 40 + TABS))
    return {
        "page_switch_ms": median(switches),
        "token_click_ms": median(clicks),
        "method_change_ms": median(changes),
        "compare_4_ms": median(compared),
        "one_tab_ms": round(one),
        f"{TABS}_tabs_ms": round(many),
        f"{TABS}_tabs_against_one": round(many / one, 2),
    }
