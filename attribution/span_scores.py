"""Scores of spans of training examples (Huang et al. 2021 §3.1): −∇F · P · ψ, ψ = ∇ℓ(z) − ∇ℓ(z with the span masked).

By linearity that is the score of the example whole less its score with the span masked, so the exact sweep, or the
head's closed form, answers it. An index cannot, for it holds no masked example; it says in which examples to look.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from attribution.index import Progress, silent
from attribution.model import Classifier
from attribution.quantity import Importance, Quantity
from attribution.query import Query
from attribution.results import Scored, SpanScore, WordScore
from attribution.scoring import RERANKED, Choices, plan, sides_of
from attribution.sides import IndexSide, Side, SweepSide
from attribution.spans import Finder, Span, check_tokens
from attribution.words import erased_rows, plain_words, training_examples
from attribution.workspace import Workspace

Sides = list[tuple[float, Side]]
AT_ONCE = 512


def score_spans(
    query: Query,
    quantity: Quantity,
    choices: Choices,
    finder: Finder,
    candidates: int,
    progress: Progress,
    notes: Sequence[str] = (),
) -> Scored:
    """Each training example's score is that of its strongest span, the one of largest magnitude, with its sign.

    Searched are `candidates` examples, half of them from either end of the ranking by the score of the example whole;
    with scorer=sweep all. The others, and examples without a span, have 0. The final model stands in for copies in the
    first place: the top is then scored on the copies themselves (`rerank`). Cost: a row through the sweep for each
    example searched and one for each of its spans.
    """
    workspace, planned = query.workspace, plan(query.workspace, choices)
    found_notes = [*notes, *_mask_note(query.classifier)]
    sides = sides_of(query, quantity, planned, progress, found_notes)
    copied = choices.checkpoints == "copies" and choices.scorer != "sweep"
    nearby: Sides = [(1.0, _at_final_model(workspace, sides))] if copied else sides
    count = len(workspace.train)
    everything = choices.scorer == "sweep" or candidates >= count
    searched = np.arange(count) if everything else _candidates(workspace, nearby, candidates, progress)
    if not everything:
        found_notes.append(
            f"Scored are the spans of {len(searched):,} of {count:,} training examples (candidates); the others have 0."
        )
    units = Units(query=query, finder=finder, sides=sides)
    units.known.update(replace(units, sides=nearby).score(searched.tolist(), progress))
    quick = Scored(
        scores=units.strongest(count),
        scorer=planned.scorer,
        exact=everything and not copied,
        exact_rows=None if everything or copied else searched,
        quantity=quantity.name,
        notes=tuple(found_notes),
        scope=choices.scope,
        scope_size=planned.scope.count,
        words=units.words,
        spans=units.spans,
        tokens=quantity.tokens if isinstance(quantity, Importance) else (),
    )

    def rerank() -> Scored:
        rows = searched[np.argsort(-quick.scores[searched], kind="stable")][:RERANKED]
        exact = replace(units, known=units.known | units.score(rows.tolist(), progress))
        return replace(
            quick, scores=exact.strongest(count), exact_rows=rows, words=exact.words, spans=exact.spans, rerank=None
        )

    return replace(quick, rerank=rerank) if copied else quick


@dataclass(frozen=True, kw_only=True)
class Units:
    """The spans of training examples under one question; `known`: by position, the strongest first."""

    query: Query
    finder: Finder
    sides: Sides
    known: dict[int, list[SpanScore]] = field(default_factory=dict)

    def score(self, positions: Sequence[int], progress: Progress) -> dict[int, list[SpanScore]]:
        """The scores of all spans of some training examples, by position."""
        made, what = {}, f"spans of the training examples ({self.finder.name})"
        for first in range(0, len(positions), AT_ONCE):
            some = positions[first : first + AT_ONCE]
            made |= dict(zip(some, self._score(some), strict=True))
            progress(first + len(some), len(positions), what)
        return made

    def _score(self, positions: Sequence[int]) -> list[list[SpanScore]]:
        workspace, table = self.query.workspace, self.query.workspace.train
        examples = training_examples(self.query, positions)
        spans = []
        for position, example in zip(positions, examples, strict=True):
            where = f"training example {table.index[position]}"
            spans.append(self.finder.find(example, dict(table.iloc[position]), where))
        masks = [[span.tokens for span in own] for own in spans]
        encoded, owner = erased_rows(examples, masks, self.query.classifier.erased_id)
        at = np.asarray(positions)[owner]
        labels = workspace.label_ids(table.iloc[at])
        scores = sum((rate * side.copies(encoded, labels, at) for rate, side in self.sides), np.zeros(len(at)))
        made, row = [], 0
        for own in spans:
            parts = scores[row] - scores[row + 1 : row + 1 + len(own)]
            row += 1 + len(own)
            made.append(_ranked(own, parts))
        return made

    def strongest(self, count: int) -> np.ndarray:
        """The score of each example's strongest known span, 0 where there is none: (train,)."""
        scores = np.zeros(count)
        for position, spans in self.known.items():
            scores[position] = spans[0].score if spans else 0.0
        return scores

    def spans(self, positions: Sequence[int]) -> list[list[SpanScore]]:
        """The spans of some examples, the strongest first; of two that overlap the stronger one only."""
        missing = [position for position in positions if position not in self.known]
        if missing:
            self.known.update(self.score(missing, silent))
        return [_apart(self.known[position]) for position in positions]

    def words(self, positions: Sequence[int]) -> list[list[WordScore]]:
        """Every word of some examples with the score of the span it is in, 0 outside of all."""
        made = []
        for example, spans in zip(training_examples(self.query, positions), self.spans(positions), strict=True):
            words = [(w, next((s.score for s in spans if _meets(s, w)), 0.0)) for w in plain_words(example)]
            made.append(
                [WordScore(text=w.text, start=w.start, end=w.end, segment=w.segment, score=part) for w, part in words]
            )
        return made


def _ranked(spans: Iterable[Span], scores: Iterable[float]) -> list[SpanScore]:
    found = [
        SpanScore(start=span.start, end=span.end, segment=span.segment, score=float(score))
        for span, score in zip(spans, scores, strict=True)
    ]
    return sorted(found, key=lambda span: -abs(span.score))


def _apart(ranked: Sequence[SpanScore]) -> list[SpanScore]:
    kept: list[SpanScore] = []
    for span in ranked:
        if not any(_meets(other, span) for other in kept):
            kept.append(span)
    return kept


def _meets(span: SpanScore, other: Any) -> bool:
    return span.segment == other.segment and span.start < other.end and other.start < span.end


def _candidates(workspace: Workspace, sides: Sides, count: int, progress: Progress) -> np.ndarray:
    """The positions of `count` examples, half of them from either end of the ranking, in rising order."""
    scores = sum((rate * side.train(progress) for rate, side in sides), np.zeros(len(workspace.train)))
    order = np.argsort(-scores, kind="stable")
    half = (count + 1) // 2
    return np.sort(np.concatenate([order[:half], order[len(order) - (count - half) :]]))


def _at_final_model(workspace: Workspace, sides: Sides) -> Side:
    """One side in place of those of the copies: the sum of their vectors, met with gradients of the final model."""
    found = [side for _, side in sides]
    swept = [side.sweep if isinstance(side, IndexSide) else side for side in found]
    of = [side for side in swept if isinstance(side, SweepSide)]
    total = {name: torch.stack([side.given[name] for side in of]).sum(dim=0) for name in of[0].given}
    summed = replace(of[0], state=workspace.states()[-1], given=total)
    return replace(found[0], sweep=summed) if isinstance(found[0], IndexSide) else summed


def explained_span(query: Query, finder: Finder) -> tuple[Importance, list[str]]:
    """The importance of the clicked tokens, or, where there are none, of the test text's most important span.

    That is the span of the finder whose masking takes most from the explained label's log p, or from its margin (Huang
    et al. 2021 §3.1, step 1); a note says which. Raises UserError where the clicked tokens are no span. Cost: one
    forward pass a span.
    """
    if query.tokens:
        check_tokens(query.example, query.tokens)
        return Importance(label=query.label, against=query.against, tokens=query.tokens), []
    row = None if query.test is None else dict(query.workspace.test_row(query.test))
    spans = finder.find(query.example, row, f"test example {query.test}")
    if not spans:
        return Importance(label=query.label, against=query.against, tokens=()), [
            f"finder={finder.name} finds no span in the text: its importance is 0, and so is every score."
        ]
    encoded, _ = erased_rows([query.example], [[span.tokens for span in spans]], query.classifier.erased_id)
    _, logits = query.classifier.collect(encoded)
    drops = Importance(label=query.label, against=query.against, tokens=()).drops(torch.from_numpy(logits))[1:]
    best = int(drops.argmax())
    start, end, segment = spans[best].start, spans[best].end, spans[best].segment
    what = "log p" if query.against is None else "the margin"
    note = (
        f"Explained is the importance of '{query.example.texts[segment][start:end]}', the largest of the text's "
        f"{len(spans)} (finder={finder.name}): masking it changes {what} of '{query.label_name}' by "
        f"{-float(drops[best]):+.3g}."
    )
    return Importance(label=query.label, against=query.against, tokens=spans[best].tokens), [note]


def _mask_note(classifier: Classifier) -> list[str]:
    if classifier.tokenizer.mask_token_id is not None:
        return []
    token = classifier.tokenizer.convert_ids_to_tokens(classifier.erased_id)
    return [f"This model has no mask token: {token} stands in for it."]
