"""The scores of an answer in ranges: counts, names and the histogram. Pure functions: no Streamlit."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import plotly.graph_objects as go

from dashboard import present
from dashboard.charts import INK, OPPOSES, SUPPORTS
from dashboard.comparison_charts import DARK_OPPOSES, DARK_SUPPORTS

RANGES = 32


@dataclass(frozen=True, kw_only=True)
class Ranges:
    """Ranges of scores: `edges` (ranges + 1,), rising; `of` (train,) the range of each training example."""

    edges: np.ndarray
    of: np.ndarray

    @cached_property
    def counts(self) -> np.ndarray:
        return np.bincount(self.of, minlength=len(self.edges) - 1)

    def title(self, number: int) -> str:
        """Where a range lies and how many examples it has."""
        low, high = (present.signed(float(edge)) for edge in self.edges[number : number + 2])
        return f"{low} to {high} · {self.counts[number]:,}"


def ranges_of(scores: np.ndarray, *, signed: bool) -> Ranges:
    """Ranges of equal width over the scores (train,); where the sign has a meaning, zero is between two of them."""
    low, high = float(scores.min()), float(scores.max())
    if low == high:
        low, high = low - 0.5, high + 0.5
    if signed:
        width = max(high, -low) / (RANGES // 2)
        edges = width * np.arange(np.floor(min(low, 0) / width), np.ceil(max(high, 0) / width) + 1)
    else:
        edges = np.linspace(low, high, RANGES + 1)
    of = np.clip(np.searchsorted(edges, scores, side="right") - 1, 0, len(edges) - 2)
    return Ranges(edges=edges, of=of)


def histogram(ranges: Ranges, *, signed: bool, dark: bool) -> go.Figure:
    """A bar a range, its number in customdata. Counts are on a logarithmic scale, so that a single example is seen."""
    supports, opposes = (DARK_SUPPORTS, DARK_OPPOSES) if dark else (SUPPORTS, OPPOSES)
    kept = np.flatnonzero(ranges.counts).tolist()
    middles = (ranges.edges[:-1] + ranges.edges[1:]) / 2
    figure = go.Figure(
        go.Bar(
            x=middles[kept],
            y=ranges.counts[kept],
            width=np.diff(ranges.edges)[kept] * 0.92,
            customdata=kept,
            marker={"color": [opposes if signed and middles[at] < 0 else supports for at in kept]},
            text=[ranges.title(at) for at in kept],
            textposition="none",
            hovertemplate="%{text}<extra></extra>",
            unselected={"marker": {"opacity": 0.4}},
        )
    )
    figure.update_layout(
        height=190,
        margin={"l": 10, "r": 10, "t": 10, "b": 10},
        bargap=0,
        font={"color": INK[dark]},
        xaxis={"title": "score", "fixedrange": True, "showgrid": False, "automargin": True},
        yaxis={"title": "examples", "type": "log", "fixedrange": True, "dtick": 1, "automargin": True},
        dragmode=False,
        showlegend=False,
    )
    figure.update_yaxes(range=[-0.3, float(np.log10(ranges.counts.max())) + 0.1])
    return figure
