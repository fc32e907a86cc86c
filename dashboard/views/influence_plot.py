"""The plot of an answer against a feature of the training examples, and the check that Explain opens from it."""

from collections.abc import Callable

import streamlit as st

from attribution.artifacts import Feature
from attribution.errors import UserError
from attribution.provenance import provenance_of
from attribution.registry import get_method
from attribution.results import ScoreTable
from dashboard import artifact_charts, artifacts, cache, exports, failures
from dashboard.artifacts import Artifact
from dashboard.markdown import plain
from dashboard.views import downloads


def finding(table: ScoreTable, settings: cache.Settings, feature: Feature, pattern: str) -> Artifact | None:
    """Say in one sentence how the scores go with the feature; where there is no fit, say why and return None."""
    if "pattern" in feature.needs and not pattern.strip():
        st.info("Write words with commas between them, or a regular expression, to see what matching it does.")
        return None
    try:
        found = cache.artifact(table, settings, feature.name, pattern)
    except UserError as error:
        st.error(plain(str(error)), icon=":material/error:")
        return None
    st.markdown(plain(artifacts.sentence(found.fit, feature, table.query, table.method)))
    return found


def chart(
    found: Artifact,
    table: ScoreTable,
    settings: cache.Settings,
    feature: Feature,
    pattern: str,
    *,
    key: str,
    on_click: Callable[[int | None], None] | None = None,
) -> None:
    """Draw the points and the curve; `on_click` gets the row id of the point that was clicked, or None.

    The figure must not depend on what was clicked: Streamlit forgets the selection of a figure that changes.
    """

    def report() -> None:
        points = st.session_state[key]["selection"]["points"]
        if on_click is not None:
            on_click(int(points[0]["customdata"]) if points else None)

    dark = st.context.theme.type == "dark"
    figure, made = cache.scatter(table, settings, feature.name, pattern, dark=dark), provenance_of(table)
    st.plotly_chart(
        figure,
        key=key,
        on_select="ignore" if on_click is None else report,
        selection_mode="points",
        config=exports.plot_config(exports.file_name(made, feature.name, "png")),
        alt=artifacts.description(found, feature, table),
    )
    if len(found.points.ids) > artifact_charts.MANY:
        st.caption("Examples of one label that lie on one another are one mark; pointing at it says how many they are.")
    downloads.plot(figure, f"Influence against {feature.title.lower()}", made, key=key)


@failures.guarded
def matching_check(table: ScoreTable, settings: cache.Settings) -> None:
    """Whether a method only finds shared words: the plot against the usual feature, drawn once it is opened."""
    feature = next(iter(cache.features().values()))
    method = get_method(table.method)
    box = st.expander(
        "Only matching words?",
        icon=":material/match_word:",
        type="compact",
        key=f"matching-{method.clicked}",
        on_change="rerun",
    )
    if not box.open:
        return
    with box:
        found = finding(table, settings, feature, "")
        if found is not None:
            chart(found, table, settings, feature, "", key=f"matching-chart-{method.clicked}")
        if not method.clicked:
            st.page_link("views/artifacts.py", label="Other features and slices", icon=":material/scatter_plot:")
