"""A list of training examples with their score, label and shaded words; clicking one opens it in place."""

from collections.abc import Callable, Sequence
from typing import NotRequired, TypedDict

from dashboard.components.mounting import define_component, mount_selectable

_rows = define_component("rows")


class Word(TypedDict):
    """A shaded stretch [start, end) of the text (`part` 0) or of its pair (`part` 1), counted in Python characters.

    One that is `strong` is bold, and a long text is shown from near it on until its row is opened.
    """

    start: int
    end: int
    score: float
    part: int
    strong: NotRequired[bool]


class TrainingRow(TypedDict):
    """One training example as it is drawn.

    `share` in [-1, 1] is the bar's length and sign: the score over the largest |score| shown. `other_label` marks a
    label that differs from the explained one. Words are filled by score / `word_scale`. `duplicates` further rows with
    the same text are folded into this one. `unit` names what is shaded, "word" unless given. `details` are further
    [name, value] lines of the opened row, `note` a line below the text of every row, such as its ranks elsewhere.
    """

    train_id: int
    rank: int
    label: str
    other_label: bool
    score: float
    score_text: str
    share: float
    text: str
    text_pair: str | None
    words: Sequence[Word] | None
    word_scale: float
    duplicates: int
    details: Sequence[Sequence[str]]
    unit: NotRequired[str]
    note: NotRequired[str]


def training_rows(
    rows: Sequence[TrainingRow],
    *,
    key: str,
    selected: int | None,
    on_select: Callable[[int | None], None] | None = None,
) -> int | None:
    """Draw the rows, the one with train_id `selected` opened; return the train_id open after this run, or None.

    `on_select` gets the train_id of the row clicked, or None when it was closed, before the script runs again. Without
    rows nothing is drawn. `key` must not contain "__", which Streamlit reserves.
    """
    if not rows:
        return selected
    data = {"rows": list(rows), "selected": selected}
    return mount_selectable(_rows, key=key, data=data, on_select=on_select)
