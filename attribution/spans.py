"""Spans: stretches of a text that are masked as one, how they are found, and which are none.

A finder cuts a text into spans, or reads them from columns of the data. What a person gives, in the data or by clicking
tokens, is checked: every mistake is one line.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from attribution.errors import UserError
from attribution.model import Example
from attribution.segmentation import around, clauses, sentences
from attribution.workspace import Workspace

FINDERS = ("clauses", "sentences", "ngrams", "aspect", "given")
SEQUENCES = (list, tuple, np.ndarray)
Place = tuple[int, int, int]  # start, end, segment


@dataclass(frozen=True, kw_only=True)
class Span:
    """Characters (code points) from `start` to `end` of a text, and the model's tokens that stand for them.

    They count into the second text of a pair where `segment` is 1. A token that is in the span in part is in it.
    """

    start: int
    end: int
    segment: int
    tokens: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Finder:
    """How spans are found, by the name of one of FINDERS; `size`: words of an n-gram.

    clauses and sentences part the text, so that a text of a single one is a span as a whole. ngrams are windows of
    `size` words that slide by one word and overlap. aspect, for pairs of an aspect and a sentence: the clauses of the
    second text that hold the first. given: columns `start` and `end`, or `span`, of the data.
    """

    name: str
    size: int = 4

    def find(self, example: Example, row: Mapping[str, Any] | None, where: str) -> list[Span]:
        """The spans of an example, in order, as far as the model reads its texts.

        `row` holds the columns of the data that the example comes from, `where` names it in an error. Raises UserError
        where the finder does not fit the example or the row's spans are none. Cost: no run of the model.
        """
        if self.name == "ngrams":
            return spans_at(example, _windows(example, self.size))
        if self.name == "aspect":
            return spans_at(example, _aspect(example))
        if self.name == "given":
            return _given(example, row, where)
        cut = sentences if self.name == "sentences" else clauses
        return spans_at(example, [(s, e, part) for part, text in enumerate(example.texts) for s, e in cut(text)])


def finders_of(workspace: Workspace) -> list[str]:
    """The names of the finders that fit a workspace's texts and columns."""
    given = "span" in workspace.train or {"start", "end"} <= set(workspace.train)
    fits = {"aspect": workspace.is_pair, "given": given}
    return [name for name in FINDERS if fits.get(name, True)]


def spans_at(example: Example, places: Iterable[Place]) -> list[Span]:
    """The spans at some places, cut where the model stops reading; without those of which it reads nothing."""
    made = []
    for start, end, segment in places:
        read = example.cut[segment]
        last = end if read is None else min(end, read)
        tokens = tuple(
            t.index
            for t in example.tokens
            if not t.special and t.segment == segment and t.start < last and t.end > max(start, 0)
        )
        if tokens:
            made.append(Span(start=start, end=last, segment=segment, tokens=tokens))
    return made


def _windows(example: Example, size: int) -> list[Place]:
    places = []
    for segment in range(len(example.texts)):
        words = [w for w in example.words if not w.special and w.segment == segment and w.text.strip()]
        for first in range(max(1, len(words) - size + 1) if words else 0):
            places.append((words[first].start, words[min(first + size, len(words)) - 1].end, segment))
    return places


def _aspect(example: Example) -> list[Place]:
    if example.text_pair is None:
        raise UserError(
            "finder=aspect is for pairs of an aspect and a sentence, and these are single texts: "
            "choose clauses, sentences, ngrams or given."
        )
    aspect = re.compile(rf"(?<!\w){re.escape(example.text.strip())}(?!\w)", re.IGNORECASE)
    found = [around(example.text_pair, *m.span()) for m in aspect.finditer(example.text_pair)]
    return [(start, end, 1) for start, end in dict.fromkeys(found) if (start, end) not in _inside(found)]


def _inside(found: Sequence[tuple[int, int]]) -> set[tuple[int, int]]:
    """The stretches that lie in a longer one."""
    return {a for a in found for b in found if a != b and b[0] <= a[0] and a[1] <= b[1]}


def _given(example: Example, row: Mapping[str, Any] | None, where: str) -> list[Span]:
    if row is None:
        raise UserError(
            "finder=given reads the spans of a row of the data, and a text of one's own has none: "
            "give its span as tokens (--token 3-7), or choose another finder."
        )
    places = _read_places(row, len(example.texts) - 1, where)
    check_places(example, places, where)
    made = spans_at(example, sorted(places, key=lambda place: (place[2], place[0])))
    for span in made:
        if covers_everything(example, span.tokens):
            raise UserError(
                f"{where}: the span {span.start}-{span.end} covers the whole text, and masked it leaves nothing to "
                "compare: give a part of the text."
            )
    return made


def _read_places(row: Mapping[str, Any], segment: int, where: str) -> list[Place]:
    """The spans that a row's columns give; [] where their value is missing.

    `span` is 'start-end', several of them with commas between, or a list of pairs of numbers; `start` and `end` are
    numbers. In a pair they count into the second text, unless a column `segment` says 0.
    """
    if "span" in row:
        value = row["span"]
    elif "start" in row and "end" in row:
        value = [row["start"], row["end"]]
    else:
        raise UserError("finder=given reads columns 'start' and 'end', or 'span', and the data has none of these.")
    if isinstance(value, str):
        pairs = [piece.split("-") for piece in value.split(",")] if value.strip() else []
    elif isinstance(value, SEQUENCES) and all(isinstance(pair, SEQUENCES) for pair in value):
        pairs = list(value)
    else:
        pairs = [value]
    return [_place(pair, row.get("segment", segment), where) for pair in pairs if not _missing(pair)]


def _missing(pair: Any) -> bool:
    values = pair if isinstance(pair, SEQUENCES) else [pair]
    return all(value is None or value == "" or value != value for value in values)  # NaN differs from itself


def _place(pair: Any, segment: Any, where: str) -> Place:
    try:
        numbers = [float(value) for value in (*pair, segment)]
        start, end, part = (int(number) for number in numbers)
        if [start, end, part] != numbers:
            raise ValueError
    except (TypeError, ValueError, OverflowError) as error:
        shown = "-".join(str(value) for value in pair) if isinstance(pair, SEQUENCES) else pair
        raise UserError(
            f"{where}: '{shown}' is no span: give whole numbers start and end, in characters from 0."
        ) from error
    return start, end, part


def check_places(example: Example, places: Sequence[Place], where: str) -> None:
    """Raise UserError for a span that is reversed, empty, out of its text or blank, or overlaps another."""
    before: Place | None = None
    for start, end, segment in sorted(places, key=lambda place: (place[2], place[0], place[1])):
        what = f"{where}: the span {start}-{end}"
        if not 0 <= segment < len(example.texts):
            raise UserError(f"{what} is of text {segment}, and its texts are 0 to {len(example.texts) - 1}.")
        text = example.texts[segment]
        if end < start:
            raise UserError(f"{what} runs backwards: its start comes before its end.")
        if start < 0 or end > len(text):
            raise UserError(f"{what} is out of range: the text has characters 0 to {len(text)}.")
        if not text[start:end].strip():
            raise UserError(f"{what} is empty: it holds no character but white space.")
        if before is not None and before[2] == segment and start < before[1]:
            raise UserError(f"{what} overlaps {before[0]}-{before[1]}: spans of a text lie apart.")
        before = (start, end, segment)


def check_tokens(example: Example, tokens: Sequence[int]) -> None:
    """Raise UserError where clicked tokens are no span: special or repeated ones, of both texts of a pair, or all."""
    chosen = [example.tokens[index] for index in tokens]
    shown = f"The span of tokens {', '.join(str(index) for index in tokens)}"
    if len(set(tokens)) < len(tokens):
        raise UserError(f"{shown} names a token twice.")
    if len({token.segment for token in chosen if not token.special}) > 1:
        raise UserError(f"{shown} goes over the separator of the pair: a span lies in one of the two texts.")
    for token in chosen:
        if token.special:
            raise UserError(f"{shown} holds token {token.index}, {token.text}, which is no part of the text.")
    if covers_everything(example, tokens):
        raise UserError(f"{shown} covers the whole text, and masked it leaves nothing to compare: choose a part.")


def covers_everything(example: Example, tokens: Sequence[int]) -> bool:
    """Whether no token of the texts is left outside but white space."""
    return {t.index for t in example.tokens if not t.special and t.text.strip()} <= set(tokens)
