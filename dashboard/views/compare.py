"""Compare: two to four methods side by side on one question: their rows, their scores, and how far they agree."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import streamlit as st

from attribution import comparison
from attribution.comparison import Agreement
from attribution.errors import UserError
from attribution.provenance import provenance_of_all
from attribution.query import Query
from attribution.registry import get_method, list_methods
from attribution.results import ScoreTable
from dashboard import (
    background,
    cache,
    comparing,
    comparison_charts,
    exports,
    failures,
    method_settings,
    opened,
    present,
    slow,
    state,
)
from dashboard.components import probability_bars, training_rows
from dashboard.markdown import plain
from dashboard.views import building, downloads, method_parameters, picker


def page() -> None:
    """Draw the page: the example and its controls once, the rest as a fragment that a click redraws."""
    picker.header()
    body()


@st.fragment
@failures.guarded
def body() -> None:
    """The question, the methods, their lists, their scores against each other, and their agreement."""
    asked = cache.query_of(state.current())
    with st.container(border=True):
        _question(asked)
    names = _methods()
    if not names:
        st.info("Choose two to four methods above.", icon=":material/compare_arrows:")
        return
    tables, refused = _answers(asked, names)
    finish = _lists(asked, names, list(tables.values()), refused)
    _together(names, list(tables.values()))
    for shade_words in finish:
        shade_words()


def _together(names: Sequence[str], tables: Sequence[ScoreTable]) -> None:
    """What needs two answers: their scores against each other, and how far they agree."""
    if len(tables) < 2:
        st.info(
            "Choose a second method above: ranks and scores are compared once two methods can answer."
            if len(names) < 2
            else "Ranks and scores are compared once two of these methods can answer.",
            icon=":material/compare_arrows:",
        )
        return
    with st.container(border=True):
        _scatter(tables)
    with st.container(border=True):
        _agreement(tables)


def _question(asked: Query) -> None:
    said, answer = st.columns([1.5, 1], vertical_alignment="center", gap="medium")
    for text in asked.example.texts:
        said.markdown(f"“{plain(text)}”")
    with answer:
        picker.label_choice(asked)
        picker.margin_choice(asked)
        probability_bars(present.probabilities(asked), key="probabilities")


def _settings(name: str) -> cache.Settings:
    return method_settings.settings_of(state.current().settings, name)


def _is_ready(name: str) -> bool:
    try:
        return not cache.missing_parts(name, _settings(name))
    except UserError:
        return False


def _methods() -> tuple[str, ...]:
    """The choice of methods and of the end of their lists; the names chosen."""
    methods, side = st.columns([3, 1], vertical_alignment="bottom")
    ready = {m.name: _is_ready(m.name) for m in list_methods("examples") if not m.clicked}
    chosen = methods.multiselect(
        "Methods",
        list(ready),
        default=list(state.current().methods or comparing.default_methods(ready.__getitem__)),
        format_func=lambda name: get_method(name).title + ("" if ready[name] else " (not computed yet)"),
        key="methods",
        on_change=lambda: state.choose(methods=tuple(st.session_state["methods"])),
        max_selections=state.MOST_METHODS,
        placeholder="two to four methods",
    )
    ends = comparing.sides([get_method(name) for name in chosen])
    key = f"side {ends[0]}"
    side.segmented_control(
        "Side",
        ends,
        default=ends[state.current().lowest],
        required=True,
        key=key,
        on_change=lambda: state.choose(lowest=st.session_state[key] == ends[1]),
        label_visibility="collapsed",
    )
    return tuple(chosen)


def _answers(asked: Query, names: Sequence[str]) -> tuple[dict[str, ScoreTable], dict[str, str]]:
    """By method the answers that can be given now, and why others are refused."""
    tables: dict[str, ScoreTable] = {}
    refused: dict[str, str] = {}
    with st.spinner(f"Scoring {len(asked.workspace.train):,} training examples…"):
        for name in names:
            try:
                settings = _settings(name)
                if not cache.missing_parts(name, settings) and (quick := slow.known(asked, name, settings)):
                    tables[name] = cache.exact(quick, settings) or cache.reranked(quick, settings)
            except UserError as error:
                refused[name] = str(error)
    return tables, refused


def _lists(
    asked: Query, names: Sequence[str], tables: Sequence[ScoreTable], refused: dict[str, str]
) -> list[Callable[[], None]]:
    """Draw a list for each method, or what it waits for; the functions returned shade the words of the rows."""
    selection = state.current()
    ranked = comparing.side_ranks(tables, lowest=selection.lowest)
    if tables:
        st.caption("  \n".join(plain(line) for line in comparing.signs(tables)))
        _marked(tables[0].ids, ranked)
        downloads.comparison(tables)
    found, finish = {table.method: table for table in tables}, []
    for name, column in zip(names, st.columns(len(names)), strict=True):
        with column.container(border=True):
            st.markdown(f"##### {get_method(name).title}")
            if get_method(name).parameters:
                _parameters(name)
            if name in found:
                finish.append(_list(found[name], ranked))
            elif name in refused:
                st.error(plain(refused[name]))
            elif missing := cache.missing_parts(name, _settings(name)):
                building.build(missing, name, _settings(name), unasked=False)
            else:
                building.asked_for(asked, name, _settings(name))
    return finish


def _parameters(name: str) -> None:
    """The method's form; what it changes is answered by another run, as the lists above it are drawn already."""
    before = state.current().settings
    method_parameters.choice(name, key="compared")
    method_parameters.changed(name)
    if state.current().settings != before:
        st.rerun()


def _list(table: ScoreTable, ranked: Mapping[str, np.ndarray]) -> Callable[[], None]:
    """Draw the rows, their words shaded where these are known; the function returned shades them where they are not."""
    selection, settings, name = state.current(), _settings(table.method), table.method
    st.caption(f"`{name}` · {plain(present.faithfulness(table))}")
    shown = tuple(train_id for train_id, _ in comparing.listed(table, lowest=selection.lowest))
    marked = () if selection.row is None or selection.row in shown else (selection.row,)
    shading = cache.words if get_method(name).spans == "none" else cache.spans
    place = st.empty()

    def draw(words: Mapping[int, Any], key: str) -> None:
        rows = comparing.linked_rows(table, ranked, words, selected=selection.row, lowest=selection.lowest)
        with place:
            told = opened.told(rows, selection.row, table.query, selection.settings, listed=table.method)
            training_rows(told, key=key, selected=selection.row, on_select=lambda train_id: state.choose(row=train_id))

    def finish() -> None:
        draw({**shading(table, settings, shown), **shading(table, settings, marked)}, f"rows-{name}")

    if not shown:
        st.caption("No training example has a score of this sign.")
    for note in table.scored.notes:
        st.caption(plain(note))
    if cache.known_words(table, settings, shown) is not None:
        finish()
        return lambda: None
    draw({}, f"rows-{name}-plain")
    return finish


def _marked(ids: np.ndarray, ranked: Mapping[str, np.ndarray]) -> None:
    """Where the marked training example stands under every method, in words."""
    row, lowest = state.current().row, state.current().lowest
    if row is None:
        st.markdown(
            ":material/link: Each row says its rank under the other methods. Click one to mark it in every list."
        )
        return
    said, clear = st.columns([8, 1], vertical_alignment="center")
    said.markdown(f":material/link: {plain(comparing.linked_sentence(row, ids, ranked, lowest=lowest))}")
    clear.button("Clear", key="clear-row", type="tertiary", on_click=lambda: state.choose(row=None))


def _scatter(tables: Sequence[ScoreTable]) -> None:
    names = [table.method for table in tables]
    axes = comparing.pair_of(state.current().axes, names)
    title, *places = st.columns([1.4, 1, 1], vertical_alignment="center")
    title.markdown("##### Scores of two methods")
    for number, (place, name) in enumerate(zip(places, axes, strict=True)):
        key = f"axis {number} {' '.join(names)} {name}"
        place.selectbox(
            ("Across", "Upwards")[number],
            names,
            index=names.index(name),
            format_func=lambda each: get_method(each).title,
            key=key,
            on_change=_choose_axis,
            args=(key, number, axes),
        )
    first, second = (next(table for table in tables if table.method == name) for name in axes)
    figure = comparison_charts.score_scatter(
        first.ids,
        first.scores,
        second.scores,
        comparing.same_label(first),
        titles=(get_method(axes[0]).title, get_method(axes[1]).title),
        selected=state.current().row,
        dark=st.context.theme.type == "dark",
    )
    made = provenance_of_all([first, second])
    name = exports.file_name({**made, "method": "-".join(axes)}, "scores", "png")
    st.plotly_chart(
        figure,
        key="scatter",
        on_select=_pick,
        selection_mode="points",
        config={"displaylogo": False, "scrollZoom": True, "toImageButtonOptions": exports.picture(name)},
        alt=f"Scores of {len(first.scores):,} training examples: {get_method(axes[0]).title} across, "
        f"{get_method(axes[1]).title} upwards.",
    )
    st.caption("A point a training example; click one to mark its row in the lists.")
    downloads.plot(figure, "Scores of two methods", made, key="scatter")


def _choose_axis(key: str, number: int, axes: tuple[str, str]) -> None:
    """Put the method on an axis; the other axis takes what it replaces, where it was the same."""
    chosen, other = st.session_state[key], axes[1 - number]
    pair = (chosen, axes[number] if other == chosen else other)
    state.choose(axes=pair if number == 0 else pair[::-1])


def _pick() -> None:
    points = st.session_state["scatter"]["selection"]["points"]
    if points:
        state.choose(row=int(points[0]["customdata"][0]))


def _agreement(tables: Sequence[ScoreTable]) -> None:
    st.markdown("##### How far do they agree?")
    single, made = comparison.agreement(tables), provenance_of_all(tables)
    _matrices(single, "This example", made)
    workspace, selection = cache.workspace(), state.current()
    count, seed, ask = st.columns([1, 1, 2.4], vertical_alignment="bottom")
    most = min(100, len(workspace.test))
    number = int(count.number_input("Test examples", 1, most, min(10, most), key="sample", persist_state="session"))
    drawn = int(seed.number_input("Seed", 0, 2**31 - 1, 0, key="sample seed", persist_state="session"))
    tests = comparison.sample_tests(workspace, number, drawn)
    parameters = {name: dict(_settings(name)) for name in single.methods}
    key = ("agreement", single.methods, tests, selection.label, *(_settings(name) for name in single.methods))
    found = background.find(key)
    if found is not None and found.running:
        with ask:
            building.follow(lambda: background.find(key), "agreement")
    elif found is None or found.result is None:
        about = number * float(single.seconds.sum())
        if ask.button(
            f"Compare over {number} test examples",
            key="compare-sample",
            icon=":material/play_arrow:",
            help=f"About {about:.0f} s at this example's pace, in the background.",
        ):
            background.start(
                key,
                lambda progress: comparison.compare(
                    workspace,
                    single.methods,
                    tests,
                    label=selection.label,
                    parameters=parameters,
                    progress=progress,
                ),
            )
            st.rerun()
    if found is not None and found.failure:
        st.error(plain(found.failure))
    if found is not None and found.result is not None:
        made = {**made, "question": f"{number} test examples", "tests": " ".join(map(str, tests))}
        _matrices(found.result, f"Mean of {number} test examples, seed {drawn}", made)


def _matrices(found: Agreement, over: str, made: Mapping[str, str]) -> None:
    dark = st.context.theme.type == "dark"
    drawn = [("Spearman's correlation of all scores", found.spearman, True)]
    drawn += [(f"Share of the top {top} in common", values, False) for top, values in found.overlaps.items()]
    for place, (what, values, signed) in zip(st.columns(len(drawn)), drawn, strict=True):
        place.caption(f"**{what}**")
        figure, key = comparison_charts.matrix(found.methods, values, signed=signed, dark=dark), f"matrix {what} {over}"
        name = exports.file_name({**made, "method": "-".join(found.methods)}, what, "png")
        place.plotly_chart(
            figure,
            key=key,
            config=exports.plot_config(name),
            alt=comparing.matrix_alt(f"{what}; {over.lower()}", found.methods, values),
        )
        with place:
            downloads.plot(figure, what, made, key=key)
    st.caption(plain(f"{over}. Time of an answer: {comparing.seconds(found)}. {comparing.undefined(found)}"))


page()
