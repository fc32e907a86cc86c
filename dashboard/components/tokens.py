"""Flowing text whose tokens are coloured by a score; a click selects one, a drag or Shift a run of them."""

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
    selected: Sequence[int],
    label: str,
    scale: float,
    caption: str,
    signed: bool = True,
    explained: Sequence[int] = (),
    on_select: Callable[[list[int]], None] | None = None,
) -> list[int]:
    """Draw the tokens, filled by score / scale, over a legend; return the indices selected after this run.

    `label` is what the scores speak for or against; `caption` goes on after the scale. Unsigned scores have one colour
    and no marks. `explained`: indices to underline, a span that nobody selected. `on_select` gets the indices of the
    token clicked or of the run marked, which lies in one text, or [] when the selection is cleared, before the script
    runs again. `key` must not contain "__", which Streamlit reserves.
    """
    data = {
        "tokens": list(tokens),
        "selected": list(selected),
        "explained": list(explained),
        "label": label,
        "scale": scale,
        "caption": caption,
        "signed": signed,
    }
    return mount_selectable(_tokens, key=key, data=data, on_select=on_select)
