"""Parameters: what is allowed comes out in its type; what is not is one line with rule, value and choices."""

from typing import Annotated, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.errors import UserError
from attribution.parameters import Choice, Flag, Name, Range, checked, parameters_of


def method(
    query: object,
    *,
    share: Annotated[float, Range(low=0, high=1, help="A share.")] = 0.5,
    damping: Annotated[float, Range(low=0, above=True, high=1000, help="Above zero.")] = 0.01,
    samples: Annotated[int, Range(low=2, high=2000, help="A count.")] = 25,
    states: Annotated[str, Choice(choices=("all", "final"), help="Which states.")] = "all",
    bias: Annotated[bool, Flag(help="With the bias.")] = False,
    scope: Annotated[str, Name(choices=("head", "last:2"), help="Which parameters.")] = "head",
) -> None:
    """A method with a parameter of every kind."""


PARAMETERS = parameters_of(method)


def check(**given: Any) -> Any:
    ((name, _),) = given.items()
    return checked("some_method", PARAMETERS, given)[name]


def refusal(**given: Any) -> str:
    with pytest.raises(UserError) as caught:
        checked("some_method", PARAMETERS, given)
    message = str(caught.value)
    assert message and "\n" not in message, f"not one line: {message!r}"
    return message


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ({"share": "0.25"}, 0.25),
        ({"share": 1}, 1.0),
        ({"share": 0}, 0.0),
        ({"share": " 1e-3 "}, 0.001),
        ({"share": np.float32(0.5)}, 0.5),
        ({"damping": "1000"}, 1000.0),
        ({"samples": "2"}, 2),
        ({"samples": 2000.0}, 2000),
        ({"samples": np.int64(7)}, 7),
        ({"states": "final"}, "final"),
        ({"bias": "true"}, True),
        ({"bias": "FALSE"}, False),
        ({"bias": True}, True),
        ({"bias": np.bool_(False)}, False),
        ({"scope": "last:2"}, "last:2"),
        ({"scope": "*layer.7*"}, "*layer.7*"),
    ],
)
def test_what_is_allowed_comes_out_in_its_type(given: dict[str, Any], value: Any) -> None:
    """Text from a command line and numbers of any kind become plain Python values of the declared type."""
    found = check(**given)
    assert found == value and type(found) is type(value), f"{given} gave {found!r}"


NUMBERS = {"share": "from 0 to 1", "damping": "above 0 and at most 1000", "samples": "from 2 to 2000 and whole"}


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize(
    "value",
    ["", "many", "0,5", "-1", -1, 2001, "1e9", "nan", "inf", float("inf"), float("-inf"), None, [1], {}, "0x10"],
)
def test_a_bad_number_names_the_rule_and_the_value(name: str, value: Any) -> None:
    """Not a number, not finite, outside the range, not a number's type: the parameter, its range and the value."""
    message = refusal(**{name: value})
    assert message.startswith(f"{name} must be {NUMBERS[name]}"), message
    assert str(value) in message


@pytest.mark.parametrize(("name", "value"), [("damping", 0), ("damping", "0.0"), ("samples", 2.5), ("samples", "3.0")])
def test_the_open_end_and_the_whole_number(name: str, value: Any) -> None:
    """The low end is left out where the rule says above; a count has no digits after the point."""
    assert NUMBERS[name] in refusal(**{name: value})


@pytest.mark.parametrize("value", ["finl", "", "ALL", 1, None, ["all"]])
def test_a_bad_choice_lists_the_choices(value: Any) -> None:
    """The parameter, the value and every choice; the nearest one is suggested."""
    message = refusal(states=value)
    assert message.startswith(f"No value for states '{value}'") and message.endswith("Known: all, final.")
    assert value != "finl" or "Did you mean 'final'?" in message


@pytest.mark.parametrize("value", ["yes", "", "1", 1, 0, 2, None, [True], {}])
def test_a_bad_flag_lists_true_and_false(value: Any) -> None:
    """Nothing but true and false is taken for either."""
    message = refusal(bias=value)
    assert message.startswith(f"No value for bias '{value}'") and message.endswith("Known: true, false.")


def test_an_unknown_name_lists_the_parameters() -> None:
    """The method, the name given, the nearest and all the method has."""
    message = refusal(sampels=3)
    assert message == (
        "No parameter of some_method 'sampels'. Did you mean 'samples'? "
        "Known: share, damping, samples, states, bias, scope."
    )
    with pytest.raises(UserError, match=r"No parameter of plain 'seed'\. Known: none\."):
        checked("plain", {}, {"seed": 1})


def test_defaults_stand_in_for_what_is_not_given() -> None:
    """The result has every parameter, in order, and cannot be changed."""
    found = checked("some_method", PARAMETERS, {"samples": "3"})
    assert dict(found) == {"share": 0.5, "damping": 0.01, "samples": 3, "states": "all", "bias": False, "scope": "head"}
    with pytest.raises(TypeError):
        found["samples"] = 4  # pyright: ignore[reportIndexIssue]


def test_descriptions_carry_what_a_form_needs() -> None:
    """A default, a help text, and either choices or the two ends of a range."""
    described = {name: parameter.describe() for name, parameter in PARAMETERS.items()}
    assert described["samples"] == {"default": 25, "help": "A count.", "low": 2, "high": 2000}
    assert described["states"] == {"default": "all", "help": "Which states.", "choices": ["all", "final"]}
    assert described["scope"] == {"default": "head", "help": "Which parameters.", "choices": ["head", "last:2"]}
    assert described["bias"] == {"default": False, "help": "With the bias.", "choices": [True, False]}


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_a_number_is_taken_exactly_or_refused(value: float) -> None:
    """No number is rounded, clipped or half understood, as a number or as its text."""
    for given_value in (value, repr(value)):
        try:
            assert check(share=given_value) == value and 0 <= value <= 1
        except UserError:
            assert not 0 <= value <= 1
