"""Two texts joined word by word, by weighted links or as a heatmap."""

from collections.abc import Sequence
from typing import Literal, TypedDict

from dashboard.components.mounting import define_component, require_plain

_pairs = define_component("pairs")

PairDrawing = Literal["links", "heatmap"]


class PairWord(TypedDict):
    """A word of one of the texts; `segment` is 1 in the second text of a pair, `special` of a token such as [CLS]."""

    text: str
    space_before: bool
    segment: int
    special: bool


def pair_view(
    rows: Sequence[PairWord],
    columns: Sequence[PairWord],
    scores: Sequence[Sequence[float]],
    *,
    key: str,
    drawing: PairDrawing,
    label: str,
    selected: int | None,
) -> None:
    """Draw how much each training word (column) raised each test word (row), for a label, on one scale.

    A word that is hovered, focused or clicked lights those it is joined to; `selected` is the row that is lit at first.
    Nothing is reported. `key` must not contain "__", which Streamlit reserves.
    """
    data = {
        "rows": list(rows),
        "columns": list(columns),
        "scores": [list(row) for row in scores],
        "scale": max((abs(score) for row in scores for score in row), default=0.0) or 1.0,
        "view": drawing,
        "label": label,
        "selected": selected,
    }
    _pairs(key=key, data=require_plain(data))
