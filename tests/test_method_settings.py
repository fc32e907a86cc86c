"""Parameters of methods on the pages: in links, in words, in the answer, and asked for where the answer takes long."""

import shlex
import time

import numpy as np
import pytest

from attribution import attribute
from attribution.cost import answer_seconds, build_seconds
from attribution.index import Part, build, parts
from attribution.query import make_query
from attribution.workspace import Workspace
from dashboard import background, method_settings, present, slow
from tests.apps import OpenApp, said
from tests.tiny import refusal

CHOSEN = (("relatif", "damping", 0.5), ("relatif", "scope", "a:b, c=&d"), ("bm25", "k1", 2.0), ("gd", "bias", True))


def test_links_give_back_what_they_were_made_from():
    """Values keep their type and every character, a colon too; what is the default is not carried."""
    assert method_settings.read(method_settings.written(CHOSEN)) == (CHOSEN, [])
    assert method_settings.read(["relatif.damping:0.1", "gd.bias:False"]) == ((), [])


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("relatif.damping:0", "damping must be above 0"),
        ("relatif.dampin:1", "relatif has no parameter 'dampin'; it has scope, solver, damping"),
        ("nn_cos.k:1", "it has none"),
        ("relatiff.damping:1", "No method 'relatiff'"),
        ("damping=1", "METHOD.NAME:VALUE"),
        ("", "METHOD.NAME:VALUE"),
    ],
)
def test_wrong_entries_of_a_link_are_named_and_left_out(entry, why):
    """One sentence an entry, and the right ones beside it count."""
    chosen, refusals = method_settings.read([entry, "bm25.b:0.5"])
    assert chosen == (("bm25", "b", 0.5),)
    (said_of_it,) = refusals
    assert why in said_of_it and f"'{entry}'" in said_of_it


def test_settings_are_kept_method_by_method():
    """Another choice for one method leaves the others; the order is the registry's, whatever the order of choosing."""
    assert method_settings.settings_of(CHOSEN, "relatif") == (("scope", "a:b, c=&d"), ("damping", 0.5))
    fewer = method_settings.replaced(CHOSEN, "relatif", {"damping": 0.2})
    assert method_settings.settings_of(fewer, "relatif") == (("damping", 0.2),)
    assert [each for each in fewer if each[0] != "relatif"] == [each for each in CHOSEN if each[0] != "relatif"]


def test_command_survives_a_shell():
    """Split as a shell does, the line has every word as it was, quotes and dollars too."""
    settings = (("scope", "a $HOME 'b'"), ("bias", True))
    line = method_settings.command(
        "w s", "gd", settings, test=None, texts=["it's `x`", "b"], label="<b>", tokens=(3, 4)
    )
    expected = ["influscope", "explain", "w s", "--text", "it's `x`", "--text-pair", "b", "--method", "gd"]
    expected += ["--label", "<b>", "--token", "3-4", "--set", "scope=a $HOME 'b'", "--set", "bias=true"]
    assert shlex.split(line) == expected


def test_page_answers_with_the_parameters_of_its_link(indexed: Workspace, open_app: OpenApp):
    """The list is that of the library with these values; the page says them, and Reset takes them out of the URL."""
    app = open_app(indexed.directory, test="2", method="bm25", set=["bm25.b:0", "bm25.k1:9.5", "gd.colour:1"])
    assert not app.exception and not app.error
    assert sorted(app.query_params["set"]) == ["bm25.b:0.0", "bm25.k1:9.5"]
    assert "k1 = 9.5 · b = 0.0 (not the default)" in said(app.caption)
    assert "gd has no parameter 'colour'" in said(app.warning)
    assert "--set k1=9.5 --set b=0.0" in "\n".join(code.value for code in app.code)
    table = slow.known(make_query(indexed, test=2), "bm25", (("k1", 9.5), ("b", 0.0)))
    expected = attribute(indexed, "bm25", test=2, k1=9.5, b=0.0)
    assert table is not None and np.array_equal(table.scores, expected.scores)
    app.button(key="set bm25: reset").click().run()
    assert "set" not in app.query_params and "not the default" not in said(app.caption)


def test_parameters_that_do_not_fit_are_one_red_box(indexed: Workspace, open_app: OpenApp):
    """Values that are allowed one by one but not together are refused in the method's card; the page is whole."""
    app = open_app(indexed.directory, method="influence", set="influence.solver:exact")
    assert not app.exception
    (box,) = app.error
    assert "solver=exact is for scope=head" in said([box])
    assert "Why does it look there?" in said(app.markdown)
    assert app.query_params["set"] == "influence.solver:exact"


def test_long_answer_is_asked_for_and_found_again(indexed: Workspace, open_app: OpenApp, monkeypatch):
    """Nothing is begun before the button, which says how long; the answer is there after a visit to another page."""
    monkeypatch.setattr(slow, "UNASKED", 0.0)
    settings = (("scorer", "sweep"),)
    app = open_app(indexed.directory, test="1", method="relatif", set="relatif.scorer:sweep")
    key = slow.key(make_query(indexed, test=1), "relatif", settings)
    assert background.find(key) is None
    button = app.button(key="answer-relatif")
    assert (
        button.label == f"Answer in {present.duration(slow.seconds(make_query(indexed, test=1), 'relatif', settings))}"
    )
    app.switch_page("views/errors.py").run()
    app.switch_page("views/explain.py").run()
    app.button(key="answer-relatif").click().run()
    work, deadline = background.find(key), time.monotonic() + 60
    assert work is not None
    while work.running and time.monotonic() < deadline:
        time.sleep(0.05)
    app.switch_page("views/errors.py").run()
    app.switch_page("views/explain.py").run()
    assert not app.error and f"{len(indexed.train)} · exact" in said(app.caption)
    assert work.result is not None
    assert np.allclose(work.result.scores, attribute(indexed, "relatif", test=1, scorer="sweep").scores)


# Estimates


def test_estimate_counts_the_passes(indexed: Workspace):
    """Nothing for what needs no pass; twice the checkpoints, twice the time; refused as the answer itself is."""
    assert answer_seconds(indexed, "bm25") == answer_seconds(indexed, "relatif") == 0
    once = answer_seconds(indexed, "tracin", {"scorer": "sweep", "checkpoints": "final"})
    both = answer_seconds(indexed, "tracin", {"scorer": "sweep"})
    assert 0 < once and both == pytest.approx(once * len(indexed.checkpoints))
    solved = [answer_seconds(indexed, "influence", {"solver": solver}) for solver in ("arnoldi", "cg", "lissa")]
    assert solved == sorted(solved) and solved[0] > 0
    assert "solver=exact is for scope=head" in refusal(
        lambda: answer_seconds(indexed, "influence", {"solver": "exact"})
    )


def test_estimate_of_an_index_is_what_its_kind_took(fresh: Workspace):
    """Unknown before anything was built; then a kind's own mean, or three times the features for one that is new."""
    wanted = parts(fresh, "features", "all")
    assert build_seconds(fresh, wanted) is None
    build(fresh, wanted[:1])
    took = build_seconds(fresh, wanted[:1])
    assert took is not None and build_seconds(fresh, wanted) == pytest.approx(len(wanted) * took)
    new = Part(kind="word_gradients", checkpoint=0)
    assert build_seconds(fresh, [wanted[0], new]) == pytest.approx(4 * took)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.0, "about 1 s"), (44.6, "about 45 s"), (89.0, "about 89 s"), (90.0, "about 2 min"), (7200.0, "about 2 h")],
)
def test_durations_are_round(seconds, words):
    """Seconds up to a minute and a half, then minutes, then hours."""
    assert present.duration(seconds) == words
