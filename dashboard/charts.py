"""DataFrame to plotly figure. Pure functions; the colours follow the theme, the row ids travel in customdata."""

from html import escape

import pandas as pd
import plotly.graph_objects as go

SUPPORTS, OPPOSES = "#2166ac", "#e08214"
NARROWEST = 310
INK = {False: "#0d1116", True: "#e8eaed"}


def confusion_matrix(table: pd.DataFrame, labels: list[str], *, dark: bool) -> go.Figure:
    """Squares (true × predicted) with their counts; customdata is [true, predicted].

    The diagonal is blue and the rest orange, stronger with the count's share of its true label. Squares are scatter
    markers because a click on a heatmap returns nothing to Streamlit. Plotly reads labels as HTML, so they are escaped.
    Long labels are cut on the axes and whole where a square is pointed at; counts that have no room are told there.
    """
    counts = pd.crosstab(table["label"], table["predicted"]).reindex(index=labels, columns=labels, fill_value=0)
    cells = [(true, predicted, int(counts.at[true, predicted])) for true in labels for predicted in labels]
    totals = counts.to_numpy().sum(axis=1)
    strength = [0.06 + 0.4 * count / max(1, totals[labels.index(true)]) for true, _, count in cells]
    colours = [
        _faded(SUPPORTS if true == predicted else OPPOSES, s)
        for (true, predicted, _), s in zip(cells, strength, strict=True)
    ]
    names = [short(label) for label in labels]
    longest = 7 * max(len(name) for name in names)
    left = 40 + longest
    # Where the figure is wider than its column it is squeezed, and markers, which are not, would lie over each other.
    step = max(6, min(102, (NARROWEST - 10 - left) // len(labels)))
    upright = longest > step
    top = 45 + (longest if upright else 15)
    figure = go.Figure(
        go.Scatter(
            x=[escaped(predicted) for _, predicted, _ in cells],
            y=[escaped(true) for true, _, _ in cells],
            customdata=[[true, predicted] for true, predicted, _ in cells],
            text=[f"{count:,}" for *_, count in cells],
            mode="markers+text" if step >= 18 else "markers",
            marker={
                "symbol": "square",
                "size": step - (10 if step > 50 else 2),
                "color": colours,
            },
            textfont={"size": 16 if step > 50 else 11, "color": INK[dark]},
            hovertemplate="true %{y}<br>predicted %{x}<br>%{text} examples<extra></extra>",
            unselected={"marker": {"opacity": 0.4}, "textfont": {"color": INK[dark]}},
        )
    )
    axis = {
        "type": "category",
        "tickvals": [escaped(label) for label in labels],
        "ticktext": [escaped(name) for name in names],
        "showgrid": False,
        "zeroline": False,
        "fixedrange": True,
        "tickfont": {"size": min(12, step)},
    }
    span = [-0.5, len(labels) - 0.5]
    figure.update_layout(
        xaxis={**axis, "title": "predicted", "side": "top", "range": span, "tickangle": -90 if upright else 0},
        yaxis={**axis, "title": "true", "range": span[::-1]},
        height=top + 10 + len(labels) * step,
        width=left + 10 + len(labels) * step,
        margin={"l": left, "r": 10, "t": top, "b": 10, "autoexpand": False},
        dragmode=False,
        showlegend=False,
    )
    return figure


def short(label: str, most: int = 14) -> str:
    """A label of at most so many characters."""
    return label if len(label) <= most else f"{label[: most - 1]}…"


def escaped(label: str) -> str:
    """A text that plotly, which reads HTML, shows as it is."""
    return escape(label, quote=False)


def _faded(colour: str, strength: float) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{strength:.3f})"
