"""Sentences and clauses of a text, by punctuation and conjunctions, as stretches of characters.

Small rules of our own: they keep every character, know text that was cut into tokens or put into lower case, and need
no trained model. The conjunctions are English; other languages are cut at their punctuation.
"""

import re
from collections.abc import Iterable

Stretch = tuple[int, int]

_STOP = re.compile(r"[.!?…](?:\s*[.!?…])*[\"'”’»)\]]*(?=\s)|[。！？]+[”’」』]*|\n\s*\n")
_ABBREVIATION = re.compile(
    r"(?<!\w)(?:[^\W\d_]|mr|mrs|ms|dr|prof|st|jr|sr|vs|e\.g|i\.e|cf|fig|inc|ltd|approx)$", re.IGNORECASE
)
_PAUSE = re.compile(r"[,;:](?=\s)|[，、；：]|—|\s(?:-{1,3}|–)(?=\s)|(?:\.\s*){2,}|…")
_CONJUNCTION = re.compile(
    r"(?<=\s)(?:but|yet|although|though|even though|because|while|whereas|however|unless|since|until|when|if|which)\s",
    re.IGNORECASE,
)
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|\w+")
LEAST_WORDS = 2


def sentences(text: str) -> list[Stretch]:
    """The sentences of a text in order: together they hold every character but the white space around them.

    A full stop ends a sentence unless it ends an abbreviation or an initial, or the next word begins in lower case; it
    does so all the same where it stands apart, or the text has no capitals. An ellipsis ends one only before a capital.
    """
    return _pieces(text, (0, len(text)), (m.end() for m in _STOP.finditer(text) if _ends_sentence(text, m)), least=1)


def clauses(text: str) -> list[Stretch]:
    """The sentences, cut further after commas, semicolons, colons, dashes and ellipses, and before conjunctions.

    A piece of fewer than two words stays with the next one, or with the one before where it is the last.
    """
    made = []
    for start, end in sentences(text):
        cuts = [m.end() for m in _PAUSE.finditer(text, start, end)]
        cuts += [m.start() for m in _CONJUNCTION.finditer(text, start, end)]
        made += _pieces(text, (start, end), sorted(cuts), least=LEAST_WORDS)
    return made


def around(text: str, start: int, end: int) -> Stretch:
    """The clauses that hold the characters from start to end, as one stretch (Huang et al. 2021, appendix A)."""
    held = [clause for clause in clauses(text) if clause[0] < end and clause[1] > start]
    return held[0][0], held[-1][1]


def _ends_sentence(text: str, stop: re.Match[str]) -> bool:
    marks = stop.group()
    if not marks.strip() or marks[0] in "。！？":
        return True
    rest = text[stop.end() :].lstrip()
    if not rest[:1].islower():
        return marks != "." or not _ABBREVIATION.search(text[: stop.start()])
    if marks.count(".") > 1 or "…" in marks:
        return False
    apart = text[: stop.start()][-1:].isspace()
    return apart or (text == text.lower() and not _ABBREVIATION.search(text[: stop.start()]))


def _pieces(text: str, within: Stretch, cuts: Iterable[int], *, least: int) -> list[Stretch]:
    """A stretch of the text cut at these places; pieces of fewer than `least` words join a neighbour."""
    made: list[Stretch] = []
    start, last = within
    for end in [*cuts, last]:
        if end == last or len(_WORD.findall(text, start, end)) >= least:
            made.append((start, end))
            start = end
    if len(made) > 1 and len(_WORD.findall(text, *made[-1])) < least:
        made[-2:] = [(made[-2][0], made[-1][1])]
    trimmed = [_trimmed(text, *piece) for piece in made]
    return [(start, end) for start, end in trimmed if start < end]


def _trimmed(text: str, start: int, end: int) -> Stretch:
    piece = text[start:end]
    return start + len(piece) - len(piece.lstrip()), start + len(piece.rstrip())
