"""A real Chromium and a real Streamlit server for the tests that need both."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Literal, Protocol
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from dashboard.launch_options import streamlit_arguments
from tests.browser.waiting import LISTEN, settled

ROOT = Path(__file__).parents[2]
HOST = "127.0.0.1"
START_SECONDS = 180
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
# Streamlit looks for its server under the page's own path before it finds it, where a page is opened by its address.
EXPECTED_404 = tuple(
    f"/{page}/_stcore/{asked}"
    for page in ("errors", "compare", "artifacts", "data", "evaluate", "methods", "workspaces")
    for asked in ("health", "host-config")
)
SERVER_LOGS = pytest.StashKey[list[Path]]()

ColorScheme = Literal["light", "dark"]

# Long enough for a machine that is busy with other tests: what is waited for comes in a second or two.
TIMEOUT = 60_000
expect.set_options(timeout=TIMEOUT)


class Serve(Protocol):
    """Serve a Streamlit script until the module's tests are done; the answer is its address."""

    def __call__(self, script: Path, *script_arguments: str, environment: Mapping[str, str] | None = None) -> str: ...


class Launch(Protocol):
    """Open the dashboard as a person does, until the module's tests are done; the answer is its address."""

    def __call__(self, workspace: Path) -> str: ...


class RunServer(Protocol):
    """Run the server of a command that is made from its port, until the module's tests are done."""

    def __call__(
        self, command: Callable[[int], Sequence[str]], *, environment: Mapping[str, str] | None = None
    ) -> str: ...


class OpenPage(Protocol):
    """Open an address in a new page, which is settled then."""

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


def spawn(command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Run a module of this checkout in a process group of its own, what it says going to the end of a log."""
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "STREAMLIT_SERVER_HEADLESS": "true", **(environment or {})},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def stop(server: subprocess.Popen[bytes]) -> None:
    """End a server and the work it has started, which is in its process group."""
    for request in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(server.pid, request)
        with suppress(subprocess.TimeoutExpired):
            server.wait(timeout=10)


@pytest.fixture(scope="module")
def run_server(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[RunServer]:
    servers: list[subprocess.Popen[bytes]] = []
    logs = pytestconfig.stash.setdefault(SERVER_LOGS, [])

    def start(command: Callable[[int], Sequence[str]], *, environment: Mapping[str, str] | None = None) -> str:
        port = free_port()
        log = tmp_path_factory.mktemp("streamlit") / "server.log"
        server = spawn(command(port), log, environment)
        servers.append(server)
        logs.append(log)
        url = f"http://{HOST}:{port}"
        wait_until_healthy(server, url, log)
        return url

    yield start
    for server in servers:
        stop(server)
    logs.clear()


@pytest.fixture(scope="module")
def serve(run_server: RunServer) -> Serve:
    def start(script: Path, *script_arguments: str, environment: Mapping[str, str] | None = None) -> str:
        def command(port: int) -> list[str]:
            return ["streamlit", *streamlit_arguments(script, host=HOST, port=port), "--", *script_arguments]

        return run_server(command, environment=environment)

    return start


@pytest.fixture(scope="module")
def launch(run_server: RunServer) -> Launch:
    def start(workspace: Path) -> str:
        return run_server(lambda port: ["attribution", "dashboard", str(workspace), "--port", str(port)])

    return start


def watch(page: Page, complaints: list[str]) -> None:
    """Note every error in the console and every request that leaves this machine."""

    def note_message(message: ConsoleMessage) -> None:
        if message.type == "error" and urlsplit(message.location["url"]).path not in EXPECTED_404:
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
        made = chromium.new_context(color_scheme=color_scheme)
        made.set_default_timeout(TIMEOUT)
        made.add_init_script(LISTEN)
        return made

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
        return settled(page)

    yield open_address
    for page in pages:
        page.close()
    assert not complaints, "\n".join(complaints)
