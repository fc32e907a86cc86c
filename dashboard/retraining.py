"""What retraining with the edits found, as sentences and tables. Pure functions: no Streamlit, nothing trained."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

SHOWN = 12
TITLES = {"unedited": "as imported", "edited": "with the edits", "random edits": "with random edits"}


def accuracy_rows(about: Mapping[str, Any]) -> pd.DataFrame:
    """Accuracy by kind of model in per cent, with its 95 % interval, and each seed's."""
    return pd.DataFrame(
        [
            {
                "trained": TITLES[row["models"]],
                "accuracy": 100 * row["mean"],
                "low": 100 * row["low"],
                "high": 100 * row["high"],
                "by seed": ", ".join(f"{value:.1%}" for value in row["by_seed"]),
            }
            for row in about["accuracy"]
        ]
    ).set_index("trained")


def example_rows(about: Mapping[str, Any]) -> pd.DataFrame:
    """The test examples that were asked about: their true label's probability in per cent by kind of model."""
    rows = [
        {"test": each["test"], "true label": each["true_label"]}
        | {TITLES[row["models"]]: 100 * row["probability"] for row in each["models"]}
        for each in about["tests"]
    ]
    return pd.DataFrame(rows)


def verdict(about: Mapping[str, Any]) -> str:
    """Whether the edits helped more than random ones did, in a sentence with the interval."""
    against = {(row["models"], row["over"]): row for row in about["differences"]}
    over, control = against["edited", "unedited"], against["edited", "random edits"]
    if control["low"] > 0:
        said = "The edits helped, and more than as many random ones"
    elif control["high"] < 0:
        said = "The edits did worse than as many random ones"
    else:
        said = "The edits cannot be told from as many random ones"
    return f"{said}: {_points(over)} of accuracy over the imported data, {_points(control)} over random edits."


def _points(row: Mapping[str, float]) -> str:
    values = (f"{100 * row[name]:+.2f}".replace("-", "−") for name in ("mean", "low", "high"))
    mean, low, high = values
    return f"{mean} points ({low} to {high})"


def made_of(about: Mapping[str, Any], version: str) -> str:
    """The edits, the training and the seeds of a version, and whether the edits have changed since."""
    edits = about["edits"]
    counts = ", ".join(f"{edits[name]:,} {name}" for name in ("removed", "relabelled", "perturbed") if edits[name])
    since = "" if edits["log"] == version else " The edits have changed since."
    return f"{counts}. {about['retraining']} {len(about['seeds'])} seeds.{since}"


def changed_sentence(about: Mapping[str, Any]) -> str:
    """How many test examples the edits fixed and broke, with the first ids."""
    said = []
    for name in ("fixed", "broken"):
        ids = about["outcomes"]["edited"][name]
        some = ", ".join(map(str, ids[:SHOWN])) + (", …" if len(ids) > SHOWN else "")
        said.append(f"{len(ids):,} {name}" + (f" ({some})" if ids else ""))
    control = about["outcomes"]["random edits"]
    return (
        f"Test examples: {', '.join(said)}, {about['outcomes']['edited']['same']:,} the same. "
        f"Random edits: {len(control['fixed']):,} fixed, {len(control['broken']):,} broken."
    )
