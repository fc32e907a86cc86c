"""A bar per label with its probability."""

from collections.abc import Sequence
from typing import TypedDict

from dashboard.components.mounting import define_component, require_plain

_probabilities = define_component("probabilities")

SHOWN = 8


class LabelProbability(TypedDict):
    """One label: its probability, whether it is the model's answer and whether it is the right one."""

    label: str
    probability: float
    predicted: bool
    true: bool


def abridge(items: Sequence[LabelProbability]) -> list[LabelProbability]:
    """Up to `SHOWN` labels as given; of more, the most probable, and always the predicted and the true one."""
    if len(items) <= SHOWN:
        return list(items)

    def descending(item: LabelProbability) -> float:
        return -item["probability"]

    kept = sorted(items, key=lambda item: (not (item["predicted"] or item["true"]), descending(item)))[:SHOWN]
    return sorted(kept, key=descending)


def probability_bars(items: Sequence[LabelProbability], key: str) -> None:
    """Draw a bar per label: the true one has a tick, the predicted one the accent colour; those left out are counted.

    `key` must not contain "__", which Streamlit reserves.
    """
    shown = abridge(items)
    _probabilities(key=key, data=require_plain({"items": shown, "omitted": len(items) - len(shown)}))
