"""Similarity in feature space against a loop over texts, and what the random control promises."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from attribution import attribute
from attribution.index import load, parts
from attribution.neighbours import nearest_examples
from attribution.workspace import Workspace
from tests.oracles import assert_close, encoded, penultimate, plain_model, with_training_data
from tests.tiny import refusal

LIKENESS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "nn_euc": lambda a, b: -sum((x - y) ** 2 for x, y in zip(a, b, strict=True)),
    "nn_cos": lambda a, b: float(a @ b) / (float(a @ a) ** 0.5 * float(b @ b) ** 0.5),
    "nn_dot": lambda a, b: sum(x * y for x, y in zip(a, b, strict=True)),
}


@pytest.mark.oracle("nn_euc", "nn_cos", "nn_dot")
@pytest.mark.parametrize("method", LIKENESS)
@pytest.mark.parametrize("kind", ["single", "pair"])
def test_neighbours(workspace: Workspace, pairs: Workspace, method: str, kind: str) -> None:
    """The likeness of penultimate features, one training text at a time through a plain model."""
    space = workspace if kind == "single" else pairs
    model = plain_model(space)
    test = penultimate(model, encoded(space, space.test.loc[2]))
    expected = [LIKENESS[method](test, penultimate(model, encoded(space, row))) for _, row in space.train.iterrows()]
    assert_close(attribute(space, method, test=2).scores, np.array(expected), relative=2e-6)


@pytest.mark.parametrize("method", LIKENESS)
def test_neighbours_do_not_see_the_label(workspace: Workspace, method: str) -> None:
    """The features alone decide: asking for the other label changes nothing."""
    one, other = (attribute(workspace, method, test=2, label=label).scores for label in workspace.labels)
    assert np.array_equal(one, other)


@pytest.mark.oracle("random")
def test_random_depends_on_the_seed_and_the_example_alone(workspace: Workspace, tmp_path: Path) -> None:
    """One seed gives one uniform number for an example: whatever its place, its neighbours or the question."""
    reversed_order = with_training_data(workspace, workspace.train.iloc[::-1], tmp_path / "reversed")
    first = attribute(workspace, "random", test=0, seed=4).scores
    assert np.array_equal(first, attribute(workspace, "random", text="the plot", seed=4).scores)
    assert np.array_equal(first, attribute(reversed_order, "random", test=0, seed=4).scores[::-1])
    other = attribute(workspace, "random", test=0, seed=5).scores
    assert abs(np.corrcoef(first, other)[0, 1]) < 0.5, "another seed gives nearly the same order"
    assert ((first >= 0) & (first < 1)).all() and len(set(first)) == len(set(workspace.train["text"]))


def test_random_is_uniform(workspace: Workspace) -> None:
    """Over many seeds the numbers fill [0, 1): largest gap to the uniform distribution as Kolmogorov–Smirnov allows."""
    drawn = np.sort(np.concatenate([attribute(workspace, "random", test=0, seed=seed).scores for seed in range(25)]))
    gap = np.abs(drawn - (np.arange(len(drawn)) + 0.5) / len(drawn)).max()
    assert gap < 1.95 / np.sqrt(len(drawn)), f"gap {gap:.3f} over {len(drawn)} draws"


def test_nearest_examples_are_those_of_a_search(workspace):
    """Neighbours of a training example, itself left out, by scikit-learn's cosine distance over the features."""
    features = np.asarray(load(workspace, parts(workspace, "features")[0])["features"])
    train_id = int(workspace.train.index[7])
    search = NearestNeighbors(metric="cosine", algorithm="brute").fit(features)
    distances, rows = search.kneighbors(features[7:8], n_neighbors=len(features))
    expected = {int(workspace.train.index[row]): 1 - d for row, d in zip(rows[0], distances[0], strict=True)}
    found = nearest_examples(workspace, train_id, count=5)
    assert train_id not in dict(found) and len(found) == 5
    assert [cosine for _, cosine in found] == sorted((cosine for _, cosine in found), reverse=True)
    for other, cosine in found:
        assert cosine == pytest.approx(expected.pop(other), abs=1e-5)
    del expected[train_id]
    assert max(expected.values()) <= found[-1][1] + 1e-5
    assert "No training example 99999" in refusal(lambda: nearest_examples(workspace, 99999))
