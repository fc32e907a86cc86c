"""Ranks, Spearman's correlation and overlap against scipy and plain loops, and their means over test examples."""

from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from scipy.stats import ConstantInputWarning, spearmanr

from attribution import attribute
from attribution.comparison import (
    TOPS,
    Agreement,
    agreement,
    compare,
    mean_agreement,
    overlap,
    sample_tests,
    spearman,
)
from attribution.workspace import Workspace
from tests.tiny import refusal

METHODS = ("gd", "nn_cos", "bm25")

# Few distinct values, so that ties are the rule.
rows_of_scores = some.integers(2, 12).flatmap(
    lambda n: some.lists(
        some.lists(some.integers(-2, 2).map(float), min_size=n, max_size=n), min_size=2, max_size=4
    ).map(np.array)
)


def by_scipy(one: np.ndarray, other: np.ndarray) -> float:
    """Scipy's Spearman correlation of two rows of scores."""
    correlation, _ = spearmanr(one, other)
    return float(cast(float, correlation))


def order_of(scores: np.ndarray) -> list[int]:
    """Positions by falling score, equal scores by rising position, by Python's own sort."""
    return sorted(range(len(scores)), key=lambda i: (-scores[i], i))


@given(rows_of_scores)
def test_spearman_is_scipys(scores):
    """Every pair has scipy's correlation, ties included; NaN where one of the two has no order."""
    found = spearman(scores)
    for a, one in enumerate(scores):
        for b, other in enumerate(scores):
            if np.ptp(one) == 0 or np.ptp(other) == 0:
                assert np.isnan(found[a, b])
            else:
                assert found[a, b] == pytest.approx(by_scipy(one, other), abs=1e-12)


def test_scores_without_an_order_are_undefined_for_scipy_too():
    """NaN is the field's answer and not ours alone."""
    with pytest.warns(ConstantInputWarning):
        assert np.isnan(by_scipy(np.ones(3), np.arange(3)))


@given(rows_of_scores, some.integers(1, 15))
def test_overlap_counts_the_common_top(scores, top):
    """The size of the two tops' intersection over their own size, from sets; a short training set counts whole."""
    orders = np.array([order_of(row) for row in scores])
    k = min(top, scores.shape[1])
    expected = [[len(set(a[:k]) & set(b[:k])) / k for b in orders.tolist()] for a in orders.tolist()]
    assert overlap(orders, top) == pytest.approx(np.array(expected))


@pytest.mark.parametrize("method", METHODS)
def test_ranks_are_those_of_a_loop(workspace: Workspace, method: str):
    """Rank 1 is the highest score; equal scores (BM25 has many zeros) are ranked by rising id."""
    table = attribute(workspace, method, test=4)
    found = table.ranks
    for rank, position in enumerate(order_of(table.scores), start=1):
        assert found[position] == rank
    assert method != "bm25" or len(set(table.scores)) < len(table.scores), "this test is to have ties"


def test_agreement_is_of_the_tables(workspace: Workspace):
    """Each entry is that of the two tables' scores and first rows, in the order of the methods."""
    tables = [attribute(workspace, name, test=4) for name in METHODS]
    found = agreement(tables)
    assert found.methods == METHODS and found.tests == 1
    for a, one in enumerate(tables):
        for b, other in enumerate(tables):
            assert found.spearman[a, b] == pytest.approx(by_scipy(one.scores, other.scores), abs=1e-12)
            tops = [set(table.frame(TOPS[0])["train_id"]) for table in (one, other)]
            assert found.overlaps[TOPS[0]][a, b] == pytest.approx(len(tops[0] & tops[1]) / TOPS[0])
    assert found.seconds.tolist() == [table.seconds for table in tables]


def invented(correlation: float, shared: float, seconds: float) -> Agreement:
    """The agreement of two methods on one example."""
    matrix = np.array([[1.0, correlation], [correlation, 1.0]])
    return Agreement(
        methods=("a", "b"),
        tests=1,
        spearman=matrix,
        defined=np.isfinite(matrix).astype(int),
        overlaps={10: np.array([[1.0, shared], [shared, 1.0]])},
        seconds=np.array([seconds, 1.0]),
    )


def test_means_leave_out_what_is_undefined():
    """A mean is over the examples that have a correlation, which are counted; it is NaN where none has."""
    mixed = mean_agreement([invented(0.2, 0.1, 1), invented(np.nan, 0.3, 2), invented(0.6, 0.8, 6)])
    assert mixed.tests == 3 and mixed.defined[0, 1] == 2 and mixed.defined[0, 0] == 3
    assert mixed.spearman[0, 1] == pytest.approx(0.4)
    assert mixed.overlaps[10][0, 1] == pytest.approx(0.4)
    assert mixed.seconds.tolist() == [3, 1]
    assert np.isnan(mean_agreement([invented(np.nan, 0, 0)] * 2).spearman[0, 1])


def test_comparison_over_examples_is_the_mean_of_each(workspace: Workspace):
    """Comparing over test examples gives the mean of their own agreements, and reports each as it is done."""
    tests, said = (1, 4, 7), []
    found = compare(workspace, METHODS, tests, label="true", progress=lambda *step: said.append(step[:2]))
    each = [agreement([attribute(workspace, name, test=test, label="true") for name in METHODS]) for test in tests]
    assert found.spearman == pytest.approx(np.mean([one.spearman for one in each], axis=0), abs=1e-12)
    for top in TOPS:
        assert found.overlaps[top] == pytest.approx(np.mean([one.overlaps[top] for one in each], axis=0))
    assert found.tests == 3 and said == [(1, 3), (2, 3), (3, 3)]


def test_methods_that_explain_something_else_are_refused(workspace: Workspace):
    """A saliency, and a method that needs a clicked token, are not compared."""
    for name in ("erasure", "saliency_influence"):
        assert name in refusal(lambda name=name: compare(workspace, ("gd", name), (0,)))


def test_samples_are_seeded(workspace: Workspace):
    """The same seed draws the same different test examples; other seeds draw others; no more than there are."""
    ids = set(workspace.test.index)
    drawn = [sample_tests(workspace, 4, seed) for seed in range(20)]
    assert all(len(set(each)) == 4 and set(each) <= ids and list(each) == sorted(each) for each in drawn)
    assert drawn == [sample_tests(workspace, 4, seed) for seed in range(20)]
    assert len(set(drawn)) > 10
    assert sample_tests(workspace, len(ids)) == tuple(sorted(ids))
    for count in (0, len(ids) + 1):
        assert f"from 1 to {len(ids)}, not {count}" in refusal(lambda count=count: sample_tests(workspace, count))
