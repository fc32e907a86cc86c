"""The dashboard's pages without a browser, for the tests of each."""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import ElementList

from dashboard import cache, jobs

APP = Path(__file__).parents[1] / "dashboard" / "app.py"
OpenApp = Callable[..., AppTest]


@pytest.fixture
def no_memory() -> Iterator[None]:
    """Nothing kept from another workspace, and no job left behind."""
    st.cache_resource.clear()
    yield
    for found in jobs._jobs().values():
        found.stop()
        found.process.wait()
        found.log.close()
    st.cache_resource.clear()


@pytest.fixture
def open_app(no_memory: None, monkeypatch: pytest.MonkeyPatch) -> OpenApp:
    """Run the dashboard's first page on a workspace folder, with these query parameters."""

    def run(folder: Path, **query: str) -> AppTest:
        monkeypatch.setenv(cache.WORKSPACE_VARIABLE, str(folder))
        # A page run this way stays behind as the program itself, which every process spawned later would run again.
        monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
        app = AppTest.from_file(APP, default_timeout=30)
        app.query_params.update(query)
        return app.run()

    return run


def said(elements: ElementList[Any] | list[Any]) -> str:
    """What markdown elements say, without escapes and invisible breaks."""
    return "\n".join(re.sub(r"\\(?=[^a-zA-Z0-9\s])|\u2060", "", element.value) for element in elements)
