"""A page with every component on invented data, for the browser tests and for looking at."""

from collections.abc import Sequence

import streamlit as st

from dashboard.components import (
    LabelProbability,
    PairWord,
    Token,
    TrainingRow,
    Word,
    pair_view,
    probability_bars,
    token_heatmap,
    training_rows,
)

REVIEW = [
    ("[CLS]", 0.03),
    ("the", 0.02),
    ("finest", 0.31),
    ("thing", 0.04),
    ("about", -0.03),
    ("this", 0.01),
    ("sequel", -0.12),
    ("is", 0.02),
    ("that", 0.01),
    ("it", 0.03),
    ("eventually", -0.08),
    ("lets", -0.02),
    ("you", 0.06),
    ("leave", -0.19),
    (".", 0.02),
    ("[SEP]", 0.06),
]

PAIR = [
    ("[CLS]", 0.1, 0),
    ("the", 0.05, 0),
    ("<img src=x onerror=alert(1)>", 0.42, 0),
    ("saw", 0.3, 0),
    ("😀", 0.2, 0),
    ("[SEP]", 0.1, 0),
    ("<script>alert(2)</script>", 0.12, 1),
    ("un", 0.6, 1),
    ("believ", 0.44, 1),
    ("able", 0.15, 1),
    ("[SEP]", 0.1, 1),
    ("never", 0.0, 1),
    ("read", 0.0, 1),
]


def make_tokens(entries: Sequence[tuple[str, float, int]]) -> list[Token]:
    """Tokens from (text, score, segment); "read" and "never" lie beyond the maximum length, "finest" has two pieces."""
    order = sorted(range(len(entries)), key=lambda position: -abs(entries[position][1]))
    return [
        Token(
            index=index,
            text=text,
            score=score,
            raw=score * 0.0137,
            rank=order.index(index) + 1,
            pieces=[{"text": "fine", "score": 0.21}, {"text": "##st", "score": 0.1}] if text == "finest" else [],
            special=text in ("[CLS]", "[SEP]"),
            space_before=text not in (".", "believ", "able") and index > 0,
            truncated=text in ("never", "read"),
            segment=segment,
        )
        for index, (text, score, segment) in enumerate(entries)
    ]


def make_words(scores: dict[str, float], *texts: str) -> list[Word]:
    """A shaded word for each of the given ones, wherever it first occurs."""
    return [
        Word(start=text.index(word), end=text.index(word) + len(word), score=score, part=part)
        for part, text in enumerate(texts)
        for word, score in scores.items()
        if word in text
    ]


def make_row(
    train_id: int,
    rank: int,
    label: str,
    score: float,
    text: str,
    scores: dict[str, float] | None,
    *,
    text_pair: str | None = None,
    duplicates: int = 0,
) -> TrainingRow:
    return TrainingRow(
        train_id=train_id,
        rank=rank,
        label=label,
        other_label=label == "negative",
        score=score,
        score_text=f"{score:+.3f}".replace("-", "−"),
        share=score / 0.121,
        text=text,
        text_pair=text_pair,
        words=None if scores is None else make_words(scores, text, text_pair or ""),
        word_scale=0.3,
        duplicates=duplicates,
        details=[["model's answer", "positive, 0.94"], ["loss", "0.062"]],
    )


REASONS = [
    make_row(
        2918,
        1,
        "positive",
        0.121,
        "among the finest hours of acting this year",
        {"among the": 0.02, "finest": 0.3, "hours of": 0.05, "acting": 0.12, "this year": 0.04},
        duplicates=2,
    ),
    make_row(
        17,
        2,
        "positive",
        0.107,
        "😀 a fine 👩‍👩‍👧 cast  in a finer script",
        {"fine": 0.24, "cast  in a": 0.02, "finer": 0.27, "script": 0.05},
    ),
    make_row(
        404,
        3,
        "negative",
        0.073,
        "not the finest hour of anyone here",
        {"not the": -0.11, "finest": 0.22, "hour of anyone here": -0.03},
    ),
    make_row(5, 4, "positive", 0.055, "quietly the best thing on any screen this week", {"best": 0.18, "week": -0.26}),
]

LONG = "a long and winding story of a fisherman who sells the boat he was born in, " * 6

OPPONENTS = [
    make_row(88, 1, "negative", -0.118, LONG.strip(), {"fisherman": -0.28, "story": -0.1, "winding": 0.07}),
    make_row(
        91,
        2,
        "positive",
        -0.044,
        "The fishermen saw the harbour.",
        {"saw": -0.2, "harbour": -0.31},
        text_pair="The harbour was seen by <b>nobody</b>.",
    ),
    make_row(3, 3, "positive", -0.012, "<script>alert(3)</script> no shaded word in this one", None),
]

ANSWERS = [
    LabelProbability(label="positive", probability=0.713, predicted=True, true=False),
    LabelProbability(label="negative", probability=0.287, predicted=False, true=True),
]

TRAINED = ["among", "the", "finest", "hours", "of", "acting", "<img src=x onerror=alert(4)>"]
JOINED = {("finest", "finest"): 0.3, ("finest", "acting"): 0.12, ("thing", "finest"): 0.08, ("sequel", "hours"): -0.15}


def make_pair_words(texts: Sequence[str]) -> list[PairWord]:
    return [PairWord(text=text, space_before=text != ".", segment=0, special=False) for text in texts]


TOPICS = [
    LabelProbability(label=f"topic {number}", probability=0.3 / 2**number, predicted=number == 0, true=number == 10)
    for number in range(12)
]


def hold(name: str, chosen: int | list[int] | None) -> None:
    st.session_state[name] = chosen


def numbers(chosen: Sequence[int]) -> str:
    return ", ".join(map(str, chosen)) or "None"


st.set_page_config(page_title="Gallery", layout="wide")

with st.container(border=True):
    st.markdown("**What the model looks at**")
    token_heatmap(
        make_tokens([(text, score, 0) for text, score in REVIEW]),
        key="review",
        selected=st.session_state.get("token", []),
        explained=[2, 3],
        label="positive",
        scale=0.31,
        caption="of the example's total · [CLS] and [SEP] hold 9 %",
        on_select=lambda chosen: hold("token", chosen),
    )
    probability_bars(ANSWERS, key="answers")
    st.caption(f"token {numbers(st.session_state.get('token', []))}")

reasons, opponents = st.columns([1.12, 1])
with reasons, st.container(border=True):
    st.markdown("**Why does it look at “finest”?**")
    training_rows(
        REASONS,
        key="reasons",
        selected=st.session_state.get("reason"),
        on_select=lambda chosen: hold("reason", chosen),
    )
    st.caption(f"reason {st.session_state.get('reason')}")
with opponents, st.container(border=True):
    st.markdown("**What speaks against “positive”?**")
    opened = training_rows(OPPONENTS, key="opponents", selected=3)
    st.caption(f"opponent {opened}")

pair, topics = st.columns([1.7, 1])
with pair, st.container(border=True):
    st.markdown("**A pair, one-sided scores**")
    chosen = token_heatmap(
        make_tokens(PAIR), key="pair", selected=[], label="attention", scale=0.6, caption="", signed=False
    )
    st.caption(f"pair {numbers(chosen)}")
with topics, st.container(border=True):
    st.markdown("**Many labels**")
    probability_bars(TOPICS, key="topics")
    training_rows([], key="nothing", selected=None)

SHOWN = [text for text, _ in REVIEW[1:-1]]
for drawing in ("links", "heatmap"):
    with st.container(border=True):
        st.markdown(f"**Word by word: {drawing}**")
        pair_view(
            make_pair_words(SHOWN),
            make_pair_words(TRAINED),
            [[JOINED.get((test, train), 0.0) for train in TRAINED] for test in SHOWN],
            key=f"words-{drawing}",
            drawing=drawing,
            label="positive",
            selected=None,
        )
