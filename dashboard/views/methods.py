"""Methods: the registry as a page, with formula, meaning, cost and limits, and what this workspace can run now."""

import streamlit as st

from attribution.errors import UserError
from attribution.explain import sign_rule
from attribution.registry import FAMILIES, Method, list_methods
from dashboard import cache, catalogue, state
from dashboard.catalogue import Availability
from dashboard.markdown import plain

BADGES = {
    "ready": ":green-badge[:material/check: can run now]",
    "missing": ":orange-badge[:material/hourglass_empty: not computed yet]",
    "refused": ":red-badge[:material/block: cannot run here]",
}


def page() -> None:
    """Draw the page."""
    st.markdown("#### Methods")
    st.caption(
        "Every score has one sign: positive means that training on an example raised what is explained, whatever sign "
        "its paper writes."
    )
    _filters()
    selection = state.current()
    found = catalogue.grouped(list_methods(), family=selection.family, find=selection.find)
    if not found:
        st.info("No method passes these filters: choose another family, or clear the words.", icon=":material/search:")
    for family, methods in found.items():
        st.markdown(f"#### {catalogue.family_title(family)} :gray-badge[{len(methods)}]")
        st.caption(catalogue.CAPTIONS.get(family, ""))
        for method in methods:
            with st.container(border=True, gap="xsmall"):
                _entry(method)


def _filters() -> None:
    selection = state.current()
    families, words = st.columns([2.2, 1], vertical_alignment="bottom")
    families.pills(
        "Family",
        FAMILIES,
        format_func=catalogue.family_title,
        default=selection.family or None,
        key="family",
        on_change=lambda: state.choose(family=st.session_state["family"] or ""),
    )
    words.text_input(
        "Text contains",
        selection.find,
        key="find",
        placeholder="a name, a paper, a weakness",
        on_change=lambda: state.choose(find=st.session_state["find"].strip()),
    )


def _availability(method: Method) -> Availability:
    workspace = cache.workspace()
    missing = refusal = ""
    try:
        missing = cache.kinds(cache.missing_parts(method.name))
    except UserError as error:
        refusal = str(error)
    return catalogue.availability(
        method,
        missing=missing,
        refusal=refusal,
        n_train=len(workspace.train),
        checkpoints=len(workspace.checkpoints),
    )


def _entry(method: Method) -> None:
    found = _availability(method)
    title, link = st.columns([4, 1.1], vertical_alignment="center")
    title.markdown(f"**{method.title}** `{method.name}` {BADGES[found.state]}")
    with link.container(horizontal_alignment="right"):
        _link(method)
    lines = {
        "Meaning": sign_rule(method),
        "Unit": method.unit,
        "Weakness": method.weakness,
        "Cost": method.cost,
        "Reads": catalogue.needs(method),
        "Paper": method.paper,
    }
    said, formula = st.columns([1.25, 1], vertical_alignment="center")
    said.caption("  \n".join(f"**{name}** {plain(text)}" for name, text in lines.items()))
    formula.latex(method.formula)
    if found.why:
        st.caption(f":material/info: {plain(found.why)}")
    if method.parameters:
        count = len(method.parameters)
        with st.expander(f"{count} parameter{'s' if count > 1 else ''}"):
            st.table(catalogue.parameter_rows(method).map(plain))


def _link(method: Method) -> None:
    """A way to Explain with this method chosen; a method of clicked tokens is there whatever is chosen."""
    chosen = {"saliency": method.name} if method.explains == "tokens" else {"method": method.name}
    st.page_link(
        "views/explain.py",
        label="Click a word on Explain" if method.clicked else "Open on Explain",
        icon=":material/arrow_forward:",
        query_params=None if method.clicked else chosen,
    )


page()
