"""The dashboard without a browser: how tests open it, and what they read from it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import ElementList

APP = Path(__file__).parents[1] / "dashboard" / "app.py"
OpenApp = Callable[..., AppTest]


def said(elements: ElementList[Any] | list[Any]) -> str:
    """What markdown elements say, without escapes and invisible breaks."""
    return "\n".join(re.sub(r"\\(?=[^a-zA-Z0-9\s])|\u2060", "", element.value) for element in elements)


def tick(app: AppTest, rows: list[int], *, table: int = 0) -> AppTest:
    """The page after these rows of a table, by their places, are the ones that are ticked."""
    key = re.sub(r"^\$\$ID-[0-9a-f]+-", "", app.dataframe[table].proto.id)
    app.session_state[key] = {"selection": {"rows": rows, "columns": [], "cells": []}}
    return app.run()
