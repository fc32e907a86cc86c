"""A form made from annotated parameters: the registry's ranges, choices, names and flags as fields of a page."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from attribution.errors import UserError
from attribution.parameters import Choice, Flag, Name, Parameter, Range
from dashboard import catalogue, state
from dashboard.markdown import plain


def form(parameters: Mapping[str, Parameter], *, key: str, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Draw a field for each parameter and a Reset button; by name the checked values that are not the default.

    `given` is what the fields start from. A value that is not allowed stays in its field above one red box with the
    rule, and what was given before counts until it is corrected.
    """
    known, values, refusals = dict(given or {}), {}, []
    for name, parameter in parameters.items():
        start = known.get(name, parameter.default)
        entered = _field(parameter, f"{key} {name}", start)
        try:
            value = parameter.check(entered)
        except UserError as error:
            refusals.append(str(error))
            value = start
        if value != parameter.default:
            values[name] = value
    if refusals:
        st.error(plain(" ".join(refusals)), icon=":material/error:")
    st.button(
        "Reset to the defaults",
        key=f"{key}: reset",
        type="tertiary",
        icon=":material/restart_alt:",
        disabled=not values and not refusals,
        on_click=_reset,
        args=(parameters, key),
    )
    return values


def is_wrong(parameters: Mapping[str, Parameter], *, key: str) -> bool:
    """Whether a field of the form that was drawn with this key holds a value that is not allowed."""
    for name, parameter in parameters.items():
        try:
            parameter.check(state.keep(f"{key} {name}", parameter.default))
        except UserError:
            return True
    return False


def _field(parameter: Parameter, key: str, start: Any) -> Any:
    """The field of a parameter; its default is marked, and its help says what is allowed."""
    state.keep(key, _entry(parameter, start))
    title = f"{parameter.name} (default {catalogue.shown(parameter.default) or 'none'})"
    about = plain(f"{parameter.spec.help} Allowed: {catalogue.allowed(parameter)}.")
    match parameter.spec:
        case Flag():
            return st.toggle(title, key=key, help=about)
        case Choice(choices=choices):
            return st.selectbox(title, choices, key=key, help=about)
        case Name(choices=choices):
            offered = list(dict.fromkeys([*choices, str(start)]))
            chosen = st.selectbox(title, offered, key=key, help=about, accept_new_options=True)
            return parameter.default if chosen is None else chosen
        case Range():
            return st.text_input(title, key=key, help=about)


def _entry(parameter: Parameter, value: Any) -> Any:
    """What the field of a parameter holds for a value."""
    return catalogue.shown(value) if isinstance(parameter.spec, Range) else value


def _reset(parameters: Mapping[str, Parameter], key: str) -> None:
    for name, parameter in parameters.items():
        st.session_state[f"{key} {name}"] = _entry(parameter, parameter.default)
