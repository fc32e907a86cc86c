"""Word matching against rank_bm25, and against the formulas in plain loops."""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rank_bm25 import BM25Okapi

from attribution import attribute
from attribution.methods.lexical import lexical_words
from attribution.workspace import Workspace
from tests.oracles import assert_close, with_training_data
from tests.tiny import refusal

METHODS = ("bm25", "tfidf")


@pytest.fixture(params=["workspace", "pairs"])
def space(request: pytest.FixtureRequest) -> Workspace:
    return request.getfixturevalue(request.param)


def documents(table: pd.DataFrame) -> list[list[str]]:
    """The tiny sentences by white space, both of a pair, without their full stops."""
    columns = [column for column in ("text", "text_pair") if column in table]
    return [[w for text in texts for w in str(text).split() if w != "."] for texts in table[columns].to_numpy()]


class AlwaysAbove(BM25Okapi):
    """rank_bm25 with the idf that needs no floor: log(1 + (n − n_w + ½)/(n_w + ½))."""

    def _calc_idf(self, nd: dict[str, int]) -> None:
        self.idf = {w: math.log(1 + (self.corpus_size - c + 0.5) / (c + 0.5)) for w, c in nd.items()}


@pytest.mark.oracle("bm25")
@pytest.mark.parametrize(("k1", "b"), [(1.5, 0.75), (0.4, 0.0), (3.0, 1.0)])
def test_bm25_is_rank_bm25s(space: Workspace, k1: float, b: float) -> None:
    """The package's scores over the same words, a repeated word of the question counted each time."""
    expected = AlwaysAbove(documents(space.train), k1=k1, b=b)
    for test in (0, 3, 7):
        (asked,) = documents(space.test.loc[[test]])
        assert_close(attribute(space, "bm25", test=test, k1=k1, b=b).scores, expected.get_scores(asked), relative=1e-12)


def cosines(rows: list[list[str]], asked: Sequence[str]) -> np.ndarray:
    """TF-IDF cosines in plain loops."""
    n = len(rows)
    containing = Counter(word for row in rows for word in set(row))

    def vector(words: Sequence[str]) -> dict[str, float]:
        counts = Counter(word for word in words if word in containing)
        return {w: c * (1 + math.log((1 + n) / (1 + containing[w]))) for w, c in counts.items()}

    def norm(found: dict[str, float]) -> float:
        return math.sqrt(sum(value**2 for value in found.values()))

    mine = vector(asked)
    scores = []
    for row in rows:
        other = vector(row)
        scores.append(sum(mine.get(w, 0.0) * value for w, value in other.items()) / (norm(mine) * norm(other)))
    return np.array(scores)


@pytest.mark.oracle("tfidf")
def test_tfidf_is_the_cosine_of_weighted_counts(space: Workspace) -> None:
    """Counts times 1 + ln((1 + n)/(1 + n_w)), by a loop over words; a word of no training example counts nowhere."""
    rows = documents(space.train)
    for test in (0, 3, 7):
        (asked,) = documents(space.test.loc[[test]])
        assert_close(attribute(space, "tfidf", test=test).scores, cosines(rows, asked), relative=1e-12)
    second = "a gondola" if space.is_pair else None
    expected = cosines(rows, f"warm zeppelin film {second or ''}".split())
    scores = attribute(space, "tfidf", text="warm zeppelin film", text_pair=second).scores
    assert_close(scores, expected, relative=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_words_sum_exactly_to_the_score(space: Workspace, method: str) -> None:
    """Σ over the words of a training example is its score to the last digits; a word not shared has 0.0."""
    table = attribute(space, method, test=3)
    mine = set(documents(space.test.loc[[3]])[0])
    found = table.words_of(space.train.index.tolist())
    assert_close(np.array([sum(w.score for w in words) for words in found]), table.scores, relative=1e-12)
    for word in (word for words in found for word in words):
        assert (word.score > 0) == (word.text in mine), f"'{word.text}' has part {word.score}"


@pytest.mark.parametrize("method", METHODS)
def test_the_texts_decide_and_not_the_model(workspace: Workspace, method: str) -> None:
    """Capitals, punctuation and the label change nothing, and words beyond the model's last token count."""
    scores = attribute(workspace, method, text="the warm plot").scores
    for text, label in (("The WARM, plot!", "predicted"), ("the warm plot", workspace.labels[0])):
        assert np.array_equal(scores, attribute(workspace, method, text=text, label=label).scores)
    long = attribute(workspace, method, text="zyx " * 60 + "warm")
    assert long.query.example.cut[0] is not None
    has_it = np.array(["warm" in words for words in documents(workspace.train)])
    assert np.array_equal(long.scores > 0, has_it) and has_it.any()


@pytest.mark.parametrize("method", METHODS)
def test_a_repeated_word_is_split_over_its_places(workspace: Workspace, tmp_path: Path, method: str) -> None:
    """Each place of a repeated word carries the same part, capitals or not, and each lies where the word stands."""
    rows = pd.DataFrame({"text": ["Warm, warm film", "dull plot"], "label": list(workspace.labels)})
    space = with_training_data(workspace, rows, tmp_path / "twice")
    first, comma, second, film = attribute(space, method, text="warm").words(0)
    assert (first.text, comma.text, second.text, film.text) == ("Warm", ",", "warm", "film")
    assert (first.start, comma.start, second.start, second.end) == (0, 4, 6, 10)
    assert first.score == second.score > 0 == comma.score == film.score


def test_words_of_many_scripts() -> None:
    """Letters and digits of any script make words, an apostrophe within stays, ideographs stand alone."""
    text = "Don’t STOP: it's 3.5 café-goers, 中文字 שלום _x_"
    words = ["don’t", "stop", "it's", "3", "5", "café", "goers", "中", "文", "字", "שלום", "_x_"]
    assert lexical_words(text) == words


@pytest.mark.parametrize("method", METHODS)
def test_a_training_set_without_words_is_one_line(workspace: Workspace, tmp_path: Path, method: str) -> None:
    """Punctuation only: there is nothing to match, and that is said."""
    rows = pd.DataFrame({"text": ["!", "??"], "label": list(workspace.labels)})
    space = with_training_data(workspace, rows, tmp_path / "mute")
    assert "has a word to match" in refusal(lambda: attribute(space, method, text="warm"))
