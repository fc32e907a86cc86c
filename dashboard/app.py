"""The dashboard's frame: pages, the workspace's card, notices, and the red box for what went wrong."""

from datetime import timedelta
from pathlib import Path

import streamlit as st

from attribution.experiments.registry import list_experiments
from attribution.registry import FAMILIES, list_methods
from attribution.suspects import CRITERIA
from dashboard import cache, failures, state, workspaces
from dashboard.components import copy_link
from dashboard.data_tables import LISTS
from dashboard.launch_options import BLUE_ON_DARK, BLUE_ON_LIGHT
from dashboard.markdown import plain
from dashboard.views import building

WORKSPACES = "workspaces"
# Streamlit writes a chosen segment in the primary colour, and buttons white on it: on a dark page none suits both.
CHOSEN_SEGMENT = (
    f"button[role=radio][aria-checked=true] {{ color: light-dark({BLUE_ON_LIGHT}, {BLUE_ON_DARK}) !important }}"
)
# What is drawn anew faded slowly, each element at sixty frames a second in every tab, as long as the answer took.
STALE = "[data-stale=true] { transition: opacity 0s 1s !important } summary { opacity: 1 !important }"


def main() -> None:
    """Draw one page run."""
    st.set_page_config(page_title="influscope", page_icon=str(Path(__file__).with_name("icon.svg")), layout="wide")
    page = st.navigation(
        [
            st.Page("views/explain.py", title="Explain", icon=":material/search_insights:", default=True),
            st.Page("views/errors.py", title="Errors", icon=":material/grid_on:", url_path="errors"),
            st.Page("views/compare.py", title="Compare", icon=":material/compare_arrows:", url_path="compare"),
            st.Page("views/artifacts.py", title="Artifacts", icon=":material/scatter_plot:", url_path="artifacts"),
            st.Page("views/data.py", title="Data", icon=":material/rule:", url_path="data"),
            st.Page("views/evaluate.py", title="Evaluate", icon=":material/science:", url_path="evaluate"),
            st.Page("views/methods.py", title="Methods", icon=":material/function:", url_path="methods"),
            st.Page("views/workspaces.py", title="Workspaces", icon=":material/folder_open:", url_path=WORKSPACES),
        ]
    )
    st.html(f"<style>{CHOSEN_SEGMENT} {STALE}</style>")
    st.logo(
        str(Path(__file__).with_name("logo.svg")), icon_image=str(Path(__file__).with_name("icon.svg")), size="large"
    )
    workspaces.follow_link()
    whole = failures.shown(_frame)
    place, followed = st.container(), state.followed(anew=True)
    # The way out of a workspace that cannot be shown is another one.
    if whole or page.url_path == WORKSPACES:
        failures.shown(page.run)
    followed.drawn = tuple(followed.works)
    if followed.works:
        with place:
            building.strip(followed.works)
    _draw_anew_when_connected_again()


@st.fragment(run_every=timedelta(days=1))
def _draw_anew_when_connected_again() -> None:
    """Nothing to see: a browser whose server restarted asks for its page only where a part of it draws itself anew.

    Without that, the new server knows no button of the page, and the first click is lost.
    """


def _frame() -> None:
    workspaces.look()
    workspace = cache.workspace()
    table = cache.test_table()
    state.sync(
        tests=table.index.tolist(),
        trains=workspace.train.index,
        labels=workspace.labels,
        methods=[m.name for m in list_methods("examples") if not m.clicked],
        saliencies=[m.name for m in list_methods("tokens")],
        features=list(cache.features()),
        experiments=[e.name for e in list_experiments(workspace)],
        families=FAMILIES,
        suspects=list(LISTS),
        criteria=list(CRITERIA),
    )
    settings = workspace.settings
    wrong = int(table["wrong"].to_numpy().sum())
    with st.sidebar.container(border=True, gap="xxsmall"):
        st.markdown(f"**{plain(workspace.name)}**")
        st.caption(
            f"{settings.n_train:,} train · {settings.n_test:,} test  \n"
            f"{plain(settings.model.removeprefix('package:'))} · {plain(settings.trainable or 'as it came')}  \n"
            f"{1 - wrong / len(table):.1%} right · {wrong:,} wrong"
        )
    with st.sidebar:
        copy_link(key="copy-link")
    state.show_notices()


main()
