"""The button that opens a version, or the workspace it is of, in place of the one that is looked at."""

from pathlib import Path

import streamlit as st

from dashboard import versions, workspaces


def draw(folder: Path, name: str) -> None:
    """`name`: what it is called here. Where this dashboard may not read the folder, the button says so."""
    may = workspaces.is_allowed(folder.resolve())
    if st.button(
        f"Open {name}",
        key=f"open {name}",
        type="tertiary",
        icon=":material/folder_open:",
        disabled=not may,
        help=None if may else f"This dashboard may not read {folder}: start it with --allow FOLDER to add one.",
    ):
        if not versions.look_at(folder):
            st.rerun()
        # Another page: the browser keeps what the widgets of this one held.
        st.switch_page("views/explain.py")
