"""The parameters of the chosen method: a form that is opened on demand, and what it changed, said on the page."""

from collections.abc import Sequence

import streamlit as st

from attribution.registry import get_method
from dashboard import cache, method_settings, parameter_form, state
from dashboard.markdown import plain
from dashboard.method_settings import Settings


def choice(name: str, *, key: str = "set", fixed: Settings = (), tokens: Sequence[int] = ()) -> Settings:
    """Draw the form of a method behind a button; what it was set to besides its defaults, and `fixed`.

    `fixed` is what the page itself decides. The form ends with the command line that gives the same answer. Each page
    has its own `key`: a field that another page has just left would start empty.
    """
    method, decided = get_method(name), dict(fixed)
    open_to_all = {key: p for key, p in method.parameters.items() if key not in decided}
    before = dict(chosen(name))
    with st.popover("Parameters", icon=":material/tune:", type="tertiary", key=f"{key}-parameters-{name}"):
        st.markdown(f"**{plain(method.title)}**")
        if open_to_all:
            values = parameter_form.form(open_to_all, key=f"{key} {name}", given=before)
            if values != before:
                state.choose(settings=method_settings.replaced(state.current().settings, name, values))
        else:
            st.caption("This method has no parameters to set.")
        settings = chosen(name, fixed)
        st.caption("The same answer in a shell:")
        st.code(_command(name, settings, tokens), language="bash", wrap_lines=True)
    return settings


def chosen(name: str, fixed: Settings = ()) -> Settings:
    """What a method is set to: `fixed`, and what its form changed."""
    return (*fixed, *method_settings.settings_of(state.current().settings, name))


def _command(name: str, settings: Settings, tokens: Sequence[int]) -> str:
    selection = state.current()
    return method_settings.command(
        str(cache.workspace().directory),
        name,
        settings,
        test=selection.test,
        texts=[text for text in selection.own_text or () if text is not None],
        label=selection.label,
        against=selection.against,
        tokens=tokens,
    )


def changed(name: str) -> None:
    """Say which parameters of a method are not at their default."""
    settings = method_settings.settings_of(state.current().settings, name)
    if settings:
        st.caption(f":material/tune: {plain(method_settings.said(settings))} (not the default)")
