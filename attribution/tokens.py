"""The model's tokens with their places in the text, and the words they make up."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Token:
    """One token of the model's input.

    `start` and `end` are character offsets (code points) into the text, or into the second text of a pair where
    `segment` is 1. A special token such as [CLS] covers no characters: start = end = 0.
    """

    index: int
    text: str
    start: int
    end: int
    special: bool
    segment: int
    word: int


@dataclass(frozen=True, kw_only=True)
class Word:
    """Neighbouring tokens that the tokenizer cut from one word; a special token is a word of its own."""

    tokens: tuple[int, ...]
    text: str
    start: int
    end: int
    special: bool
    segment: int


def tokens_of(encoding: Any, texts: Sequence[str]) -> list[Token]:
    """Tokens of one encoded example (a `tokenizers.Encoding`) of a text, or of a pair of texts.

    Offsets are trimmed of the white space that some tokenizers count in, so `texts[segment][start:end]` is what the
    token stands for. Cost: one pass over the tokens.
    """
    made: list[Token] = []
    word, before = -1, None
    segment: Any
    for index, (word_id, segment, (start, end), piece) in enumerate(
        zip(encoding.word_ids, encoding.sequence_ids, encoding.offsets, encoding.tokens, strict=True)
    ):
        special = segment is None
        here = (segment, word_id)
        whole = "" if special else texts[int(segment)]
        start, end = (0, 0) if special else _trimmed(whole, start, end)
        overlaps = bool(made) and not special and made[-1].segment == segment and start < made[-1].end
        if special or not (here == before or overlaps):
            word += 1
        before = here
        text = piece if special else whole[start:end]
        made.append(
            Token(index=index, text=text, start=start, end=end, special=special, segment=segment or 0, word=word)
        )
    return made


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    piece = text[start:end]
    left = len(piece) - len(piece.lstrip())
    return (start + left, start + len(piece.rstrip())) if piece.strip() else (start, end)


def words_of(tokens: Sequence[Token], texts: Sequence[str]) -> list[Word]:
    """The tokens merged into words, in order; every token belongs to exactly one word.

    A piece of white space, as some tokenizers put before a word, counts among its tokens and not in its span.
    """
    words = []
    for _, group in groupby(tokens, key=lambda token: token.word):
        pieces = list(group)
        first = pieces[0]
        seen = [t for t in pieces if t.text.strip()] or pieces
        start, end = min(t.start for t in seen), max(t.end for t in seen)
        words.append(
            Word(
                tokens=tuple(t.index for t in pieces),
                text=first.text if first.special else texts[first.segment][start:end],
                start=start,
                end=end,
                special=first.special,
                segment=first.segment,
            )
        )
    return words


def cuts_of(encoding: Any, tokens: Sequence[Token], texts: Sequence[str]) -> tuple[int | None, int | None]:
    """The character up to which each text is read, None for one that is read whole."""
    cut: list[int | None] = [None, None]
    if encoding.overflowing:
        for segment, whole in enumerate(texts):
            end = max((t.end for t in tokens if t.segment == segment and not t.special), default=0)
            cut[segment] = end if whole[end:].strip() else None
    return cut[0], cut[1]
