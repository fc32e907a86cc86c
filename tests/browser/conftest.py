"""A real Chromium and a real Streamlit server for the tests that need both."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Literal, Protocol
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from dashboard.launch_options import streamlit_arguments

ROOT = Path(__file__).parents[2]
HOST = "127.0.0.1"
START_SECONDS = 60
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
SERVER_LOGS = pytest.StashKey[list[Path]]()

ColorScheme = Literal["light", "dark"]

expect.set_options(timeout=15_000)


class Serve(Protocol):
    """Serve a Streamlit script until the module's tests are done; the answer is its address."""

    def __call__(self, script: Path, *script_arguments: str, environment: Mapping[str, str] | None = None) -> str: ...


class OpenPage(Protocol):
    """Open an address in a fresh browser context and wait until Streamlit has run the script."""

    def __call__(
        self, url: str, *, color_scheme: ColorScheme = "light", width: int = 1440, height: int = 1000
    ) -> Page: ...


def tail(log: Path) -> str:
    return log.read_text(errors="replace")[-4000:]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item):
    """A failed test shows the end of its servers' logs."""
    report = yield
    if report.failed:
        for log in item.config.stash.get(SERVER_LOGS, []):
            report.sections.append((f"Streamlit log {log}", tail(log)))
    return report


def find_chromium() -> str:
    """The path of a Chromium; without one the test fails on CI and is skipped elsewhere."""
    found = os.environ.get("INFLUSCOPE_CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    if found is None:
        give_up = pytest.fail if os.environ.get("CI") else pytest.skip
        give_up(f"No Chromium: none of {', '.join(CHROMIUM_NAMES)} is on PATH and INFLUSCOPE_CHROMIUM is not set.")
    return found


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    path = find_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def wait_until_healthy(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/_stcore/health", timeout=2) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"Streamlit did not answer at {url} within {START_SECONDS} s:\n{tail(log)}")


def stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(timeout=10)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Serve]:
    servers: list[subprocess.Popen[bytes]] = []
    logs = pytestconfig.stash.setdefault(SERVER_LOGS, [])

    def start(script: Path, *script_arguments: str, environment: Mapping[str, str] | None = None) -> str:
        port = free_port()
        log = tmp_path_factory.mktemp("streamlit") / "server.log"
        options = streamlit_arguments(script, host=HOST, port=port)
        with log.open("wb") as output:
            server = subprocess.Popen(
                [sys.executable, "-m", "streamlit", *options, "--server.headless=true", "--", *script_arguments],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        servers.append(server)
        logs.append(log)
        url = f"http://{HOST}:{port}"
        wait_until_healthy(server, url, log)
        return url

    yield start
    for server in servers:
        stop(server)
    logs.clear()


def watch(page: Page, complaints: list[str]) -> None:
    """Note every error in the console and every request that leaves this machine."""

    def note_message(message: ConsoleMessage) -> None:
        if message.type == "error":
            complaints.append(f"console: {message.text}")

    def note_address(address: str) -> None:
        parts = urlsplit(address)
        if parts.scheme not in ("blob", "data") and parts.hostname != HOST:
            complaints.append(f"request left {HOST}: {address}")

    page.on("console", note_message)
    page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
    page.on("request", lambda request: note_address(request.url))
    page.on("websocket", lambda socket: note_address(socket.url))


@pytest.fixture(scope="session")
def contexts(chromium: Browser) -> Iterator[Callable[[ColorScheme], BrowserContext]]:
    """One context per colour scheme, whose cache keeps Streamlit's scripts; each page is a Streamlit session anyway."""

    @cache
    def context(color_scheme: ColorScheme) -> BrowserContext:
        return chromium.new_context(color_scheme=color_scheme)

    yield context


@pytest.fixture
def open_page(contexts: Callable[[ColorScheme], BrowserContext]) -> Iterator[OpenPage]:
    """Pages that must neither complain in the console nor ask anything of another machine."""
    complaints: list[str] = []
    pages: list[Page] = []

    def open_address(url: str, *, color_scheme: ColorScheme = "light", width: int = 1440, height: int = 1000) -> Page:
        page = contexts(color_scheme).new_page()
        page.set_viewport_size({"width": width, "height": height})
        pages.append(page)
        watch(page, complaints)
        page.goto(url)
        expect(page.locator("[data-testid=stApp][data-test-script-state=notRunning]")).to_be_visible(timeout=60_000)
        return page

    yield open_address
    for page in pages:
        page.close()
    assert not complaints, "\n".join(complaints)
