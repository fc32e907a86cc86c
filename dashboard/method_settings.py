"""The parameters that a person has set, method by method: how links carry them and how they are put in words."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attribution.errors import UserError
from attribution.query import write_tokens
from attribution.registry import get_method
from dashboard import catalogue

Settings = tuple[tuple[str, Any], ...]
Chosen = tuple[tuple[str, str, Any], ...]


def settings_of(chosen: Chosen, method: str) -> Settings:
    """A method's parameters that are not at their default, in the registry's order."""
    values = {name: value for owner, name, value in chosen if owner == method}
    return tuple((name, values[name]) for name in get_method(method).parameters if name in values)


def replaced(chosen: Chosen, method: str, values: Mapping[str, Any]) -> Chosen:
    """The same choices with these values, which are not defaults, as all that is chosen of one method."""
    others = tuple(each for each in chosen if each[0] != method)
    return (*others, *((method, name, value) for name, value in values.items()))


def read(given: Iterable[str]) -> tuple[Chosen, list[str]]:
    """What a link's entries METHOD.NAME:VALUE choose, and a sentence for each that is wrong and therefore ignored."""
    chosen: dict[tuple[str, str], Any] = {}
    refusals = []
    for entry in given:
        place, separator, value = entry.partition(":")
        method, dot, name = place.partition(".")
        try:
            if not (separator and dot):
                raise UserError("A parameter is written METHOD.NAME:VALUE.")
            parameters = get_method(method).parameters
            if name not in parameters:
                raise UserError(f"{method} has no parameter '{name}'; it has {', '.join(parameters) or 'none'}.")
            checked = parameters[name].check(value)
        except UserError as error:
            refusals.append(f"The link sets '{entry}', which is ignored. {error}")
            continue
        if checked != parameters[name].default:
            chosen[method, name] = checked
    return tuple((*place, value) for place, value in chosen.items()), refusals


def written(chosen: Chosen) -> list[str]:
    """The entries of a link that `read` turns back into these choices."""
    return [f"{method}.{name}:{catalogue.shown(value)}" for method, name, value in chosen]


def said(settings: Settings) -> str:
    """Parameters in words: "damping = 0.5 · scope = head"."""
    return " · ".join(f"{name} = {catalogue.shown(value)}" for name, value in settings)


def command(
    workspace: str,
    method: str,
    settings: Settings,
    *,
    test: int | None,
    texts: Sequence[str] = (),
    label: str = "predicted",
    against: str = "",
    tokens: Sequence[int] = (),
) -> str:
    """The line for a shell that gives the same answer: `influscope explain …`; `texts` where it is no test example."""
    words = ["influscope", "explain", workspace]
    words += ["--test", str(test)] if test is not None else ["--text", texts[0]]
    words += ["--text-pair", texts[1]] if test is None and len(texts) > 1 else []
    words += ["--method", method]
    words += ["--label", label] if label != "predicted" else []
    words += ["--against", against] if against else []
    words += ["--token", write_tokens(tokens)] if tokens else []
    for name, value in settings:
        words += ["--set", f"{name}={catalogue.shown(value)}"]
    return shlex.join(words)
