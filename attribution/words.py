"""Which words of a training example made its score: erasure of one word after the other (Meng et al. 2020 eq. 8)."""

from collections.abc import Callable, Sequence

import numpy as np

from attribution.model import Example
from attribution.query import Query
from attribution.results import WordScore

Copies = Callable[[dict[str, list[list[int]]], np.ndarray, np.ndarray], np.ndarray]


def words_by_erasure(query: Query, score: Copies, positions: Sequence[int]) -> list[list[WordScore]]:
    """I(x_t) = I(z) − I(z with x_t → [UNK]) for every word of some training examples.

    `score` gives the scores of encoded rows, with their label ids and the position of the training example each was
    made from: a normalised score keeps the norm of the whole example, so that a word's part is in the score's own
    unit. Cost: one row a word.
    """
    workspace, classifier = query.workspace, query.classifier
    rows = workspace.train.iloc[list(positions)]
    pairs = rows["text_pair"] if workspace.is_pair else [None] * len(rows)
    examples = [classifier.example(text, pair) for text, pair in zip(rows["text"], pairs, strict=True)]
    encoded, owner = _erased(examples, classifier.unknown_id)
    scores = score(encoded, workspace.label_ids(rows)[owner], np.asarray(positions)[owner])
    return [_word_scores(example, scores[owner == i]) for i, example in enumerate(examples)]


def _word_scores(example: Example, scores: np.ndarray) -> list[WordScore]:
    """Scores of the whole example (first) and of its erased copies, as the words' parts."""
    words = [word for word in example.words if not word.special]
    return [
        WordScore(text=w.text, start=w.start, end=w.end, segment=w.segment, score=float(scores[0] - erased))
        for w, erased in zip(words, scores[1:], strict=True)
    ]


def _erased(examples: Sequence[Example], unknown: int) -> tuple[dict[str, list[list[int]]], np.ndarray]:
    """Each example whole and with one word after the other replaced, and which example each row belongs to."""
    encoded: dict[str, list[list[int]]] = {name: [] for name in examples[0].inputs}
    owner = []
    for number, example in enumerate(examples):
        plain = {name: value[0].tolist() for name, value in example.inputs.items()}
        for tokens in [(), *(word.tokens for word in example.words if not word.special)]:
            for name, values in plain.items():
                encoded[name].append(values)
            ids = [unknown if i in tokens else token for i, token in enumerate(plain["input_ids"])]
            encoded["input_ids"][-1] = ids
            owner.append(number)
    return encoded, np.array(owner)
