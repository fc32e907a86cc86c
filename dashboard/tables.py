"""Filters over the table of test examples (see `cache.test_table`). Pure functions."""

import numpy as np
import pandas as pd


def narrowed(
    table: pd.DataFrame,
    *,
    wrong: bool | None = None,
    label: str | None = None,
    predicted: str | None = None,
    words: str = "",
    confidence: tuple[float, float] = (0.0, 1.0),
) -> pd.DataFrame:
    """The rows that pass every filter given, in their order; `words` is plain text, in either case."""
    kept = table["confidence"].between(*confidence).to_numpy(copy=True)
    for column, value in (("wrong", wrong), ("label", label), ("predicted", predicted)):
        if value is not None:
            kept &= table[column].to_numpy() == value
    if words:
        texts = table["text"] if "text_pair" not in table else table["text"] + "\n" + table["text_pair"]
        kept &= np.array([words.casefold() in text.casefold() for text in texts], dtype=bool)
    return table.loc[kept]
