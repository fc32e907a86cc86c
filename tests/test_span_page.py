"""Spans on the Explain page without a browser: marked by a link or a chip, searched for at a price, drawn in bold."""

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from attribution import attribute, span_cost
from attribution.index import build
from attribution.query import make_query, read_tokens, write_tokens
from attribution.registry import get_method, required_parts
from attribution.span_cost import search_seconds
from attribution.spans import Finder, finders_of
from attribution.workspace import Workspace
from dashboard import background, present, slow, workspaces
from tests.apps import OpenApp, said
from tests.oracles import assert_close, with_training_data
from tests.test_span_methods import masked
from tests.tiny import refusal


@pytest.mark.parametrize(
    ("tokens", "text"),
    [((), ""), ((5,), "5"), ((3, 4, 5, 6, 7), "3-7"), ((2, 5, 6), "2,5-6"), ((6, 5), "6,5"), ((1, 3), "1,3")],
)
def test_tokens_are_written_as_they_are_read(tokens: tuple[int, ...], text: str) -> None:
    """A range is its first and last token, what lies apart has commas between; reading takes it back."""
    assert write_tokens(tokens) == text
    assert not text or read_tokens(text) == tokens


@pytest.mark.parametrize("given", ["3-", "-3-7", "3,,7", "3 7", "", "3-7,", "²", "7-3,1", "9" * 5000])
def test_what_names_no_tokens_is_refused(given: str) -> None:
    """One line, whatever else was written."""
    assert "--token" in refusal(lambda: read_tokens(given))


def test_a_range_in_a_link_is_the_range_of_the_command_line(indexed: Workspace, open_app: OpenApp) -> None:
    """token=1-3 marks three tokens, token=1,3 two; both stay in the address as they came."""
    words = [word.text for word in make_query(indexed, test=4).example.words]
    for link, marked in (("1-3", words[1:4]), ("1,3", [words[1], words[3]])):
        app = open_app(indexed.directory, test="4", token=link)
        assert not app.exception and not app.error and not app.warning
        assert f"Why does it look at “{' '.join(marked)}”?" in said(app.markdown)
        assert app.query_params["token"] == [link] or app.query_params["token"] == link


def chips(app: AppTest) -> Any:
    groups: list[Any] = list(app.get("button_group"))
    (found,) = [group for group in groups if str(group.label).startswith("Important spans")]
    return found


def test_the_most_important_spans_are_offered_as_chips(indexed: Workspace, open_app: OpenApp) -> None:
    """Those whose masking takes most from log p, by plain forward passes, in that order; a click marks one."""
    build(indexed, required_parts(indexed, "if_plus_plus", {"finder": "ngrams"}))
    test = int(indexed.test["text"].str.split().str.len().idxmax())
    app = open_app(indexed.directory, test=str(test), method="if_plus_plus", finder="ngrams")
    query = make_query(indexed, test=test)
    example, label = query.example, query.label
    spans = Finder(name="ngrams").find(example, None, "")
    inputs = {name: value.clone() for name, value in example.inputs.items()}

    def log_p(of) -> float:
        return float(indexed.model(**of).logits.log_softmax(dim=-1)[0, label].detach())

    drops = [log_p(inputs) - log_p(masked(inputs, span.tokens)) for span in spans]
    order = sorted(range(len(spans)), key=lambda at: -drops[at])[:5]
    shown = [option.replace("\\", "").replace("\u2060", "") for option in chips(app).options]
    for option, at in zip(shown, order, strict=True):
        text = example.text[spans[at].start : spans[at].end]
        assert text in option and f"{drops[at]:+.2g}".replace("-", "−")[:4] in option
    chosen = spans[order[1]].tokens
    chips(app).set_value(1).run()
    assert not app.exception and app.query_params["token"] in (write_tokens(chosen), [write_tokens(chosen)])
    assert "raised the importance of '" in said(app.caption)


def test_a_long_search_is_offered_with_its_cost(
    indexed: Workspace, open_app: OpenApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is searched unasked; once asked for it runs beside the page, which then shows its rows."""
    monkeypatch.setattr(slow, "UNASKED", -1.0)
    app = open_app(indexed.directory, test="4", method="tracin_plus")
    assert "Spans of the training set are masked and scored exactly: about 1 s. It" in said(app.caption)
    assert not [work for key, work in background._works().items() if "answer" in repr(key)]
    app.button(key="answer-tracin_plus").click().run()
    (work,) = [work for key, work in background._works().items() if "answer" in repr(key)]
    deadline = time.monotonic() + 30
    while work.running and time.monotonic() < deadline:
        time.sleep(0.05)
    assert work.result is not None, work.failure
    app.run()
    assert not app.exception and not app.error
    assert "raised the probability" in said(app.caption) and "search takes" not in said(app.caption)
    direct = attribute(indexed, "tracin_plus", test=4)
    assert_close(work.result.scores, direct.scores, relative=2e-3)


@pytest.mark.parametrize("indexed", ["workspace", "pairs"], indirect=True)
def test_what_is_no_span_is_one_line_on_the_page(indexed: Workspace, open_app: OpenApp) -> None:
    """Over the separator of a pair, with a special token, or all of the text: the search says so and nothing breaks."""
    tokens = make_query(indexed, test=3).example.tokens
    middle, last = next(t.index for t in tokens if t.special and t.index), len(tokens) - 2
    mistakes = {f"1-{last}": "covers the whole text", f"0-{last - 1}": "is no part of the text"}
    if indexed.is_pair:
        over = "goes over the separator of the pair"
        mistakes = {f"{middle - 1},{middle + 1}": over, f"1-{middle - 1},{middle + 1}-{last}": over}
    for token, message in mistakes.items():
        app = open_app(indexed.directory, test="3", method="if_plus_plus", token=token)
        assert not app.exception
        (error,) = app.error
        assert message in said([error]) and len(error.value.splitlines()) == 1


def test_the_strongest_span_is_drawn_bold(indexed: Workspace) -> None:
    """Of each row one span is bold, the one that its score is of; all spans are shaded and lie apart."""
    table = attribute(indexed, "if_plus", test=2)
    shown = present.visible(table, get_method("if_plus"), opponents=False, count=5)
    ids = [train_id for train_id, _ in shown]
    spans = dict(zip(ids, table.spans_of(ids), strict=True))
    for row in present.training_rows(table, get_method("if_plus"), shown, spans, opponents=False):
        words: Any = row.get("words")
        assert words and row.get("unit") == "span"
        (strong,) = [word for word in words if word["strong"]]
        assert strong["score"] == pytest.approx(row["score"]) and len(words) == len(spans[row["train_id"]])
    words = dict(zip(ids, table.words_of(ids), strict=True))
    for row in present.training_rows(table, get_method("if_plus"), shown, words, opponents=False):
        plain: Any = row.get("words")
        assert plain and not any(word["strong"] for word in plain)


def test_the_cost_counts_what_is_scored(indexed: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search costs its masked texts and their examples, both ends and copies' top besides; no span is refused."""
    query = make_query(indexed, test=4)
    monkeypatch.setattr(span_cost, "_timed", lambda *_: (2.0, 10.0))
    monkeypatch.setattr(span_cost, "pass_seconds", lambda *_: 1.0)

    def cost(name: str, **values: int | str) -> float:
        return search_seconds(query, name, {"scope": "last:1", **values})

    assert cost("if_plus", candidates=10) == 10 * (10 + 20) + 10
    assert cost("if_plus", candidates=10**6) == cost("if_plus", scorer="sweep") == 10 * 80 + 40
    assert cost("tracin_plus", scorer="sweep", copies=4) == 4 * cost("if_plus", scorer="sweep")
    assert cost("tracin_plus", candidates=10) == cost("if_plus", candidates=10) + 3 * 10 * (10 * 2 + 1)
    assert cost("if_plus", candidates=10, scope="head") == 10 * (10 + 20), "whole examples are not read for the head"


def test_the_cost_is_that_of_the_texts_read(indexed: Workspace) -> None:
    """Positive for every finder that fits, and refused as the answer would be."""
    query = make_query(indexed, test=4)
    for finder in finders_of(indexed):
        assert search_seconds(query, "if_plus", {"finder": finder}) > 0
    special = make_query(indexed, test=4, token=0)
    assert "no part of the text" in refusal(lambda: search_seconds(special, "if_plus_plus", {}))
    assert search_seconds(special, "if_plus", {}) > 0, "if_plus explains the prediction, whatever is clicked"
    assert "pairs of an aspect" in refusal(lambda: search_seconds(query, "if_plus", {"finder": "aspect"}))


def test_finders_fit_the_data(workspace: Workspace, pairs: Workspace, tmp_path: Path) -> None:
    """Aspects are offered for pairs, given spans where the columns are."""
    plain: Sequence[str] = ["clauses", "sentences", "ngrams"]
    assert finders_of(workspace) == plain and finders_of(pairs) == [*plain, "aspect"]
    given = workspace.train.assign(start=0, end=3)
    assert finders_of(with_training_data(workspace, pd.DataFrame(given), tmp_path / "given")) == [*plain, "given"]


def test_ended_works_do_not_pile_up(workspace: Workspace, no_memory: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer in memory holds the question's gradient: only the latest are kept, and none that still runs."""
    monkeypatch.setenv(workspaces.WORKSPACE_VARIABLE, str(workspace.directory))
    held = threading.Event()
    running = background.start("held", lambda progress: held.wait(30))
    works = [background.start(number, lambda progress: 1) for number in range(background.KEPT + 5)]
    deadline = time.monotonic() + 30
    while any(work.running for work in works) and time.monotonic() < deadline:
        time.sleep(0.01)
    last = background.start("last", lambda progress: 1)
    kept = [number for number in range(background.KEPT + 5) if background.find(number) is not None]
    assert kept == list(range(5, background.KEPT + 5)) and background.find("last") is last
    assert background.find("held") is running
    held.set()
