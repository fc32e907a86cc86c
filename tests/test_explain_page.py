"""Explain without a browser: ranges of scores, an opened row's facts, margins, and what an edit changed."""

from typing import Any, cast

import numpy as np
import pytest

from attribution import attribute
from attribution.neighbours import nearest_examples
from attribution.registry import get_method
from attribution.results import ScoreTable
from attribution.workspace import Workspace
from dashboard import cache, edited, opened, present, score_ranges, state
from tests.apps import OpenApp, said

both_signs = pytest.mark.parametrize("signed", [True, False])


@both_signs
@pytest.mark.parametrize("shift", [0.0, 5.0])
def test_ranges_part_the_scores(signed: bool, shift: float):
    """Every score lies in its range, whose title counts them; with a sign, no range has both; equal scores do too."""
    scores = np.random.default_rng(2).standard_normal(300) + shift
    for values in (scores, np.full(4, 3.0), np.zeros(3)):
        ranges = score_ranges.ranges_of(values, signed=signed)
        low, high = ranges.edges[ranges.of], ranges.edges[ranges.of + 1]
        assert (low <= values + 1e-9).all() and (values <= high + 1e-9).all()
        assert ranges.counts.sum() == len(values)
        at = int(ranges.of[0])
        assert ranges.title(at).endswith(f" · {sum(other == at for other in ranges.of)}")
        if signed and values is scores:
            assert not ((ranges.edges[:-1] < -1e-9) & (ranges.edges[1:] > 1e-9)).any()


@both_signs
@pytest.mark.parametrize("dark", [True, False])
def test_histogram_has_a_bar_a_range(signed: bool, dark: bool):
    """Bars count the scores of the range in their customdata; below zero they have another colour if signed."""
    ranges = score_ranges.ranges_of(np.array([-1.0, -0.9, 0.2, 1.0, 1.0]), signed=signed)
    (bars,) = cast(Any, score_ranges.histogram(ranges, signed=signed, dark=dark)["data"])
    for at, count, colour in zip(bars.customdata, bars.y, bars.marker.color, strict=True):
        assert count == int((ranges.of == at).sum()) > 0
        below = [c for middle, c in zip(bars.x, bars.marker.color, strict=True) if middle < 0]
        assert (colour in below) == (not signed or ranges.edges[at] < 0)


@pytest.mark.parametrize("opponents", [False, True])
def test_a_range_replaces_the_top(workspace: Workspace, opponents: bool):
    """Only examples within the range are listed, of either sign, the strongest of the side first."""
    table = attribute(workspace, "gd", test=0)
    assert isinstance(table, ScoreTable)
    within = np.argsort(np.argsort(table.scores)) % 3 == 0
    shown = present.visible(table, get_method("gd"), opponents=opponents, count=99, within=within)
    listed = [float(table.scores[table.ids == train_id][0]) for train_id, _ in shown]
    assert listed == sorted(listed, reverse=not opponents) and len(listed) > 1
    assert {train_id for train_id, _ in shown} <= set(table.ids[within].tolist())
    assert sum(1 + copies for _, copies in shown) == within.sum()


def test_opened_row_says_its_neighbours_and_its_other_scores(indexed: Workspace, open_app: OpenApp):
    """The opened row alone gets a line for each other method that answers, with its rank, and one a neighbour."""
    assert not open_app(indexed.directory, method="gd").exception
    selection = state.Selection(test=0)
    asked = cache.query_of(selection)
    table = cache.result(asked, "gd")
    shown = present.visible(table, get_method("gd"), opponents=False, count=4)
    rows = present.training_rows(table, get_method("gd"), shown, {}, opponents=False)
    row = shown[1][0]
    told = opened.told(rows, row, asked, (), listed="relatif")
    assert [a for a in told if a["train_id"] != row] == [a for a in rows if a["train_id"] != row]
    facts = {name: value for name, value in told[1]["details"]}
    at = int(np.flatnonzero(table.ids == row)[0])
    rank = int(table.ranks[at])
    place = f"rank {rank} of {len(table.scores)} · {present.signed(float(table.scores[at]))}"
    assert facts[f"Gradient dot product, for “{asked.label_name}”"] == place, "it was answered before"
    assert any(name.startswith("BM25") for name in facts), "it is quick"
    assert not any(name.startswith("RelatIF") for name in facts), "its own list says it"
    for number, (other, alike) in enumerate(nearest_examples(indexed, row), 1):
        assert facts[f"nearest {number}"].startswith(
            f"{other} · {indexed.train.at[other, 'label']} · cosine {alike:.3f}"
        )


def test_margin_is_chosen_by_link_and_menu(indexed: Workspace, open_app: OpenApp):
    """`against` explains the margin over that label; over the explained label itself there is none."""
    first, second = indexed.labels
    app = open_app(indexed.directory, test="0", label=first, against=second)
    towards = f"moved the model from '{second}' towards '{first}'"
    assert not app.exception and towards in said(app.caption)
    app.selectbox(key=f"against for {first} {second}").set_value("").run()
    assert towards not in said(app.caption) and "against" not in app.query_params
    app.selectbox(key=f"against for {first} ").set_value(second).run()
    assert towards in said(app.caption) and app.query_params["against"] == second
    app = open_app(indexed.directory, test="0", label=first, against=first)
    assert f"raised the probability of '{first}'" in said(app.caption)
    app = open_app(indexed.directory, test="0", against="nobody")
    assert "The link asks for against 'nobody', which is none of" in said(app.warning)


def test_edit_is_put_in_words():
    """Replaced, removed and added words of both texts, in order; where none changed, that."""
    before, after = ["the dull film was long", "it was warm"], ["the warm film was very long", "it was"]
    assert edited.changed_words(before, after) == "“dull” became “warm”; “very” added; “warm” removed"
    assert edited.changed_words(before, before) == "no word changed"


def test_moved_rows_say_the_other_rank(workspace: Workspace):
    """A row's note is its rank and score in the other answer; both lists' bars have one scale."""
    one, other = (attribute(workspace, "gd", test=at, label="positive") for at in (0, 1))
    assert isinstance(one, ScoreTable) and isinstance(other, ScoreTable)
    largest = max(np.abs(one.scores).max(), np.abs(other.scores).max())
    rows = edited.moved_rows(one, other, when="now")
    assert rows
    for row in rows:
        at = one.ids.tolist().index(row["train_id"])
        rank = 1 + sum(
            score > other.scores[at] or (score == other.scores[at] and i < at) for i, score in enumerate(other.scores)
        )
        assert row.get("note") == f"now rank {rank}, {present.signed(float(other.scores[at]))}"
        assert row["share"] == pytest.approx(one.scores[at] / largest)


@pytest.mark.parametrize("indexed", ["workspace", "pairs"], indirect=True)
def test_edited_example_is_held_against_the_original(indexed: Workspace, open_app: OpenApp):
    """An edited text shows what changed against its test example, which Back leaves."""
    app = open_app(indexed.directory, test="3")
    original = indexed.test.at[3, "text"]
    (box,) = [area for area in app.text_area if area.label == "Text"]
    box.set_value(f"{original} tender")
    (explain,) = [button for button in app.button if button.label == "Explain this text"]
    app = explain.click().run()
    assert not app.exception and not app.error
    told = said(app.markdown)
    assert "What the edit of test example 3 changed" in told and "“tender” added" in told
    asked = [
        cache.query(*who, "predicted", ())
        for who in ((3, None, None), (None, box.value, indexed.test.loc[3].get("text_pair")))
    ]
    assert edited.probabilities(*asked) in told
    assert "RelatIF: top for " in said(app.caption)
    (back,) = [button for button in app.button if button.label == "Back to the test set"]
    assert "What the edit" not in said(back.click().run().markdown)
