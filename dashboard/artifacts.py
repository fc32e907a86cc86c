"""What the Artifacts page shows, from the library's answers: points, sentences and slices. No Streamlit."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from attribution.artifacts import Feature, Fit, SliceFit, artifact_fit, feature_values, slice_fit
from attribution.explain import raised_quantity
from attribution.query import Query, make_query
from attribution.registry import get_method, run_method
from attribution.results import ScoreTable, WordScore
from attribution.workspace import Workspace
from dashboard import present
from dashboard.artifact_charts import Points
from dashboard.components import TrainingRow

SLICE_COLUMNS = {"predicted": "predicted label", "label": "true label"}
MOST_VALUES = 40
NOT_SLICES = ("text", "text_pair", "confidence", "margin", "wrong")


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """An answer held against a feature: its `values` (train,), the points where they are known, the fit."""

    values: np.ndarray
    points: Points
    fit: Fit


def artifact_of(table: ScoreTable, values: np.ndarray) -> Artifact:
    """The points of the training examples whose feature is known, and their fit; UserError where there is none."""
    known = np.isfinite(values)
    workspace = table.query.workspace
    points = Points(
        ids=table.ids[known],
        x=values[known],
        y=table.z[known],
        labels=workspace.label_ids(workspace.train)[known],
    )
    return Artifact(values=values, points=points, fit=artifact_fit(table.scores, values))


def slice_artifact(
    workspace: Workspace,
    *,
    tests: Sequence[int],
    label: str,
    method: str,
    settings: tuple[tuple[str, Any], ...],
    feature: str,
    pattern: str | None,
    progress: Callable[[int, int, str], None],
) -> SliceFit:
    """The mean fit of a method over some test examples. Cost: one answer a test example."""
    scores, values = [], []
    for done, test in enumerate(tests):
        progress(done, len(tests), "test examples")
        query = make_query(workspace, test=test, label=label)
        table = run_method(query, method, dict(settings), rerank=False)
        assert isinstance(table, ScoreTable)
        scores.append(table.scores)
        values.append(feature_values(workspace, feature, query=query, pattern=pattern))
    return slice_fit(scores, values)


def sentence(fit: Fit, feature: Feature, query: Query, method: str) -> str:
    """What the fit says of training on examples with the feature, with the sign's meaning, on one line."""
    quantity = raised_quantity(query, method) if get_method(method).signed else None
    return f"{_subject(query)} {_finding(fit, feature, quantity)}: {_figures(fit)}."


def slice_sentence(fit: SliceFit, feature: Feature, query: Query, method: str, label: str) -> str:
    """As `sentence`, of the mean over several test examples; `label` as it was chosen for all of them."""
    named = {"predicted": "the predicted label", "true": "the true label"}.get(label, f"'{label}'")
    quantity = raised_quantity(query, method, named) if get_method(method).signed else None
    said = f"{_subject(query).lower()} {_finding(fit, feature, quantity)}: mean {_figures(fit)}."
    left = f" {fit.left_out:,} more are left out, as the feature is constant for them." if fit.left_out else ""
    return f"Over {fit.n:,} test examples, {said}{left}"


def description(found: Artifact, feature: Feature, table: ScoreTable) -> str:
    """The plot in words, for those who do not see it."""
    said = sentence(found.fit, feature, table.query, table.method)
    method = get_method(table.method).title
    return f"{method} scores of {found.fit.n:,} training examples against {feature.title}. {said}"


def _subject(query: Query) -> str:
    return "Training pairs" if query.workspace.is_pair else "Training texts"


def _finding(fit: Fit | SliceFit, feature: Feature, quantity: str | None) -> str:
    """Which examples raised the quantity (or scored, without one) more; only what the intervals make sure of."""

    def raised(how: str) -> str:
        if quantity is None:
            return "scored " + {"more": "higher", "less": "lower"}.get(how, how)
        return f"raised {quantity} {how}"

    most = len(fit.y) - 1
    turn = int(np.argmin(fit.y) if fit.coefficient > 0 else np.argmax(fit.y))
    if fit.degree == 2 and _is_clear(fit) and 0.2 * most < turn < 0.8 * most:
        where = "at both ends" if fit.coefficient > 0 else "in the middle"
        return f"{where} of the range of {feature.title.lower()} {raised('more')} than the others"
    rising, falling = fit.y_low[-1] > fit.y_high[0], fit.y_high[-1] < fit.y_low[0]
    if not (rising or falling):
        return f"{feature.more} {raised('about as much')} as the others"
    return f"{feature.more} {raised('more' if rising else 'less')} than the others"


def _figures(fit: Fit | SliceFit) -> str:
    interval = f"{present.signed(fit.coefficient)} (95 % {present.signed(fit.low)} to {present.signed(fit.high)})"
    if fit.degree == 1:
        return f"slope {interval}"
    bend = f"the curve bends {'upwards' if fit.coefficient > 0 else 'downwards'}" if _is_clear(fit) else "no clear bend"
    return f"quadratic coefficient {interval}, {bend}"


def _is_clear(fit: Fit | SliceFit) -> bool:
    return not fit.low <= 0 <= fit.high


def clicked_row(
    found: Artifact, feature: Feature, table: ScoreTable, train_id: int, words: Sequence[WordScore] | None
) -> TrainingRow:
    """The row of one training example, its bar a share of the largest score of all, its feature among the details."""
    scored = {} if words is None else {train_id: words}
    (row,) = present.training_rows(table, get_method(table.method), [(train_id, 0)], scored, opponents=False)
    share = row["score"] / (float(np.abs(table.scores).max()) or 1.0)
    value = float(found.values[np.flatnonzero(table.ids == train_id)[0]])
    known = f"{value:.4g}" if np.isfinite(value) else "not known"
    return {**row, "share": share, "details": [*row["details"], [feature.title, known]]}


def slice_columns(tests: pd.DataFrame) -> dict[str, str]:
    """The columns of the test table by which it can be sliced, with titles: labels, then others of few values."""
    further = [
        str(name)
        for name in tests.columns
        if name not in (*NOT_SLICES, *SLICE_COLUMNS) and 2 <= len(tests[name].unique()) <= MOST_VALUES
    ]
    return {**SLICE_COLUMNS, **{name: name for name in further}}


def sliced(tests: pd.DataFrame, *, column: str, value: str | None, wrong: bool) -> pd.DataFrame:
    """The test examples with this value (written out) in a column, or all; `wrong`: the mispredicted ones only."""
    kept = np.ones(len(tests), dtype=bool) if value is None else tests[column].astype(str).to_numpy() == value
    return tests.loc[kept & tests["wrong"].to_numpy()] if wrong else tests.loc[kept]
