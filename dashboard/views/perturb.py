"""Change one word of a training example: the replacements that move what is explained, and a word of one's own."""

from collections.abc import Callable

import streamlit as st

from attribution.errors import UserError
from attribution.perturbing import Replacement
from attribution.query import Query
from dashboard import cache, perturbing
from dashboard.markdown import plain
from dashboard.views import building

AIMS = {False: "Lower it", True: "Raise it"}
Add = Callable[[Replacement], None]


def render(asked: Query, train_id: int, add: Add | None = None) -> None:
    """The ranked replacements of a training example for what is asked; `add` takes the one that is chosen.

    Asked about clicked tokens it is their saliency that is moved, otherwise the log-probability of the label.
    """
    st.markdown("##### Change a word")
    name = perturbing.METHODS[bool(asked.tokens)]
    if missing := cache.missing_parts(name):
        building.build(missing, name, (), unasked=False)
        return
    st.caption(f"{plain(perturbing.sentence(asked))} Predicted: by how much, once the model is trained again.")
    aim, words = st.columns(2, vertical_alignment="center")
    raises = aim.segmented_control(
        "Aim",
        list(AIMS),
        default=False,
        format_func=AIMS.__getitem__,
        key="perturb aim",
        label_visibility="collapsed",
        required=True,
    )
    antonyms = words.toggle("Antonyms too", key="perturb antonyms", help="For a repair: words that mean the opposite.")
    chosen = _ranked(asked, train_id, raises=bool(raises), antonyms=antonyms)
    own = _own(asked, train_id)
    for each, key in ((chosen, "ranked"), (own, "own")):
        if each is not None:
            _offer(each, key, add)


def _ranked(asked: Query, train_id: int, *, raises: bool, antonyms: bool) -> Replacement | None:
    """The table of replacements; the one whose row is chosen, or the best."""
    try:
        with st.spinner("Trying other words…", show_time=True):
            found = cache.replacements(asked, train_id, raises=raises, antonyms=antonyms)
    except UserError as error:
        st.error(plain(str(error)))
        return None
    if not found.replacements:
        st.caption("No word of this example has a replacement in WordNet: give one of your own.")
        return None
    tried = ", ".join(plain(word.text) for word in found.tried)
    picked = st.dataframe(
        perturbing.table(found.replacements, cache.workspace().settings.n_train),
        key=f"replacements {train_id} {raises} {antonyms} {asked.tokens}",
        hide_index=True,
        height="content",
        on_select="rerun",
        selection_mode="single-row",
        column_config={
            "word": st.column_config.TextColumn("Word"),
            "instead": st.column_config.TextColumn("Instead"),
            "predicted": st.column_config.NumberColumn("Predicted", format="%+.4f"),
            "influence": st.column_config.NumberColumn("I(z, z̃, F)", format="%+.3g"),
            "kind": st.column_config.TextColumn("Kind"),
        },
    )
    st.caption(f"Tried: {tried}. The first matters most here; the others are drawn (Meng et al. 2020 §4.2).")
    rows = picked["selection"]["rows"]
    return found.replacements[rows[0] if rows else 0]


def _own(asked: Query, train_id: int) -> Replacement | None:
    """A word of the user's own, with its influence once it is given."""
    words = cache.places(train_id)
    place, text = st.columns(2, vertical_alignment="bottom")
    where = place.selectbox("Word", list(words), format_func=words.__getitem__, key=f"perturb word {train_id}")
    other = text.text_input("Your own word", key=f"perturb own {train_id}", max_chars=60)
    if where is None or not other.strip():
        return None
    try:
        return cache.own_word(asked, train_id, where, other)
    except UserError as error:
        st.error(plain(str(error)))
        return None


def _offer(each: Replacement, key: str, add: Add | None) -> None:
    said = perturbing.verdict(each, cache.workspace().settings.n_train)
    if add is None:
        st.markdown(plain(said))
        return
    st.button(
        f"Add to edits: {plain(said)}",
        key=f"add {key} replacement",
        icon=":material/edit:",
        on_click=lambda: add(each),
    )
