"""The registry of methods, and `attribute`, which runs one.

A method is one function with its label directly above it (`@token_method` or `@example_method`). The command line,
the dashboard's forms, the method table of the README and the contract tests all read this registry.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, Literal

import numpy as np

from attribution.errors import unknown
from attribution.index import Part, Progress, parts, silent
from attribution.parameters import Parameter, checked, parameters_of
from attribution.quantity import Quantity
from attribution.query import Query, make_query
from attribution.results import Scored, ScoreTable, TokenScores
from attribution.scoring import Choices, fidelity_part, plan, score
from attribution.span_search import search_parts
from attribution.spans import Finder
from attribution.workspace import Workspace

Family = Literal["saliency", "similarity", "representer", "tracin", "influence", "pairing", "spans"]
FAMILIES = ("saliency", "similarity", "representer", "tracin", "influence", "pairing", "spans")
FILES = ("saliency", "similarity", "encoder", "lexical", "representer", "gradients", "embeddings", "pairing", "spans")


@dataclass(frozen=True, kw_only=True)
class Method:
    """A registered method and everything that is said of it.

    `signed`: whether zero separates support from opposition. `index`: the kinds of index it reads. `words`: whether it
    says which words of a training example made the score. `clicked`: whether it explains a clicked token. `spans`:
    whether its units are spans of the training examples, and whether what it explains is a span's importance too.
    `preset`: its choices of the one equation, where it is one.
    """

    name: str
    title: str
    family: Family
    explains: Literal["tokens", "examples"]
    paper: str
    formula: str
    unit: str
    cost: str
    weakness: str
    signed: bool = True
    words: bool = False
    clicked: bool = False
    spans: Literal["none", "training", "both"] = "none"
    index: tuple[str, ...] = ()
    preset: Choices | None = None
    needs: tuple[str, ...] = ()
    function: Callable[..., Any]
    documented: Callable[..., Any]
    parameters: Mapping[str, Parameter]

    def describe(self) -> dict[str, Any]:
        """The entry of `influscope methods --format json`."""
        names = ("name", "title", "family", "explains", "paper", "formula", "signed", "unit", "cost", "words")
        described = {name: getattr(self, name) for name in names}
        parameters = {name: parameter.describe() for name, parameter in self.parameters.items()}
        return {**described, "weakness": self.weakness, "needs": list(self.needs), "parameters": parameters}


_METHODS: dict[str, Method] = {}


def token_method(**label: Any) -> Callable[[Callable[..., np.ndarray]], Callable[..., np.ndarray]]:
    """Register a saliency method: (query, progress, *, parameters) -> raw scores (tokens,)."""
    return _registrar("tokens", label)


def example_method(**label: Any) -> Callable[[Callable[..., Scored]], Callable[..., Scored]]:
    """Register a method over training examples: (query, progress, *, parameters) -> Scored with (train,) scores."""
    return _registrar("examples", label)


def gradient_method(*, preset: Choices, **label: Any) -> Callable[[Callable[..., Quantity]], Callable[..., Quantity]]:
    """Register a preset of the equation: (query, *, parameters) -> the explained quantity.

    Parameters that are named as a field of `Choices` are the choices that a user may make otherwise.
    """

    def register(quantity: Callable[..., Quantity]) -> Callable[..., Quantity]:
        def run(query: Query, progress: Progress, **values: Any) -> Scored:
            return score(query, quantity(query, **values), preset.overlaid(values), progress)

        _registrar("examples", {**label, "preset": preset, "words": True}, run)(quantity)
        return quantity

    return register


def required_parts(workspace: Workspace, name: str, parameters: Mapping[str, Any] | None = None) -> list[Part]:
    """The parts of the index that a method reads with these parameters; UserError where they do not fit."""
    method = get_method(name)
    values = checked(name, method.parameters, parameters or {})
    if method.preset is not None:
        planned = plan(workspace, method.preset.overlaid(values))
        wanted = planned.parts(workspace)
        if method.spans != "none" and planned.choices.scorer != "sweep":
            wanted += search_parts(workspace, Finder(name=values["finder"], size=values["size"]))
        return list(dict.fromkeys(wanted))
    states = values.get("checkpoints", "final")
    return [part for kind in method.index for part in parts(workspace, kind, states)]


def standard_parts(workspace: Workspace) -> list[Part]:
    """What the dashboard's first answers read: the head's features, then what RelatIF reads."""
    preset = get_method("relatif").preset
    assert preset is not None
    planned = plan(workspace, preset)
    measured = [fidelity_part(workspace, planned)] if planned.scorer == "index" else []
    return [*parts(workspace, "features"), *planned.parts(workspace), *measured]


def _registrar(
    explains: Literal["tokens", "examples"], label: dict[str, Any], run: Callable[..., Any] | None = None
) -> Callable[..., Any]:
    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        name = function.__name__
        _METHODS[name] = Method(
            name=name,
            explains=explains,
            function=run or function,
            documented=function,
            parameters=parameters_of(function),
            **label,
        )
        return function

    return register


@cache
def methods() -> dict[str, Method]:
    """Every method by name, in the order of families, then of files, whichever file was imported first."""
    import_module("attribution.fidelity")
    place = {import_module(f"attribution.methods.{file}").__name__: number for number, file in enumerate(FILES)}
    listed = sorted(
        _METHODS.values(), key=lambda m: (FAMILIES.index(m.family), place.get(m.documented.__module__, len(place)))
    )
    return {m.name: m for m in listed}


def list_methods(explains: Literal["tokens", "examples"] | None = None) -> list[Method]:
    """Every registered method, or those that score the test's tokens, or the training examples."""
    return [m for m in methods().values() if explains in (None, m.explains)]


def get_method(name: str) -> Method:
    """The method of that name; UserError with the nearest name where there is none."""
    if name not in methods():
        raise unknown("method", name, methods())
    return methods()[name]


def attribute(
    workspace: Workspace,
    method: str,
    *,
    test: int | None = None,
    text: str | None = None,
    text_pair: str | None = None,
    label: str = "predicted",
    against: str | None = None,
    token: int | tuple[int, ...] | None = None,
    progress: Progress = silent,
    **parameters: Any,
) -> Any:
    """Scores of the training examples (ScoreTable), or of the tokens (TokenScores), for one test example or text.

    Positive = proponent: training on the example raised the explained quantity. `label` is "predicted", "true" or a
    label; `against` a label over which the margin is explained; `token` the clicked token(s) for saliency_influence. An
    index that is missing is built first. Raises UserError for an unknown method, parameter, label, test id or token.
    """
    query = make_query(workspace, test=test, text=text, text_pair=text_pair, label=label, against=against, token=token)
    return run_method(query, method, parameters, progress)


def run_method(
    query: Query,
    name: str,
    parameters: Mapping[str, Any] | None = None,
    progress: Progress = silent,
    *,
    rerank: bool = True,
) -> ScoreTable | TokenScores:
    """As `attribute`, for a query that is already made; without `rerank` an index's top rows are left for later."""
    method = get_method(name)
    values = checked(name, method.parameters, parameters or {})
    began = time.perf_counter()
    found = method.function(query, progress, **values)
    seconds = time.perf_counter() - began
    if method.explains == "tokens":
        return TokenScores(query=query, method=name, parameters=values, raw=found, seconds=seconds)
    table = ScoreTable(query=query, method=name, parameters=values, scored=found, seconds=seconds)
    return table.reranked() if rerank else table
