"""Features against loops over examples, patterns within their limits, and each mistake as one line."""

import math
import re
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from attribution import create_workspace
from attribution.artifacts import feature_values, list_features, overlap_rate
from attribution.artifacts.features import SMOOTHING
from attribution.artifacts.patterns import compile_pattern, matches
from attribution.data import Columns
from attribution.query import make_query
from attribution.workspace import Workspace
from tests.tiny import refusal, tiny_bert

PAIRS = [
    ("The plot was warm.", "The plot was warm", "positive"),
    ("the cast, the song", "The CAST was not dull!", "negative"),
    ("a very empty scene", "the the the a", "negative"),
    ("don't and won't", "It doesn't work; nothing works", "positive"),
    ("one two three", "...", "positive"),
    ("a film", "film’s end isn’t a film", "negative"),
    ("knot notable", "knot notable another", "positive"),
    *[("a plot and a song", f"a plot {'nor' if i % 3 else 'and'} song {i}", "positive") for i in range(6)],
]
NEGATING = [False, True, False, True, False, True, False, *[i % 3 > 0 for i in range(6)]]


def words(text: str) -> list[str]:
    """Lower-case runs of letters and digits with apostrophes inside them."""
    return re.findall(r"[a-z0-9]+(?:['’][a-z0-9]+)*", text.lower())


def made(folder: Path, rows: pd.DataFrame, columns: Columns) -> Workspace:
    rows.to_parquet(folder / "rows.parquet")
    workspace, _ = create_workspace(
        folder / "w",
        model=tiny_bert(folder / "m"),
        train=folder / "rows.parquet",
        test=folder / "rows.parquet",
        columns=columns,
    )
    return workspace


@pytest.fixture(scope="module")
def nli(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Pairs whose features are easy to say, with a numeric column, one with a gap, and a column of words."""
    rows = pd.DataFrame(PAIRS, columns=["premise", "hypothesis", "label"])
    rows["size"] = np.arange(len(rows)) % 5
    rows["gap"] = [None, math.inf, *np.arange(len(rows) - 2, dtype=float)]
    rows["flag"] = rows["size"] > 2
    rows["source"] = "invented"
    return made(tmp_path_factory.mktemp("nli"), rows, Columns(text="premise", text_pair="hypothesis"))


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Single texts, one without a word."""
    rows = pd.DataFrame({"text": [p for p, _, _ in PAIRS] + ["?!"], "label": ["positive", "negative"] * 7})
    return made(tmp_path_factory.mktemp("texts"), rows, Columns())


def test_lexical_overlap_is_the_share_of_hypothesis_words(nli: Workspace) -> None:
    """Each occurrence counts; a hypothesis without a word has none."""
    expected = []
    for premise, hypothesis, _ in PAIRS:
        asked = words(hypothesis)
        expected.append(sum(w in words(premise) for w in asked) / len(asked) if asked else math.nan)
    assert expected[0] == 1 and math.isnan(expected[4])
    np.testing.assert_allclose(feature_values(nli, "lexical_overlap"), expected)


def test_negation_is_a_whole_word(nli: Workspace) -> None:
    """not, nothing, nor and the n't forms count, with either apostrophe; knot does not, nor does a premise."""
    assert feature_values(nli, "negation").tolist() == NEGATING


def test_length_counts_words(nli: Workspace, texts: Workspace) -> None:
    """Of the hypothesis, or of the only text."""
    assert feature_values(nli, "length").tolist() == [len(words(h)) for _, h, _ in PAIRS]
    assert feature_values(texts, "length").tolist() == [len(words(t)) for t in texts.train["text"]]


def test_cue_words_are_smoothed_mutual_information(nli: Workspace) -> None:
    """The largest PMI over the hypothesis's words and the labels, from a table of counts made by a loop."""
    labels, vocabulary = ["negative", "positive"], sorted({w for _, h, _ in PAIRS for w in words(h)})
    table = {
        (w, y): SMOOTHING + sum(w in words(h) for _, h, label in PAIRS if label == y)
        for w in vocabulary
        for y in labels
    }
    total = sum(table.values())

    def pmi(word: str, label: str) -> float:
        of_word = sum(table[word, y] for y in labels) / total
        of_label = sum(table[w, label] for w in vocabulary) / total
        return math.log(table[word, label] / total / of_word / of_label)

    expected = [max((pmi(w, y) for w in words(h) for y in labels), default=0.0) for _, h, _ in PAIRS]
    np.testing.assert_allclose(feature_values(nli, "cue_words"), expected, atol=1e-12)
    assert max(expected) > 0


def test_test_overlap_is_the_share_of_training_words(texts: Workspace) -> None:
    """Words of the training text that the test text has; unknown test words count nowhere."""
    query = make_query(texts, text="The plot, a SONG: zyx")
    expected = []
    for text in texts.train["text"]:
        own = words(text)
        expected.append(sum(w in ("the", "plot", "a", "song") for w in own) / len(own) if own else math.nan)
    found = feature_values(texts, "test_overlap", query=query)
    np.testing.assert_allclose(found, expected)
    assert 0 < np.nanmean(found) < 1 and math.isnan(expected[-1])


def test_pattern_is_a_list_or_an_expression(nli: Workspace, texts: Workspace) -> None:
    """A list matches whole words in either case in the hypothesis; an expression as it is written."""
    assert feature_values(nli, "pattern", pattern="cast, THE").tolist() == [
        float(bool({"cast", "the"} & set(words(h)))) for _, h, _ in PAIRS
    ]
    assert feature_values(nli, "pattern", pattern="CAST|work.$").tolist() == [0, 1, 0, 1, *[0] * 9]
    assert feature_values(texts, "pattern", pattern="plot").tolist() == [
        float("plot" in words(t)) for t in texts.train["text"]
    ]
    assert matches("at all", ["not at  all", "at allowed", "at. all"]).tolist() == [1, 0, 0]


def test_columns_of_numbers_are_features(nli: Workspace) -> None:
    """Integers, booleans and floats, whose gaps and infinities are NaN."""
    assert feature_values(nli, "column:size").tolist() == nli.train["size"].tolist()
    assert feature_values(nli, "column:flag").tolist() == nli.train["flag"].astype(float).tolist()
    assert np.isnan(feature_values(nli, "column:gap")).tolist() == [True, True, *[False] * 11]


def test_the_list_is_what_can_be_asked(nli: Workspace, texts: Workspace) -> None:
    """Every listed feature gives (train,) float64 for its kind of text, with a title and a sentence."""
    for workspace, others in ((nli, {"column:size", "column:gap", "column:flag"}), (texts, set())):
        query = make_query(workspace, test=0)
        listed = list_features(workspace)
        assert {f.name for f in listed if f.name.startswith("column:")} == others
        for found in listed:
            values = feature_values(workspace, found.name, query=query, pattern="the")
            assert values.shape == (len(workspace.train),) and values.dtype == np.float64
            assert found.title and found.help.endswith(".") and not {"pair", "single"} <= set(found.needs)
    assert "lexical_overlap" not in {f.name for f in list_features(texts)}
    assert "test_overlap" not in {f.name for f in list_features(nli)}


def test_what_is_kept_cannot_be_changed(nli: Workspace) -> None:
    """The values that all callers share are computed once and are read-only."""
    first = feature_values(nli, "length")
    assert feature_values(nli, "length") is first
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 7


def test_overlap_rate_is_the_mean_of_the_top(nli: Workspace) -> None:
    """Over the top by score, less those without words; ties go by rising id."""
    overlap, n = feature_values(nli, "lexical_overlap"), len(nli.train)
    scores = np.arange(n, dtype=float)[::-1]
    for top in (1, 3, 5, n):
        kept = [v for v in overlap[:top] if not math.isnan(v)]
        assert overlap_rate(nli, scores, top=top) == pytest.approx(sum(kept) / len(kept))
    assert overlap_rate(nli, np.zeros(n), top=2) == pytest.approx(overlap[:2].mean())
    assert math.isnan(overlap_rate(nli, np.eye(n)[4], top=1))
    for top in (0, n + 1):
        assert f"from 1 to {n}" in refusal(lambda top=top: overlap_rate(nli, scores, top=top))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lexical_overlop", "Did you mean 'lexical_overlap'"),
        ("test_overlap", "single texts"),
        ("column:source", "'source' is not numeric. Numeric columns: size, gap, flag"),
        ("column:sise", "Did you mean 'size'"),
        ("column:label", "No column of the training data 'label'"),
        ("pattern", "needs a word list"),
    ],
)
def test_a_wrong_feature_is_one_line(nli: Workspace, name: str, expected: str) -> None:
    """The thing, the rule and the choices."""
    assert expected in refusal(lambda: feature_values(nli, name))


def test_features_of_pairs_refuse_single_texts(texts: Workspace) -> None:
    """And the reverse is in the table above; a feature of a test text asks for one."""
    for name in ("lexical_overlap", "negation", "cue_words"):
        assert "pairs of texts" in refusal(lambda name=name: feature_values(texts, name))
    assert "test example" in refusal(lambda: feature_values(texts, "test_overlap"))
    assert "pairs of texts" in refusal(lambda: overlap_rate(texts, np.zeros(14), top=1))


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("(", "not a regular expression"),
        ("[a", "not a regular expression"),
        ("a{2", ""),
        (r"\p{Nothing}", "not a regular expression"),
        (", ,", "Give a pattern"),
        ("x" * 501, "at most 500 characters"),
        ("(?:a{1000}){1000}", "repeats over 10,000 times"),
        ("(?R)", "calls itself"),
        ("(a)(?1)", "calls itself"),
        ("(" * 240 + ")" * 240, ""),
    ],
)
def test_a_wrong_pattern_is_one_line(pattern: str, expected: str) -> None:
    """What is no expression, or could fill the memory, is said; what the library takes is taken."""
    if expected:
        assert expected in refusal(lambda: compile_pattern(pattern))
    else:
        assert compile_pattern(pattern).search("b") is not None or pattern == "a{2"


def test_a_catastrophic_pattern_ends() -> None:
    """Exponential backtracking is stopped near the limit, over all the texts together."""
    texts = ["a" * 5000 + "!"] * 50
    began = time.monotonic()
    assert "0.3 s" in refusal(lambda: matches("((a|aa)+)+b|((aa|a)+)+c", texts, seconds=0.3))
    assert time.monotonic() - began < 5


def test_fifty_thousand_pairs_are_quick(nli: Workspace) -> None:
    """What depends on the question only looks words up: 50,000 texts take well under a second."""
    rows = pd.concat([nli.train] * 4000, ignore_index=True)
    space = Workspace(nli.directory, nli.settings)
    space.__dict__["_tables"] = (rows, nli.test)
    feature_values(space, "lexical_overlap")
    began = time.perf_counter()
    for name in ("lexical_overlap", "negation", "length"):
        assert feature_values(space, name).shape == (52_000,)
    assert time.perf_counter() - began < 1
