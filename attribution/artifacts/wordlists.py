"""The words of many texts as one flat array of numbers, so that a feature of all rows is a few array operations."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attribution.methods.lexical import lexical_words
from attribution.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class WordList:
    """The words of some texts in order: `ids` (words,) into a vocabulary, `owner` (words,) the text of each."""

    ids: np.ndarray
    owner: np.ndarray
    counts: np.ndarray

    def share(self, found: np.ndarray) -> np.ndarray:
        """The share of each text's words for which `found` (words,) is true: (texts,); NaN for a text without words."""
        hits = np.bincount(self.owner, weights=found, minlength=len(self.counts))
        return np.divide(hits, self.counts, out=np.full(len(self.counts), np.nan), where=self.counts > 0)


@dataclass(frozen=True, kw_only=True)
class TrainingWords:
    """The words of the training texts (premises) and, for pairs, of the second texts (hypotheses).

    Words are those of `lexical_words`: lower case, without punctuation, stop words kept; nothing is truncated.
    """

    vocabulary: dict[str, int]
    texts: WordList
    pairs: WordList | None

    @property
    def asked(self) -> WordList:
        """The words that a feature of one text looks at: the hypothesis's, or the only text's."""
        return self.texts if self.pairs is None else self.pairs


def training_words(workspace: Workspace) -> TrainingWords:
    """The training set's words, read once. Cost of the first call: a regular expression over every text."""

    def read() -> TrainingWords:
        vocabulary: dict[str, int] = {}
        texts, pairs = workspace.texts("train")
        first = _numbered(texts, vocabulary)
        second = None if pairs is None else _numbered(pairs, vocabulary)
        return TrainingWords(vocabulary=vocabulary, texts=first, pairs=second)

    return workspace.memo("training words", read)


def _numbered(texts: Sequence[str], vocabulary: dict[str, int]) -> WordList:
    """The words of texts as numbers; words that are new are added to the vocabulary."""
    words = [lexical_words(text) for text in texts]
    counts = np.array([len(row) for row in words], dtype=np.int64)
    ids = np.array([vocabulary.setdefault(w, len(vocabulary)) for row in words for w in row], dtype=np.int64)
    return WordList(ids=ids, owner=np.repeat(np.arange(len(words)), counts), counts=counts)
