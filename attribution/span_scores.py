"""Scores of spans of training examples (Huang et al. 2021 §3.1): −∇F · P · ψ, ψ = ∇ℓ(z) − ∇ℓ(z with the span masked).

By linearity that is the score of the example whole less its score with the span masked, so the exact sweep, or the
head's closed form, answers it. An index cannot, for it holds no masked example; `span_search` says where to look.
"""

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from attribution.index import Progress, silent
from attribution.masked_texts import KeptStates, find_spans, masked_rows, states_of_masked
from attribution.matrices import summed
from attribution.model import Classifier, Encoded, length_sorted_batches
from attribution.quantity import Importance, Quantity
from attribution.query import Query
from attribution.results import Scored, SpanScore, WordScore
from attribution.scoring import Choices, plan, sides_of
from attribution.sides import IndexSide, Side, SweepSide
from attribution.span_search import foretell
from attribution.spans import Finder, Span, check_tokens
from attribution.words import erased_rows, plain_words, training_examples
from attribution.workspace import Workspace

Sides = list[tuple[float, Side]]
SHOWN = 10
AT_ONCE = 512
TOKENS_AT_ONCE = 16_384


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

    Scored are `candidates` spans, half of them from either end of the ranking that `span_search` foretells, and all
    spans of the examples that then lead or end; with scorer=sweep all. The other examples, and those without a span,
    have 0. The final model stands in for copies in the first place: the top is then scored on the copies themselves
    (`rerank`). Cost: a row through the sweep for each span that is scored and one for each of their examples.
    """
    workspace, planned = query.workspace, plan(query.workspace, choices)
    found_notes = [*notes, *_mask_note(query.classifier)]
    sides = sides_of(query, quantity, planned, progress, found_notes)
    copied = choices.checkpoints == "copies" and choices.scorer != "sweep"
    nearby: Sides = [(1.0, _at_final_model(workspace, sides))] if copied else sides
    count = len(workspace.train)
    units = Units(query=query, finder=finder, sides=nearby)
    chosen = None if choices.scorer == "sweep" else _candidates(units, candidates, progress, found_notes)
    searched = list(range(count)) if chosen is None else sorted(chosen)
    units.learn(searched, progress, chosen)
    exact_rows = None
    if chosen is not None:
        ends = _ends(units.strongest(count), searched)
        units.learn(ends, silent)
        exact_rows = None if copied else np.intersect1d(np.argsort(-units.strongest(count))[:SHOWN], ends)
    quick = Scored(
        scores=units.strongest(count),
        scorer=planned.scorer,
        exact=chosen is None and not copied,
        exact_rows=exact_rows,
        quantity=quantity.name,
        notes=tuple(found_notes),
        scope=choices.scope,
        scope_size=planned.scope.count,
        words=units.words,
        spans=units.spans,
        tokens=quantity.tokens if isinstance(quantity, Importance) else (),
    )

    def rerank() -> Scored:
        rows = np.argsort(-quick.scores, kind="stable")
        rows = rows[quick.scores[rows] != 0][:SHOWN]
        exact = Units(query=query, finder=finder, sides=sides)
        exact.learn(rows.tolist(), progress)
        exact.known.update(units.known | exact.known)
        return replace(
            quick, scores=exact.strongest(count), exact_rows=rows, words=exact.words, spans=exact.spans, rerank=None
        )

    return replace(quick, rerank=rerank) if copied else quick


@dataclass(frozen=True, kw_only=True)
class Units:
    """The spans of training examples under one question.

    `known`: the scored spans by position, the strongest first; `whole`: the scores of their examples.
    """

    query: Query
    finder: Finder
    sides: Sides
    known: dict[int, list[SpanScore]] = field(default_factory=dict)
    whole: dict[int, float] = field(default_factory=dict)

    def learn(
        self, positions: Sequence[int], progress: Progress, only: Mapping[int, Container[int]] | None = None
    ) -> None:
        """Score the spans of some training examples that are not known yet: all, or those in the places of `only`."""
        what = f"spans of the training examples ({self.finder.name})"
        for first in range(0, len(positions), AT_ONCE):
            some = positions[first : first + AT_ONCE]

            def note(share: float, first: int = first, count: int = len(some)) -> None:
                progress(first + int(share * count), len(positions), what)

            for position, scored in zip(some, self._score(some, note, only), strict=True):
                both = [*self.known.get(position, []), *scored]
                self.known[position] = sorted(both, key=lambda span: -abs(span.score))

    def _score(
        self, positions: Sequence[int], note: Callable[[float], None], only: Mapping[int, Container[int]] | None
    ) -> list[list[SpanScore]]:
        examples, found = find_spans(self.query.workspace, positions, self.finder)
        asked = []
        for position, own in zip(positions, found, strict=True):
            known = {(span.start, span.end, span.segment) for span in self.known.get(position, [])}
            new = [(at, s) for at, s in enumerate(own) if (s.start, s.end, s.segment) not in known]
            asked.append([(at, span) for at, span in new if only is None or at in only[position]])
        spans = [[span for _, span in own] for own in asked]
        encoded, owner = masked_rows(examples, spans, self.query.classifier.erased_id)
        if not len(owner):
            return [[] for _ in positions]
        at, places = np.asarray(positions)[owner], [place for own in asked for place, _ in own]
        scores = iter(self._whole(at) - self._masked(encoded, at, places, note))
        return [
            [SpanScore(start=s.start, end=s.end, segment=s.segment, score=float(next(scores))) for _, s in own]
            for own in asked
        ]

    def _whole(self, positions: np.ndarray) -> np.ndarray:
        """The scores of whole examples, of each of which they are made once: (positions,)."""
        missing = np.setdiff1d(positions, list(self.whole))
        if len(missing):
            made = sum((rate * side.whole(missing) for rate, side in self.sides), np.zeros(len(missing)))
            self.whole.update(zip(missing.tolist(), made.tolist(), strict=True))
        return np.array([self.whole[at] for at in positions.tolist()])

    def _masked(
        self, encoded: Encoded, owner: np.ndarray, places: Sequence[int], note: Callable[[float], None]
    ) -> np.ndarray:
        """The scores of masked examples: (rows,). What masking makes alike, under one label, is run once."""
        workspace = self.query.workspace
        labels, scores = workspace.label_ids(workspace.train.iloc[owner]), np.zeros(len(owner))
        columns = [encoded[name] for name in encoded]
        keys = [(label, *map(tuple, row)) for label, *row in zip(labels.tolist(), *columns, strict=True)]
        first = {key: row for row, key in reversed(list(enumerate(keys)))}
        spans = list(zip(owner.tolist(), places, strict=True))
        done, lengths = 0, np.array([len(ids) for ids in encoded["input_ids"]])
        for kept in (True, False):
            group = np.array(
                [row for row in first.values() if (spans[row] in self._states.by_span) == kept], dtype=np.int64
            )
            for batch in length_sorted_batches(lengths[group].tolist(), tokens=TOKENS_AT_ONCE):
                rows = group[batch]
                some = {name: [values[row] for row in rows] for name, values in encoded.items()}
                states = self._states.of([spans[row] for row in rows])
                scores[rows] = sum(
                    (rate * side.copies(some, labels[rows], owner[rows], states) for rate, side in self.sides),
                    np.zeros(len(rows)),
                )
                done += len(rows)
                note(done / len(first))
        return scores[[first[key] for key in keys]]

    @cached_property
    def _states(self) -> KeptStates:
        return states_of_masked(self.query.workspace, self.finder)

    def strongest(self, count: int) -> np.ndarray:
        """The score of each example's strongest known span, 0 where there is none: (train,)."""
        scores = np.zeros(count)
        for position, spans in self.known.items():
            scores[position] = spans[0].score if spans else 0.0
        return scores

    def spans(self, positions: Sequence[int]) -> list[list[SpanScore]]:
        """The scored spans of some examples, the strongest first; of two that overlap the stronger one only.

        Where none was scored yet, all are.
        """
        missing = [position for position in positions if position not in self.known]
        if missing:
            self.learn(missing, silent)
        return [_apart(self.known[position]) for position in positions]

    def words(self, positions: Sequence[int]) -> list[list[WordScore]]:
        """Every word of some examples with the score of the span it is in, 0 outside of all."""
        made = []
        examples = training_examples(self.query.workspace, positions)
        for example, spans in zip(examples, self.spans(positions), strict=True):
            words = [(w, next((s.score for s in spans if _meets(s, w)), 0.0)) for w in plain_words(example)]
            made.append(
                [WordScore(text=w.text, start=w.start, end=w.end, segment=w.segment, score=part) for w, part in words]
            )
        return made


def _apart(ranked: Sequence[SpanScore]) -> list[SpanScore]:
    kept: list[SpanScore] = []
    for span in ranked:
        if not any(_meets(other, span) for other in kept):
            kept.append(span)
    return kept


def _meets(span: SpanScore, other: Any) -> bool:
    return span.segment == other.segment and span.start < other.end and other.start < span.end


def _candidates(units: Units, count: int, progress: Progress, notes: list[str]) -> dict[int, set[int]] | None:
    """The places of the spans to score by their examples' positions, and a note on the others; None where all are."""
    workspace = units.query.workspace
    whole = sum((rate * side.train(progress) for rate, side in units.sides), np.zeros(len(workspace.train)))
    found, all_of_it = foretell(workspace, units.finder, whole, progress), len(workspace.train)
    if count >= len(found.scores) and found.examples == all_of_it:
        return None
    told = f"Scored are {min(count, len(found.scores)):,} of {len(found.scores):,} spans (candidates), those foretold "
    told += "to be strongest; an example of which none is scored has 0"
    if found.examples < all_of_it:
        told += f", and so have those beyond the {found.examples:,} of {all_of_it:,} examples that were looked at"
    notes.append(f"{told}. scorer=sweep scores all.")
    return found.ends(count)


def _ends(scores: np.ndarray, searched: Sequence[int]) -> list[int]:
    """The positions of the SHOWN examples that lead the ranking, and of those that end it, among those searched."""
    order = sorted(searched, key=lambda at: -scores[at])
    return sorted({*order[:SHOWN], *order[-SHOWN:]})


def _at_final_model(workspace: Workspace, sides: Sides) -> Side:
    """One side in place of those of the copies: the sum of their vectors, met with gradients of the final model."""
    found = [side for _, side in sides]
    swept = [side.sweep if isinstance(side, IndexSide) else side for side in found]
    of = [side for side in swept if isinstance(side, SweepSide)]
    total = {name: summed([side.given[name] for side in of]) for name in of[0].given}
    final = replace(of[0], state=workspace.states()[-1], given=total)
    return replace(found[0], sweep=final) if isinstance(found[0], IndexSide) else final


def important_spans(query: Query, finder: Finder) -> list[tuple[Span, float]]:
    """The spans that a finder sees in the test text with their importance, the most important first.

    The importance is what masking the span takes from the explained label's log p, or from its margin (Huang et al.
    2021 §3.1, step 1). Cost: one forward pass a span.
    """
    row = None if query.test is None else dict(query.workspace.test_row(query.test))
    spans = finder.find(query.example, row, f"test example {query.test}")
    if not spans:
        return []
    encoded, _ = erased_rows([query.example], [[span.tokens for span in spans]], query.classifier.erased_id)
    _, logits = query.classifier.collect(encoded)
    drops = Importance(label=query.label, against=query.against, tokens=()).drops(torch.from_numpy(logits))[1:]
    return [(spans[at], float(drops[at])) for at in torch.argsort(-drops, stable=True).tolist()]


def explained_span(query: Query, finder: Finder) -> tuple[Importance, list[str]]:
    """The importance of the clicked tokens, or, where there are none, of the test text's most important span.

    A note says which span of the finder that is. Raises UserError where the clicked tokens are no span. Cost: that of
    `important_spans`.
    """
    if query.tokens:
        check_tokens(query.example, query.tokens)
        return Importance(label=query.label, against=query.against, tokens=query.tokens), []
    found = important_spans(query, finder)
    if not found:
        return Importance(label=query.label, against=query.against, tokens=()), [
            f"finder={finder.name} finds no span in the text: its importance is 0, and so is every score."
        ]
    span, drop = found[0]
    what = "log p" if query.against is None else "the margin"
    note = (
        f"Explained is the importance of '{query.example.texts[span.segment][span.start : span.end]}', the largest of "
        f"the text's {len(found)} (finder={finder.name}): masking it changes {what} of '{query.label_name}' by "
        f"{-drop:+.3g}."
    )
    return Importance(label=query.label, against=query.against, tokens=span.tokens), [note]


def _mask_note(classifier: Classifier) -> list[str]:
    if classifier.tokenizer.mask_token_id is not None:
        return []
    token = classifier.tokenizer.convert_ids_to_tokens(classifier.erased_id)
    return [f"This model has no mask token: {token} stands in for it."]
