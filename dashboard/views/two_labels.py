"""One test example explained for its predicted and its true label, side by side (Meng et al. 2020 Table 2)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from attribution.errors import UserError
from attribution.explain import sign_sentence
from attribution.query import Query
from attribution.registry import get_method
from attribution.results import ScoreTable, TokenScores
from dashboard import cache, errors, failures, method_settings, present, slow, state
from dashboard.components import token_heatmap, training_rows
from dashboard.markdown import plain
from dashboard.views import building, picker

ROWS = 3


def draw(test: int, listed: pd.DataFrame) -> None:
    """The heatmaps of both labels on one scale, each over the training examples that speak most for it.

    `listed`: the test examples between whose mispredictions the keys N and P step.
    """
    row = cache.test_table().loc[test]
    said = f"true {row['label']}, predicted {row['predicted']}" if row["wrong"] else f"rightly {row['label']}"
    title, steps, link = st.columns([3, 1.5, 1], vertical_alignment="center")
    title.markdown(f"##### Test example {test}: {plain(said)}")
    with steps:
        picker.mispredictions(listed)
    with link.container(horizontal_alignment="right"):
        st.page_link("views/explain.py", label="Open on Explain", icon=":material/arrow_forward:")
    both(test, ("predicted", "true") if row["wrong"] else ("predicted",))


@st.fragment
@failures.guarded
def both(test: int, kinds: tuple[str, ...]) -> None:
    """A column for each label; what takes longer, the exact top and the words in it, comes once both are drawn."""
    selection = state.current()
    settings = method_settings.settings_of(selection.settings, selection.saliency)
    asked = [cache.query(test, None, None, kind, ()) for kind in kinds]
    answers = [cache.result(query, selection.saliency, settings) for query in asked]
    drawn, scale, captions = errors.side_by_side(answers, subwords=False)
    places = st.columns(len(kinds), gap="medium")
    for place, kind, scores, tokens, caption in zip(places, kinds, answers, drawn, captions, strict=True):
        with place:
            st.markdown(f"**Why “{plain(scores.query.label_name)}”, the {kind} label?**")
            _heatmap(scores, kind, tokens, scale, caption)
    finish = _evidence(asked, kinds, places)
    if len(kinds) > 1:
        st.caption(
            "Both heatmaps have one scale, and so have both lists' bars. A clicked word is asked about on Explain."
        )
    for shade_words in finish:
        shade_words()


def _heatmap(scores: TokenScores, kind: str, tokens: list[Any], scale: float, caption: str) -> None:
    selection = state.current()
    clicked = selection.token if selection.label == kind else ()

    def select(chosen: list[int]) -> None:
        state.choose(label=kind, token=present.tokens_of(scores, chosen, subwords=False))

    token_heatmap(
        tokens,
        key=f"two-labels-{kind}",
        selected=present.drawn(scores, clicked, subwords=False),
        label=scores.query.label_name,
        scale=scale,
        caption=caption,
        signed=get_method(scores.method).signed,
        on_select=select,
    )


def _evidence(
    asked: Sequence[Query], kinds: Sequence[str], places: Sequence[DeltaGenerator]
) -> list[Callable[[], None]]:
    """The training examples that the chosen method puts first for each label, or the way to them."""
    selection = state.current()
    method, settings = get_method(selection.method), method_settings.settings_of(selection.settings, selection.method)
    try:
        missing = cache.missing_parts(method.name, settings)
        tables = [] if missing else [slow.known(query, method.name, settings) for query in asked]
    except UserError as error:
        st.error(plain(str(error)), icon=":material/error:")
        return []
    if missing:
        building.build(missing, method.name, settings, unasked=False)
        return []
    known = [table for table in tables if table is not None]
    if len(known) < len(tables):
        st.caption(f"{method.title} takes long with these parameters: open the example on Explain to ask for it.")
        return []
    largest = max(float(table.scores.max()) for table in known)
    finish = []
    for place, table, kind in zip(places, known, kinds, strict=True):
        with place:
            st.caption(f"{method.title}: {plain(sign_sentence(table.query, method.name))}")
            finish.append(_rows(table, settings, kind, largest))
    return finish


def _rows(table: ScoreTable, settings: cache.Settings, kind: str, largest: float) -> Callable[[], None]:
    """Draw the rows as they are known; the function returned draws them again, the top exact and the words shaded."""
    method, place = get_method(table.method), st.empty()
    shading = cache.words if method.spans == "none" else cache.spans

    def top(shown: ScoreTable) -> list[tuple[int, int]]:
        return present.visible(shown, method, opponents=False, count=ROWS)

    def ids(shown: ScoreTable) -> tuple[int, ...]:
        return tuple(train_id for train_id, _ in top(shown))

    def draw(shown: ScoreTable, words: Mapping[int, Any] | None) -> None:
        rows = present.training_rows(shown, method, top(shown), words or {}, opponents=False)
        with place:
            if not rows:
                st.caption("No training example has a score of this sign.")
            training_rows(
                [{**row, "share": row["score"] / (largest or 1.0)} for row in rows],
                key=f"two-labels-rows-{kind}{'' if words is not None else '-plain'}",
                selected=state.current().row,
                on_select=lambda train_id: state.choose(row=train_id),
            )

    known = cache.known_reranked(table, settings)
    words = None if known is None else cache.known_words(known, settings, ids(known))
    draw(known or table, words)
    if words is not None:
        return lambda: None

    def finish() -> None:
        exact = cache.reranked(table, settings)
        draw(exact, shading(exact, settings, ids(exact)))

    return finish
