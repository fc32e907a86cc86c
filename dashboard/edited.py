"""What an edit of a test example changed: words, probabilities, saliency, and the ranks of training examples. Pure."""

from collections.abc import Sequence
from difflib import SequenceMatcher

from attribution.query import Query
from attribution.registry import get_method
from attribution.results import ScoreTable
from dashboard import present
from dashboard.components import TrainingRow

LISTED = 5


def changed_words(before: Sequence[str], after: Sequence[str]) -> str:
    """What became of the words of the texts, in their order: "“dull” became “warm”; “very” added"."""
    said = []
    for old, new in zip(before, after, strict=True):
        one, other = old.split(), new.split()
        for what, a, b, c, d in SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
            was, now = f"“{' '.join(one[a:b])}”", f"“{' '.join(other[c:d])}”"
            said += {"replace": [f"{was} became {now}"], "delete": [f"{was} removed"], "insert": [f"{now} added"]}.get(
                what, []
            )
    return "; ".join(said) or "no word changed"


def probabilities(before: Query, after: Query) -> str:
    """The probability of every label before and after: "negative 0.979 → 0.310 · positive 0.021 → 0.690"."""
    now = after.probabilities
    return " · ".join(f"{label} {p:.3f} → {now[label]:.3f}" for label, p in before.probabilities.items())


def moved_rows(shown: ScoreTable, other: ScoreTable, *, when: str) -> list[TrainingRow]:
    """The top training examples of an answer, each with its rank and score in the other one, `when` that was.

    The bars have one scale in both lists: the larger of both top scores.
    """
    method = get_method(shown.method)
    top = present.visible(shown, method, opponents=False, count=LISTED)
    elsewhere = dict(zip(other.ids.tolist(), zip(other.ranks, other.scores, strict=True), strict=True))
    rows = present.training_rows(shown, method, top, {}, opponents=False)
    largest = max(float(abs(table.scores).max()) for table in (shown, other)) or 1.0
    for row in rows:
        row["share"] = row["score"] / largest
        rank, score = elsewhere[row["train_id"]]
        row["note"] = f"{when} rank {rank:,}, {present.signed(float(score))}"
    return rows
