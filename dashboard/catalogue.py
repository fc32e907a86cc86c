"""The registry as the Methods page shows it: what passes the filters, what each method needs. No Streamlit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from attribution.parameters import Choice, Flag, Name, Parameter, Range
from attribution.registry import FAMILIES, Method

CAPTIONS = {
    "saliency": "Which words of the text the model looks at.",
    "similarity": "Which training examples resemble the text; controls that a gradient has to beat.",
    "representer": "The prediction as a sum over training examples.",
    "tracin": "Which training steps moved the prediction.",
    "influence": "What the model would say without a training example.",
    "pairing": "Which training examples made the model look at a word.",
    "spans": "Which phrases of training examples moved the prediction, or made a phrase of the text matter.",
}


@dataclass(frozen=True, kw_only=True)
class Availability:
    """Whether a method can run on a workspace now, and why not or with what restriction, in words."""

    state: Literal["ready", "missing", "refused"]
    why: str = ""


def availability(method: Method, *, missing: str, refusal: str, n_train: int, checkpoints: int) -> Availability:
    """What is in a method's way: `refusal` in words, or the kinds of index that are `missing`; "" for neither.

    `checkpoints` is the number of saved states.
    """
    if refusal:
        return Availability(state="refused", why=refusal)
    if missing:
        why = (
            f"Reads the {missing} of {n_train:,} training examples, which are not computed yet: open it and compute it."
        )
        return Availability(state="missing", why=why)
    if "checkpoints" in method.needs and not checkpoints:
        why = "This workspace has no saved checkpoints: the final model stands for all of them."
        return Availability(state="ready", why=why)
    return Availability(state="ready")


def grouped(methods: Sequence[Method], *, family: str = "", find: str = "") -> dict[str, list[Method]]:
    """The methods of a family, or of all, whose label holds every word that is looked for, by family in its order."""
    words = find.casefold().split()

    def passes(method: Method) -> bool:
        said = (method.name, method.title, method.family, method.paper, method.unit, method.cost, method.weakness)
        text = " ".join((*said, *method.parameters)).casefold()
        return family in ("", method.family) and all(word in text for word in words)

    found = {name: [m for m in methods if m.family == name and passes(m)] for name in FAMILIES}
    return {name: listed for name, listed in found.items() if listed}


def family_title(family: str) -> str:
    """What a family is called on the page."""
    return "TracIn" if family == "tracin" else family.capitalize()


def needs(method: Method) -> str:
    """What a method reads besides the final model, in words."""
    named = [*(kind.replace("_", " ") for kind in method.index)]
    reads = f"an index of {' and '.join(named)}" if named else ""
    states = "saved checkpoints with their learning rates" if "checkpoints" in method.needs else ""
    return ", ".join(filter(None, (reads, states))) or "nothing but the model and the texts"


def parameter_rows(method: Method) -> pd.DataFrame:
    """One row a parameter: its default, what it may be, and its help; indexed by name."""
    rows = {
        name: {"default": shown(parameter.default), "may be": allowed(parameter), "what it does": parameter.spec.help}
        for name, parameter in method.parameters.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("parameter")


def allowed(parameter: Parameter) -> str:
    """The values that a parameter takes, in words."""
    match parameter.spec:
        case Range(low=low, high=high, above=above):
            whole, least, most = "whole, " if parameter.type is int else "", _bound(low), _bound(high)
            return f"{whole}above {least}, at most {most}" if above else f"{whole}{least} to {most}"
        case Choice(choices=choices):
            return ", ".join(choices)
        case Name(choices=choices):
            return f"{', '.join(choices)}, or another name"
        case Flag():
            return "true, false"


def _bound(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:g}"


def shown(value: object) -> str:
    """A parameter's value as it is written after --set."""
    return str(value).lower() if isinstance(value, bool) else str(value)
