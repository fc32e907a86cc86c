"""Choosing the text to explain: a test example through filters, the next misprediction, or a text of one's own."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from attribution.errors import UserError
from attribution.query import Query, make_query
from attribution.registry import get_method, list_methods
from dashboard import cache, state, tables
from dashboard.markdown import plain
from dashboard.state import Selection


def header() -> None:
    """The line that says which text this is, with the ways to another one."""
    selection = state.current()
    table = filtered(cache.test_table())
    line = st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", gap="small")
    with line.container(horizontal=True, width="content", vertical_alignment="center", gap="small"):
        st.markdown(f"#### {_title(selection, table)}", width="content")
        mispredictions(table)
    ids = table.index.tolist()
    place = ids.index(selection.test) if selection.test in table.index else None
    back, on = (None, 0) if place is None else (place - 1, place + 1)
    with line.container(horizontal=True, width="content", vertical_alignment="center", gap="small"):
        with st.popover("Choose example", icon=":material/list:"):
            _choose(table)
        for name, key, at in (("Previous", "K", back), ("Next", "J", on)):
            step(st.container(width="content"), name, key, ids, at, selects="test", key=f"step-{name}")
        with st.popover("Edit text", icon=":material/edit:"):
            _edit(selection)


def _title(selection: Selection, table: pd.DataFrame) -> str:
    if selection.own_text is not None:
        return "A text of your own"
    name = f"Test example {selection.test}"
    if selection.test not in table.index:
        return name
    kind = "misprediction" if table.at[selection.test, "wrong"] else "right prediction"
    same = table.index[table["wrong"] == table.at[selection.test, "wrong"]]
    return f"{name} :gray-badge[{kind} {list(same).index(selection.test) + 1} of {len(same):,}]"


def step(
    place: DeltaGenerator, label: str, shortcut: str, ids: Sequence[int], at: int | None, *, selects: str, **look: Any
) -> None:
    """A button, and a key, that selects the example at a place of a list; off where the list has no such place.

    selects: what of the selection it is, test or row. look: what else `st.button` takes, its key among it.
    """
    to = ids[at] if at is not None and 0 <= at < len(ids) else None
    chosen = {} if to is None else {selects: int(to)}
    place.button(label, shortcut=shortcut, disabled=to is None, on_click=state.choose, kwargs=chosen, **look)


def mispredictions(table: pd.DataFrame) -> None:
    """The ways to the misprediction before and after the selected one among these examples: on the keys P and N."""
    wrong = table.index[table["wrong"].to_numpy(dtype=bool)].tolist()
    test = state.current().test
    at = wrong.index(test) if test in wrong else -1
    place = st.container(horizontal=True, width="content", vertical_alignment="center", gap="small")
    for name, key, to in (("Previous wrong", "P", at - 1), ("Next wrong", "N", at + 1)):
        step(place, name, key, wrong, to, selects="test", key=f"wrong-{key}", type="tertiary")


def filtered(table: pd.DataFrame) -> pd.DataFrame:
    """The test examples that pass the filters of this session, mispredictions first."""
    which = state.keep("filter which", "All")
    return tables.narrowed(
        table,
        wrong=None if which == "All" else which == "Mispredicted",
        label=state.keep("filter label", None),
        words=state.keep("filter text", ""),
        confidence=state.keep("filter confidence", (0.0, 1.0)),
    )


def _choose(table: pd.DataFrame) -> None:
    whole = cache.test_table()
    first, second = st.columns(2)
    first.segmented_control(
        "Show", ["All", "Mispredicted", "Right"], key="filter which", required=True, persist_state="session"
    )
    second.selectbox(
        "True label",
        cache.workspace().labels,
        key="filter label",
        index=None,
        placeholder="any",
        persist_state="session",
    )
    first.text_input("Text contains", key="filter text", persist_state="session")
    second.slider("Confidence", 0.0, 1.0, key="filter confidence", persist_state="session")
    st.caption(f"{len(table):,} of {len(whole):,} test examples")
    columns = [name for name in ("text", "text_pair", "label", "predicted", "confidence") if name in table]
    event = st.dataframe(
        table[columns],
        key=f"examples-{state.current().test}",
        on_select="rerun",
        selection_mode="single-row",
        height=320,
        width=760,
        column_config={"confidence": st.column_config.NumberColumn(format="%.2f")},
    )
    chosen = event["selection"]["rows"]
    if chosen:
        state.choose(test=int(table.index[chosen[0]]))
        st.rerun()


def _edit(selection: Selection) -> None:
    if selection.own_text is not None:
        first, second = selection.own_text
    else:
        row = cache.test_table().loc[selection.test]
        first, second = row["text"], row.get("text_pair")
    key = f"edit-{selection.test}"
    text = st.text_area("Text", first, key=key, height=140, width=560)
    pair = st.text_area("Second text", second or "", key=f"{key}-pair") if cache.workspace().is_pair else None
    explain, back = st.columns(2)
    if explain.button("Explain this text", type="primary", width="stretch"):
        try:
            make_query(cache.workspace(), text=text, text_pair=pair)
        except UserError as error:
            st.error(plain(str(error)))
        else:
            state.choose(own_text=(text, pair), label="predicted")
            st.rerun()
    if selection.own_text is not None and back.button("Back to the test set", width="stretch"):
        state.choose(test=int(cache.test_table().index[0]))
        st.rerun()


def label_choice(query: Query) -> None:
    """The label that is explained: the predicted one, the true one, or any other."""
    selection = state.current()
    predicted = query.workspace.labels[query.predicted]
    names = {"predicted": f"predicted: {predicted}"}
    if query.true_label is not None and query.true_label != predicted:
        names["true"] = f"true: {query.true_label}"
    named = {predicted, query.true_label if "true" in names else predicted}
    names |= {label: label for label in query.workspace.labels if label not in named}
    if selection.label not in names:
        names[selection.label] = query.label_name
    options = list(names)
    arguments = {
        "options": options,
        "key": f"label of {query.example.text[:40]} {selection.label}",
        "label_visibility": "collapsed",
    }
    if len(options) <= 4:
        st.segmented_control(
            "Explained label",
            default=selection.label,
            format_func=lambda name: plain(names[name]),
            on_change=state.on_change(arguments["key"], "label"),
            **arguments,
        )
    else:
        st.selectbox(
            "Explained label",
            index=options.index(selection.label),
            format_func=names.__getitem__,
            on_change=state.on_change(arguments["key"], "label"),
            **arguments,
        )


def margin_choice(query: Query) -> None:
    """Whether the label's own probability is explained, or its margin over another label."""
    others = ["", *(label for label in query.workspace.labels if label != query.label_name)]
    held = "" if query.against is None else query.workspace.labels[query.against]
    key = f"against for {query.label_name} {held}"
    st.selectbox(
        "What about it is explained",
        others,
        index=others.index(held),
        format_func=lambda label: f"its margin over “{label}”" if label else "its probability",
        key=key,
        on_change=lambda: state.choose(against=st.session_state[key]),
        label_visibility="collapsed",
    )


def method_choice(place: DeltaGenerator, *, labelled: bool = False) -> None:
    """The method that scores the training examples for the prediction; `labelled` where no title says so."""
    names = [m.name for m in list_methods("examples") if not m.clicked]
    place.selectbox(
        "Method",
        names,
        index=names.index(state.current().method),
        format_func=lambda name: get_method(name).title,
        key="method",
        on_change=state.on_change("method", "method"),
        label_visibility="visible" if labelled else "collapsed",
    )
