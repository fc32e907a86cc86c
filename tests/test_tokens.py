"""Tokens and words: whatever the text and the tokenizer, every one stands for the characters it says it does."""

from functools import cache
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from attribution.tokens import Token, Word, tokens_of, words_of
from tests.families import TOKENIZERS
from tests.tiny import PIECES, WORDS

KINDS = ("bert", "roberta", "deberta", "deberta-v2")
TRICKY = [
    *(
        "👩\u200d👩\u200d👧",
        "👍🏽",
        "🇺🇳",
        "🏳️\u200d🌈",
        "e\u0301",
        "a\u0323\u0302",
        "\u0301",
        "ﬁ",
        "İ",
        "ß",
        "½",
        "ｗａｒｍ",
    ),
    *("中文", "日本語", "한국어", "שלום", "مَرْحَبًا", "\u200f", "\u200b", "\ufeff", "हिन्दी", "ก็"),
    *("  ", "\t", "\n\n", "\r\n", "\u00a0", "\u3000", "\u2028", "\x00", "\x07", "\x1b[1m", "\x7f", "\x85", "\ufffd"),
    *("...", "don't", "a.b", "[MASK]", "[SEP]", "<s>", "</s>", "▁", "Ġ", "##ly", "CAFÉ", "10,000"),
]
TEXT = st.lists(
    st.sampled_from([*TRICKY, *WORDS, *PIECES, " ", " "])
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=3),
    min_size=1,
    max_size=12,
).map("".join)


@cache
def tokenizer(kind: str) -> Any:
    return TOKENIZERS[kind]()


def cut_up(kind: str, *texts: str) -> tuple[list[Token], list[Word]]:
    encoded = tokenizer(kind)(*([text] for text in texts))
    tokens = tokens_of(encoded.encodings[0], texts)
    assert [token.index for token in tokens] == list(range(len(encoded["input_ids"][0])))
    return tokens, words_of(tokens, texts)


def check(tokens: list[Token], words: list[Word], texts: tuple[str, ...]) -> None:
    """Every property that tokens and words of any text have."""
    for token in tokens:
        if token.special:
            assert (token.start, token.end) == (0, 0)
        else:
            assert token.text == texts[token.segment][token.start : token.end], token
    assert [index for word in words for index in word.tokens] == [token.index for token in tokens], "a partition"
    for word in words:
        assert word.special or word.text == texts[word.segment][word.start : word.end]
        assert not word.special or len(word.tokens) == 1
        assert word.special or not word.text.strip() or word.text == word.text.strip()
        assert {tokens[index].segment for index in word.tokens} == {word.segment}
    for segment, text in enumerate(texts):
        spans = [(word.start, word.end) for word in words if not word.special and word.segment == segment]
        for before, after in pairwise(spans):
            assert before[1] <= after[0], f"words overlap or are out of order: {before}, {after}"
        by_words = {place for start, end in spans for place in range(start, end)}
        for token in tokens:
            if not token.special and token.segment == segment:
                missed = {i for i in range(token.start, token.end) if not text[i].isspace()} - by_words
                assert not missed, f"{token} lies outside the words"


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=120)
@given(text=TEXT)
def test_tokens_and_words_stand_for_their_characters(kind: str, text: str) -> None:
    """Slices agree with texts, and words are whole, apart, in order and free of white space at their ends."""
    check(*cut_up(kind, text), (text,))


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=60)
@given(text=TEXT, pair=TEXT)
@example(text="a plot", pair="a plot")
def test_pairs_keep_their_texts_apart(kind: str, text: str, pair: str) -> None:
    """The tokens of each text of a pair are those of the text alone, with the same offsets and the right segment."""
    tokens, words = cut_up(kind, text, pair)
    check(tokens, words, (text, pair))
    for segment, own in enumerate((text, pair)):
        alone = [(t.text, t.start, t.end) for t in cut_up(kind, own)[0] if not t.special]
        here = [(t.text, t.start, t.end) for t in tokens if not t.special and t.segment == segment]
        assert here == alone


@pytest.mark.parametrize("kind", KINDS)
def test_plain_words_are_the_words_between_spaces(kind: str) -> None:
    """Of a text of plain words each word is one, however many pieces the tokenizer makes of it."""
    text = "the unwarmly dull clever scene"
    tokens, words = cut_up(kind, text)
    assert [word.text for word in words if not word.special] == text.split()
    assert sum(not token.special for token in tokens) > len(text.split())


@pytest.mark.parametrize("kind", KINDS)
def test_one_emoji_is_one_word(kind: str) -> None:
    """A family emoji of five code points, which byte-level tokenizers cut into bytes, comes back in one piece."""
    family = "👩\u200d👩\u200d👧"
    _, words = cut_up(kind, f"a {family} film")
    assert [word.text for word in words if not word.special] == ["a", family, "film"]
