"""`explain`: the shape of its answer is a contract, and no text in it can do harm where it is printed."""

import csv
import json
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attribution import create_workspace, list_methods
from attribution.explain import as_csv, as_json, as_table, explain, printable
from attribution.query import make_query
from attribution.workspace import Workspace
from tests.tiny import tiny_bert

METHODS = [method.name for method in list_methods()]
NUMBER, TEXT_OR_NONE = (int, float), (str, type(None))
ANSWER = {
    "workspace": dict,
    "method": str,
    "parameters": dict,
    "scorer": str,
    "exact": bool,
    "seconds": float,
    "text": str,
    "text_pair": TEXT_OR_NONE,
    "true_label": TEXT_OR_NONE,
    "predicted_label": str,
    "probabilities": dict,
    "explained": dict,
    "tokens": list,
    "proponents": list,
    "opponents": list,
}
TOKEN = {"index": int, "text": str, "start": int, "end": int, "special": bool, "score": float}
ROW = {
    "rank": int,
    "train_id": int,
    "label": str,
    "text": str,
    "text_pair": TEXT_OR_NONE,
    "score": float,
    "z": (float, type(None)),
    "words": (list, type(None)),
    "spans": (list, type(None)),
}
WORD = {"text": str, "start": int, "end": int, "score": float}
SPAN = {"start": int, "end": int, "segment": int, "score": float}


@cache
def answer_of(workspace: Workspace, method: str, *, top: int = 4, test: int = 3, **parameters: Any) -> dict[str, Any]:
    """The answer about a test example, of which a token is clicked; to be read and not changed."""
    query = make_query(workspace, test=test, token=2)
    return explain(query, method, parameters, top=top)


def read_json(answer: dict[str, Any]) -> dict[str, Any]:
    """What another program reads; NaN and infinities, which JSON does not have, are an error."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"the JSON has {constant}")

    return json.loads(as_json(answer), parse_constant=refuse)


def assert_shape(found: dict[str, Any], contract: dict[str, Any], what: str) -> None:
    for key, kind in contract.items():
        assert key in found, f"{what} lacks '{key}'; it has {', '.join(found)}"
        plain = found[key]
        allowed = kind if isinstance(kind, tuple) else (kind,)
        assert type(plain) in allowed, f"{what}'s '{key}' is {plain!r}, not {allowed}"


@pytest.mark.parametrize("kind", ["single", "pair"])
@pytest.mark.parametrize("method", METHODS)
def test_json_is_the_contract(workspace: Workspace, pairs: Workspace, method: str, kind: str) -> None:
    """Every key of contracts.md is there, in its type, for every method, single texts and pairs, and top=0."""
    space = workspace if kind == "single" else pairs
    for top in (4, 0):
        answer = read_json(answer_of(space, method, top=top))
        assert_shape(answer, ANSWER, "the answer")
        assert_shape(answer["workspace"], {"name": str, "digest": str, "n_train": int, "n_test": int}, "workspace")
        assert_shape(answer["explained"], {"quantity": str, "label": str, "token": (int, type(None))}, "explained")
        assert answer["scorer"] in ("head", "index", "sweep", "none")
        assert list(answer["probabilities"]) == list(space.labels)
        assert sum(answer["probabilities"].values()) == pytest.approx(1)
        assert answer["predicted_label"] == max(answer["probabilities"], key=answer["probabilities"].get)
        assert (answer["workspace"]["n_train"], answer["workspace"]["n_test"]) == (40, 11)
        assert (answer["text_pair"] is None) == (kind == "single")
        for token in answer["tokens"]:
            assert_shape(token, TOKEN, "a token")
        for row in [*answer["proponents"], *answer["opponents"]]:
            assert_shape(row, ROW, "a row")
            assert (row["text_pair"] is None) == (kind == "single")
            for word in row["words"] or []:
                assert_shape(word, WORD, "a word")
            for span in row["spans"] or []:
                assert_shape(span, SPAN, "a span")


@pytest.mark.parametrize("method", [m.name for m in list_methods("examples")])
def test_rows_are_ordered_and_complete(workspace: Workspace, method: str) -> None:
    """Proponents fall, opponents rise, ranks count from 1, and top=0 has every training example and no opponents."""
    answer = answer_of(workspace, method)
    scores = {side: [row["score"] for row in answer[side]] for side in ("proponents", "opponents")}
    assert scores["proponents"] == sorted(scores["proponents"], reverse=True) and len(scores["proponents"]) == 4
    assert scores["opponents"] == sorted(scores["opponents"]) and len(scores["opponents"]) == 4
    assert [row["rank"] for row in answer["opponents"]] == [1, 2, 3, 4]
    everything = answer_of(workspace, method, top=0)
    assert sorted(row["train_id"] for row in everything["proponents"]) == list(range(40))
    assert everything["opponents"] == []
    listed = [row["score"] for row in everything["proponents"]]
    assert listed == sorted(listed, reverse=True)
    assert scores["proponents"] == pytest.approx(listed[:4])
    z = np.array([row["z"] for row in everything["proponents"]])
    assert z.mean() == pytest.approx(0, abs=1e-9) and z.std() == pytest.approx(1)


@pytest.mark.parametrize("method", [m.name for m in list_methods("tokens")])
def test_a_saliency_answers_with_tokens(workspace: Workspace, method: str) -> None:
    """A saliency method lists no training examples and its own shares as tokens' scores."""
    answer = answer_of(workspace, method)
    assert (answer["proponents"], answer["opponents"], answer["scorer"]) == ([], [], "none")
    assert sum(abs(token["score"]) for token in answer["tokens"]) == pytest.approx(1)


def test_other_answers_carry_gradient_x_input(workspace: Workspace) -> None:
    """Whatever scores the training examples, the heatmap is gradient×input's."""
    expected = answer_of(workspace, "gradient_x_input")["tokens"]
    for method in list_methods("examples"):
        assert answer_of(workspace, method.name)["tokens"] == expected, f"{method.name} has other tokens"


@pytest.mark.parametrize("method", [m.name for m in list_methods("examples")])
@pytest.mark.parametrize("kind", ["single", "pair"])
def test_words_point_into_their_text(workspace: Workspace, pairs: Workspace, method: str, kind: str) -> None:
    """Offsets slice each word out of the row's own text, or out of its second text where the segment is 1."""
    answer = answer_of(workspace if kind == "single" else pairs, method)
    claims = next(m for m in list_methods() if m.name == method).words
    for row in [*answer["proponents"], *answer["opponents"]]:
        assert (row["words"] is not None) == claims
        for word in row["words"] or []:
            text = row["text_pair"] if word["segment"] else row["text"]
            piece = text[word["start"] : word["end"]]
            assert piece in (word["text"], ""), f"'{word['text']}' points at '{piece}' in '{text}'"
            assert piece or word["text"].startswith("["), f"'{word['text']}' points at nothing"
        segments = {word["segment"] for word in row["words"] or []}
        assert not claims or segments == ({0} if kind == "single" else {0, 1})


def test_parameters_are_those_used(workspace: Workspace) -> None:
    """Defaults and given values, parsed, stand in the answer."""
    answer = read_json(answer_of(workspace, "saliency_influence", scope="head", damping="0.5", bias="true"))
    assert answer["parameters"] == {
        "saliency": "gradient_x_input",
        "scope": "head",
        "solver": "auto",
        "normalise": "relatif",
        "damping": 0.5,
        "bias": True,
        "scorer": "auto",
        "seed": 0,
    }
    label = answer["predicted_label"]
    explained = {"quantity": "saliency", "label": label, "token": 2, "tokens": [2], "against": None}
    assert answer["explained"] == explained


def test_numbers_that_are_none_are_null(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A score that is not finite is null in JSON and a dash in the table, not NaN."""
    from attribution import explain as module
    from attribution.results import Scored, ScoreTable

    query = make_query(workspace, test=0)
    scores = np.where(np.arange(40) == 7, np.nan, np.arange(40.0))
    scored = Scored(scores=scores, scorer="head", exact=True, quantity="log_probability")
    real = module.run_method

    def run(query: Any, name: str, *rest: Any) -> Any:
        if name != "gd":
            return real(query, name, *rest)
        return ScoreTable(query=query, method="gd", parameters={}, scored=scored, seconds=0.0)

    monkeypatch.setattr(module, "run_method", run)
    answer = explain(query, "gd", {}, top=0)
    scores_by_id = {row["train_id"]: row["score"] for row in read_json(answer)["proponents"]}
    assert scores_by_id.pop(7) is None and None not in scores_by_id.values()
    assert "–" in as_table(answer)


HARMFUL = [
    "a warm \x1b[31mred\x1b[0m film",
    'a dull\ttab, comma; and "quotes"',
    "two\nlines of plot",
    "a lone \r return",
    "\x9b31m eight-bit escape \x07 bell \x00 nought",
    "[bold]markup[/bold] of [link=http://x]rich[/link]",
    "=1+2 cold 中文 🙂",
    "right \u202eto left\u202c and \u2028 a separator",
]


@pytest.fixture(scope="module")
def harmful(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Texts that a terminal, a spreadsheet or a markup language would take for something else."""
    folder = tmp_path_factory.mktemp("harmful")
    for name in ("train", "test"):
        rows = [{"text": text, "label": ("negative", "positive")[i % 2]} for i, text in enumerate(HARMFUL)]
        (folder / f"{name}.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return create_workspace(
        folder / "workspace",
        model=tiny_bert(folder / "model"),
        train=folder / "train.jsonl",
        test=folder / "test.jsonl",
    )[0]


@pytest.mark.parametrize("test", range(len(HARMFUL)))
def test_a_table_shows_control_characters_harmlessly(harmful: Workspace, test: int) -> None:
    """Nothing a terminal obeys but line ends leaves `as_table`; brackets are printed as they are."""
    for method in ("gd", "gradient_x_input"):
        shown = as_table(answer_of(harmful, method, test=test), width=400)
        obeyed = {c for c in shown if c != "\n" and c != printable(c)}
        assert not obeyed, f"the table has {sorted(map(repr, obeyed))}"
        assert not set("\x1b\x9b\x07\x00\r\u202e\u202c\u2028") & set(shown)


def test_a_table_prints_brackets_and_labels_as_they_are(harmful: Workspace) -> None:
    """Markup in a text is text, and a label is as little trusted as a text."""
    answer = answer_of(harmful, "gd", test=5)
    assert "[bold]markup[/bold] of [link=http://x]rich[/link]" in as_table(answer, width=400)
    label = "\x1b[2Jgone"
    explained = {**answer["explained"], "label": label}
    tainted = {"predicted_label": label, "true_label": label, "probabilities": {label: 1.0}, "explained": explained}
    assert "\x1b" not in as_table({**answer, **tainted, "sign": f"Positive: for '{label}'."})


def test_printable_leaves_writing_alone() -> None:
    """Letters of any script, emoji joined by a zero-width joiner and combining marks stay what they are."""
    for text in ("naïve e\u0301 中文 שלום हिन्दी", "👩\u200d👩\u200d👧 🏳️\u200d🌈", "plain [text] — “quoted”"):
        assert printable(text) == text


@pytest.mark.parametrize("top", [0, 3])
def test_csv_reads_back(harmful: Workspace, top: int) -> None:
    """Every row comes back from the csv with its text, whatever the text holds."""
    answer = answer_of(harmful, "gd", top=top)
    rows = list(csv.DictReader(StringIO(as_csv(answer), newline="")))
    expected = [*answer["proponents"], *answer["opponents"]]
    assert [row["text"] for row in rows] == [row["text"] for row in expected]
    assert [float(row["score"]) for row in rows] == pytest.approx([row["score"] for row in expected])
    assert [int(row["train_id"]) for row in rows] == [row["train_id"] for row in expected]
    assert [row["side"] for row in rows] == ["proponents"] * len(answer["proponents"]) + ["opponents"] * (
        len(answer["opponents"])
    )


def test_csv_of_a_saliency_is_its_tokens(harmful: Workspace) -> None:
    """One line a token, with its offsets and share."""
    answer = answer_of(harmful, "gradient_x_input", test=3)
    rows = list(csv.DictReader(StringIO(as_csv(answer), newline="")))
    assert [row["text"] for row in rows] == [token["text"] for token in answer["tokens"]]
    assert [float(row["score"]) for row in rows] == pytest.approx([token["score"] for token in answer["tokens"]])


def test_the_table_says_what_the_json_says(workspace: Workspace) -> None:
    """The terminal shows the prediction, the sign's meaning and every row of both sides."""
    answer = answer_of(workspace, "relatif")
    shown = as_table(answer, width=200)
    for row in [*answer["proponents"], *answer["opponents"]]:
        assert row["text"] in shown and f"{row['score']:+.4g}" in shown
    assert f"predicted {answer['predicted_label']}, true {answer['true_label']}" in shown and answer["sign"] in shown


@pytest.mark.parametrize("method", METHODS)
def test_the_sign_is_told_in_one_sentence(workspace: Workspace, method: str) -> None:
    """Signed methods say what positive means; the others do not speak of positive or of training."""
    sentence = answer_of(workspace, method)["sign"]
    signed = next(m for m in list_methods() if m.name == method).signed
    assert sentence.endswith(".") and "\n" not in sentence
    assert sentence.startswith("Positive:") == signed, sentence


def test_where_the_text_was_cut_is_said(workspace: Workspace, tmp_path: Path) -> None:
    """A text longer than the model reads carries the character where it was cut, and the table says so."""
    text = "warm film " * 40
    answer = explain(make_query(workspace, text=text), "gd", {}, top=1)
    (cut,) = answer["truncated"]
    assert text[:cut].split() == ["warm", "film"] * 23 and f"only to character {cut}" in as_table(answer)
    assert explain(make_query(workspace, text="warm film"), "gd", {}, top=1)["truncated"] == []
