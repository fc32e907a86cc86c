"""Words that may stand in the place of a word: WordNet's synonyms and antonyms, in the word's own form.

The table is made by `attribution.wordnet`, which says what it holds. No tagger reads the sentence: a word is taken as
the lemma and part of speech that was tagged most often in WordNet's corpora, of those that it can be a form of; a form
in -ing that is an adjective of its own, such as moving, is that. So a word is read alike wherever it stands.
"""

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Literal

from attribution.errors import unknown
from attribution.inflection import Form, inflect, lemmas_of
from attribution.shipped import shipped

PARTS = {"noun": "n", "verb": "v", "adjective": "a", "adverb": "r"}
PartOfSpeech = Literal["noun", "verb", "adjective", "adverb"]
# What these mean depends on the verb after them.
AUXILIARIES = frozenset(("be", "have", "do"))
MOST_READ = 20_000


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A word read as a form of a lemma."""

    lemma: str
    part: str
    form: Form


def synonyms(word: str, pos: PartOfSpeech | None = None) -> list[str]:
    """The synonyms of a word in its own form and with its capitals, those of its more frequent senses first.

    `pos`: the part of speech; None takes the likeliest. [] for a word that is not in the table, a stop word, or one
    without synonyms. Raises UserError for an unknown part of speech.
    """
    return list(_replacements(word, pos, 1))


def antonyms(word: str, pos: PartOfSpeech | None = None) -> list[str]:
    """As `synonyms`, the antonyms: the lemma's own, and not those of words with a similar meaning."""
    return list(_replacements(word, pos, 2))


def reading(word: str, pos: PartOfSpeech | None = None) -> Reading | None:
    """The lemma, part of speech and form that a word is taken as; None where it is in no list, or is a stop word."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    if pos is not None and pos not in PARTS:
        raise unknown("part of speech", pos, PARTS)
    lower = word.lower()
    if lower in ENGLISH_STOP_WORDS:
        return None
    table, found = wordnet(), []
    for part in PARTS.values() if pos is None else (PARTS[pos],):
        for lemma, form in lemmas_of(lower, part, table["exceptions"]):
            if lemma in table["lemmas"][part] and lemma not in AUXILIARIES:
                count = table["lemmas"][part][lemma][0]
                own = form == "base" and part == "a" and lower.endswith("ing") and count > 0
                found.append((own, count, Reading(lemma=lemma, part=part, form=form)))
    # The first of equals stays: the parts of speech in the order above, the word itself before a form of another.
    return max(found, key=lambda each: each[:2])[2] if found else None


@lru_cache(maxsize=MOST_READ)
def _replacements(word: str, pos: PartOfSpeech | None, column: int) -> tuple[str, ...]:
    """Inflected synonyms (column 1) or antonyms (column 2) of a word."""
    read = reading(word, pos)
    if read is None:
        return ()
    table = wordnet()
    made = [
        inflect(lemma, read.part, read.form, table["exceptions"])
        for lemma in table["lemmas"][read.part][read.lemma][column]
        if lemma not in AUXILIARIES
    ]
    cased = [_cased(other, word) for other in made if other is not None]
    return tuple(other for other in dict.fromkeys(cased) if other != word)


def _cased(other: str, word: str) -> str:
    """A word with the capitals of another: all of them, the first letter, or none."""
    if len(word) > 1 and word.isupper():
        return other.upper()
    return other[0].upper() + other[1:] if word[0].isupper() else other


@cache
def wordnet() -> Mapping[str, Mapping[str, Any]]:
    """The table, as `attribution.wordnet.build_table` describes it. Cost: a tenth of a second, once."""
    with gzip.open(shipped("wordnet.json.gz")) as file:
        return json.load(file)
