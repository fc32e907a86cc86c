"""Figures of experiments, made from how their rows read. Pure functions; the colours follow the theme."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboard import comparison_charts
from dashboard.artifact_charts import COLOURS, LINE, SYMBOLS
from dashboard.charts import INK, escaped, short
from dashboard.experiment_tables import (
    CONTROL,
    METHOD,
    UNITS,
    Measure,
    Reading,
    Row,
    in_panel,
    panels,
    unsure,
    values,
)

GREY = {False: "#667085", True: "#98a2b3"}
DASHES = ("solid", "dash", "dot", "dashdot")
LONGEST = 34
PAPERS = "the paper's"
GAP, ABOVE = 76, 36
# Values of the paper this many times as large as any of ours would leave nothing to see of ours.
COMPARABLE = 10


def figure(reading: Reading, paper: Sequence[Row], *, dark: bool) -> go.Figure:
    """The rows of an experiment as curves with bands, a matrix, or bars (points, where they have intervals).

    Values of the paper that are of the same things are open diamonds. Plotly reads texts as HTML: they are escaped.
    """
    if reading.kind == "matrix":
        return _matrix(reading, dark)
    return _curves(reading, paper, dark) if reading.kind == "curves" else _bars(reading, paper, dark)


def _matrix(reading: Reading, dark: bool) -> go.Figure:
    assert reading.category and reading.series
    one, other, name = reading.category[0], reading.series, reading.measures[0].name
    methods = list(dict.fromkeys([*values(reading.rows, one), *values(reading.rows, other)]))
    found = np.full((len(methods), len(methods)), np.nan)
    given = {(row[one], row[other]): row[name] for row in reading.rows if row[name] is not None}
    for (a, b), value in given.items():
        at = methods.index(a), methods.index(b)
        found[at] = value
        if (b, a) not in given:
            found[at[::-1]] = value
    signed = bool(np.nanmin(found, initial=0) < 0)
    made = comparison_charts.matrix([escaped(m) for m in methods], found, signed=signed, dark=dark)
    # Room for the button that saves it, which would lie on a square.
    made.layout.update(height=made.layout.height + ABOVE, margin_t=ABOVE)  # pyright: ignore[reportAttributeAccessIssue]
    return made


def _curves(reading: Reading, paper: Sequence[Row], dark: bool) -> go.Figure:
    """A line for each of the series with a band of its uncertainty, a plot above the other for each facet."""
    parts, measure, along = panels(reading), reading.measures[0], reading.along
    assert along
    made = _plots([title for title, _ in parts], [260] * len(parts), dark)
    names = values(reading.rows, reading.series) if reading.series else [measure.name]
    for at, (title, rows) in enumerate(parts, start=1):
        for place, name in enumerate(names):
            own = _of(rows, reading.series, name)
            own = sorted((row for row in own if row[measure.name] is not None), key=lambda row: row[along])
            if not own:
                continue
            look = _look(name, place, dark)
            if band := _band(own, measure, along, look["color"], str(name)):
                made.add_trace(band, row=at, col=1)
            made.add_trace(
                go.Scatter(
                    x=[row[along] for row in own],
                    y=[row[measure.name] for row in own],
                    mode="lines+markers",
                    name=escaped(short(str(name), LONGEST)),
                    legendgroup=str(name),
                    showlegend=at == 1,
                    line={"color": look["color"], "dash": look["dash"], "width": 2},
                    marker={"symbol": look["symbol"], "size": 8},
                    customdata=[unsure(measure, row) for row in own],
                    hovertemplate=f"{escaped(str(name))}, {along} %{{x}}: %{{customdata}}<extra></extra>",
                ),
                row=at,
                col=1,
            )
        known = _comparable(in_panel(reading, title, paper), reading, measure)
        known = [row for row in known if row.get(along) is not None]
        places = {"x": [row[along] for row in known], "y": [row[measure.name] for row in known]}
        _theirs(made, at, known, measure, places, dark)
    made.update_xaxes(title=along, row=len(parts))
    made.update_yaxes(title=measure.name.replace("_", " "), zeroline=True, zerolinecolor=LINE[dark])
    return made


def _band(rows: Sequence[Row], measure: Measure, along: str, colour: str, group: str) -> go.Scatter | None:
    """From a standard error below to one above each point, or over its interval."""
    known = [(row[along], *ends) for row in rows if (ends := measure.ends(row))]
    if len(known) < 2:
        return None
    x, low, high = (list(column) for column in zip(*known, strict=True))
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return go.Scatter(
        x=[*x, *x[::-1]],
        y=[*high, *low[::-1]],
        mode="lines",
        line={"width": 0},
        fill="toself",
        fillcolor=f"rgba({red},{green},{blue},0.16)",
        hoverinfo="skip",
        legendgroup=group,
        showlegend=False,
    )


def _bars(reading: Reading, paper: Sequence[Row], dark: bool) -> go.Figure:
    """A bar for each category, with its error; a point where it has an interval. Categories go down the page."""
    parts, category = panels(reading), reading.category
    names = values(reading.rows, reading.series) if reading.series else []
    drawn = [(measure, name) for measure in reading.measures for name in names or [None]]
    several, whole = len(drawn) > 1, _order(reading)
    labels = [{_label(row, category) for row in rows} for _, rows in parts]
    orders = [[label for label in whole if label in own] for own in labels]
    tall = [max(70, len(order) * (22 + 13 * (len(drawn) - 1))) for order in orders]
    made = _plots([title for title, _ in parts], tall, dark)
    for at, (title, rows) in enumerate(parts, start=1):
        order = orders[at - 1]
        for place, (measure, name) in enumerate(drawn):
            own = [row for row in _of(rows, reading.series, name) if row[measure.name] is not None]
            label = str(name) if name is not None else measure.name.replace("_", " ")
            look = _look(name, place, dark)
            shown: dict[str, Any] = {
                "x": [row[measure.name] for row in own],
                "y": [_label(row, category) for row in own],
                "orientation": "h",
                "name": escaped(short(label, LONGEST)),
                "legendgroup": label,
                "showlegend": several and at == 1,
                "offsetgroup": label,
                "error_x": _errors(own, measure, dark),
                "customdata": [unsure(measure, row) for row in own],
                "hovertemplate": f"%{{y}}, {escaped(label)}: %{{customdata}}<extra></extra>",
            }
            if measure.low:
                look = {"color": look["color"], "symbol": look["symbol"], "size": 10}
                made.add_trace(go.Scatter(mode="markers", marker=look, **shown), row=at, col=1)
            else:
                is_control = [not several and row.get(METHOD) == CONTROL for row in own]
                colours = [GREY[dark] if control else look["color"] for control in is_control]
                made.add_trace(go.Bar(marker={"color": colours, "line": {"width": 0}}, **shown), row=at, col=1)
            theirs = _comparable(in_panel(reading, title, paper), reading, measure)
            known = [row for row in _of(theirs, reading.series, name) if _label(row, category) in order]
            places = {
                "x": [row[measure.name] for row in known],
                "y": [_label(row, category) for row in known],
                "orientation": "h",
                "offsetgroup": label,
            }
            _theirs(made, at, known, measure, places, dark)
        made.update_yaxes(categoryorder="array", categoryarray=order, automargin=True, row=at)
    made.update_yaxes(autorange="reversed")
    if len(parts) > 1 and not set(reading.facets) & set(UNITS):
        made.update_xaxes(matches="x")
    made.update_xaxes(zeroline=True, zerolinecolor=INK[dark], zerolinewidth=1)
    made.update_xaxes(title=", ".join(m.name.replace("_", " ") for m in reading.measures), row=len(parts))
    made.update_layout(barmode="group", scattermode="group", bargap=0.28)
    return made


def _order(reading: Reading) -> list[str]:
    """The categories from the top: methods by falling mean of all their values, others in the order of the rows."""
    measure, rows = reading.measures[-1].name, list(reading.rows)
    if reading.category == (METHOD,):
        found: dict[str, list[float]] = {}
        for row in rows:
            if row[measure] is not None:
                found.setdefault(row[METHOD], []).append(row[measure])
        rows.sort(key=lambda row: -float(np.mean(found.get(row[METHOD], [-np.inf]))))
    return list(dict.fromkeys(_label(row, reading.category) for row in rows))


def _theirs(
    made: go.Figure, at: int, own: Sequence[Row], measure: Measure, places: Mapping[str, Any], dark: bool
) -> None:
    """The paper's own values as open diamonds at these places."""
    if not own:
        return
    first = not any(trace.name == PAPERS for trace in made.data)  # pyright: ignore[reportAttributeAccessIssue]
    made.add_trace(
        go.Scatter(
            mode="markers",
            name=PAPERS,
            legendgroup=PAPERS,
            legendrank=2000,
            showlegend=first,
            marker={"symbol": "diamond-open", "size": 9, "color": INK[dark], "line": {"width": 1.6}},
            customdata=[escaped(f"{row.get('name') or row.get(METHOD, '')}: {unsure(measure, row)}") for row in own],
            hovertemplate=f"{PAPERS} %{{customdata}}<extra></extra>",
            **places,
        ),
        row=at,
        col=1,
    )


def _comparable(paper: Sequence[Row], reading: Reading, measure: Measure) -> list[Row]:
    """The paper's rows with a value, or none where its values are of another order of magnitude than ours."""
    known = [row for row in paper if row.get(measure.name) is not None]
    ours, theirs = (
        max((abs(row[measure.name]) for row in rows if row[measure.name] is not None), default=0.0)
        for rows in (reading.rows, known)
    )
    return known if theirs <= COMPARABLE * ours else []


def _of(rows: Sequence[Row], column: str | None, value: Any) -> list[Row]:
    return list(rows) if column is None else [row for row in rows if row.get(column) == value]


def _label(row: Row, category: Sequence[str]) -> str:
    return escaped(short(", ".join(str(row.get(name)) for name in category), LONGEST))


def _errors(rows: Sequence[Row], measure: Measure, dark: bool) -> dict[str, Any] | None:
    ends = [measure.ends(row) for row in rows]
    if not any(ends):
        return None
    middle = [row[measure.name] for row in rows]
    return {
        "type": "data",
        "symmetric": False,
        "array": [e[1] - m if e else 0 for e, m in zip(ends, middle, strict=True)],
        "arrayminus": [m - e[0] if e else 0 for e, m in zip(ends, middle, strict=True)],
        "color": INK[dark],
        "thickness": 1.2,
        "width": 3,
    }


def _look(name: Any, place: int, dark: bool) -> dict[str, Any]:
    """Colour, symbol and dash of a series; the random control is grey and dotted."""
    colours = COLOURS[dark]
    if name == CONTROL:
        return {"color": GREY[dark], "symbol": "x", "dash": "dot"}
    return {
        "color": colours[place % len(colours)],
        "symbol": SYMBOLS[place % len(SYMBOLS)],
        "dash": DASHES[place // len(colours) % len(DASHES)],
    }


def _plots(titles: Sequence[str], heights: Sequence[int], dark: bool) -> go.Figure:
    """Plots of these heights in pixels, one above the other, each under its title."""
    total = sum(heights) + GAP * (len(heights) - 1)
    made = make_subplots(
        rows=len(titles),
        cols=1,
        subplot_titles=[escaped(title) for title in titles] if len(titles) > 1 else None,
        row_heights=[height / sum(heights) for height in heights],
        vertical_spacing=GAP / total if len(heights) > 1 else None,
    )
    made.update_annotations(font={"size": 14, "color": INK[dark]})
    made.update_xaxes(showgrid=True, gridcolor=LINE[dark], ticks="outside", automargin=True, fixedrange=True)
    made.update_yaxes(showgrid=False, fixedrange=True)
    above, below = (84 if len(titles) > 1 else 56), 56
    legend = {"orientation": "h", "x": 0, "y": 1, "yref": "container", "yanchor": "top", "itemsizing": "constant"}
    margin = {"l": 10, "r": 16, "t": above, "b": below}
    made.update_layout(height=total + above + below, margin=margin, legend=legend, dragmode=False)
    return made
