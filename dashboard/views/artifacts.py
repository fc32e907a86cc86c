"""Artifacts: whether influence goes with a shallow feature of the training examples, such as words in common."""

import streamlit as st

from attribution.artifacts import Feature
from attribution.explain import sign_sentence
from attribution.provenance import provenance_of
from attribution.query import sample_ids
from attribution.results import ScoreTable
from dashboard import artifact_charts, artifacts, background, cache, exports, failures, method_settings, present, state
from dashboard.artifacts import Artifact
from dashboard.components import training_rows
from dashboard.markdown import plain
from dashboard.views import building, downloads, influence_plot, method_parameters, picker

SAMPLES = (5, 10, 20)


def page() -> None:
    """Draw the page: the example once, the rest as a fragment that a choice or a click redraws."""
    picker.header()
    body()


@st.fragment
@failures.guarded
def body() -> None:
    """The text, the choices, the plot beside the clicked training example, and the average over a slice."""
    selection = state.current()
    query = cache.query_of(selection)
    with st.container(border=True):
        texts, label = st.columns([1.75, 1], gap="medium", vertical_alignment="center")
        with texts.container(gap="xxsmall"):
            for text in query.example.texts:
                st.markdown(plain(text))
        with label:
            picker.label_choice(query)
    feature = _choices()
    chosen = method_settings.settings_of(selection.settings, selection.method)
    method_parameters.changed(selection.method)
    found = building.answer(selection.method, chosen)
    if found is None:
        return
    table, settings = found
    with st.container(border=True):
        artifact = influence_plot.finding(table, settings, feature, selection.pattern)
        if artifact is not None:
            _plot(artifact, table, settings, feature)
    if artifact is not None:
        with st.container(border=True):
            _slice(artifact, table, settings, feature)


def _choices() -> Feature:
    selection, features = state.current(), cache.features()
    names = list(features)
    chosen = selection.feature or names[0]
    method, feature, pattern = st.columns([1, 1, 1.4], vertical_alignment="bottom")
    picker.method_choice(method, labelled=True)
    feature.selectbox(
        "Feature of the training examples",
        names,
        index=names.index(chosen),
        format_func=lambda name: features[name].title,
        key="feature",
        on_change=state.on_change("feature", "feature"),
    )
    if "pattern" in features[chosen].needs:
        pattern.text_input(
            "Words or regular expression",
            selection.pattern,
            max_chars=state.LONGEST_PATTERN,
            key="pattern",
            placeholder="no, not, never",
            on_change=state.on_change("pattern", "pattern"),
        )
        st.caption(plain(features[chosen].help))
    else:
        pattern.caption(plain(features[chosen].help))
    return features[chosen]


def _plot(artifact: Artifact, table: ScoreTable, settings: cache.Settings, feature: Feature) -> None:
    selection = state.current()
    left, right = st.columns([1.75, 1], gap="medium")
    with left:
        influence_plot.chart(
            artifact,
            table,
            settings,
            feature,
            selection.pattern,
            key="influence",
            on_click=lambda train_id: state.choose(row=train_id),
        )
    with right:
        st.caption(plain(sign_sentence(table.query, table.method)))
        dropped = artifact.fit.dropped
        st.caption(present.faithfulness(table) + (f" · {dropped:,} without the feature left out" if dropped else ""))
        _clicked(artifact, table, settings, feature)


def _clicked(artifact: Artifact, table: ScoreTable, settings: cache.Settings, feature: Feature) -> None:
    """The training example of the point that was clicked, its words shaded once they are known."""
    train_id = state.current().row
    if train_id is None:
        st.markdown("##### Click a point")
        st.caption("Its training example is shown here, with the words in it that made its score.")
        return
    st.markdown(f"##### Training example {train_id}")
    place, ids = st.empty(), (train_id,)

    def draw(words: dict | None) -> None:
        row = artifacts.clicked_row(artifact, feature, table, train_id, (words or {}).get(train_id))
        with place:
            training_rows([row], key="clicked-plain" if words is None else "clicked", selected=train_id)

    known = cache.known_words(table, settings, ids)
    draw(known)
    if known is None:
        draw(cache.words(table, settings, ids))


def _slice(artifact: Artifact, table: ScoreTable, settings: cache.Settings, feature: Feature) -> None:
    """The mean over some test examples of one kind: chosen, then asked for, as it takes an answer each."""
    st.markdown("##### Averaged over test examples")
    selection, tests = state.current(), _slice_choice()
    most = len(tests)
    if most < 2:
        st.info("An average needs two test examples: choose a wider slice.", icon=":material/filter_alt:")
        return
    asked = {
        "tests": tuple(tests),
        "label": selection.label,
        "method": table.method,
        "settings": settings,
        "feature": feature.name,
        "pattern": selection.pattern if "pattern" in feature.needs else None,
    }
    key = ("slice", *asked.values())
    found = background.find(key)
    if found is not None and found.running:
        building.follow(lambda: background.find(key), "slice")
        return
    if found is not None and found.failure:
        st.error(plain(found.failure), icon=":material/error:")
    if found is None or found.result is None:
        if st.button(f"Average over {most} test examples, about {most * table.seconds:.0f} s", key="average"):
            workspace = cache.workspace()
            background.start(key, lambda note: artifacts.slice_artifact(workspace, progress=note, **asked))
            st.rerun()
        return
    said = artifacts.slice_sentence(found.result, feature, table.query, table.method, selection.label)
    st.markdown(plain(said))
    dark = st.context.theme.type == "dark"
    figure = artifact_charts.slice_curves(found.result, artifact.fit, feature=feature.title, dark=dark)
    made = {**provenance_of(table), "tests": " ".join(map(str, asked["tests"]))}
    st.plotly_chart(
        figure,
        key="slice chart",
        config=exports.plot_config(exports.file_name(made, f"{feature.name} slice", "png")),
        alt=f"Mean curve over a slice, and this example's. {said}",
    )
    downloads.plot(figure, f"{feature.title}, mean over a slice", made, key="slice")


def _slice_choice() -> list[int]:
    """The test examples that the chosen slice is sampled from."""
    table = cache.test_table()
    columns = artifacts.slice_columns(table)
    by, which, most, wrong = st.columns([1.2, 1.4, 0.8, 1.2], vertical_alignment="bottom")
    column = by.selectbox(
        "Slice by", list(columns), format_func=columns.__getitem__, key="slice by", persist_state="session"
    )
    values = sorted(table[column].astype(str).unique())
    value = which.selectbox(
        "Value", [None, *values], format_func=lambda v: "any" if v is None else v, key=f"slice {column}"
    )
    count = most.selectbox("At most", SAMPLES, key="slice most", persist_state="session")
    only = wrong.toggle("Mispredicted only", key="slice wrong", persist_state="session")
    kept = artifacts.sliced(table, column=column, value=value, wrong=only)
    chosen = sample_ids(kept.index.tolist(), count)
    st.caption(f"{len(chosen)} of {len(kept):,} test examples, drawn at random with a fixed seed.")
    return chosen


page()
