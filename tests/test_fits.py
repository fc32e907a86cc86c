"""The regressions: against numpy.polyfit, planted curves, and the coverage of their intervals."""

import numpy as np
import pytest

from attribution.artifacts import artifact_fit, slice_fit
from attribution.artifacts import fits as fitting
from tests.tiny import refusal


def planted(seed: int, *, n: int = 300, a: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Scores, in an arbitrary unit, and a feature that is a z² − 0.2 z + 1 and noise."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=n)
    z = (z - z.mean()) / z.std()
    return 40 * z - 7, a * z**2 - 0.2 * z + 1 + rng.normal(size=n) * 0.5


@pytest.mark.parametrize("response", ["feature", "influence"])
def test_coefficient_is_that_of_polyfit(response: str) -> None:
    """Coefficient and curve are numpy's least squares on z-scores, whichever side is explained."""
    scores, values = planted(0)
    z = (scores - scores.mean()) / scores.std()
    right, left = (z, values) if response == "feature" else (values, z)
    found, expected = artifact_fit(scores, values, response=response), np.polyfit(right, left, 2)
    assert found.coefficient == pytest.approx(expected[0]) and found.degree == 2 and found.n == 300
    np.testing.assert_allclose(found.y, np.polyval(expected, found.x))
    assert (found.x[0], found.x[-1]) == (right.min(), right.max())
    assert found.low < found.coefficient < found.high
    assert (found.y_low <= found.y).all() and (found.y <= found.y_high).all()


def test_scores_count_in_standard_deviations() -> None:
    """Another unit and origin of the scores change nothing, and their sign does not change Han's coefficient."""
    scores, values = planted(1)
    first = artifact_fit(scores, values, response="feature")
    for other in (scores * 1000 + 5, -scores):
        again = artifact_fit(other, values, response="feature")
        assert again.coefficient == pytest.approx(first.coefficient)
    assert artifact_fit(scores * 3 - 1, values).coefficient == pytest.approx(artifact_fit(scores, values).coefficient)


def test_interval_covers_a_planted_coefficient() -> None:
    """The 95 % interval holds the true coefficient in about 95 of 100 samples, and a half-sized one in about half."""
    inside = {0.95: 0, 0.5: 0}
    for seed in range(100):
        scores, values = planted(seed)
        for confidence in inside:
            fit = artifact_fit(scores, values, response="feature", confidence=confidence, draws=300, seed=seed)
            inside[confidence] += fit.low <= 0.5 <= fit.high
    assert 86 <= inside[0.95] and 33 <= inside[0.5] <= 67, inside


def test_an_irrelevant_feature_has_none() -> None:
    """The interval holds 0 where nothing is planted, and excludes it where much is."""
    assert sum(_holds_zero(seed, a=0.0) for seed in range(20)) >= 16
    assert not any(_holds_zero(seed, a=0.5) for seed in range(20))


def _holds_zero(seed: int, a: float) -> bool:
    fit = artifact_fit(*planted(seed, a=a), response="feature", draws=200)
    return fit.low <= 0 <= fit.high


def test_groups_stand_for_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resampling random groups of rows gives nearly the interval that resampling the rows gives."""
    scores, values = planted(2, n=4000)
    rows = artifact_fit(scores, values)
    monkeypatch.setattr(fitting, "GROUPS", 500)
    groups = artifact_fit(scores, values)
    assert groups.coefficient == rows.coefficient
    assert groups.high - groups.low == pytest.approx(rows.high - rows.low, rel=0.15)


def test_two_values_have_a_slope() -> None:
    """A feature of 0 and 1 on the right: the difference of the mean z; on the left it stays quadratic."""
    scores, values = planted(3)
    values = (values > 1).astype(float)
    z = (scores - scores.mean()) / scores.std()
    fit = artifact_fit(scores, values)
    assert fit.degree == 1
    assert fit.coefficient == pytest.approx(z[values == 1].mean() - z[values == 0].mean())
    assert artifact_fit(scores, values, response="feature").degree == 2


def test_gaps_are_dropped_and_counted() -> None:
    """NaN rows are as if they were not there, except that scores are standardised over all rows."""
    scores, values = planted(4)
    z = (scores - scores.mean()) / scores.std()
    values[:37] = np.nan
    fit = artifact_fit(scores, values)
    assert (fit.n, fit.dropped) == (263, 37)
    assert fit.coefficient == pytest.approx(np.polyfit(values[37:], z[37:], 2)[0])


def test_a_seed_is_a_result() -> None:
    """The same seed gives the same interval, another one nearly the same."""
    scores, values = planted(5)
    first, again, other = (artifact_fit(scores, values, seed=seed) for seed in (0, 0, 1))
    assert (first.low, first.high) == (again.low, again.high) != (other.low, other.high)
    assert other.high - other.low == pytest.approx(first.high - first.low, rel=0.2)


def test_what_cannot_be_fitted_is_said() -> None:
    """Constant features and scores, too few points, and shapes that differ: one line each, and no curve."""
    scores, values = planted(6, n=30)
    assert "The feature is 0.3 for all 30" in refusal(lambda: artifact_fit(scores, np.full(30, 0.3)))
    assert "scores are all equal" in refusal(lambda: artifact_fit(np.full(30, 0.1), values))
    assert "there are 9" in refusal(lambda: artifact_fit(scores[:9], values[:9]))
    assert "there are 0" in refusal(lambda: artifact_fit(scores, np.full(30, np.nan)))
    assert "(29,)" in refusal(lambda: artifact_fit(scores, values[:29]))
    assert "Known: influence, feature" in refusal(lambda: artifact_fit(scores, values, response="both"))
    assert "at least 2" in refusal(lambda: slice_fit([scores], [values]))
    assert "The feature is 1" in refusal(lambda: slice_fit([scores] * 3, [np.ones(30)] * 3))


def test_a_rare_value_leaves_its_draws_out() -> None:
    """Where most resamples lack the one row that bends the curve, the interval is of the others and finite."""
    scores, values = planted(7, n=60)
    values = (values > 1).astype(float)
    values[7] = 2.0
    fit = artifact_fit(scores, values)
    assert fit.degree == 2 and np.isfinite([fit.low, fit.high, *fit.y_low, *fit.y_high]).all()


@pytest.mark.parametrize("response", ["feature", "influence"])
def test_slice_is_the_mean_of_its_examples(response: str) -> None:
    """Coefficients are the examples' own, their mean the slice's; the curve is the mean of their curves."""
    examples = [planted(seed) for seed in range(6)]
    alone = [artifact_fit(s, v, response=response) for s, v in examples]
    found = slice_fit([s for s, _ in examples], [v for _, v in examples], response=response)
    np.testing.assert_allclose(found.coefficients, [fit.coefficient for fit in alone])
    assert found.coefficient == pytest.approx(found.coefficients.mean()) and found.n == 6
    assert found.coefficients.min() <= found.low < found.coefficient < found.high <= found.coefficients.max()
    curves = []
    for s, v in examples:
        z = (s - s.mean()) / s.std()
        right, left = (z, v) if response == "feature" else (v, z)
        curves.append(np.polyval(np.polyfit(right, left, 2), found.x))
    np.testing.assert_allclose(found.y, np.mean(curves, axis=0))


def test_slice_leaves_out_constant_examples() -> None:
    """A test example for which the feature is constant is counted and not averaged in."""
    examples = [planted(seed) for seed in range(3)]
    rows = [s for s, _ in examples], [v for _, v in examples]
    found = slice_fit([*rows[0], rows[0][0]], [*rows[1], np.zeros(300)])
    assert (found.n, found.left_out) == (3, 1)
    np.testing.assert_array_equal(found.coefficients, slice_fit(*rows).coefficients)


def test_slice_interval_covers_the_population() -> None:
    """The interval over test examples holds the coefficient that the examples scatter about."""
    inside = 0
    for trial in range(40):
        rng = np.random.default_rng(trial)
        examples = [planted(1000 * trial + i, a=float(rng.normal(0.5, 0.3))) for i in range(30)]
        found = slice_fit([s for s, _ in examples], [v for _, v in examples], response="feature", seed=trial)
        inside += found.low <= 0.5 <= found.high
    assert inside >= 33, inside
