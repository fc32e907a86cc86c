"""Explain: what the model looks at in one text, and which training examples made it look there."""

from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple

import numpy as np
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from attribution.explain import sign_sentence
from attribution.quantity import DIFFERENTIABLE
from attribution.query import Query
from attribution.refinement import refine
from attribution.registry import get_method, list_methods
from attribution.results import ScoreTable, TokenScores
from dashboard import background, cache, failures, opened, present, state
from dashboard.components import probability_bars, token_heatmap, training_rows
from dashboard.markdown import plain
from dashboard.views import (
    building,
    downloads,
    edit_effect,
    influence_plot,
    method_parameters,
    picker,
    score_range,
    span_choice,
    word_by_word,
)

ROWS = 8


def page() -> None:
    """Draw the page: the example and its controls once, the rest as a fragment that a click redraws."""
    picker.header()
    body()


@st.fragment
@failures.guarded
def body() -> None:
    """The heatmap and the two lists below it."""
    asked = cache.query_of(state.current())
    _begin(asked)
    with st.container(border=True):
        scores = _heatmap(asked)
    edit_effect.panel(scores)
    left, right = st.columns([1.08, 1])
    with left.container(border=True):
        because_of_token = _why_token(scores)
    with right.container(border=True):
        because_of_label = _why_label(scores)
    for shade_words in (because_of_token, because_of_label):
        shade_words()
    with st.container(border=True):
        word_by_word.panel(scores)


class _Question(NamedTuple):
    """What a list asks: a method, the parameters that the page decides, and the tokens that it is about."""

    method: str
    fixed: cache.Settings
    token: tuple[int, ...]


def _token_question() -> _Question:
    selection = state.current()
    kind = selection.saliency if selection.saliency in DIFFERENTIABLE else "gradient_x_input"
    return _Question("saliency_influence", (("saliency", kind),), selection.token)


def _label_question() -> _Question:
    selection = state.current()
    spans = get_method(selection.method).spans
    finder = () if spans == "none" else (("finder", selection.finder),)
    return _Question(selection.method, finder, selection.token if spans == "both" else ())


def _begin(query: Query) -> None:
    """Have the heatmap's answer made, then those of the lists, while what stands above them is drawn."""
    selection = state.current()
    cache.begin(query, selection.saliency, method_parameters.chosen(selection.saliency))
    asked = [_token_question()] if selection.token else []
    for method, fixed, token in (*asked, _label_question()):
        building.begin(method, method_parameters.chosen(method, fixed), token=token)


def _heatmap(query: Query) -> TokenScores:
    """Draw the text with its saliency, and the choices that make it; the scores drawn."""
    selection = state.current()
    names = [m.name for m in list_methods("tokens")]
    with _line():
        st.markdown("##### What the model looks at", width="content")
        st.selectbox(
            "Saliency method",
            names,
            index=names.index(selection.saliency),
            format_func=lambda name: get_method(name).title,
            key="saliency",
            on_change=state.on_change("saliency", "saliency"),
            label_visibility="collapsed",
            width=200,
        )
        settings = method_parameters.choice(selection.saliency)
        subwords = st.toggle("Subwords", key="subwords", persist_state="session", help="The model's own tokens.")
        picker.label_choice(query)
    method_parameters.changed(selection.saliency)
    scores: TokenScores = cache.result(query, selection.saliency, settings)
    tokens, scale, caption = present.heatmap(scores, subwords=subwords)
    token_heatmap(
        tokens,
        key="heatmap",
        selected=present.drawn(scores, selection.token, subwords=subwords),
        explained=present.drawn(scores, span_choice.explained(query), subwords=subwords),
        label=query.label_name,
        scale=scale,
        caption=caption,
        signed=get_method(scores.method).signed,
        on_select=lambda chosen: state.choose(token=present.tokens_of(scores, chosen, subwords=subwords)),
    )
    for segment, cut in enumerate(query.example.cut):
        if cut is not None:
            st.caption(f"The model reads this text only to character {cut:,} of {len(query.example.texts[segment]):,}.")
    span_choice.important(query)
    bars, sign = st.columns([1.1, 1.6], vertical_alignment="center")
    with bars:
        probability_bars(present.probabilities(query), key="probabilities")
    how = "Click a word to ask why the model looks at it; drag, or hold Shift, to mark several."
    sign.caption(f"{plain(sign_sentence(query, scores.method))} {how}")
    return scores


def _line() -> DeltaGenerator:
    """What stands side by side as far as there is room, the rest below it."""
    return st.container(horizontal=True, vertical_alignment="center", gap="small")


def _why_token(scores: TokenScores) -> Callable[[], None]:
    selection = state.current()
    if not selection.token:
        st.markdown("##### Why does it look there?")
        st.caption("Click or mark words above: the training examples that made the model look there are listed here.")
        return _nothing
    if max(selection.token) >= len(scores.query.example.tokens):
        state.notice(f"This text has no token {max(selection.token)}; the selection is cleared.")
        state.choose(token=())
        st.rerun()
    words = [w.text for w in scores.query.example.words if set(w.tokens) & set(selection.token)]
    method, fixed, token = _token_question()
    kind = dict(fixed)["saliency"]
    with _line():
        st.markdown(f"##### Why does it look at “{plain(' '.join(words))}”?")
        settings = method_parameters.choice(method, fixed=fixed, tokens=token)
    if kind != selection.saliency:
        st.caption(
            f"{get_method(selection.saliency).title} has no gradient to follow into the training set: "
            f"the saliency explained here is {get_method(kind).title.lower()}."
        )
    special = [t.text for t in scores.query.example.tokens if t.index in selection.token and t.special]
    if special:
        st.caption(f"{special[0]} is a special token: the model puts it there, whatever the text.")
    return _evidence(method, settings, token=token, sides=("Raised it", "Lowered it"))


def _why_label(scores: TokenScores) -> Callable[[], None]:
    name, fixed, token = _label_question()
    method = get_method(name)
    with _line():
        st.markdown(f"##### Why “{plain(scores.query.label_name)}”?")
        picker.method_choice(st.container(width=190))
        settings = method_parameters.choice(name, fixed=fixed, tokens=token)
    if method.preset is not None or method.spans == "both":
        picker.margin_choice(scores.query)
    sides = ("Proponents", "Opponents") if method.signed else ("Highest", "Lowest")
    return _evidence(name, settings, token=token, sides=sides)


def _nothing() -> None:
    """No words to shade."""


def _evidence(
    name: str, settings: cache.Settings, *, token: tuple[int, ...], sides: tuple[str, str]
) -> Callable[[], None]:
    """The top training examples of a method, or what has to be computed first; returns what shades their words."""
    method = get_method(name)
    found = building.answer(name, settings, token=token)
    if found is None:
        return _nothing
    table, settings = found
    st.caption(plain(sign_sentence(table.query, name)))
    method_parameters.changed(name)
    pick, facts = st.columns([1.35, 1], vertical_alignment="center")
    side = pick.segmented_control(
        "Side",
        sides,
        default=sides[0],
        required=True,
        key=f"side-{method.clicked}-{sides[0]}",
        label_visibility="collapsed",
    )
    for note in table.scored.notes:
        st.caption(plain(note))
    listed, facts, offers, plots = st.container(), facts.empty(), st.container(), st.container()
    with plots:
        within = score_range.choice(table, settings)
    with listed:
        finish = _rows(table, settings, facts, opponents=side == sides[1], within=within)
    with offers:
        _offers(table, settings)
    with plots:
        influence_plot.matching_check(table, settings)
    return finish


def _offers(table: ScoreTable, settings: cache.Settings) -> None:
    """What the method is, the answer as a file, and the exact scores of all training examples."""
    about, export, exactly = st.columns([1.1, 0.7, 1.2], vertical_alignment="center")
    with about:
        _about(table)
    with export:
        downloads.answer(table, settings)
    with exactly:
        _refine(table, cache.exact_key(table, settings))


def _rows(
    table: ScoreTable, settings: cache.Settings, facts: DeltaGenerator, *, opponents: bool, within: np.ndarray | None
) -> Callable[[], None]:
    """Draw the rows as they are known; the function returned draws them again, the top exact and the words shaded.

    `within` (train,): the training examples to show, where it is not the top.
    """
    method, selection = get_method(table.method), state.current()
    place, edit = st.empty(), st.empty()
    slot, shading = f"rows-{method.clicked}", cache.words if method.spans == "none" else cache.spans

    def draw(shown: ScoreTable, wanted: Callable[..., Mapping[int, Any] | None], *, last: bool) -> bool:
        facts.caption(present.faithfulness(shown), text_alignment="right")
        rows = present.visible(shown, method, opponents=opponents, count=ROWS, within=within)
        words = wanted(shown, settings, tuple(train_id for train_id, _ in rows))
        with place:
            if not rows:
                st.caption("No training example has a score of this sign.")
            else:
                drawn = present.training_rows(shown, method, rows, words or {}, opponents=opponents)
                training_rows(
                    opened.told(
                        drawn, selection.row, cache.query_of(selection), selection.settings, listed=method.name
                    ),
                    key=slot if last and words is not None else f"{slot}-plain",
                    selected=selection.row,
                    on_select=lambda train_id: state.choose(row=train_id),
                )
        if selection.row in [train_id for train_id, _ in rows]:
            edit.page_link("views/data.py", label=f"Edit training example {selection.row}", icon=":material/edit:")
        return words is not None

    known = cache.known_reranked(table, settings)
    quick = method.spans != "none" or (table.scored.scorer == "index" and method.preset is None)
    if draw(known or table, shading if quick else cache.known_words, last=known is not None) and known:
        return _nothing

    def finish() -> None:
        draw(cache.reranked(table, settings), shading, last=True)

    return finish


def _refine(table: ScoreTable, key: Hashable) -> None:
    """Offer, and follow, the exact scores of all training examples where only the top is exact."""
    found = background.find(key)
    if found is not None and found.failure:
        st.error(plain(found.failure))
    if table.scored.exact:
        return
    if found is not None and found.running:
        building.follow(lambda: background.find(key), f"{table.method}-exactly")
        return
    if st.button(
        f"Score all {len(table.scores):,} exactly",
        type="tertiary",
        icon=":material/target:",
        key=f"exactly-{table.method}-{table.query.tokens}",
        help="The exact sweep over the whole training set, at full rank, in the background. The result is kept.",
    ):
        background.start(key, lambda progress: refine(table, progress))
        st.rerun()


def _about(table: ScoreTable) -> None:
    method = get_method(table.method)
    with st.popover("About this method", type="tertiary", icon=":material/info:"):
        st.markdown(f"**{method.title}** — {plain(method.paper)}")
        st.latex(method.formula)
        st.caption(f"Unit: {plain(method.unit)}.  \nWeakness: {plain(method.weakness)}")
        if table.scored.scope is not None:
            st.caption(f"Gradients over {plain(table.scored.scope)}: {table.scored.scope_size:,} parameters.")


page()
