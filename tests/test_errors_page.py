"""The Errors page without a browser: slices with their counts, and two labels explained on one scale."""

import numpy as np
import pandas as pd
import pytest

from attribution import attribute
from attribution.artifacts import feature_values
from attribution.artifacts.heldout import own_features
from attribution.workspace import Workspace
from dashboard import cache, errors
from tests.apps import OpenApp, said, tick

ERRORS = "views/errors.py"
both_tasks = pytest.mark.parametrize("indexed", ["workspace", "pairs"], indirect=True)


@both_tasks
def test_features_of_test_texts_are_those_of_training_texts(indexed: Workspace):
    """Given the training texts, they are what the features of these titles give, one by one."""
    found = own_features(indexed.train)
    by_title = {"Length": "length", "Lexical overlap": "lexical_overlap", "Negation in the hypothesis": "negation"}
    assert list(found) == list(by_title)[: 3 if indexed.is_pair else 1]
    for title, values in found.items():
        assert np.allclose(values, feature_values(indexed, by_title[title]), equal_nan=True), title


def test_slices_count_what_a_loop_counts():
    """Every row is in one part; the title has the part's size and mispredictions; ranges come before letters."""
    draw = np.random.default_rng(3)
    table = pd.DataFrame({"wrong": draw.random(50) < 0.3}, index=draw.permutation(50))
    values = draw.choice(["b", "a", "4–9", "10–20"], 50)
    found = errors.parts_of(table, values)
    assert list(found) == ["4–9", "10–20", "a", "b"]
    for value, part in found.items():
        ids = [i for i, v in zip(table.index, values, strict=True) if v == value]
        assert list(part.ids) == ids
        assert part.title == f"{value} · {sum(table.at[i, 'wrong'] for i in ids)} of {len(ids)} wrong"


def test_quarters_hold_about_as_many_and_name_their_range():
    """A number lies in the range of its name; what is not known says so; few values stand for themselves."""
    values = np.append(np.random.default_rng(0).integers(1, 60, 200).astype(float), np.nan)
    names = errors.quarters(values)
    assert names[-1] == "unknown"
    for value, name in zip(values[:-1], names, strict=False):
        low, high = map(float, name.split("–"))
        assert low <= value <= high
    counts = pd.Series(names[:-1]).value_counts()
    assert len(counts) == 4 and counts.min() > 35
    assert errors.quarters(np.array([0.0, 1.0, 1.0])) == ["0", "1", "1"]


def test_slice_narrows_the_table(indexed: Workspace, open_app: OpenApp):
    """The table keeps the mispredictions of the chosen part, by label or by a pattern, which is refused if wrong."""
    app = open_app(indexed.directory).switch_page(ERRORS).run()
    everything = app.dataframe[0].value.index.tolist()
    app.selectbox(key="errors by").set_value("True label").run()
    label = indexed.test.at[everything[0], "label"]
    part = app.selectbox(key="errors True label ").set_value(label).run().selectbox(key="errors True label ")
    kept = [i for i in everything if indexed.test.at[i, "label"] == label]
    assert app.dataframe[0].value.index.tolist() == kept
    of_label = int((indexed.test["label"] == label).sum())
    assert f"{label} · {len(kept)} of {of_label} wrong" in part.options

    app.selectbox(key="errors by").set_value(errors.PATTERN).run()
    assert app.dataframe[0].value.index.tolist() == everything
    words = indexed.test.loc[everything[0], "text"].split()
    app.text_input(key="errors pattern").set_value(words[0].upper()).run()
    kept = [i for i in everything if words[0] in indexed.test.at[i, "text"].split()]
    assert app.dataframe[0].value.index.tolist() == kept
    app.text_input(key="errors pattern").set_value("(").run()
    assert "is not a regular expression" in said(app.error)
    assert app.dataframe[0].value.index.tolist() == everything


@both_tasks
def test_both_labels_are_explained_on_one_scale(indexed: Workspace, open_app: OpenApp):
    """Predicted and true label have a heatmap and rows each; the scale is the larger of theirs; N goes on, P back."""
    app = open_app(indexed.directory).switch_page(ERRORS).run()
    assert not app.exception and not app.error
    table = cache.test_table()
    wrong = table.index[table["wrong"].to_numpy()].tolist()
    first = table.loc[wrong[0]]
    for kind, name in (("predicted", first["predicted"]), ("true", first["label"])):
        assert f"Why “{name}”, the {kind} label?" in said(app.markdown)
        assert f"raised the probability of '{name}'" in said(app.caption)
    answers = [attribute(indexed, "gradient_x_input", test=wrong[0], label=kind) for kind in ("predicted", "true")]
    drawn, scale, _ = errors.side_by_side(answers, subwords=False)
    plain = [abs(t["score"]) for tokens in drawn for t in tokens if not t["special"] and not t["truncated"]]
    assert scale == max(plain)
    assert app.button(key="wrong-P").disabled
    for expected, key in zip(wrong[1:], ["wrong-N"] * len(wrong), strict=False):
        app.button(key=key).click().run()
        assert app.query_params["test"] == str(expected)
    assert app.button(key="wrong-N").disabled
    if len(wrong) > 1:
        app.button(key="wrong-P").click().run()
        assert app.query_params["test"] == str(wrong[-2])


def test_chosen_mispredictions_lead_to_what_is_behind_them(indexed: Workspace, open_app: OpenApp):
    """All in the table, or those ticked, are the group of the Data page's list, by link too, until it is cleared."""
    app = open_app(indexed.directory).switch_page(ERRORS).run()
    wrong = app.dataframe[0].value.index.tolist()
    assert f"behind these {len(wrong)}" in app.button(key="behind").label
    tick(app, [1]).button(key="behind").click().run()
    assert app.query_params["group"] == str(wrong[1])
    linked = open_app(indexed.directory, group=str(wrong[1]), suspects="acting").switch_page("views/data.py").run()
    for _ in range(40):
        if linked.dataframe:
            break
        linked.run()
    expected = attribute(indexed, "influence_head", test=wrong[1], against=indexed.test.at[wrong[1], "label"])
    assert np.allclose(sorted(linked.dataframe[0].value["score"]), sorted(expected.scores))
    linked.button(key="clear group").click().run()
    assert "group" not in linked.query_params
    for group, reason in (("1-3,99999", "lacks"), ("x", "no list")):
        strange = open_app(indexed.directory, group=group).run()
        assert f"group '{group}'" in said(strange.warning) and reason in said(strange.warning)
