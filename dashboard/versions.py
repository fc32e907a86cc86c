"""The versions of the workspace and the one it is a version of, and what such another one does to the test examples."""

from pathlib import Path

import pandas as pd
import streamlit as st

from attribution.editing.outcomes import OUTCOMES, outcomes
from attribution.editing.versions import list_versions, origin, parent
from attribution.errors import UserError
from dashboard import cache, state, workspaces

ORIGINAL = "the original"
_WANTED = "errors against next"


def title(number: int) -> str:
    """How a version is called."""
    return f"version {number}"


def above() -> str | None:
    """For a workspace that is a version: which one it is, and where the original is. UserError where it is damaged."""
    workspace = cache.workspace()
    about = origin(workspace)
    if about is None:
        return None
    folder = parent(workspace)
    where = "" if folder is None else f", which is as it was: {folder}"
    return f"This is version {about['number']} of '{about['of']['name']}'{where}."


def others() -> dict[str, Path]:
    """By title the folders that the workspace can be compared with; UserError where a version is damaged."""
    workspace = cache.workspace()
    found = {title(each.number): each.folder for each in list_versions(workspace)}
    folder = parent(workspace)
    return found if folder is None else {ORIGINAL: folder, **found}


def look_at(folder: Path) -> bool:
    """Look at another version from now on: at the same test example, compared with the one that was looked at before.

    False, with a notice, and nothing changes, where it cannot be opened.
    """
    workspace, test = cache.workspace(), state.current().test
    try:
        about = origin(workspace)
        before = title(about["number"]) if about is not None and parent(workspace) == folder else ORIGINAL
        workspaces.choose(folder)
    except UserError as error:
        state.notice(str(error))
        return False
    if test is not None:
        state.choose(test=test)
    compare_with(before)
    return True


def compare_with(name: str) -> None:
    """Let the Errors page compare with the version of that title when it is drawn next."""
    st.session_state[_WANTED] = name


def wanted() -> str | None:
    """The title that the Errors page is to compare with from now on, said once."""
    return st.session_state.pop(_WANTED, None)


def compared(folder: Path) -> pd.DataFrame:
    """By test id the label that another version predicts (`other`) and the `outcome` (`editing.outcomes`).

    The outcome is that of the version against the workspace that it is of, whichever of the two is looked at.
    UserError where the folder holds no workspace with the same test data. Cost: the other's test predictions, once.
    """
    return _compared(workspaces.key_of(workspaces.opened(folder.resolve())))


@workspaces.keep_by_workspace(max_entries=8)
def _compared(key: tuple[str, str]) -> pd.DataFrame:
    own, other = cache.workspace(), workspaces.opened(Path(key[0]))
    if parent(own) == other.directory:
        return outcomes(other, own).rename(columns={"before": "other"})
    return outcomes(own, other).rename(columns={"after": "other"})


def told(found: pd.DataFrame) -> str:
    """How many test examples were fixed, were broken and are the same: "24 fixed, 11 broken, 1,465 the same"."""
    became = found["outcome"].tolist()
    fixed, broken, same = (became.count(name) for name in OUTCOMES)
    return f"{fixed:,} fixed, {broken:,} broken, {same:,} the same"
