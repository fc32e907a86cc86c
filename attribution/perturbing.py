"""Changing one word of a training example to raise or lower what is explained of a test example (Meng 2020 §4.2–4.3).

I(z, z̃, F) = I(z̃, F) − I(z, F) is the influence on F of training on the changed example z̃ in place of z (eq. 6–7).
Positive = the change raises F; divided by the number of training examples it is the predicted change of F once the
model is trained again. Meng's eq. 9 and 10 print an arg max for lowering F and an arg min for raising it, against the
sign of eq. 7; here what lowers F the most has the smallest I.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from attribution.errors import UserError
from attribution.index import Progress, silent
from attribution.lexicon import antonyms, synonyms
from attribution.model import Example
from attribution.quantity import Quantity
from attribution.query import Query
from attribution.results import WordScore
from attribution.scoring import Choices, copies_of, plan, sides_of
from attribution.tokens import Word
from attribution.words import Copies, erased_rows, training_examples

DEFAULT = Choices(scope="last:2", solver="auto", normalise="none")
CANDIDATES = 5
JOINTS = "-'’"
Kind = Literal["synonym", "antonym", "own"]
Lexicon = Callable[[str], Mapping[str, Kind]]


@dataclass(frozen=True, kw_only=True)
class Replacement:
    """One changed word of a training example, z → z̃.

    `start` and `end` are the word's characters in the text (segment 0) or the second text of a pair (segment 1); `text`
    and `text_pair` are the changed example. `score`: I(z, z̃, F), positive = raises F.
    """

    train_id: int
    segment: int
    start: int
    end: int
    word: str
    other: str
    kind: Kind
    text: str
    text_pair: str | None
    score: float


@dataclass(frozen=True, kw_only=True)
class Search:
    """What the two-stage search found for one training example.

    `words`: every word that could be replaced, with its influence I(x_t, F) (eq. 8); `tried`: those whose replacements
    were scored, the leading word first. `replacements`: the best first. All are empty where no word can be replaced.
    """

    train_id: int
    words: tuple[WordScore, ...]
    tried: tuple[WordScore, ...]
    replacements: tuple[Replacement, ...]


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    """A training example with its words that can be replaced, and by what."""

    position: int
    train_id: int
    label: int
    example: Example
    words: list[Word]
    others: list[Mapping[str, Kind]]


def synonyms_of(word: str) -> Mapping[str, Kind]:
    """What an attack may put in the place of a word (Meng 2020 §4.2)."""
    return dict.fromkeys(synonyms(word), "synonym")


def synonyms_and_antonyms_of(word: str) -> Mapping[str, Kind]:
    """What a repair may put in the place of a word (Meng 2020 §4.3)."""
    return {**dict.fromkeys(antonyms(word), "antonym"), **synonyms_of(word)}


def copy_scores(query: Query, quantity: Quantity, choices: Choices = DEFAULT, progress: Progress = silent) -> Copies:
    """A function that gives I(z̃, F) of any encoded rows. Cost: F's gradient and the solve with the curvature, once.

    EK-FAC is fitted first where the index has none yet; nothing else of an index is read.
    """
    return copies_of(sides_of(query, quantity, plan(query.workspace, choices, indexed=False), progress, []))


def search_replacements(
    query: Query,
    score: Copies,
    train_ids: Sequence[int],
    *,
    raises: bool,
    lexicon: Lexicon = synonyms_of,
    candidates: int = CANDIDATES,
    seed: int = 0,
) -> list[Search]:
    """The replacements of one word that raise F (or lower it), for each of some training examples (Meng 2020 §4.2).

    Stage one finds, by erasing one word after the other, the word that raises F the most where F is to fall (eq. 11),
    or that lowers it the most where F is to rise, among the words that the lexicon has replacements for. Stage two
    scores all its replacements (eq. 12), and those of `candidates` further words drawn at random with the seed and the
    training example's position. `score` is `copy_scores` of the quantity. Cost: a row each word and replacement.
    Raises UserError for an unknown training example.
    """
    found = _candidates(query, train_ids, lexicon)
    parts = _word_parts(query, score, found)
    chosen = [_tried(one, part, raises, candidates, seed) for one, part in zip(found, parts, strict=True)]
    asked = [
        [_replaced(one, place, other, kind) for place in places for other, kind in one.others[place].items()]
        for one, places in zip(found, chosen, strict=True)
    ]
    scored = score_replacements(query, score, [each for row in asked for each in row])
    made, at = [], 0
    for one, part, places, row in zip(found, parts, chosen, asked, strict=True):
        best = sorted(scored[at : at + len(row)], key=lambda each: -each.score if raises else each.score)
        at += len(row)
        words = [
            WordScore(text=w.text, start=w.start, end=w.end, segment=w.segment, score=float(value))
            for w, value in zip(one.words, part, strict=True)
        ]
        made.append(
            Search(
                train_id=one.train_id,
                words=tuple(words),
                tried=tuple(words[place] for place in places),
                replacements=tuple(best),
            )
        )
    return made


def own_replacement(query: Query, score: Copies, train_id: int, *, segment: int, start: int, other: str) -> Replacement:
    """A word of the user's own in the place of the word that begins at a character of a training example.

    Raises UserError where no word that the model reads begins there, and for a blank or an unchanged word.
    """
    (example,) = training_examples(query.workspace, query.workspace.train_positions([train_id]))
    word = next((w for w in example.words if not w.special and (w.segment, w.start) == (segment, start)), None)
    if word is None:
        raise UserError(f"No word of training example {train_id} that the model reads begins at character {start}.")
    if not other.strip() or other.strip() == word.text:
        raise UserError(f"Give another word than '{word.text}' to stand in its place, and not a blank one.")
    return score_replacements(query, score, [_replacement(train_id, example, word, other.strip(), "own")])[0]


def score_replacements(query: Query, score: Copies, asked: Sequence[Replacement]) -> list[Replacement]:
    """The same replacements with I(z, z̃, F) as their scores. Cost: one row each, and one for each training example."""
    if not asked:
        return []
    ids = list(dict.fromkeys(each.train_id for each in asked))
    positions = np.array(query.workspace.train_positions(ids))
    workspace = query.workspace
    rows = workspace.train.iloc[positions]
    owner = np.concatenate([np.arange(len(ids)), [ids.index(each.train_id) for each in asked]])
    texts = [*rows["text"], *(each.text for each in asked)]
    pairs = [*rows["text_pair"], *(str(each.text_pair) for each in asked)] if workspace.is_pair else None
    encoded = dict(query.classifier.tokenize(texts, pairs))
    made = score(encoded, workspace.label_ids(rows)[owner], positions[owner])
    before, after = made[: len(ids)], made[len(ids) :]
    return [
        replace(each, score=float(value - before[at]))
        for each, value, at in zip(asked, after, owner[len(ids) :], strict=True)
    ]


def random_replacement(query: Query, train_id: int, lexicon: Lexicon, draw: np.random.Generator) -> Replacement | None:
    """A word drawn at random among those with replacements, by one of its replacements; its score is NaN.

    The control of an attack or a repair. None where no word can be replaced.
    """
    (one,) = _candidates(query, [train_id], lexicon)
    if not one.words:
        return None
    place = int(draw.integers(len(one.words)))
    other, kind = list(one.others[place].items())[int(draw.integers(len(one.others[place])))]
    return _replaced(one, place, other, kind)


def _candidates(query: Query, train_ids: Sequence[int], lexicon: Lexicon) -> list[_Candidate]:
    positions = query.workspace.train_positions(train_ids)
    examples = training_examples(query.workspace, positions) if positions else []
    labels = query.workspace.label_ids(query.workspace.train.iloc[positions])
    made = []
    for position, train_id, label, example in zip(positions, train_ids, labels.tolist(), examples, strict=True):
        others = [(w, lexicon(w.text)) for w in example.words if not w.special and _stands_alone(example, w)]
        kept = [(w, found) for w, found in others if found]
        made.append(
            _Candidate(
                position=position,
                train_id=train_id,
                label=label,
                example=example,
                words=[w for w, _ in kept],
                others=[found for _, found in kept],
            )
        )
    return made


def _stands_alone(example: Example, word: Word) -> bool:
    """Whether a word is not joined to another, as those of 'life-affirming' and 'it's' are."""
    text = example.texts[word.segment]
    return text[word.start - 1 : word.start] not in tuple(JOINTS) and text[word.end : word.end + 1] not in tuple(JOINTS)


def _word_parts(query: Query, score: Copies, found: Sequence[_Candidate]) -> list[np.ndarray]:
    """I(x_t, F) = I(z, F) − I(z with x_t → [UNK], F) of every word that can be replaced (eq. 8)."""
    asked = [one for one in found if one.words]
    if not asked:
        return [np.zeros(0) for _ in found]
    encoded, owner = erased_rows(
        [one.example for one in asked], [[w.tokens for w in one.words] for one in asked], query.classifier.unknown_id
    )
    labels, positions = np.array([one.label for one in asked]), np.array([one.position for one in asked])
    made, at, parts = score(encoded, labels[owner], positions[owner]), 0, []
    for one in found:
        count = 1 + len(one.words) if one.words else 0
        parts.append(made[at : at + 1] - made[at + 1 : at + count])
        at += count
    return parts


def _tried(one: _Candidate, parts: np.ndarray, raises: bool, candidates: int, seed: int) -> list[int]:
    """The places of the words to try: the leading one, then some at random."""
    if not one.words:
        return []
    leading = int(parts.argmin() if raises else parts.argmax())
    others = np.delete(np.arange(len(one.words)), leading)
    drawn = np.random.default_rng([seed, one.position]).permutation(others)[:candidates]
    return [leading, *drawn.tolist()]


def _replaced(one: _Candidate, place: int, other: str, kind: Kind) -> Replacement:
    return _replacement(one.train_id, one.example, one.words[place], other, kind)


def _replacement(train_id: int, example: Example, word: Word, other: str, kind: Kind) -> Replacement:
    texts = list(example.texts)
    texts[word.segment] = texts[word.segment][: word.start] + other + texts[word.segment][word.end :]
    return Replacement(
        train_id=train_id,
        segment=word.segment,
        start=word.start,
        end=word.end,
        word=word.text,
        other=other,
        kind=kind,
        text=texts[0],
        text_pair=None if example.text_pair is None else texts[1],
        score=float("nan"),
    )
