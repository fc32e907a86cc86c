"""The histogram of an answer's scores, whose bars choose what the list above it shows; a menu does the same by keys."""

from collections.abc import Callable

import numpy as np
import streamlit as st

from attribution.provenance import provenance_of
from attribution.registry import get_method
from attribution.results import ScoreTable
from dashboard import cache, exports, score_ranges
from dashboard.views import downloads


def choice(table: ScoreTable, settings: cache.Settings) -> np.ndarray | None:
    """Draw the histogram once it is opened; which training examples are in the chosen range, (train,), or None."""
    method = get_method(table.method)
    box = st.expander(
        "All scores",
        icon=":material/bar_chart:",
        type="compact",
        key=f"scores-{method.clicked}",
        on_change="rerun",
    )
    if not box.open:
        return None
    ranges = score_ranges.ranges_of(table.scores, signed=method.signed)
    kept = np.flatnonzero(ranges.counts)[::-1].tolist()
    menu = f"range-{hash(cache.key_of(table, settings))}"
    with box:
        chosen = st.selectbox(
            "List only the scores from", kept, index=None, format_func=ranges.title, key=menu, placeholder="all scores"
        )
        _chart(table, ranges, menu)
    return None if chosen is None else ranges.of == chosen


def _chart(table: ScoreTable, ranges: score_ranges.Ranges, menu: str) -> None:
    """The figure must not depend on what is chosen: Streamlit forgets the selection of a figure that changes."""
    method, key = get_method(table.method), f"histogram-{menu}"
    figure = score_ranges.histogram(ranges, signed=method.signed, dark=st.context.theme.type == "dark")
    made = provenance_of(table)
    st.plotly_chart(
        figure,
        key=key,
        on_select=_follow(key, menu),
        selection_mode="points",
        config=exports.plot_config(exports.file_name(made, "histogram", "png")),
        alt=f"Histogram of {len(table.scores):,} scores; most, {ranges.counts.max():,}, "
        f"from {ranges.title(int(ranges.counts.argmax()))}.",
    )
    downloads.plot(figure, "All scores", made, key=key)


def _follow(key: str, menu: str) -> Callable[[], None]:
    def write() -> None:
        points = st.session_state[key]["selection"]["points"]
        st.session_state[menu] = int(points[0]["customdata"]) if points else None

    return write
