"""Which folders this server may open, the workspaces it holds open, and the one that a session looks at."""

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache, wraps
from pathlib import Path
from threading import RLock
from typing import Any, TypeVar

import streamlit as st

from attribution.errors import UserError
from attribution.integrity import FileMarks, check_workspace, file_marks
from attribution.workspace import SETTINGS, Workspace, open_workspace
from dashboard import recent, state

WORKSPACE_VARIABLE = "INFLUSCOPE_WORKSPACE"
ALLOWED_VARIABLE = "INFLUSCOPE_ALLOWED"
MOST_OPEN = 3
MOST_LISTED = 40
F = TypeVar("F", bound=Callable[..., Any])


def own() -> Path:
    """The folder this server was started on."""
    return _resolved(os.environ[WORKSPACE_VARIABLE])


@cache
def _resolved(path: str) -> Path:
    return Path(path).resolve()


def allowed() -> list[Path]:
    """The folders that may be opened with all that is in them, links resolved.

    Those given at the start and the server's own workspace; where none was given, the folder that the server's own
    workspace is in, and the workspaces opened lately.
    """
    given = os.environ.get(ALLOWED_VARIABLE)
    folders = [own().parent, *recent.folders()] if given is None else [own(), *map(Path, json.loads(given))]
    found = list(dict.fromkeys(folder.resolve() for folder in folders))
    return [each for each in found if not any(each != other and each.is_relative_to(other) for other in found)]


def confined(path: str) -> Path:
    """A path, its links resolved, that lies in an allowed folder; UserError where it does not.

    A relative path begins at the first allowed folder.
    """
    folders = allowed()
    try:
        found = (folders[0] / Path(path.strip()).expanduser()).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"'{path}' is no path: {error}.") from error
    if not _within(found, folders):
        raise UserError(
            f"'{path}' is outside the folders that this dashboard may read: {', '.join(map(str, folders))}. "
            "Start it with --allow FOLDER to add one."
        )
    return found


def listed() -> list[Path]:
    """The workspaces to offer: those opened lately, then those directly in an allowed folder; not the session's."""
    folders = allowed()
    near = [each.parent for folder in folders for each in sorted(folder.glob(f"*/{SETTINGS}"))]
    known = dict.fromkeys(each.resolve() for each in [*recent.folders(), own(), *near])
    return [each for each in known if each != here() and _within(each, folders)][:MOST_LISTED]


def is_allowed(folder: Path) -> bool:
    """Whether a folder, its links resolved, lies in an allowed one."""
    return _within(folder, allowed())


def _within(path: Path, folders: Iterable[Path]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


def here() -> Path:
    """The folder of the workspace that this session looks at."""
    chosen = state.workspace()
    return Path(chosen) if chosen else own()


def follow_link() -> None:
    """Let the link decide which workspace this session looks at; one that may not be opened is ignored and noted."""
    asked = state.linked_workspace()
    if asked is not None:
        try:
            _choose(confined(asked))
        except UserError as error:
            state.notice(f"The link asks for another workspace, which is ignored. {error}")
    state.write_workspace()


def choose(path: str | Path) -> None:
    """Open a workspace and look at it from now on; UserError, and nothing changes, where that cannot be."""
    folder = confined(str(path))
    opened(folder)
    recent.remember(folder)
    _choose(folder)
    state.write_workspace(alone=True)


def _choose(folder: Path) -> None:
    """Look at another workspace; what was selected in the one before is forgotten."""
    if folder != here():
        state.choose_workspace("" if folder == own() else str(folder))


@dataclass(kw_only=True)
class _Held:
    """An open workspace with the state of its files when it was opened."""

    workspace: Workspace
    marks: FileMarks


@dataclass(kw_only=True)
class _Shelf:
    """The open workspaces by folder, the one used longest ago first, and a lock for each."""

    held: dict[Path, _Held] = field(default_factory=dict)
    locks: dict[Path, RLock] = field(default_factory=dict)


@st.cache_resource(show_spinner=False)
def _shelf() -> _Shelf:
    return _Shelf()


_RESULTS: list[Any] = []


def keep_results(*, max_entries: int | None = None) -> Callable[[F], F]:
    """`st.cache_resource` for what comes from a workspace: forgotten when one is closed or opened anew."""

    def decorate(function: F) -> F:
        kept: Any = st.cache_resource(show_spinner=False, max_entries=max_entries)(function)
        _RESULTS.append(kept)
        return kept

    return decorate


def keep_by_workspace(*, max_entries: int | None = None) -> Callable[[F], F]:
    """As `keep_results`, of a function that asks for the session's workspace itself: kept for each workspace."""

    def decorate(function: F) -> F:
        def of_workspace(key: tuple[str, str], *arguments: Any, **options: Any) -> Any:
            return function(*arguments, **options)

        # Streamlit tells caches apart by these names.
        of_workspace.__module__, of_workspace.__qualname__ = function.__module__, function.__qualname__
        kept: Any = st.cache_resource(show_spinner=False, max_entries=max_entries)(of_workspace)
        _RESULTS.append(kept)

        @wraps(function)
        def asked(*arguments: Any, **options: Any) -> Any:
            return kept(current_key(), *arguments, **options)

        return asked  # type: ignore[return-value]

    return decorate


def look() -> None:
    """See whether the session's workspace is still what it was, once before something is drawn from it."""
    opened(here())


def current() -> Workspace:
    """The workspace that this session looks at, opened where it is not; UserError where it is gone or damaged."""
    held = _shelf().held.get(here())
    return opened(here()) if held is None else held.workspace


def current_key() -> tuple[str, str]:
    """What tells the session's workspace, as it is now, from others and from itself with other data or weights."""
    return key_of(current())


def key_of(workspace: Workspace) -> tuple[str, str]:
    """What tells a workspace from others and from itself with other data or weights."""
    return str(workspace.directory), workspace.digest


def opened(folder: Path) -> Workspace:
    """The workspace of a folder, held open until MOST_OPEN others are used; opened anew when one of its files changed.

    UserError, at every call until that is mended, where a file of it is gone or damaged. Cost: a look at some twenty
    files; when it is opened, the digests of its data and model.
    """
    shelf = _shelf()
    with shelf.locks.setdefault(folder, RLock()):
        marks, held = file_marks(folder), shelf.held.pop(folder, None)
        if held is None or held.marks != marks:
            if held is not None:
                _forget_results()
            workspace = open_workspace(folder)
            check_workspace(workspace)
            held = _Held(workspace=workspace, marks=marks)
        shelf.held[folder] = held
        for oldest in list(shelf.held)[:-MOST_OPEN]:
            shelf.held.pop(oldest, None)
            _forget_results()
        return held.workspace


def _forget_results() -> None:
    """Let go of all answers, which hold their workspace and so its model."""
    for kept in _RESULTS:
        kept.clear()
