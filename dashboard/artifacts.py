"""What the Artifacts page shows, from the library's answers: points, sentences and slices. No Streamlit."""

from collections.abc import Callable, Mapping, Sequence
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
    settings: Mapping[str, Any],
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
    return f"{_subject(query)} {_finding(fit, feature, query, method)}: {_figures(fit)}"


def slice_sentence(fit: SliceFit, feature: Feature, query: Query) -> str:
    """The mean coefficient of a slice, with its interval over the test examples."""
    name = "slope" if fit.degree == 1 else "quadratic coefficient"
    left = f" {fit.left_out:,} more have a constant feature and are left out." if fit.left_out else ""
    direction = "more" if fit.y[-1] > fit.y[0] else "less"
    return (
        f"Over {fit.n:,} test examples, {_subject(query).lower()} {feature.more} count on average {direction} for the "
        f"explained label: mean {name} {_interval(fit)}.{_unclear(fit)}{left}"
    )


def description(found: Artifact, feature: Feature, table: ScoreTable) -> str:
    """The plot in words, for those who do not see it."""
    said = sentence(found.fit, feature, table.query, table.method)
    method = get_method(table.method).title
    return f"{method} scores of {found.fit.n:,} training examples against {feature.title}. {said}"


def _subject(query: Query) -> str:
    return "Training pairs" if query.workspace.is_pair else "Training texts"


def _finding(fit: Fit, feature: Feature, query: Query, method: str) -> str:
    def raised(more: bool) -> str:
        if not get_method(method).signed:
            return "scored higher" if more else "scored lower"
        return f"raised {raised_quantity(query, method)} {'more' if more else 'less'}"

    if fit.degree == 1:
        return f"{feature.more} {raised(fit.coefficient > 0)} than the others"
    turn, most = int(np.argmin(fit.y) if fit.coefficient > 0 else np.argmax(fit.y)), len(fit.y) - 1
    if 0.2 * most < turn < 0.8 * most:
        where = "at both ends" if fit.coefficient > 0 else "in the middle"
        return f"{where} of the range of {feature.title.lower()} {raised(True)} than the others"
    return f"{feature.more} {raised(bool(fit.y[-1] > fit.y[0]))}"


def _figures(fit: Fit) -> str:
    if fit.degree == 1:
        return f"slope {_interval(fit)}.{_unclear(fit)}"
    bend = "upwards" if fit.coefficient > 0 else "downwards"
    return f"quadratic coefficient {_interval(fit)}, the curve bends {bend}.{_unclear(fit)}"


def _interval(fit: Fit | SliceFit) -> str:
    return f"{present.signed(fit.coefficient)} (95 % {present.signed(fit.low)} to {present.signed(fit.high)})"


def _unclear(fit: Fit | SliceFit) -> str:
    return " The interval holds 0: this may be chance." if fit.low <= 0 <= fit.high else ""


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


def sampled(ids: Sequence[int], most: int) -> list[int]:
    """At most so many of these ids, drawn with a fixed seed, in rising order."""
    if len(ids) > most:
        ids = np.random.default_rng(0).choice(np.sort(ids), most, replace=False).tolist()
    return sorted(int(i) for i in ids)
