"""Figures of the Compare page. Pure functions; the colours follow the theme, the row ids travel in customdata."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from dashboard.charts import INK, OPPOSES, SUPPORTS
from dashboard.comparing import number

PAGE = {False: "#ffffff", True: "#0f1216"}
DARK_SUPPORTS, DARK_OPPOSES = "#5c9ede", "#f0a046"


def matrix(methods: Sequence[str], values: np.ndarray, *, signed: bool, dark: bool) -> go.Figure:
    """Squares (method × method) with their value written in them.

    Signed values go from −1 (orange) over 0 (the page) to 1 (blue), the others from 0 to 1. The blue is half as strong
    as elsewhere, so that the number stays readable on it. Undefined values are a dash on the page's own colour.
    """
    size = len(methods)
    longest = 7 * max(len(name) for name in methods)
    left, below = 12 + longest, 16 + round(0.6 * longest)
    supports, opposes = (DARK_SUPPORTS, DARK_OPPOSES) if dark else (SUPPORTS, OPPOSES)
    page, blue, orange = PAGE[dark], _mixed(supports, PAGE[dark], 0.55), _mixed(opposes, PAGE[dark], 0.55)
    figure = go.Figure(
        go.Heatmap(
            z=[[None if np.isnan(value) else float(value) for value in row] for row in values],
            x=list(methods),
            y=list(methods),
            text=[[number(value) for value in row] for row in values],
            texttemplate="%{text}",
            textfont={"color": INK[dark], "size": 13},
            colorscale=[[0, orange], [0.5, page], [1, blue]] if signed else [[0, page], [1, blue]],
            zmin=-1 if signed else 0,
            zmax=1,
            xgap=3,
            ygap=3,
            showscale=False,
            hovertemplate="%{y} and %{x}: %{text}<extra></extra>",
        )
    )
    axis = {"showgrid": False, "zeroline": False, "fixedrange": True, "ticks": "", "automargin": False}
    figure.update_layout(
        xaxis={**axis, "side": "bottom", "tickangle": -35},
        yaxis={**axis, "autorange": "reversed"},
        height=34 * size + 6 + below,
        margin={"l": left, "r": 8, "t": 6, "b": below},
        dragmode=False,
    )
    return figure


def score_scatter(
    ids: np.ndarray,
    one: np.ndarray,
    other: np.ndarray,
    same_label: np.ndarray,
    *,
    titles: tuple[str, str],
    selected: int | None,
    dark: bool,
) -> go.Figure:
    """A point a training example: its score (train,) under two methods; customdata is [training id].

    Blue circles have the explained label (`same_label`), orange crosses another; the selected one is ringed. Drawn by
    WebGL, which takes hundreds of thousands of points.
    """
    supports, opposes = (DARK_SUPPORTS, DARK_OPPOSES) if dark else (SUPPORTS, OPPOSES)
    figure = go.Figure()
    for name, rows, colour, symbol in (
        ("the explained label", same_label, supports, "circle"),
        ("another label", ~same_label, opposes, "x-thin-open"),
    ):
        figure.add_trace(
            go.Scattergl(
                x=one[rows].tolist(),
                y=other[rows].tolist(),
                customdata=[[int(i)] for i in ids[rows]],
                name=name,
                mode="markers",
                marker={"color": colour, "symbol": symbol, "size": 6, "opacity": 0.6},
                hovertemplate="training example %{customdata[0]}<br>%{x:.3g}, %{y:.3g}<extra></extra>",
                unselected={"marker": {"opacity": 0.6}},
            )
        )
    if selected is not None and (at := np.flatnonzero(ids == selected)).size:
        figure.add_trace(
            go.Scattergl(
                x=one[at].tolist(),
                y=other[at].tolist(),
                customdata=[[selected]],
                name="selected",
                mode="markers",
                marker={"color": INK[dark], "symbol": "circle-open", "size": 16, "line": {"width": 3}},
                hovertemplate=f"training example {selected}<br>%{{x:.3g}}, %{{y:.3g}}<extra></extra>",
            )
        )
    figure.update_layout(
        xaxis={"title": titles[0], "zeroline": True},
        yaxis={"title": titles[1], "zeroline": True},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        height=400,
        margin={"l": 10, "r": 10, "t": 34, "b": 10},
        dragmode="pan",
    )
    return figure


def _mixed(colour: str, page: str, strength: float) -> str:
    """`strength` of a colour over the page's own, opaque."""
    pairs = zip(*([int(each[i : i + 2], 16) for i in (1, 3, 5)] for each in (colour, page)), strict=True)
    return "rgb({},{},{})".format(*(round(strength * a + (1 - strength) * b) for a, b in pairs))
