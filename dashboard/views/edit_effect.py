"""What an edit changed against the test example it was made from: prediction, saliency, and ranks, before and after."""

import streamlit as st

from attribution.errors import UserError
from attribution.query import Query
from attribution.registry import get_method
from attribution.results import TokenScores
from dashboard import cache, edited, errors, method_settings, slow, state
from dashboard.components import token_heatmap, training_rows
from dashboard.markdown import plain


def panel(scores: TokenScores) -> None:
    """Draw it where the text is an edited test example; nothing otherwise."""
    selection, after = state.current(), scores.query
    if selection.own_text is None or selection.edited is None:
        return
    before = cache.query(selection.edited, None, None, after.label_name, (), selection.against or None)
    with st.container(border=True):
        st.markdown(f"##### What the edit of test example {selection.edited} changed")
        words = edited.changed_words(before.example.texts, after.example.texts)
        st.markdown(f"{plain(words)}.  \n{plain(edited.probabilities(before, after))}")
        _saliency(before, scores)
        _ranks(before, after)


def _saliency(before: Query, scores: TokenScores) -> None:
    settings = method_settings.settings_of(state.current().settings, scores.method)
    answers = [cache.result(before, scores.method, settings), scores]
    drawn, scale, captions = errors.side_by_side(answers, subwords=False)
    for place, name, tokens, caption in zip(st.columns(2), ("Before", "After"), drawn, captions, strict=True):
        with place:
            st.markdown(f"**{name}**")
            token_heatmap(
                tokens,
                key=f"edit-{name}",
                selected=[],
                label=scores.query.label_name,
                scale=scale,
                caption=f"{caption} · one scale for both",
                signed=get_method(scores.method).signed,
            )


def _ranks(before: Query, after: Query) -> None:
    """The top training examples before and after, each with its rank in the other answer."""
    selection = state.current()
    method, settings = get_method(selection.method), method_settings.settings_of(selection.settings, selection.method)
    try:
        if cache.missing_parts(method.name, settings):
            return  # the list below offers to compute it
        tables = [slow.known(query, method.name, settings) for query in (before, after)]
    except UserError:
        return  # the list below says why
    then, now = tables
    if then is None or now is None:
        st.caption(f"{method.title} takes long with these parameters: its ranks are not compared.")
        return
    then, now = cache.reranked(then, settings), cache.reranked(now, settings)
    for place, name, shown, other, when in zip(
        st.columns(2), ("Before", "After"), (then, now), (now, then), ("now", "before"), strict=True
    ):
        with place:
            st.caption(f"{method.title}: top for “{plain(after.label_name)}” {name.lower()}")
            training_rows(
                edited.moved_rows(shown, other, when=when),
                key=f"edit-rows-{name}",
                selected=selection.row,
                on_select=lambda train_id: state.choose(row=train_id),
            )
