"""Word by word: which words of the opened training example raised the saliency of which words of the text."""

import streamlit as st

from attribution.pairs import WordPairs
from attribution.quantity import DIFFERENTIABLE
from attribution.results import TokenScores
from dashboard import background, cache, failures, present, state
from dashboard.components import pair_view
from dashboard.markdown import plain
from dashboard.views import building, downloads


@failures.guarded
def panel(scores: TokenScores) -> None:
    """The pair view of the text and the training example that is opened in a list; computed once it is asked for."""
    selection = state.current()
    title, choice = st.columns([3.2, 1], vertical_alignment="center")
    if selection.row is None:
        title.markdown("##### Word by word")
        st.caption("Open a training example in a list above: which of its words raised which word of the text?")
        return
    title.markdown(f"##### Word by word with training example {selection.row:,}")
    key = f"pairs {selection.pairs}"
    with choice.container(horizontal_alignment="right"):
        st.segmented_control(
            "Draw as",
            state.PAIR_DRAWINGS,
            default=selection.pairs or None,
            format_func=str.capitalize,
            key=key,
            on_change=lambda: state.choose(pairs=st.session_state[key] or ""),
            label_visibility="collapsed",
        )
    groups = present.pair_groups(scores, clicked=selection.token, subwords=state.keep("subwords", False))
    if not selection.pairs:
        st.caption(
            "Links or Heatmap erases the training example's words one after the other "
            f"and looks at what each did to {len(groups)} words of the text: a second or two for short texts."
        )
        return
    kind = selection.saliency if selection.saliency in DIFFERENTIABLE else "gradient_x_input"
    settings: cache.Settings = (("saliency", kind),)
    if cache.lacks_pairs(settings):
        settings = (*settings, ("scope", "head"))
        if cache.lacks_pairs(settings):
            st.caption("The training set has to be read first: this is drawn when the lists above are there.")
            return
        st.caption("Meanwhile this is the answer of the classification head alone.")
    found = _found(scores, selection.row, groups, settings)
    if found is None:
        return
    rows, columns = present.pair_words(found)
    pair_view(
        rows,
        columns,
        found.scores.tolist(),
        key="pairs",
        drawing="heatmap" if selection.pairs == "heatmap" else "links",
        label=found.query.label_name,
        selected=present.pair_row(found, selection.token),
    )
    export, facts = st.columns([1, 2], vertical_alignment="center")
    with export:
        downloads.pairs(found, [word["text"] for word in rows], [word["text"] for word in columns])
    facts.caption(plain(present.pair_facts(found)), text_alignment="right")


def _found(
    scores: TokenScores, train_id: int, groups: list[tuple[int, ...]], settings: cache.Settings
) -> WordPairs | None:
    """The matrix, or None while a long text's is in the making."""
    if present.is_short(scores.query.workspace.train.loc[train_id]):
        with st.spinner("Erasing one word after the other…"):
            return cache.pairs(scores.query, train_id, groups, settings)
    key = cache.pairs_key(scores.query, train_id, groups, settings)
    work = background.find(key)
    if work is not None and not work.running and work.result is None:
        st.caption(plain(work.failure or "Stopped before it was done."))
        if not st.button("Start again", key="pairs-again"):
            return None
        work = None
    work = work or cache.start_pairs(scores.query, train_id, groups, settings)
    if work.running:
        building.follow(lambda: background.find(key), "pairs")
    return work.result
