"""The list of training examples that act on several mispredictions at once."""

import pandas as pd
from streamlit.delta_generator import DeltaGenerator

from attribution.registry import get_method
from dashboard import cache, data_tables, editing, state, tables
from dashboard.data_tables import Listing, State
from dashboard.markdown import plain
from dashboard.views import building, data_table

METHODS = ("influence_head", "influence", "relatif")
UNASKED = 50


def draw(edits: State) -> Listing | None:
    """Choose mispredictions by their labels; the training examples by their mean score for the wrong label."""
    place = data_table.choices()
    is_chosen = bool(state.current().group)
    wrong = _chosen(place) if is_chosen else _narrowed(place)
    method = place.selectbox(
        "Method",
        METHODS,
        format_func=lambda name: get_method(name).title,
        key="slice by",
        persist_state="session",
        width=150,
        help="Influence predicts what removing does; RelatIF shows the rows that are the most telling.",
    )
    tests = sorted(wrong.index.tolist())
    if not tests:
        if is_chosen:
            return data_table.nothing("The model is right on all that were chosen.", "Clear the choice.")
        return data_table.nothing("No test example is mispredicted like this.", "Choose other labels.")
    if missing := cache.missing_parts(method):
        return building.build(missing, method, (), unasked=True)
    found = data_table.search(
        ("acting", tuple(tests), method),
        editing.find_acting(tests, method),
        f"Ask about {len(tests):,} mispredictions",
        unasked=len(tests) <= UNASKED,
    )
    if found is None:
        return None
    suspected = editing.known_suspicions()
    train = cache.workspace().train
    ids = data_table.filtered(train.index, edits, data_table.choices())
    listing = data_tables.acting_listing(found, train, ids, edits, suspected)
    removing = "" if method == "relatif" else f" Removing it is predicted to lower that by score/{len(train):,}."
    said = (
        f"Highest first: training on it raised the predicted label over the true one, in the mean of {len(tests):,} "
        f"mispredictions.{removing}"
    )
    return data_table.table(listing, edits, plain(said), suspected=suspected)


def _narrowed(place: DeltaGenerator) -> pd.DataFrame:
    """The mispredictions that pass the filters here."""
    given = {
        name: place.selectbox(
            title,
            cache.workspace().labels,
            index=None,
            placeholder="any",
            key=f"slice {name}",
            persist_state="session",
            width=118,
        )
        for name, title in (("label", "True label"), ("predicted", "Predicted label"))
    }
    words = place.text_input("Test text contains", key="slice text", persist_state="session", width=130)
    return tables.narrowed(
        cache.test_table(), wrong=True, words=words, label=given["label"], predicted=given["predicted"]
    )


def _chosen(place: DeltaGenerator) -> pd.DataFrame:
    """The mispredictions among those chosen on the Errors page, and the way back to all."""
    table = cache.test_table()
    found = tables.narrowed(table.loc[table.index.isin(state.current().group)], wrong=True)
    place.button(
        f"{len(found):,} chosen on Errors: clear",
        key="clear group",
        icon=":material/close:",
        on_click=state.choose,
        kwargs={"group": ()},
    )
    return found
