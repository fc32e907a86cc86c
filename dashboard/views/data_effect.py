"""What the edits are predicted to do before anything is trained: to the test set, and to the example last looked at."""

import streamlit as st

from attribution.editing import changed_ids
from attribution.editing.effect import METHODS, Effect
from attribution.registry import get_method
from dashboard import background, cache, data_tables, editing, state
from dashboard.data_tables import State
from dashboard.markdown import plain
from dashboard.views import building


def draw(edits: State) -> None:
    """The offer to predict the effect of the edits as they are now, its progress, and what was found."""
    st.markdown("##### Predicted effect")
    if not len(changed_ids(edits)):
        st.caption("Relabel or remove an example: what that is predicted to do is estimated here, before any training.")
        return
    offer = st.container(horizontal=True, vertical_alignment="bottom")
    method = offer.selectbox(
        "Influence",
        METHODS,
        format_func=lambda name: get_method(name).title,
        key="effect by",
        persist_state="session",
        label_visibility="collapsed",
        width=210,
        help="Over the head with its exact Hessian, or over the last blocks with EK-FAC, which is fitted once.",
    )
    keys = {whole: editing.effect_key(whole, method) for whole in (True, False)}
    found = {whole: background.find(key) for whole, key in keys.items()}
    for whole, work in found.items():
        if work is not None and work.running:
            building.follow(lambda key=keys[whole]: background.find(key), f"effect-{whole}")
            return
        if work is not None and work.failure:
            st.error(plain(work.failure), icon=":material/error:")
    effects: dict[bool, Effect | None] = {whole: None if w is None else w.result for whole, w in found.items()}
    if None in effects.values():
        count = len(changed_ids(edits))
        offer.button(
            f"Predict the effect of {count:,} {'edit' if count == 1 else 'edits'}",
            key="predict effect",
            icon=":material/insights:",
            on_click=lambda: _start(keys, method),
        )
    _said(effects, edits)


def _start(keys: dict[bool, tuple], method: str) -> None:
    for whole, key in keys.items():
        found = background.find(key)
        if found is None or found.result is None:
            background.start(key, editing.find_effect(whole, method))


def _said(effects: dict[bool, Effect | None], edits: State) -> None:
    query = cache.query_of(state.current())
    name = "Your text" if query.test is None else f"Test example {query.test}"
    of = f"{name}, probability of “{query.label_name}”"
    said = data_tables.effect_sentences(effects[True], effects[False], of)
    if not said:
        st.caption(
            f"On the mean loss of the test set, and on {plain(of[0].lower() + of[1:])}. An estimate, not a promise."
        )
        return
    for line in said:
        st.markdown(plain(line))
    st.caption("First-order estimates: they weaken as edits grow in number. Retraining measures what is true.")
    whole = effects[True]
    if whole is not None:
        with st.expander("Which edits it is from", type="compact"):
            st.dataframe(
                data_tables.effect_rows(whole, cache.workspace().train, edits),
                height=220,
                column_config={
                    "row": st.column_config.NumberColumn("train", width=60),
                    "text": st.column_config.TextColumn(width=300),
                    "loss": st.column_config.NumberColumn(
                        "part of the change of the loss", format="%.2e", help="Negative: this edit lowers the loss."
                    ),
                },
            )
