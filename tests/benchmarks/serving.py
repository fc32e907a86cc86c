"""A dashboard and a Chromium for what is measured and pictured in a real browser."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from tests.browser.conftest import CHROMIUM_FLAGS, HOST, find_chromium, free_port, spawn, stop, wait_until_healthy
from tests.browser.waiting import LISTEN, settled

PATIENT = 300_000


@contextmanager
def serving(workspace: Path) -> Iterator[str]:
    """The dashboard on a workspace while the block runs; its address."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "server.log"
        server = spawn(["dashboard", str(workspace), "--port", str(port)], log, {"XDG_STATE_HOME": folder})
        try:
            address = f"http://{HOST}:{port}"
            wait_until_healthy(server, address, log)
            yield address
        finally:
            stop(server)


@contextmanager
def chromium(*flags: str) -> Iterator[Browser]:
    """A headless Chromium while the block runs."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=[*CHROMIUM_FLAGS, *flags])
        yield browser
        browser.close()


def opened(browser: Browser, address: str, window: ViewportSize) -> Page:
    """A page of a session of its own in the light scheme, once all of it is drawn."""
    context = browser.new_context(color_scheme="light", viewport=window)
    context.add_init_script(LISTEN)
    page = context.new_page()
    page.goto(address)
    return settle(page)


def settle(page: Page) -> Page:
    """The page once all that was asked for is drawn, however long that takes."""
    return settled(page, timeout=PATIENT)
