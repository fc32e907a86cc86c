"""Flowing text whose tokens are coloured by a score; clicking one selects it."""

from collections.abc import Callable, Sequence
from typing import TypedDict

from dashboard.components.mounting import define_component, mount_selectable

_tokens = define_component("tokens")


class Piece(TypedDict):
    """A subword of a token and its part of the score."""

    text: str
    score: float


class Token(TypedDict):
    """One token as it is drawn.

    `index` is reported when the token is selected. `score` is on the printed scale, `raw` as the method gave it, `rank`
    1 for the largest |score|. `special` tokens ([CLS], [SEP]) are small and unfilled. `truncated` ones lie beyond the
    model's maximum length and cannot be selected. `segment` is 1 for the second text of a pair.
    """

    index: int
    text: str
    score: float
    raw: float
    rank: int
    pieces: Sequence[Piece]
    special: bool
    space_before: bool
    truncated: bool
    segment: int


def token_heatmap(
    tokens: Sequence[Token],
    *,
    key: str,
    selected: int | None,
    label: str,
    scale: float,
    caption: str,
    signed: bool = True,
    on_select: Callable[[int | None], None] | None = None,
) -> int | None:
    """Draw the tokens, filled by score / scale, over a legend; return the index selected after this run, or None.

    `label` is what the scores speak for or against; `caption` goes on after the scale. Unsigned scores have one colour
    and no marks. `on_select` gets the index of the token clicked, or None when the selection is cleared, before the
    script runs again. `key` must not contain "__", which Streamlit reserves.
    """
    data = {
        "tokens": list(tokens),
        "selected": selected,
        "label": label,
        "scale": scale,
        "caption": caption,
        "signed": signed,
    }
    return mount_selectable(_tokens, key=key, data=data, on_select=on_select)
