"""What an opened row says beyond its score: its neighbours in the training set, and its place under other methods."""

from collections.abc import Sequence

from attribution.errors import UserError
from attribution.query import Query
from attribution.registry import get_method
from attribution.results import ScoreTable
from dashboard import cache, comparing, method_settings, present, slow
from dashboard.components import TrainingRow

LONGEST = 90


def told(
    rows: Sequence[TrainingRow], opened: int | None, asked: Query, chosen: method_settings.Chosen, *, listed: str
) -> list[TrainingRow]:
    """The rows, the opened one with further details; `asked` is about the label, as its other scores are.

    `listed` is the method whose list it is, which says its own score already.
    """
    if opened is None or opened not in [row["train_id"] for row in rows]:
        return list(rows)
    tables = [table for table in others(asked, chosen) if table.method != listed]
    further = [*places(opened, tables), *neighbours(opened)]
    return [
        {**row, "details": [["label", row["label"]], *row["details"], *further]} if row["train_id"] == opened else row
        for row in rows
    ]


def others(asked: Query, chosen: method_settings.Chosen) -> list[ScoreTable]:
    """The answers to a question that are there or quick: those given before, and of the methods Compare begins with."""
    begun = [(name, method_settings.settings_of(chosen, name)) for name in comparing.DEFAULT]
    found = []
    for name, settings in dict.fromkeys([*cache.answered(asked), *begun]):
        try:
            table = None if cache.missing_parts(name, settings) else slow.known(asked, name, settings)
        except UserError:
            continue  # parameters that do not fit: the method's own list says so
        if table is not None:
            found.append(cache.known_reranked(table, settings) or table)
    return found


def places(train_id: int, tables: Sequence[ScoreTable]) -> list[list[str]]:
    """Rank and score of a training example under every method, a line each."""
    lines = []
    for table in tables:
        (at,) = (table.ids == train_id).nonzero()[0]
        rank, score = int(table.ranks[at]), present.signed(float(table.scores[at]))
        lines.append([_name(table), f"rank {rank:,} of {len(table.scores):,} · {score}"])
    return lines


def _name(table: ScoreTable) -> str:
    return f"{get_method(table.method).title}, for “{table.query.label_name}”"


def neighbours(train_id: int) -> list[list[str]]:
    """The nearest training examples, a line each; none before the features are computed."""
    train = cache.workspace().train
    lines = []
    for number, (other, alike) in enumerate(cache.neighbours(train_id), 1):
        row = train.loc[other]
        text = " / ".join(str(row[name]) for name in ("text", "text_pair") if name in row)
        lines.append(
            [f"nearest {number}", f"{other} · {row['label']} · cosine {alike:.3f} · {present.clipped(text, LONGEST)}"]
        )
    return lines
