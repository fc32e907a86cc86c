"""Answers: scores of tokens and of training examples, with what they were computed from."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np
import pandas as pd

from attribution.errors import UserError
from attribution.query import Query
from attribution.workspace import Workspace

Scorer = Literal["head", "index", "sweep", "none"]


@dataclass(frozen=True, kw_only=True)
class WordScore:
    """One word of a training example and its part in the example's score; offsets are code points into its text."""

    text: str
    start: int
    end: int
    segment: int
    score: float


@dataclass(frozen=True, kw_only=True)
class SpanScore:
    """One span of a training example and its score; offsets are code points into its text, or second text (segment)."""

    start: int
    end: int
    segment: int
    score: float


@dataclass(frozen=True, kw_only=True)
class Scored:
    """What a method returns: scores (train,), how they were made, and a way to ask for the words of some rows.

    `words` takes positions in the training table and returns, for each, a list of word scores. `exact_rows`: the
    positions whose scores are exact where not all are. `fidelity`: Spearman correlation with exact scores that was
    measured. `notes`: what else there is to say, such as convergence. `scope`, `scope_size`: the parameters a
    gradient was over, and how many numbers they hold. `rerank`: the same with the top rows scored exactly, where that
    is still to be done. `spans`: as `words`, the spans of some rows, the strongest first and none over another, where
    spans are the unit. `tokens`: the tokens of the test text whose importance is explained, if any.
    """

    scores: np.ndarray
    scorer: Scorer
    exact: bool
    quantity: str
    words: Callable[[Sequence[int]], list[list[WordScore]]] | None = None
    exact_rows: np.ndarray | None = None
    fidelity: float | None = None
    notes: tuple[str, ...] = ()
    scope: str | None = None
    scope_size: int | None = None
    rerank: "Callable[[], Scored] | None" = None
    spans: Callable[[Sequence[int]], list[list[SpanScore]]] | None = None
    tokens: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TokenScores:
    """Saliency of every token of the test text.

    `raw` is what the method's formula gives: (tokens,). `scores` is raw divided by Σ|raw|, so that a score is a share
    of the example's total (Han et al. 2020 §2.1); it is all zeros where every raw score is zero.
    """

    query: Query
    method: str
    parameters: Mapping[str, Any]
    raw: np.ndarray
    seconds: float

    @cached_property
    def scores(self) -> np.ndarray:
        total = np.abs(self.raw).sum()
        return self.raw / total if total > 0 else np.zeros_like(self.raw)

    def frame(self) -> pd.DataFrame:
        """One row a token: index, text, start, end, special, segment, score, raw."""
        rows = [
            {
                "index": t.index,
                "text": t.text,
                "start": t.start,
                "end": t.end,
                "special": t.special,
                "segment": t.segment,
            }
            for t in self.query.example.tokens
        ]
        return pd.DataFrame(rows).assign(score=self.scores, raw=self.raw)


@dataclass(frozen=True, kw_only=True)
class Ranking(ABC):
    """One score a training example: positive = proponent. `ids` are row numbers in the training file."""

    method: str
    parameters: Mapping[str, Any]
    scored: Scored
    seconds: float

    @property
    @abstractmethod
    def workspace(self) -> Workspace:
        """The workspace whose training examples are scored."""

    @property
    def scores(self) -> np.ndarray:
        return self.scored.scores

    @cached_property
    def ids(self) -> np.ndarray:
        return self.workspace.train.index.to_numpy()

    @cached_property
    def order(self) -> np.ndarray:
        """Positions by falling score; equal scores by rising id."""
        return np.argsort(-self.scores, kind="stable")

    @cached_property
    def ranks(self) -> np.ndarray:
        """The rank of every training example by falling score, 1 the highest, equal scores by rising id: (train,)."""
        found = np.empty(len(self.order), dtype=np.int64)
        found[self.order] = np.arange(1, len(found) + 1)
        return found

    @cached_property
    def z(self) -> np.ndarray:
        """Scores in standard deviations from their mean over the training set: (train,); zeros where all are equal."""
        # The deviation of equal scores can be a rounding error above 0.
        spread = self.scores.std() if np.ptp(self.scores) > 0 else 0.0
        return (self.scores - self.scores.mean()) / spread if spread > 0 else np.zeros_like(self.scores)

    def reranked(self) -> Self:
        """The same answer with its top rows scored exactly; an answer that has them, or needs none, as it is."""
        if self.scored.rerank is None:
            return self
        began = time.perf_counter()
        scored = self.scored.rerank()
        return replace(self, scored=scored, seconds=self.seconds + time.perf_counter() - began)

    def frame(self, top: int = 20, *, opponents: bool = False) -> pd.DataFrame:
        """The `top` proponents (or opponents, most negative first): rank, train_id, label, text, score, z.

        top=0 gives every training example by falling score.
        """
        order = self.order[::-1] if opponents else self.order
        made = self._at(order[:top] if top else order)
        return made.assign(rank=np.arange(1, len(made) + 1)) if opponents else made

    def rows(self, train_ids: Sequence[int]) -> pd.DataFrame:
        """Some training examples, in the order given, as `frame` has them; rank is by falling score."""
        return self._at(np.asarray(self.workspace.train_positions(train_ids), dtype=np.int64))

    def _at(self, at: np.ndarray) -> pd.DataFrame:
        train = self.workspace.train.iloc[at]
        made = pd.DataFrame({"rank": self.ranks[at], "train_id": self.ids[at]})
        for column in ("label", "text", "text_pair"):
            if column in train:
                made[column] = train[column].to_numpy()
        return made.assign(score=self.scores[at], z=self.z[at])

    def words(self, train_id: int) -> list[WordScore]:
        """Which words of a training example made its score; UserError for a method that cannot say."""
        return self.words_of([train_id])[0]

    def words_of(self, train_ids: Sequence[int]) -> list[list[WordScore]]:
        """As `words`, for several training examples in one batch."""
        if self.scored.words is None:
            raise UserError(f"{self.method} does not say which words of a training example made its score.")
        return self.scored.words(self.workspace.train_positions(train_ids))

    def spans_of(self, train_ids: Sequence[int]) -> list[list[SpanScore]]:
        """The scored spans of some training examples, the strongest first; UserError for a method without spans."""
        if self.scored.spans is None:
            raise UserError(f"{self.method} explains by whole training examples: it has no spans.")
        return self.scored.spans(self.workspace.train_positions(train_ids))


@dataclass(frozen=True, kw_only=True)
class ScoreTable(Ranking):
    """The scores of all training examples for one question."""

    query: Query

    @property
    def workspace(self) -> Workspace:
        return self.query.workspace
