"""The offer to change a word of a training example: its table, its sentence, and what is handed on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from attribution.perturbing import Kind, Replacement
from attribution.query import make_query
from attribution.workspace import Workspace
from dashboard import cache, perturbing, workspaces
from tests.apps import said
from tests.tiny import BAD, GOOD


def turned(word: str) -> Mapping[str, Kind]:
    """The tests' own words in each other's place."""
    same = next((group for group in (GOOD, BAD) if word in group), [])
    return dict.fromkeys([w for w in same if w != word], "synonym")


def page() -> None:
    """The offer alone, on what the link asks; what is added is kept for the test."""
    import streamlit as st

    from attribution.query import make_query
    from dashboard import cache
    from dashboard.views import perturb

    asked = make_query(cache.workspace(), test=3, label="positive", token=2 if "token" in st.query_params else None)
    perturb.render(asked, int(st.query_params["row"]), lambda each: st.session_state.update(added=each))


@pytest.fixture
def shown(indexed: Workspace, no_memory: None, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv(workspaces.WORKSPACE_VARIABLE, str(indexed.directory))
    for name in ("synonyms_of", "synonyms_and_antonyms_of"):
        monkeypatch.setattr(cache, name, turned)

    def run(**query: str) -> AppTest:
        app = AppTest.from_function(page, default_timeout=30)
        app.query_params.update(query)
        app.run()
        assert not app.exception, app.exception
        return app

    return run


def test_the_best_replacement_is_offered_and_handed_on(shown: Any) -> None:
    """Rows rise towards the aim; the button hands the best on; the other aim turns the order round."""
    app = shown(row="7", token="2")
    lowered = app.dataframe[0].value
    assert list(lowered["influence"]) == sorted(lowered["influence"])
    assert "instead raises the saliency of" in said(app.caption)
    app.button(key="add ranked replacement").click().run()
    added = app.session_state["added"]
    assert isinstance(added, Replacement) and (added.train_id, added.other) == (7, lowered["instead"].iloc[0])
    app.segmented_control(key="perturb aim").set_value(True).run()
    raised = app.dataframe[0].value
    assert list(raised["influence"]) == sorted(raised["influence"], reverse=True)
    assert raised["predicted"].to_numpy() == pytest.approx(raised["influence"].to_numpy() / 40)


def test_a_word_of_ones_own_is_scored_or_refused(shown: Any) -> None:
    """It has a button of its own; a word that changes nothing is refused in a line."""
    app = shown(row="7")
    assert "raises the probability of" in said(app.caption)
    first = next(iter(cache.places(7).items()))
    app.text_input(key="perturb own 7").input("zzz").run()
    app.button(key="add own replacement").click().run()
    assert app.session_state["added"].other == "zzz" and app.session_state["added"].word == first[1]
    app.text_input(key="perturb own 7").input(first[1]).run()
    assert "another word" in app.error[0].value


def test_an_example_without_a_replacement_says_so(shown: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The field for a word of one's own stays."""
    monkeypatch.setattr(cache, "synonyms_of", lambda word: {})
    app = shown(row="7")
    assert "No word of this example has a replacement" in said(app.caption) and not app.dataframe
    assert app.text_input(key="perturb own 7")


def test_without_the_index_it_is_offered_first(shown: Any, fresh: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is computed unasked that takes a pass over the training set."""
    monkeypatch.setenv(workspaces.WORKSPACE_VARIABLE, str(Path(fresh.directory)))
    app = shown(row="7")
    assert not app.dataframe and app.button


def test_the_sentence_names_what_is_moved(workspace: Workspace) -> None:
    """The clicked word's saliency, or the label's probability."""
    asked = make_query(workspace, test=3, label="positive")
    assert perturbing.sentence(asked).endswith("raises the probability of 'positive'.")
    word = make_query(workspace, test=3, label="positive", token=2)
    assert f"the saliency of '{word.example.tokens[2].text}'" in perturbing.sentence(word)
