"""Annotations for a method's keyword-only parameters: at once validator, command-line help and widget."""

import inspect
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

from attribution.errors import UserError, unknown


@dataclass(frozen=True, kw_only=True)
class Range:
    """A number from low to high, both included; `above` leaves out the low end itself."""

    low: float
    high: float
    help: str
    above: bool = False


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One of a few names."""

    choices: tuple[str, ...]
    help: str


@dataclass(frozen=True, kw_only=True)
class Name:
    """A name that is checked where it is used; `choices` are the usual ones."""

    choices: tuple[str, ...]
    help: str


@dataclass(frozen=True, kw_only=True)
class Flag:
    """true or false."""

    help: str


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One parameter of a registered method: its name, type, default and annotation."""

    name: str
    type: type
    default: Any
    spec: Range | Choice | Name | Flag

    def describe(self) -> dict[str, Any]:
        """The entry of `influscope methods --format json`."""
        described: dict[str, Any] = {"default": self.default, "help": self.spec.help}
        match self.spec:
            case Range(low=low, high=high):
                return {**described, "low": low, "high": high}
            case Choice(choices=choices) | Name(choices=choices):
                return {**described, "choices": list(choices)}
            case Flag():
                return {**described, "choices": [True, False]}

    def check(self, value: Any) -> Any:
        """The value in this parameter's type (text is parsed); UserError where it is not allowed."""
        match self.spec:
            case Choice(choices=choices):
                if value not in choices:
                    raise unknown(f"value for {self.name}", value, choices)
                return value
            case Name():
                return str(value)
            case Flag():
                if str(value).lower() not in ("true", "false"):
                    raise unknown(f"value for {self.name}", value, ("true", "false"))
                return str(value).lower() == "true"
            case Range() as bounds:
                return self._number(value, bounds)

    def _number(self, value: Any, bounds: Range) -> Any:
        rule = f"{self.name} must be {'above' if bounds.above else 'from'} {bounds.low:g} "
        rule += f"{'and at most' if bounds.above else 'to'} {bounds.high:g}"
        rule += " and whole" if self.type is int else ""
        try:
            number = self.type(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise UserError(f"{rule}, not '{value}'.") from error
        low_ok = number > bounds.low if bounds.above else number >= bounds.low
        if not (low_ok and number <= bounds.high) or number != float(value):
            raise UserError(f"{rule}, not {value}.")
        return number


def parameters_of(function: Callable[..., Any]) -> dict[str, Parameter]:
    """The annotated keyword-only parameters of a function, by name, in order."""
    hints = get_type_hints(function, include_extras=True)
    found = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            annotated = hints[name]
            (spec,) = annotated.__metadata__
            found[name] = Parameter(name=name, type=annotated.__origin__, default=parameter.default, spec=spec)
    return found


def checked(
    kind: str, parameters: Mapping[str, Parameter], given: Mapping[str, Any]
) -> types.MappingProxyType[str, Any]:
    """Defaults overlaid with the checked values given; UserError for a name that `kind` does not have."""
    for name in given:
        if name not in parameters:
            raise unknown(f"parameter of {kind}", name, parameters)
    values = {name: p.check(given[name]) if name in given else p.default for name, p in parameters.items()}
    return types.MappingProxyType(values)
