"""Figures of influence against a feature of the training examples. Pure functions; row ids travel in customdata."""

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from attribution.artifacts import Fit, SliceFit
from dashboard.charts import INK, escaped, short

LINE = {False: "#d0d5dd", True: "#3a414b"}
# Paul Tol's "muted" scheme in two strengths: apart under every colour blindness, and not the blue and orange of a sign.
COLOURS = {
    False: ("#117f73", "#882255", "#8a7f1f", "#332288", "#cc6677", "#44aa99"),
    True: ("#5fd0bf", "#e58ab0", "#ddcc77", "#a9a2f0", "#cc6677", "#999933"),
}
SYMBOLS = ("circle", "diamond", "triangle-up", "square", "cross", "x", "star")
FEW_VALUES = 12
MANY = 20_000
CELLS = (200, 100)  # a mark, on a laptop's screen
LONGEST_NAME = 40


@dataclass(frozen=True, kw_only=True)
class Points:
    """What is drawn of the training examples whose feature is known.

    `ids`, `x` (the feature), `y` (score in standard deviations) and `labels` (label numbers): (points,) each.
    """

    ids: np.ndarray
    x: np.ndarray
    y: np.ndarray
    labels: np.ndarray


def influence_scatter(points: Points, fit: Fit, *, names: tuple[str, ...], feature: str, dark: bool) -> go.Figure:
    """Score against feature, a WebGL trace a label, under the fitted curve and its band; customdata is the row id.

    A feature of few values is spread sideways by at most a quarter of their distance, so that points do not hide each
    other. Positions travel as float32. Plotly reads names as HTML, so they are escaped. Of more than MANY points the
    marks are small circles for every label, and those of a label that lie on one another are one, as dark as they would
    be together, whose text counts them (`marks`): without a GPU, drawing takes as long as there are marks.
    """
    x, title = _spread(points.x), escaped(feature)
    are_many = len(x) > MANY
    at = "" if x is not points.x else f"{title}: %{{x:.3~g}}<br>"
    one = float(np.clip(80 / len(x) ** 0.6, 0.2, 0.85))
    here = "<br>%{text} examples here" if are_many else ""
    traces: list[go.Scattergl | go.Scatter] = []
    for number, name in enumerate(names):
        rows = np.flatnonzero(points.labels == number)
        if not len(rows):
            continue
        rows, counts = marks(x, points.y, rows) if are_many else (rows, np.ones(len(rows), dtype=np.int64))
        label = escaped(short(name, LONGEST_NAME))
        traces.append(
            go.Scattergl(
                x=x[rows].astype(np.float32),
                y=points.y[rows].astype(np.float32),
                customdata=points.ids[rows].astype(np.int32),
                text=counts.tolist() if are_many else None,
                mode="markers",
                name=label,
                marker={
                    "symbol": SYMBOLS[0] if are_many else SYMBOLS[number % len(SYMBOLS)],
                    "color": COLOURS[dark][number % len(COLOURS[dark])],
                    "size": 4 if are_many else 6 if len(x) > 3000 else 8,
                    "opacity": (1 - (1 - one) ** counts).astype(np.float32) if are_many else one,
                },
                selected={"marker": {"size": 16, "opacity": 1, "color": INK[dark]}},
                unselected={"marker": {"opacity": float(np.clip(60 / len(x) ** 0.6, 0.15, 0.6))}},
                hovertemplate=f"{label}<br>{at}score: %{{y:+.2f}} sd<br>train id %{{customdata}}{here}<extra></extra>",
            )
        )
    figure = go.Figure([*traces, *_curve(fit, INK[dark], "fitted curve, 95 % band")])
    _arrange(figure, title, dark, height=480)
    values = np.unique(points.x)
    if len(values) <= FEW_VALUES and (values == values.round()).all():
        figure.update_xaxes(tickvals=values.tolist())
    return figure


def slice_curves(mean: SliceFit, single: Fit | None, *, feature: str, dark: bool) -> go.Figure:
    """The mean curve of a slice with its band, and dashed the curve of the example above, if it is given."""
    traces = _curve(mean, INK[dark], f"mean of {mean.n} test examples, 95 % band")
    if single is not None:
        dashed = {"color": COLOURS[dark][1], "width": 2, "dash": "dash"}
        traces.append(
            go.Scatter(x=single.x, y=single.y, mode="lines", line=dashed, name="this example", hoverinfo="skip")
        )
    figure = go.Figure(traces)
    _arrange(figure, escaped(feature), dark, height=320)
    return figure


def _curve(fit: Fit | SliceFit, colour: str, name: str) -> list[go.Scatter | go.Scattergl]:
    """A band and the line in it."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    band = go.Scatter(
        x=np.concatenate([fit.x, fit.x[::-1]]),
        y=np.concatenate([fit.y_high, fit.y_low[::-1]]),
        mode="lines",
        line={"width": 0},
        fill="toself",
        fillcolor=f"rgba({red},{green},{blue},0.18)",
        hoverinfo="skip",
        showlegend=False,
    )
    # In WebGL, as the points are, which would lie on top of any other line.
    line = go.Scattergl(
        x=fit.x, y=fit.y, mode="lines", line={"color": colour, "width": 2.5}, name=name, hoverinfo="skip"
    )
    return [band, line]


def _arrange(figure: go.Figure, feature: str, dark: bool, *, height: int) -> None:
    axis = {"showgrid": False, "zeroline": True, "zerolinecolor": LINE[dark], "ticks": "outside", "automargin": True}
    figure.update_layout(
        xaxis={**axis, "title": feature, "zeroline": False},
        yaxis={**axis, "title": "score, standard deviations from its mean"},
        height=height,
        margin={"l": 10, "r": 10, "t": 36, "b": 10},
        legend={"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "itemsizing": "constant"},
        hovermode="closest",
    )


def marks(x: np.ndarray, y: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of some rows, those that are drawn, and how many each stands for: the first in every cell of CELLS over all."""
    columns, lines = (
        np.minimum((values - values.min()) / (np.ptp(values) or 1) * count, count - 1).astype(np.int64)
        for values, count in zip((x, y), CELLS, strict=True)
    )
    _, first, counts = np.unique((columns * CELLS[1] + lines)[rows], return_index=True, return_counts=True)
    return rows[first], counts


def _spread(values: np.ndarray) -> np.ndarray:
    """The values, moved sideways at random (seeded) where there are few different ones."""
    distinct = np.unique(values)
    if not 2 <= len(distinct) <= FEW_VALUES:
        return values
    return values + np.random.default_rng(0).uniform(-0.25, 0.25, len(values)) * np.diff(distinct).min()
