"""Finders of spans: what they find maps back into the text, parts it or slides over it, and mistakes are one line."""

import re
from itertools import pairwise
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.errors import UserError
from attribution.model import Example
from attribution.segmentation import around, clauses, sentences
from attribution.spans import Finder, Span, check_tokens, covers_everything
from tests.families import FAMILIES, classifier_of
from tests.tiny import refusal

PIECES = [
    *("warm", "Dull", "the plot", "but", "which", "because", "and", "Mr.", "J.", "3.50", "e.g.", "it's", "unwarmly"),
    *(".", "!", "?", ",", ";", ":", "...", ". . .", "…", "—", " - ", '"', ")", "(", "\n", "\n\n", "\t", "  ", "\u00a0"),
    *("映画は", "面白い。", "、", "שלום", "é", "🙂", "\u200b", "_"),
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=14).flatmap(
    lambda pieces: st.sampled_from(["", " "]).map(lambda between: between.join(pieces))
)
EXACT = {
    "the food was good. the staff was slow .": ["the food was good.", "the staff was slow ."],
    "Mr. Smith left. It rained, e.g. in June. J. R. wrote... and slept?": [
        "Mr. Smith left.",
        "It rained, e.g. in June.",
        "J. R. wrote... and slept?",
    ],
    '"Why?" he said. It cost 3.50 dollars.': ['"Why?" he said.', "It cost 3.50 dollars."],
    "a title\n\na text over\ntwo lines": ["a title", "a text over\ntwo lines"],
    "面白い。長い！": ["面白い。", "長い！"],
    "no end": ["no end"],
    " \n ": [],
}
CLAUSES = {
    "been here a few times and food has always been good but service really suffers when it gets crowded .": [
        "been here a few times and food has always been good",
        "but service really suffers",
        "when it gets crowded .",
    ],
    "the movie , while beautiful , feels labored": ["the movie ,", "while beautiful ,", "feels labored"],
    "warm , clever , tender film": ["warm , clever ,", "tender film"],
    "it cost 1,000 dollars. it was dull — very dull": ["it cost 1,000 dollars.", "it was dull —", "very dull"],
    "i laughed . . . then i cried": ["i laughed . . .", "then i cried"],
    "but": ["but"],
}


def slices(text: str, found: list[tuple[int, int]]) -> list[str]:
    return [text[start:end] for start, end in found]


@pytest.mark.parametrize("text", EXACT)
def test_sentences_of_known_texts(text: str) -> None:
    """Abbreviations, initials, decimals, quotes, lower-case text, blank lines and full-width marks."""
    assert slices(text, sentences(text)) == EXACT[text]


@pytest.mark.parametrize("text", CLAUSES)
def test_clauses_of_known_texts(text: str) -> None:
    """Cut before conjunctions and after commas, dashes and ellipses; a piece of one word stays with its neighbour."""
    assert slices(text, clauses(text)) == CLAUSES[text]


@settings(max_examples=400, deadline=None)
@given(TEXTS)
def test_sentences_and_clauses_part_the_text(text: str) -> None:
    """In order, apart, trimmed, none blank; together they hold every character but white space; clauses keep within."""
    for cut in (sentences, clauses):
        found = cut(text)
        assert all(piece and piece == piece.strip() for piece in slices(text, found))
        assert all(a[1] <= b[0] for a, b in pairwise(found))
        assert "".join("".join(slices(text, found)).split()) == "".join(text.split())
    whole = sentences(text)
    assert all(any(s <= start and end <= e for s, e in whole) for start, end in clauses(text))


@settings(max_examples=200, deadline=None)
@given(TEXTS, st.data())
def test_around_is_the_clauses_that_hold_it(text: str, data: st.DataObject) -> None:
    """It begins and ends where a clause does, holds what was asked for, and no clause beyond it."""
    found = clauses(text)
    if not found:
        return
    start = data.draw(st.sampled_from([at for s, e in found for at in range(s, e)]))
    held = around(text, start, start + 1)
    assert held in found and held[0] <= start < held[1]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", ["clauses", "sentences", "ngrams"])
def test_spans_of_every_family_map_back(family: str, name: str) -> None:
    """A span's tokens are those that overlap its characters; parted texts lose no token; windows have `size` words."""

    @settings(max_examples=40, deadline=None)
    @given(TEXTS.filter(str.strip), st.integers(1, 4))
    def holds(text: str, size: int) -> None:
        example = classifier_of(family).example(text)
        found = Finder(name=name, size=size).find(example, None, "here")
        read = [t for t in example.tokens if not t.special and t.text.strip()]
        for span in found:
            assert 0 <= span.start < span.end <= len(text) and span.segment == 0
            over = [t.index for t in read if t.start < span.end and span.start < t.end]
            assert [i for i in span.tokens if i in {t.index for t in read}] == over
        assert {i for span in found for i in span.tokens} >= {t.index for t in read}
        words = [w for w in example.words if not w.special and w.text.strip()]
        if name == "ngrams" and words:
            assert len(found) == max(1, len(words) - size + 1)
            expected = [
                (words[i].start, words[min(i + size, len(words)) - 1].end) for i in range(max(1, len(words) - size + 1))
            ]
            assert [(s.start, s.end) for s in found] == expected
        else:
            assert all(a.end <= b.start for a, b in pairwise(found)), "spans overlap"

    holds()


def example_of(text: str, text_pair: str | None = None) -> Example:
    return classifier_of("bert").example(text, text_pair)


def texts_of(example: Example, spans: list[Span]) -> list[str]:
    return [example.texts[span.segment][span.start : span.end] for span in spans]


def test_a_pair_has_spans_in_both_texts() -> None:
    """Offsets count into the text that the segment names, and no span holds tokens of both."""
    example = example_of("a warm film , but dull", "the cast was cold . the song was warm .")
    found = Finder(name="clauses").find(example, None, "here")
    assert texts_of(example, found) == ["a warm film ,", "but dull", "the cast was cold .", "the song was warm ."]
    for span in found:
        assert {example.tokens[i].segment for i in span.tokens} == {span.segment}
        assert not any(example.tokens[i].special for i in span.tokens)


def test_a_truncated_text_has_the_spans_that_are_read() -> None:
    """A span that the cut goes through ends there, with the tokens before it; what lies beyond is left out."""
    text = "the plot was warm , " * 20
    example = example_of(text)
    cut = example.cut[0]
    assert cut is not None
    found = Finder(name="clauses").find(example, None, "here")
    assert len(found) < len(clauses(text)) == 20
    assert found[-1].end == cut and max(found[-1].tokens) == len(example.tokens) - 2
    assert [(s.start, s.end) for s in found[:-1]] == clauses(text)[: len(found) - 1]


def test_aspects_have_the_clauses_that_hold_them() -> None:
    """Every whole-word occurrence, whatever its case; one span where two lie in one clause; none where it is absent."""
    sentence = "The cast was warm, but the film was dull. Film and film, very stale castings"
    for aspect, expected in {
        "cast": ["The cast was warm,"],
        "film": ["but the film was dull.", "Film and film,"],
        "very stale": ["very stale castings"],
        "warm, but": ["The cast was warm, but the film was dull."],
        "song": [],
    }.items():
        example = example_of(aspect, sentence)
        found = Finder(name="aspect").find(example, None, "here")
        assert texts_of(example, found) == expected, aspect
        assert all(span.segment == 1 for span in found)
    assert "pairs of an aspect and a sentence" in refusal(
        lambda: Finder(name="aspect").find(example_of("warm film"), None, "here")
    )


TEXT = "the plot was warm and the cast was cold"
GIVEN: dict[str, tuple[dict[str, Any], list[str]]] = {
    "two numbers": ({"start": 4, "end": 8}, ["plot"]),
    "floats, as a column with gaps has": ({"start": 4.0, "end": 8.0}, ["plot"]),
    "text, as a file of text has": ({"start": "4.0", "end": "8"}, ["plot"]),
    "missing text": ({"start": "", "end": ""}, []),
    "missing": ({"start": float("nan"), "end": float("nan")}, []),
    "text": ({"span": "4-8"}, ["plot"]),
    "several": ({"span": "26-30, 4-8"}, ["plot", "cast"]),
    "a list": ({"span": [4, 8]}, ["plot"]),
    "a list of pairs": ({"span": [[4, 8], [9, 17]]}, ["plot", "was warm"]),
    "none": ({"span": None}, []),
    "blank": ({"span": " "}, []),
    "within a word": ({"span": "5-7"}, ["lo"]),
}


@pytest.mark.parametrize("name", GIVEN)
def test_spans_given_in_the_data_are_read(name: str) -> None:
    """Numbers, text, lists, and rows without a span; a token that a span holds in part is in it."""
    columns, expected = GIVEN[name]
    example = example_of(TEXT)
    found = Finder(name="given").find(example, columns, "row 3")
    assert texts_of(example, found) == expected
    words = [[example.tokens[i].text for i in span.tokens] for span in found]
    assert words == [text.split() if text != "lo" else ["plot"] for text in expected]


def test_given_spans_of_a_pair_are_of_its_second_text() -> None:
    """Where an aspect stands first; a column `segment` says otherwise."""
    example = example_of("the plot", "a warm film")
    for columns, expected in (({"span": "2-6"}, "warm"), ({"span": "4-8", "segment": 0}, "plot")):
        assert texts_of(example, Finder(name="given").find(example, columns, "here")) == [expected]


MISTAKES: dict[str, tuple[dict[str, Any] | None, str]] = {
    "overlapping": ({"span": "4-12, 9-17"}, "row 3: the span 9-17 overlaps 4-12"),
    "the same twice": ({"span": "4-8,4-8"}, "overlaps"),
    "empty": ({"start": 4, "end": 4}, "4-4 is empty"),
    "blank": ({"start": 3, "end": 4}, "3-4 is empty"),
    "reversed": ({"start": 8, "end": 4}, "8-4 runs backwards"),
    "too far": ({"start": 4, "end": 99}, "4-99 is out of range: the text has characters 0 to 39"),
    "negative": ({"start": -4, "end": 8}, "out of range"),
    "everything": ({"start": 0, "end": len(TEXT)}, "covers the whole text"),
    "no number": ({"span": "from 4"}, "'from 4' is no span"),
    "half a number": ({"start": 4.5, "end": 8}, "'4.5-8' is no span"),
    "half missing": ({"start": 4, "end": float("nan")}, "is no span"),
    "one number": ({"span": 4}, "'4' is no span"),
    "another text": ({"span": "4-8", "segment": 1}, "text 1"),
    "no columns": ({"label": "x"}, "'start' and 'end', or 'span'"),
    "no row": (None, "text of one's own"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_given_spans_is_one_line(name: str) -> None:
    """The row, the span and the rule."""
    columns, message = MISTAKES[name]
    assert message in refusal(lambda: Finder(name="given").find(example_of(TEXT), columns, "row 3"))


def test_clicked_tokens_are_checked() -> None:
    """No special token, none twice, none of the other text of a pair, and not all of them."""
    example = example_of("the plot", "was warm")
    for tokens, message in {
        (0, 1): "[CLS]",
        (2, 3, 4): "over the separator of the pair",
        (2, 4): "over the separator of the pair",
        (3,): "[SEP], which is no part",
        (1, 1): "twice",
    }.items():
        assert message in refusal(lambda tokens=tokens: check_tokens(example, tokens))
    check_tokens(example, (1, 2))
    single = example_of("the plot")
    assert "covers the whole text" in refusal(lambda: check_tokens(single, (2, 1)))
    assert covers_everything(single, (1, 2)) and not covers_everything(example, (1, 2))


def test_rows_of_a_table_are_read_as_they_are() -> None:
    """A pandas row, with numpy's numbers, is as good as a dictionary."""
    row = pd.DataFrame({"start": [4, 5], "end": [8, 9]}).iloc[0]
    assert len(Finder(name="given").find(example_of(TEXT), dict(row), "here")) == 1


def test_finders_do_not_take_a_pattern_for_a_text() -> None:
    """An aspect with the marks of a regular expression is looked for as it is written."""
    example = example_of("film (a.k.a", "the film (a.k.a story) was warm")
    assert re.escape("film (a.k.a") != "film (a.k.a"
    assert len(Finder(name="aspect").find(example, None, "here")) == 1
    with pytest.raises(UserError):
        Finder(name="given").find(example, {}, "here")
