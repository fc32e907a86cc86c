"""What the Errors page shows of test examples beside their text: slices of the table, and two labels on one scale."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from attribution.results import TokenScores
from dashboard import present
from dashboard.components import Token

PATTERN = "Words or a pattern"


@dataclass(frozen=True, kw_only=True)
class Slice:
    """A part of the test examples: their ids in the table's order, and how it is called with its count."""

    ids: tuple[int, ...]
    title: str


def parts_of(table: pd.DataFrame, values: Sequence[str] | np.ndarray) -> dict[str, Slice]:
    """By value the parts of the table that a value per row makes; each says its mispredictions and its size."""
    grouped = pd.Series(np.asarray(values, dtype=object), index=table.index)
    found = {}
    for value in sorted(grouped.unique(), key=_in_order):
        rows = table.index[(grouped == value).to_numpy()]
        wrong = int(table.loc[rows, "wrong"].to_numpy().sum())
        title = f"{value} · {wrong:,} of {len(rows):,} wrong"
        found[value] = Slice(ids=tuple(rows.tolist()), title=title)
    return found


def _in_order(value: str) -> tuple[float, str]:
    """Ranges by their first number, everything else by its letters."""
    first = value.split("–")[0]
    return (float(first), "") if first.replace(".", "", 1).isdigit() else (np.inf, value)


def quarters(values: np.ndarray) -> list[str]:
    """For each number the range of the quarter of all that it is in: "4–9"; few different numbers stand for themselves.

    A range has its upper end only where it is the last. "unknown" where there is no number.
    """
    known = values[np.isfinite(values)]
    if len(np.unique(known)) <= 4:
        return [f"{value:.3g}" if np.isfinite(value) else "unknown" for value in values]
    edges = np.unique(np.quantile(known, [0, 0.25, 0.5, 0.75, 1], method="nearest"))
    at = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    return [
        f"{edges[a]:.3g}–{edges[a + 1]:.3g}" if np.isfinite(v) else "unknown" for a, v in zip(at, values, strict=True)
    ]


def side_by_side(answers: Sequence[TokenScores], *, subwords: bool) -> tuple[list[list[Token]], float, list[str]]:
    """The saliency of several labels for one text, to be drawn on one scale: tokens of each, the scale, captions."""
    drawn = [present.heatmap(scores, subwords=subwords) for scores in answers]
    return [tokens for tokens, _, _ in drawn], max(scale for _, scale, _ in drawn), [said for *_, said in drawn]
