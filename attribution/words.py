"""Which words of a training example made its score: erasure of one word after the other (Meng et al. 2020 eq. 8)."""

from collections.abc import Callable, Sequence

import numpy as np

from attribution.model import Encoded, Example
from attribution.query import Question
from attribution.results import WordScore
from attribution.tokens import Word
from attribution.workspace import Workspace

Copies = Callable[[Encoded, np.ndarray, np.ndarray], np.ndarray]


def words_by_erasure(query: Question, score: Copies, positions: Sequence[int]) -> list[list[WordScore]]:
    """I(x_t) = I(z) − I(z with x_t → [UNK]) for every word of some training examples.

    `score` gives the scores of encoded rows, with their label ids and the position of the training example each was
    made from: a normalised score keeps the norm of the whole example, so that a word's part is in the score's own
    unit. Cost: one row a word.
    """
    workspace = query.workspace
    examples = training_examples(workspace, positions)
    words = [[word.tokens for word in plain_words(example)] for example in examples]
    encoded, owner = erased_rows(examples, words, query.classifier.unknown_id)
    labels = workspace.label_ids(workspace.train.iloc[list(positions)])
    return word_parts(examples, score(encoded, labels[owner], np.asarray(positions)[owner]))


def training_examples(workspace: Workspace, positions: Sequence[int]) -> list[Example]:
    """Training examples by position, encoded, with their words."""
    rows = workspace.train.iloc[list(positions)]
    pairs = rows["text_pair"].tolist() if workspace.is_pair else None
    return workspace.classifier.examples(rows["text"].tolist(), pairs)


def plain_words(example: Example) -> list[Word]:
    """The words of an example's own text."""
    return [word for word in example.words if not word.special]


def word_parts(examples: Sequence[Example], scores: np.ndarray) -> list[list[WordScore]]:
    """The words' parts from the scores of each example whole, then with one word after the other erased."""
    made, at = [], 0
    for example in examples:
        words = plain_words(example)
        parts = scores[at] - scores[at + 1 : at + 1 + len(words)]
        at += 1 + len(words)
        made.append(
            [
                WordScore(text=w.text, start=w.start, end=w.end, segment=w.segment, score=float(part))
                for w, part in zip(words, parts, strict=True)
            ]
        )
    return made


def erased_rows(
    examples: Sequence[Example], erasures: Sequence[Sequence[tuple[int, ...]]], erased: int
) -> tuple[Encoded, np.ndarray]:
    """Each example whole, then with one set of its tokens after the other replaced by the token id `erased`.

    Returns the encoded rows, not padded, and which example each belongs to.
    """
    encoded: dict[str, list[list[int]]] = {name: [] for name in examples[0].inputs}
    owner = []
    for number, (example, sets) in enumerate(zip(examples, erasures, strict=True)):
        plain = {name: value[0].tolist() for name, value in example.inputs.items()}
        for tokens in [(), *sets]:
            for name, values in plain.items():
                encoded[name].append(values)
            ids = [erased if i in tokens else token for i, token in enumerate(plain["input_ids"])]
            encoded["input_ids"][-1] = ids
            owner.append(number)
    return encoded, np.array(owner)
