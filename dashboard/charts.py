"""DataFrame to plotly figure. Pure functions; the colours follow the theme, the row ids travel in customdata."""

from html import escape

import pandas as pd
import plotly.graph_objects as go

SUPPORTS, OPPOSES = "#2166ac", "#e08214"
INK = {False: "#1c2024", True: "#e8eaed"}


def confusion_matrix(
    table: pd.DataFrame, labels: list[str], *, chosen: tuple[str, str] | None, dark: bool
) -> go.Figure:
    """Squares (true × predicted) with their counts; customdata is [true, predicted].

    The diagonal is blue and the rest orange, stronger with the count's share of its true label. Squares are scatter
    markers because a click on a heatmap returns nothing to Streamlit. Plotly reads labels as HTML, so they are escaped.
    """
    counts = pd.crosstab(table["label"], table["predicted"]).reindex(index=labels, columns=labels, fill_value=0)
    cells = [(true, predicted, int(counts.at[true, predicted])) for true in labels for predicted in labels]
    totals = counts.to_numpy().sum(axis=1)
    strength = [0.06 + 0.4 * count / max(1, totals[labels.index(true)]) for true, _, count in cells]
    colours = [
        _faded(SUPPORTS if true == predicted else OPPOSES, s)
        for (true, predicted, _), s in zip(cells, strength, strict=True)
    ]
    side = max(28, min(92, 380 // len(labels)))
    figure = go.Figure(
        go.Scatter(
            x=[escape(predicted) for _, predicted, _ in cells],
            y=[escape(true) for true, _, _ in cells],
            customdata=[[true, predicted] for true, predicted, _ in cells],
            text=[f"{count:,}" for *_, count in cells],
            mode="markers+text",
            marker={
                "symbol": "square",
                "size": side,
                "color": colours,
                "line": {"width": [3 if (t, p) == chosen else 0 for t, p, _ in cells], "color": "#667085"},
            },
            textfont={"size": 16 if len(labels) < 8 else 11, "color": INK[dark]},
            hovertemplate="true %{y}<br>predicted %{x}<br>%{text} examples<extra></extra>",
            unselected={"marker": {"opacity": 1}},
        )
    )
    axis = {"showgrid": False, "zeroline": False, "fixedrange": True, "type": "category"}
    span = [-0.5, len(labels) - 0.5]
    left = 40 + 7 * max(len(label) for label in labels)
    figure.update_layout(
        xaxis={**axis, "title": "predicted", "side": "top", "range": span},
        yaxis={**axis, "title": "true", "range": span[::-1]},
        height=70 + len(labels) * (side + 10),
        width=left + 10 + len(labels) * (side + 10),
        margin={"l": left, "r": 10, "t": 60, "b": 10, "autoexpand": False},
        dragmode=False,
        showlegend=False,
    )
    return figure


def _faded(colour: str, strength: float) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{strength:.3f})"
