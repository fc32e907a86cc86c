"""What the Compare page shows of several answers to one question. Pure functions: no Streamlit."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from attribution.comparison import Agreement
from attribution.explain import sign_sentence
from attribution.registry import Method, get_method
from attribution.results import ScoreTable, SpanScore, WordScore
from dashboard import present
from dashboard.components import TrainingRow

DEFAULT = ("relatif", "tracin_we", "nn_cos", "bm25")
LISTED = 10


def default_methods(is_ready: Callable[[str], bool]) -> tuple[str, ...]:
    """The methods compared until others are chosen: those of the default that can answer now."""
    return tuple(name for name in DEFAULT if is_ready(name))


def sides(methods: Sequence[Method]) -> tuple[str, str]:
    """What the two ends of the lists are called: proponents only where every method's sign says so."""
    return ("Proponents", "Opponents") if all(m.signed for m in methods) else ("Highest", "Lowest")


def signs(tables: Sequence[ScoreTable]) -> list[str]:
    """What a score means, once for all methods of which the same is said."""
    said: dict[str, list[str]] = {}
    for table in tables:
        said.setdefault(sign_sentence(table.query, table.method), []).append(get_method(table.method).title)
    return [f"{'; '.join(titles)}: {sentence[:1].lower()}{sentence[1:]}" for sentence, titles in said.items()]


def same_label(table: ScoreTable) -> np.ndarray:
    """Which training examples have the label that is explained: (train,)."""
    return (table.query.workspace.train["label"] == table.query.label_name).to_numpy()


def side_ranks(tables: Sequence[ScoreTable], *, lowest: bool) -> dict[str, np.ndarray]:
    """By method the rank of every training example, (train,), counted from the end that is shown."""
    found = {table.method: table.ranks for table in tables}
    return {name: len(rank) + 1 - rank if lowest else rank for name, rank in found.items()}


def listed(table: ScoreTable, *, lowest: bool) -> list[tuple[int, int]]:
    """The training ids of a method's first rows, and how many further identical ones each stands for."""
    return present.visible(table, get_method(table.method), opponents=lowest, count=LISTED)


def linked_rows(
    table: ScoreTable,
    ranked: Mapping[str, np.ndarray],
    words: Mapping[int, Sequence[WordScore] | Sequence[SpanScore]],
    *,
    selected: int | None,
    lowest: bool,
) -> list[TrainingRow]:
    """A method's first rows with their ranks under the others; the selected row follows where it is not among them.

    `words` to shade, by training id, where they are known.
    """
    method, shown = get_method(table.method), listed(table, lowest=lowest)
    if selected is not None and selected not in [train_id for train_id, _ in shown]:
        shown = [*shown, (selected, 0)]
    at = table.query.workspace.train.index.get_indexer([train_id for train_id, _ in shown])
    rows = present.training_rows(table, method, shown, words, opponents=lowest)
    for row, position in zip(rows, at, strict=True):
        others = [f"{name}\u00a0{rank[position]:,}" for name, rank in ranked.items() if name != table.method]
        row["note"] = " · ".join(others)
    return rows


def linked_sentence(train_id: int, ids: np.ndarray, ranked: Mapping[str, np.ndarray], *, lowest: bool) -> str:
    """In words where a training example, one of `ids` (train,), stands under every method."""
    (position,) = np.flatnonzero(ids == train_id)
    name, end = f"Training example {train_id}", f"{'lowest' if lowest else 'top'} {LISTED}"
    total = len(next(iter(ranked.values())))
    places = [(get_method(method).title, int(rank[position])) for method, rank in ranked.items()]
    inside = [f"{title} (rank {rank})" for title, rank in places if rank <= LISTED]
    outside = [f"{rank:,} under {title}" for title, rank in places if rank > LISTED]
    if not outside:
        return f"{name} is in the {end} of every method here: {_and(inside)}."
    far = f"rank {_and(outside)}, of {total:,}{' from the lowest' if lowest else ''}"
    if not inside:
        return f"{name} is in no method's {end}: {far}."
    return f"{name} is in the {end} of {_and(inside)}, but {far}."


def _and(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def pair_of(axes: Sequence[str], methods: Sequence[str]) -> tuple[str, str]:
    """The two methods whose scores are drawn: those asked for where they are compared, else the first that are left."""
    asked = [name for name in axes if name in methods]
    first, second, *_ = [*asked, *(name for name in methods if name not in asked)]
    return first, second


def matrix_alt(what: str, methods: Sequence[str], values: np.ndarray) -> str:
    """A matrix as a sentence, for those who do not see it."""
    pairs = [
        f"{methods[a]} and {methods[b]} {number(values[a, b])}"
        for a in range(len(methods))
        for b in range(a + 1, len(methods))
    ]
    return f"{what}: {'; '.join(pairs)}."


def number(value: float) -> str:
    """A correlation or a share with two digits; a dash where it is undefined."""
    return "–" if np.isnan(value) else f"{value:.2f}".replace("-", "−")


def undefined(agreement: Agreement) -> str:
    """Which methods ordered nothing in some of the examples, whose correlation is therefore left out; "" for none."""
    missing = agreement.tests - agreement.defined.diagonal()
    named = [
        get_method(name).title + (f" in {count} of {agreement.tests} examples" if agreement.tests > 1 else "")
        for name, count in zip(agreement.methods, missing, strict=True)
        if count
    ]
    if not named:
        return ""
    return f"No correlation where all scores are equal: {'; '.join(named)}."


def seconds(agreement: Agreement) -> str:
    """What an answer of each method takes, in words."""
    listed = zip(agreement.methods, agreement.seconds, strict=True)
    return " · ".join(f"{name} {value:.2f} s" for name, value in listed)
