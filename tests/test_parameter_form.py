"""Forms made from annotated parameters: every kind of field, wrong values, and the way back to the defaults."""

from typing import Annotated, Any

import pytest
from streamlit.testing.v1 import AppTest

from attribution.parameters import Choice, Flag, Name, Range, parameters_of
from attribution.registry import list_methods
from tests.apps import said


def asked(
    *,
    share: Annotated[float, Range(low=0, high=1, above=True, help="How much of it.")] = 0.1,
    count: Annotated[int, Range(low=1, high=9, help="How many.")] = 3,
    kind: Annotated[str, Choice(choices=("plain", "fancy"), help="Which.")] = "plain",
    scope: Annotated[str, Name(choices=("head", "last:1"), help="Where.")] = "head",
    bias: Annotated[bool, Flag(help="Biases too.")] = False,
) -> None:
    """A function with a parameter of every kind."""


def page(given):  # an app of its own: it sees none of the names above
    from attribution.parameters import parameters_of
    from dashboard.parameter_form import form
    from tests import test_parameter_form

    test_parameter_form.answers.append(form(parameters_of(test_parameter_form.asked), key="f", given=given))


def said_of(text: str) -> str:
    return text.replace("\\", "").replace("\u2060", "")


answers: list[dict[str, Any]] = []


@pytest.fixture
def opened():
    """The form on a page of its own, begun with these values."""

    def run(**given: Any) -> AppTest:
        answers.clear()
        app = AppTest.from_function(page, args=(given,)).run()
        assert not app.exception
        return app

    return run


def test_every_parameter_has_a_field_that_marks_its_default(opened):
    """Untouched, a form says nothing; its fields are named after the parameters, with their defaults and help."""
    app = opened()
    assert answers[-1] == {}
    fields = [*app.text_input, *app.selectbox, *app.toggle]
    parameters = parameters_of(asked)
    assert {field.label.split()[0] for field in fields} == set(parameters)
    for field in fields:
        parameter = parameters[field.label.split()[0]]
        assert str(parameter.default).lower() in said_of(field.label)
        assert parameter.spec.help in said_of(field.help)
    assert app.button(key="f: reset").disabled


def test_fields_begin_with_what_is_given_and_answer_in_the_parameters_types(opened):
    """Given values are in their fields; changed ones come back checked, and one that is the default is left out."""
    given = {"share": 0.1234567, "count": 5, "kind": "fancy", "scope": "layer.*", "bias": True}
    app = opened(**given)
    assert answers[-1] == given
    app.text_input(key="f share").set_value("2.5e-1").run()
    app.selectbox(key="f scope").set_value("last:1").run()
    app.toggle(key="f bias").set_value(False).run()
    assert answers[-1] == {"share": 0.25, "count": 5, "kind": "fancy", "scope": "last:1"}
    assert all(type(value) is parameters_of(asked)[name].type for name, value in answers[-1].items())


@pytest.mark.parametrize(("name", "wrong"), [("share", "0"), ("share", "much"), ("count", "2.5"), ("count", "10")])
def test_wrong_value_is_one_red_box_and_loses_nothing(opened, name, wrong):
    """The rule is said, the field keeps what was typed, and what was given before counts until it is corrected."""
    given = {"share": 0.5, "count": 4, "kind": "fancy"}
    app = opened(**given)
    app.text_input(key=f"f {name}").set_value(wrong).run()
    (box,) = app.error
    assert f"{name} must be" in said([box]) and f"not {wrong}" in said([box]).replace("'", "")
    assert app.text_input(key=f"f {name}").value == wrong
    assert answers[-1] == given
    app.text_input(key=f"f {name}").set_value("1").run()
    assert not app.error and answers[-1] == {**given, name: 1}


def test_reset_gives_the_defaults(opened):
    """Reset puts every field to its default, a wrong one too, and is then of no use."""
    app = opened(count=7, scope="layer.*", bias=True)
    app.text_input(key="f share").set_value("much").run()
    app.button(key="f: reset").click().run()
    assert answers[-1] == {} and not app.error
    assert (app.text_input(key="f share").value, app.selectbox(key="f scope").value) == ("0.1", "head")
    assert app.button(key="f: reset").disabled


def test_every_default_passes_its_own_check():
    """No method's form can begin with a red box."""
    for method in list_methods():
        for parameter in method.parameters.values():
            assert parameter.check(str(parameter.default)) == parameter.default


def odd(*, reset: Annotated[int, Range(low=0, high=9, help="How often it is begun anew.")] = 0) -> None:
    """A function with a parameter called as the form's own button."""


def odd_page() -> None:
    from attribution.parameters import parameters_of
    from dashboard.parameter_form import form
    from tests import test_parameter_form

    test_parameter_form.answers.append(form(parameters_of(test_parameter_form.odd), key="f"))


def test_a_parameter_may_be_called_anything():
    """A parameter with the name of something else in the form has a field of its own."""
    app = AppTest.from_function(odd_page).run()
    assert not app.exception
    app.text_input(key="f reset").set_value("4").run()
    assert answers[-1] == {"reset": 4}
