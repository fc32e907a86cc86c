"""What the offer to change a word of a training example says: its table and its sentences, without Streamlit."""

from collections.abc import Sequence

import pandas as pd

from attribution.explain import raised_quantity
from attribution.perturbing import Replacement
from attribution.query import Query

METHODS = {True: "saliency_influence", False: "influence"}
SHOWN = 12


def quantity(asked: Query) -> str:
    """What is moved, in words: the saliency of the clicked word, or the probability of the explained label."""
    return raised_quantity(asked, METHODS[bool(asked.tokens)])


def table(found: Sequence[Replacement], n_train: int, most: int = SHOWN) -> pd.DataFrame:
    """The first replacements as rows; `predicted` is the predicted change of F once the model is trained again."""
    return pd.DataFrame(
        {
            "word": [each.word for each in found[:most]],
            "instead": [each.other for each in found[:most]],
            "predicted": [each.score / n_train for each in found[:most]],
            "influence": [each.score for each in found[:most]],
            "kind": [each.kind for each in found[:most]],
        }
    )


def sentence(asked: Query) -> str:
    """What the sign of a row means."""
    return f"Positive: training on the changed example instead raises {quantity(asked)}."


def verdict(each: Replacement, n_train: int) -> str:
    """One replacement in words, for a log or a button."""
    return f"{each.word} → {each.other}: {each.score / n_train:+.3g}"
