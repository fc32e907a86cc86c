"""Duplicates, near-duplicates and conflicts: planted ones, and against all pairs of texts compared one by one."""

import random
from collections import Counter
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from attribution.suspects import conflicts, find_duplicates
from attribution.suspects.duplicates import normalised
from attribution.workspace import Workspace
from tests.tiny import FILLER, GOOD, refusal, sentences, workspace_of


def workspace_with(folder: Path, texts: list[str], labels: list[str] | None = None) -> Workspace:
    """A workspace whose training texts are these, with labels in turn unless given."""
    given = labels or [("negative", "positive")[i % 2] for i in range(len(texts))]
    return workspace_of(folder, pd.DataFrame({"text": texts, "label": given}), sentences(4, seed=1))


def shingles(text: str) -> set[tuple[str, ...]]:
    words = text.split()
    return {(word,) for word in words} | set(pairwise(words))


def likeness(one: str, other: str) -> float:
    first, second = shingles(one), shingles(other)
    return len(first & second) / len(first | second)


@pytest.mark.parametrize("threshold", [0.3, 0.6, 0.8])
def test_nothing_above_the_threshold_is_missed(tmp_path: Path, threshold: float) -> None:
    """Groups and similarities are those of a loop over all pairs of texts, single words and repetitions included."""
    draw = random.Random(4)
    texts = [" ".join(draw.choices([*FILLER[:6], *GOOD], k=draw.randint(1, 8))) for _ in range(60)]
    texts += [text + " lively" for text in texts[:20]]
    found = find_duplicates(workspace_with(tmp_path, texts), threshold=threshold)
    texts = [normalised(text) for text in texts]
    linked = [(i, j, likeness(texts[i], texts[j])) for i, j in combinations(range(len(texts)), 2)]
    best, group = np.zeros(len(texts)), list(range(len(texts)))
    for i, j, value in linked:
        if value >= threshold - 1e-9:
            best[[i, j]] = np.maximum(best[[i, j]], value)
            group = [group[i] if g == group[j] else g for g in group]
    expected = {frozenset(k for k, g in enumerate(group) if g == each) for each in group}
    frame = found.frame
    made = {frozenset(rows.index) for _, rows in frame.groupby("group")}
    assert made == {each for each in expected if len(each) > 1}
    np.testing.assert_allclose(frame["similarity"], best[frame.index], atol=1e-6)
    assert found.compared == found.texts == len(set(texts))


def test_planted_duplicates_and_conflicts(tmp_path: Path) -> None:
    """Case, blanks and punctuation do not count; one word of ten does at 1; another label makes a conflict."""
    texts = sentences(30, seed=6)["text"].tolist()
    long = "the cast and the song was a very tender story with lively scene"
    texts += ["Bright, WARM film!", "bright   warm film", long, long.replace("lively", "dull")]
    labels = ["negative"] * 30 + ["positive", "negative", "positive", "positive"]
    workspace = workspace_with(tmp_path, texts, labels)
    same = find_duplicates(workspace, threshold=1)
    assert set(same.frame.loc[[30, 31], "similarity"]) == {1.0} and not {32, 33} & set(same.frame.index)
    assert {30, 31} <= set(conflicts(same).index)
    near = find_duplicates(workspace, threshold=0.7).frame
    assert near.at[32, "group"] == near.at[33, "group"] != near.at[30, "group"]
    assert near.at[32, "similarity"] < 1 and near.at[32, "labels"] == 1 and near.at[30, "labels"] == 2
    assert not {32, 33} & set(conflicts(find_duplicates(workspace, threshold=0.7), near=True).index)
    assert "near=True" in refusal(lambda: conflicts(find_duplicates(workspace, threshold=0.7)))
    sizes = near.groupby("group", sort=False)["size"].first().tolist()
    assert sizes == sorted(sizes, reverse=True) and near["group"].drop_duplicates().tolist() == list(range(len(sizes)))


def test_both_texts_of_a_pair_count(pairs: Workspace) -> None:
    """The same two texts the other way round are no duplicate, nor are pairs with one text in common."""
    frame = find_duplicates(pairs, threshold=1).frame
    columns = [[normalised(text) for text in column] for column in (pairs.train["text"], pairs.train["text_pair"])]
    keys = dict(zip(pairs.train.index, zip(*columns, strict=True), strict=True))
    several = Counter(keys.values())
    assert set(frame.index) == {train_id for train_id, key in keys.items() if several[key] > 1}


def test_texts_without_words_and_thresholds_out_of_range(tmp_path: Path) -> None:
    """Punctuation alone is compared as it is; a threshold has a range; a search that ends early says how far it got."""
    workspace = workspace_with(tmp_path, ["!!!", "…", "!!!", "the film", "The film."])
    frame = find_duplicates(workspace, threshold=0.9).frame
    assert sorted(frame.index) == [0, 2, 3, 4]
    for value in (0, 1.1):
        assert "above 0 and at most 1" in refusal(lambda value=value: find_duplicates(workspace, threshold=value))
    alike = workspace_with(tmp_path / "many", [f"the plot and the cast was warm {i}" for i in range(300)])
    short = find_duplicates(alike, threshold=0.5, most_candidates=10)
    assert short.compared < short.texts == 300
