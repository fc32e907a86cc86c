"""How a component is put together from its files, mounted, and heard.

Streamlit takes one JavaScript module per component, so the shared scripts are joined in front of the component's own.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.components.v2 import component
from streamlit.components.v2.types import ComponentRenderer

HERE = Path(__file__).parent
SHARED_SCRIPTS = ("colour.js", "dom.js", "tooltip.js")


def define_component(name: str) -> ComponentRenderer:
    """Register the component drawn by `name`.js and `name`.css."""

    def read(*files: str) -> str:
        return "\n".join((HERE / file).read_text(encoding="utf-8") for file in files)

    return component(
        f"influscope_{name}",
        html='<div class="root"></div>',
        css=read("base.css", f"{name}.css"),
        js=read(*SHARED_SCRIPTS, f"{name}.js"),
    )


def require_plain(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same data, or an error if the browser could not read it.

    Streamlit would send str(data) in the place of a NumPy scalar, and NaN, which no browser parses.
    """
    json.dumps(data, allow_nan=False)
    return data


def mount_selectable(
    mount: ComponentRenderer,
    *,
    key: str,
    data: Mapping[str, Any],
    on_select: Callable[[Any], None] | None,
) -> Any:
    """Mount a component in which something can be selected, and return what is selected after this run.

    `data["selected"]` is what the page holds to be selected. A choice reaches `on_select` before the script runs again;
    where one thing is selected at a time, it is None when the selection was cleared. It travels as {"chosen": …}, as a
    bare null would read as no choice.
    """

    def report() -> None:
        if on_select is not None:
            on_select(st.session_state[key]["select"]["chosen"])

    result = mount(key=key, data=require_plain(data), on_select_change=report)
    choice = result.get("select")
    return data["selected"] if choice is None else choice["chosen"]
