"""Features of the test examples that need nothing but their own texts: what errors can be sliced by."""

import numpy as np
import pandas as pd

from attribution.artifacts.features import is_negation
from attribution.artifacts.patterns import matches
from attribution.methods.lexical import lexical_words


def own_features(examples: pd.DataFrame) -> dict[str, np.ndarray]:
    """By title the number a test example (examples,): length, and for pairs lexical overlap and negation.

    As the features of the training examples of these names: of the hypothesis where there are two texts, overlap NaN
    for a hypothesis without a word.
    """
    first = [lexical_words(text) for text in examples["text"]]
    if "text_pair" not in examples:
        return {"Length": np.array([len(words) for words in first], dtype=np.float64)}
    second = [lexical_words(text) for text in examples["text_pair"]]
    overlap = [
        np.mean([word in there for word in words]) if words else np.nan
        for words, there in zip(second, map(set, first), strict=True)
    ]
    return {
        "Length": np.array([len(words) for words in second], dtype=np.float64),
        "Lexical overlap": np.array(overlap, dtype=np.float64),
        "Negation in the hypothesis": np.array([any(map(is_negation, words)) for words in second], dtype=np.float64),
    }


def has_pattern(examples: pd.DataFrame, pattern: str) -> np.ndarray:
    """Whether the text, or the hypothesis of a pair, has the words or matches the expression: (examples,) of 0 and 1.

    As the training examples' feature `pattern`. Raises UserError for a pattern that is wrong or too slow.
    """
    return matches(pattern, examples["text_pair" if "text_pair" in examples else "text"].tolist())
