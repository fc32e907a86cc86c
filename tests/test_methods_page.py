"""The Methods page without a browser: every registered method with all that is said of it, and the filters."""

from typing import Any

import pytest

from attribution import list_methods
from attribution.errors import UserError
from attribution.explain import sign_rule, sign_sentence
from attribution.parameters import Range
from attribution.query import make_query
from attribution.registry import FAMILIES, Method, get_method
from attribution.workspace import Workspace
from dashboard import cache, catalogue
from tests.apps import OpenApp, said

PAGE = "views/methods.py"
every = pytest.mark.parametrize("method", list_methods(), ids=lambda method: method.name)


def opened(open_app: OpenApp, workspace: Workspace, **query: str):
    """The Methods page under a link."""
    return open_app(workspace.directory, **query).switch_page(PAGE).run()


def names(found: dict[str, list[Method]]) -> list[str]:
    return [method.name for methods in found.values() for method in methods]


# What is shown


def test_all_methods_are_grouped_by_family():
    """Without a filter every method is there once, under its family, in the registry's order."""
    found = catalogue.grouped(list_methods())
    assert list(found) == [family for family in FAMILIES if any(m.family == family for m in list_methods())]
    assert names(found) == [method.name for method in list_methods()]
    assert all(method.family == family for family, methods in found.items() for method in methods)


@pytest.mark.parametrize(
    ("filters", "passes"),
    [
        ({"family": "influence"}, lambda m: m.family == "influence"),
        ({"find": "COSINE"}, lambda m: "cosine" in f"{m.title} {m.unit} {m.weakness} {m.cost} {m.paper}".lower()),
        ({"find": "damping"}, lambda m: "damping" in m.parameters or "damping" in m.weakness),
        (
            {"find": "yeh words"},
            lambda m: all(w in f"{m.paper} {m.cost} {m.weakness}".lower() for w in ("yeh", "words")),
        ),
        ({"family": "saliency", "find": "park"}, lambda m: False),
    ],
)
def test_filters_keep_what_a_loop_keeps(filters, passes):
    """A family, and words that must all be in what is said of a method, in either case."""
    assert names(catalogue.grouped(list_methods(), **filters)) == [m.name for m in list_methods() if passes(m)]


@every
def test_meaning_is_that_of_the_answers(workspace: Workspace, method: Method):
    """What the page says of a positive score is what an answer says, with the label and the token in place."""
    query = make_query(workspace, test=2, token=1)
    rule = sign_rule(method, f"'{query.label_name}'", f"'{query.example.words[1].text}'")
    assert sign_sentence(query, method.name) == rule
    assert ("ositive" in sign_rule(method)) == method.signed


@every
def test_parameters_are_those_of_the_registry(method: Method):
    """Every parameter has its default, its help, and values that the validator lets pass."""
    rows = catalogue.parameter_rows(method)
    assert rows.index.tolist() == list(method.parameters)
    for name, parameter in method.parameters.items():
        shown = rows.loc[name]
        assert parameter.check(shown["default"]) == parameter.default
        assert shown["what it does"] == parameter.spec.help
        if isinstance(parameter.spec, Range):
            assert float(shown["may be"].split()[-1].replace(",", "")) == parameter.spec.high
        else:
            for choice in parameter.describe()["choices"]:
                assert str(choice).lower() in shown["may be"].lower()


def availability(**changes: Any) -> catalogue.Availability:
    state = {"missing": "", "refusal": "", "n_train": 7030, "checkpoints": 3}
    return catalogue.availability(get_method("tracin_we"), **{**state, **changes})


def test_what_is_in_the_way_is_said():
    """A refusal stands before what is missing, which is named; no checkpoints is said where they are needed."""
    assert availability() == catalogue.Availability(state="ready")
    assert availability(missing="word gradients").state == "missing"
    assert "word gradients of 7,030 training examples" in availability(missing="word gradients").why
    assert availability(missing="features", refusal="No.") == catalogue.Availability(state="refused", why="No.")
    assert "no saved checkpoints" in availability(checkpoints=0).why
    bare = catalogue.availability(get_method("gd"), missing="", refusal="", n_train=1, checkpoints=0)
    assert bare == catalogue.Availability(state="ready")


# The page and its links


def test_page_shows_the_whole_registry(indexed: Workspace, open_app: OpenApp):
    """Title, name, formula, paper, unit, cost and weakness of every method are on the page, and whether it can run."""
    app = opened(open_app, indexed)
    assert not app.exception and not app.error and not app.warning
    text = said(app.markdown) + said(app.caption)
    formulas = [element.value for element in app.latex]
    for method in list_methods():
        state = "not computed yet" if cache.missing_parts(method.name) else "can run now"
        assert any(
            entry.value.startswith(f"**{method.title}** `{method.name}`") and state in entry.value
            for entry in app.markdown
        ), f"{method.name} is not shown as '{state}'"
        for what in (method.paper, method.unit, method.cost, method.weakness):
            assert what in text, f"{method.name} lacks '{what}'"
        assert any(method.formula in formula for formula in formulas), f"{method.name} has no formula"
    with_parameters = [method for method in list_methods() if method.parameters]
    assert len(app.table) == len(with_parameters)
    assert [table.value.index.tolist() for table in app.table] == [list(m.parameters) for m in with_parameters]


def test_method_that_does_not_fit_says_why(indexed: Workspace, open_app: OpenApp, monkeypatch):
    """A method whose choices the model cannot answer says so in its entry, with the reason, and the rest is there."""
    known = cache.missing_parts

    def refuse(name: str, settings: cache.Settings = ()):
        if name == "trak":
            raise UserError("These layers run *twice* an example.")
        return known(name, settings)

    monkeypatch.setattr(cache, "missing_parts", refuse)
    app = opened(open_app, indexed)
    assert not app.exception
    assert any("`trak`" in entry.value and "cannot run here" in entry.value for entry in app.markdown)
    assert "These layers run *twice* an example." in said(app.caption)
    assert sum("cannot run here" in entry.value for entry in app.markdown) == 1


def test_link_restores_the_filters(indexed: Workspace, open_app: OpenApp):
    """Family and words of a link narrow the page and stay in the URL; clearing them takes them out again."""
    app = opened(open_app, indexed, family="tracin", find="word embeddings")
    assert not app.exception and not app.warning
    expected = names(catalogue.grouped(list_methods(), family="tracin", find="word embeddings"))
    shown = [m.name for m in list_methods() if any(f"`{m.name}`" in entry.value for entry in app.markdown)]
    assert shown == expected and 0 < len(shown) < len(list_methods())
    assert (app.query_params["family"], app.query_params["find"]) == ("tracin", "word embeddings")
    app.text_input(key="find").set_value("").run()
    assert "find" not in app.query_params and app.query_params["family"] == "tracin"
    app.text_input(key="find").set_value("nobody writes this").run()
    assert "No method passes these filters" in said(app.info) and not app.latex


def test_unknown_family_is_noted(indexed: Workspace, open_app: OpenApp):
    """A family that does not exist is ignored with a notice in plain text."""
    app = opened(open_app, indexed, family="**x**")
    assert "family '**x**', which is none of saliency" in said(app.warning)
    assert "**x**" not in app.warning[0].value and "family" not in app.query_params
