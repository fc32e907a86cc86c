"""Spans of the test text to choose from: what finds them, and the most important ones, found by masking."""

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from attribution.errors import UserError
from attribution.query import Query
from attribution.registry import get_method
from attribution.spans import Span, covers_everything, finders_of
from dashboard import cache, present, state
from dashboard.markdown import plain

SHOWN = 5
LONGEST = 48
NAMES = {
    "clauses": "clauses",
    "sentences": "sentences",
    "ngrams": "runs of 4 words",
    "aspect": "clauses around the aspect",
    "given": "spans of the data",
}


def explained(query: Query) -> tuple[int, ...]:
    """The tokens of the span that the chosen method explains by itself, as none is marked; () where it does not."""
    selection = state.current()
    if selection.token or get_method(selection.method).spans != "both":
        return ()
    try:
        found = cache.important(query, selection.finder)
    except UserError:
        return ()  # the chips below the text say it
    return found[0][0].tokens if found else ()


def important(query: Query) -> None:
    """Draw the finder and the text's most important spans; a click marks one."""
    selection = state.current()
    choice, chips = st.columns([1, 4.2])
    options = [name for name in finders_of(query.workspace) if name != "given" or query.test is not None]
    options += [selection.finder] if selection.finder not in options else []
    choice.selectbox(
        "Spans",
        options,
        index=options.index(selection.finder),
        format_func=NAMES.__getitem__,
        key="finder",
        on_change=state.on_change("finder", "finder"),
        help="How texts are cut into spans, here and in the training examples.",
    )
    try:
        found = cache.important(query, selection.finder)
    except UserError as error:
        chips.caption(plain(str(error)))
        return
    _chips(query, [each for each in found if not covers_everything(query.example, each[0].tokens)][:SHOWN], chips)


def _chips(query: Query, found: list[tuple[Span, float]], place: DeltaGenerator) -> None:
    if not found:
        place.caption("The text is a single span: drag over some of its words to mark a part.")
        return
    selection = state.current()
    key = f"important {query.test} {query.label} {selection.finder} {query.example.text[:40]}"
    tokens = [span.tokens for span, _ in found]
    chosen = tuple(sorted(selection.token))
    st.session_state[key] = tokens.index(chosen) if chosen in tokens else None

    def mark() -> None:
        at = st.session_state[key]
        state.choose(token=() if at is None else tokens[at])

    def name(at: int) -> str:
        span, drop = found[at]
        text = query.example.texts[span.segment][span.start : span.end]
        return f"{plain(present.clipped(text, LONGEST))} **{present.signed(drop)}**"

    place.pills(
        "Important spans of this text",
        range(len(found)),
        format_func=name,
        key=key,
        on_change=mark,
        help=f"By how much log p of '{plain(query.label_name)}' falls when the span is masked. Click one to mark it.",
    )
