"""The dashboard without a browser: what is drawn, filtered and remembered, and the long work behind it."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from attribution import attribute, head
from attribution.cli import Reporter
from attribution.index import build, parts
from attribution.query import Query, make_query
from attribution.registry import get_method, standard_parts
from attribution.results import Scored, ScoreTable, TokenScores
from attribution.workspace import Workspace, same_texts
from dashboard import cache, charts, jobs, present, tables, workspaces
from dashboard.jobs import Job
from dashboard.markdown import plain
from tests.apps import OpenApp, said
from tests.tiny import BAD, GOOD, sentences, workspace_of

ERRORS = "views/errors.py"
RED = "the cast was unwarmly warm , Not zébra-like :  a very  clever\tfilm."


both_tasks = pytest.mark.parametrize("indexed", ["workspace", "pairs"], indirect=True)


def saliency_of(workspace: Workspace, text: str, pair: str | None = None) -> TokenScores:
    return attribute(workspace, "gradient_x_input", text=text, text_pair=pair)


def table_of(train: pd.DataFrame, scores: Sequence[float], *, label: str = "a") -> ScoreTable:
    """Invented scores of invented training examples."""
    query = cast(
        Query, SimpleNamespace(workspace=SimpleNamespace(train=train, same_texts=same_texts(train)), label_name=label)
    )
    scored = Scored(scores=np.array(scores, dtype=float), scorer="none", exact=True, quantity="x")
    return ScoreTable(query=query, method="gd", parameters={}, scored=scored, seconds=0.0)


# What is drawn: tokens


@pytest.mark.parametrize("subwords", [False, True])
@pytest.mark.parametrize(
    ("fixture", "text", "pair"),
    [
        ("workspace", RED, None),
        ("workspace", "unwarmly", None),
        ("workspace", " ".join(["very unwarmly"] * 30) + " tender film .", None),
        ("pairs", RED, "  not: the song!"),
        ("pairs", " ".join(["warm"] * 60), " ".join(["cold ."] * 40)),
    ],
)
def test_heatmap_loses_no_character_and_no_score(fixture, text, pair, subwords, request):
    """Drawn tokens read as the text does, each with the summed score of the model tokens up to the next one."""
    scores = saliency_of(request.getfixturevalue(fixture), text, pair)
    tokens, scale, caption = present.heatmap(scores, subwords=subwords)
    read = [t for t in tokens if not t["truncated"]]
    for segment, whole in enumerate([text] if pair is None else [text, pair]):
        pieces = [t for t in tokens if t["segment"] == segment and not t["special"]]
        joined = "".join((" " if t["space_before"] else "") + t["text"] for t in pieces)
        assert joined.split() == whole.split()
    ends = [t["index"] for t in read[1:]] + [len(scores.scores)]
    for token, end in zip(read, ends, strict=True):
        assert token["score"] == pytest.approx(scores.scores[token["index"] : end].sum(), abs=1e-7)
        assert token["raw"] == pytest.approx(scores.raw[token["index"] : end].sum(), abs=1e-7)
        assert sum(piece["score"] for piece in token["pieces"]) == pytest.approx(token["score"], abs=1e-7)
        chosen = present.tokens_of(scores, [token["index"]], subwords=subwords)
        assert chosen == tuple(range(token["index"], end)), "a click selects what is drawn"
    marked = [token["index"] for token in read[1:4]]
    span = present.tokens_of(scores, marked, subwords=subwords)
    assert (
        span == tuple(range(marked[0], ends[len(read[1:4])]))
        and present.drawn(scores, span, subwords=subwords) == marked
    )
    assert sum(abs(t["score"]) for t in read) <= 1 + 1e-6, "scores are shares of the example's total"
    assert scale == max(abs(t["score"]) for t in read if not t["special"])
    held = sum(abs(float(s)) for t, s in zip(scores.query.example.tokens, scores.scores, strict=True) if t.special)
    assert f"[CLS] and [SEP] hold {held:.0%}" in caption
    by_rank = sorted(read, key=lambda t: t["rank"])
    assert [t["rank"] for t in by_rank] == list(range(1, len(read) + 1))
    strengths = [abs(t["score"]) for t in by_rank]
    assert strengths == sorted(strengths, reverse=True)


def test_text_beyond_the_maximum_length_is_one_dead_token_a_text(pairs):
    """What the model does not read is drawn once a text, without score, under an index that no click can mean."""
    scores = saliency_of(pairs, " ".join(["warm"] * 60), " ".join(["cold"] * 60))
    rest = [t for t in present.heatmap(scores, subwords=False)[0] if t["truncated"]]
    assert [t["segment"] for t in rest] == [0, 1]
    assert len({t["index"] for t in rest}) == 2 and all(t["index"] < 0 and t["score"] == 0 for t in rest)
    unread = [len(t["text"].split()) for t in rest]
    assert sum(unread) == 120 - sum(not t.special for t in scores.query.example.tokens)


# What is drawn: training rows


@settings(max_examples=40)
@given(
    rows=some.lists(some.tuples(some.sampled_from("xyz"), some.sampled_from("ab"), some.integers(-3, 3)), min_size=1)
)
@pytest.mark.parametrize("opponents", [False, True])
@pytest.mark.parametrize("method", ["gd", "nn_euc"])
def test_visible_rows_are_the_best_of_each_text_and_label(rows, opponents, method):
    """The best row of each (text, label) is shown, with how many others it stands for; signed sides stop at zero."""
    train = pd.DataFrame(rows, columns=["text", "label", "score"], index=[7 + 2 * i for i in range(len(rows))])
    is_signed = get_method(method).signed
    expected: dict[tuple[str, str], list[int]] = {}
    for at in sorted(train.index, key=lambda i: (-train.at[i, "score"], i), reverse=opponents):
        wrong_side = train.at[at, "score"] >= 0 if opponents else train.at[at, "score"] <= 0
        if not (is_signed and wrong_side):
            expected.setdefault((train.at[at, "text"], train.at[at, "label"]), []).append(at)
    table = table_of(train.drop(columns="score"), train["score"].tolist())
    shown = present.visible(table, get_method(method), opponents=opponents, count=4)
    assert shown == [(ids[0], len(ids) - 1) for ids in expected.values()][:4]
    scores = [train.at[i, "score"] for i, _ in shown]
    assert scores == sorted(scores, reverse=not opponents)
    json.dumps(shown)


def test_many_copies_do_not_crowd_out_the_other_rows():
    """A text that is there fifty times over is one row, counted in full, and the rows after it are still listed."""
    train = pd.DataFrame({"text": ["same"] * 50 + ["one", "two"], "label": "a"})
    shown = present.visible(table_of(train, [9.0] * 50 + [2, 1]), get_method("gd"), opponents=False, count=3)
    assert shown == [(0, 49), (50, 0), (51, 0)]


@both_tasks
@pytest.mark.parametrize("opponents", [False, True])
@pytest.mark.parametrize("method", ["relatif", "nn_euc"])
def test_training_rows_are_plain_and_on_one_scale(indexed: Workspace, method: str, opponents: bool):
    """Rows are JSON; the longest bar is 1; ranks count from this side; labels that differ are marked; words slice."""
    table = attribute(indexed, method, test=2)
    chosen = get_method(method)
    shown = present.visible(table, chosen, opponents=opponents, count=6)
    ids = [train_id for train_id, _ in shown]
    words = dict(zip(ids, table.words_of(ids), strict=True)) if chosen.words else {}
    rows = present.training_rows(table, chosen, shown, words, opponents=opponents)
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    assert max(abs(row["share"]) for row in rows) == 1
    largest = max(abs(row["score"]) for row in rows)
    order = sorted(range(len(table.scores)), key=lambda i: table.scores[i], reverse=not opponents)
    strongest = max((abs(w.score) for found in words.values() for w in found), default=1.0)
    for row, (train_id, copies) in zip(rows, shown, strict=True):
        example = indexed.train.loc[train_id]
        assert (row["train_id"], row["duplicates"]) == (train_id, copies)
        assert (row["text"], row["label"]) == (example["text"], example["label"])
        assert row["text_pair"] == (example["text_pair"] if indexed.is_pair else None)
        assert row["score"] == pytest.approx(table.scores[train_id])
        assert row["share"] == pytest.approx(row["score"] / largest)
        assert table.scores[order[row["rank"] - 1]] == table.scores[train_id]
        assert row["other_label"] == (example["label"] != table.query.label_name)
        assert row["score_text"].startswith(("+", "−")) == (chosen.signed or row["score"] < 0)
        assert row["word_scale"] == pytest.approx(strongest)
        if not chosen.words:
            assert row["words"] is None
            continue
        texts = [row["text"], row["text_pair"] or ""]
        shaded = [(texts[w["part"]][w["start"] : w["end"]], w["score"]) for w in row["words"] or ()]
        assert shaded == [(w.text, w.score) for w in words[train_id] if w.end > w.start]
        assert shaded


@given(some.floats(-1e300, 1e300))
def test_signed_numbers_say_their_sign(score):
    """A sign is always there, minus is the typographic one, no point is left dangling, and three digits are right."""
    text = present.signed(score)
    assert text[0] in "+−" and "-" not in text and not text.endswith(".")
    assert float(text.replace("−", "-")) == pytest.approx(score, rel=0.006)


# Text that markdown must not obey


def test_plain_text_keeps_what_it_says():
    """Escapes and invisible breaks aside, the text is the same, on one line."""
    for text in (
        "**bold** [a](b)",
        ":material/home: :smile:",
        "www.a.org https://a.org a@b.org",
        "a -> b",
        "x\n\n y",
        "$x$",
    ):
        escaped = plain(text)
        assert re.sub(r"\\(?=[^a-zA-Z0-9\s])|\u2060", "", escaped) == " ".join(text.split())
        assert not re.search(r"(?<!\\)[*_\[\]()$<>`:&]", escaped)
    assert plain("an ordinary sentence, with a comma") == "an ordinary sentence, with a comma"


# Tables and charts


@pytest.fixture(scope="module")
def examples() -> pd.DataFrame:
    """Invented predictions for pairs of texts."""
    draw = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "text": [" ".join(draw.choice(["Warm", "cold", "a+b", "film."], 3)) for _ in range(60)],
            "text_pair": [" ".join(draw.choice(["song", "CAST"], 2)) for _ in range(60)],
            "label": draw.choice(["x", "y", "z"], 60),
            "predicted": draw.choice(["x", "y"], 60),
            "confidence": draw.uniform(size=60).round(2),
        },
        index=draw.permutation(60),
    )
    return frame.assign(wrong=frame["label"] != frame["predicted"])


@pytest.mark.parametrize(
    ("filters", "passes"),
    [
        ({}, lambda row: True),
        ({"wrong": True}, lambda row: row["label"] != row["predicted"]),
        ({"wrong": False}, lambda row: row["label"] == row["predicted"]),
        ({"label": "z"}, lambda row: row["label"] == "z"),
        ({"predicted": "z"}, lambda row: False),
        ({"words": "WARM"}, lambda row: "Warm" in row["text"]),
        ({"words": "a+b"}, lambda row: "a+b" in row["text"]),
        ({"words": "."}, lambda row: "." in row["text"]),
        ({"words": "song cast"}, lambda row: row["text_pair"] == "song CAST"),
        ({"words": "warm s"}, lambda row: False),
        ({"confidence": (0.25, 0.75)}, lambda row: 0.25 <= row["confidence"] <= 0.75),
        ({"wrong": True, "predicted": "x", "words": "o"}, lambda row: row["wrong"] and row["predicted"] == "x"),
    ],
)
def test_filters_keep_what_a_loop_keeps(examples, filters, passes):
    """Each filter keeps the rows that a plain loop keeps, in their order."""
    kept = tables.narrowed(examples, **filters)
    expected = [row for row in examples.reset_index().to_dict("records") if passes(row)]
    if filters.get("words") == "o":
        expected = [row for row in expected if "o" in (row["text"] + row["text_pair"]).lower()]
    assert kept.reset_index().to_dict("records") == expected
    without_pairs = tables.narrowed(examples.drop(columns="text_pair"), **filters)
    assert set(without_pairs.index) <= set(kept.index)


@pytest.mark.parametrize("count", [2, 12])
def test_confusion_matrix_counts(count):
    """A square a pair of labels, labels nobody predicted too, with the count of a loop and the pair as its data."""
    labels = [f"label {n} <b>&" for n in range(count)]
    draw = np.random.default_rng(count)
    pairs = [(labels[a], labels[b]) for a, b in draw.integers(0, [count, max(1, count - 2)], (200, 2))]
    table = pd.DataFrame(pairs, columns=["label", "predicted"])
    figure = charts.confusion_matrix(table, labels, dark=False)
    squares: Any = figure["data"][0]
    cells = [tuple(cell) for cell in squares.customdata]
    assert sorted(cells) == sorted((true, predicted) for true in labels for predicted in labels)
    assert [int(text) for text in squares.text] == [pairs.count(cell) for cell in cells]
    for (true, predicted), x, y, colour in zip(cells, squares.x, squares.y, squares.marker.color, strict=True):
        assert (x, y) == tuple(name.replace("&", "&amp;").replace("<b>", "&lt;b&gt;") for name in (predicted, true))
        assert colour.startswith("rgba(33,102,172" if true == predicted else "rgba(224,130,20")


# The page and its links


def mispredicted(workspace: Workspace) -> list[int]:
    """The ids of the mispredicted test examples, the most confident first."""
    probabilities = workspace.predict_test()
    wrong = [i for i in workspace.test.index.tolist() if probabilities.loc[i].idxmax() != workspace.test.at[i, "label"]]
    return sorted(wrong, key=lambda i: -probabilities.loc[i].max())


@both_tasks
def test_first_page_explains_a_misprediction(indexed: Workspace, open_app: OpenApp):
    """Without a link the page opens on the most confident misprediction, and the URL says so."""
    app = open_app(indexed.directory)
    assert not app.exception and not app.error and not app.warning
    wrong = mispredicted(indexed)
    first = wrong[0]
    assert app.query_params == {"test": str(first), "label": "predicted", "method": "relatif"}
    assert f"Test example {first}" in said(app.markdown)
    assert f"misprediction 1 of {len(wrong)}" in said(app.markdown)


@both_tasks
def test_deep_link_is_honoured(indexed: Workspace, open_app: OpenApp):
    """Example, token, label, method and saliency of a link are what is shown, and stay in the URL."""
    link = {"test": "4", "token": "1", "label": "positive", "method": "gd", "saliency": "gradient_norm"}
    app = open_app(indexed.directory, **link)
    assert not app.exception and not app.error and not app.warning
    word = make_query(indexed, test=4).example.words[1].text
    assert app.query_params == link
    assert "Test example 4 " in said(app.markdown)
    assert f"Why does it look at “{word}”?" in said(app.markdown)
    assert "Why “positive”?" in said(app.markdown)
    assert app.selectbox(key="saliency").value == "gradient_norm"
    assert app.selectbox(key="method").value == "gd"
    assert f"raised the saliency of '{word}' for 'positive'" in said(app.caption)


@pytest.mark.parametrize(
    ("link", "notices"),
    [
        ({"test": "99", "token": "1"}, ["test example '99'; this workspace has 0 to 10"]),
        ({"test": "own", "token": "1"}, ["a text of someone's own, which a link does not carry"]),
        ({"token": "one", "test": "-1"}, ["test example '-1'"]),
        ({"token": "9" * 5000}, ["which is no number and no range such as 3-7"]),
        ({"token": "-2"}, ["asks for token '-2'"]),
        ({"finder": "words"}, ["none of clauses, sentences"]),
        ({"token": "1-999"}, ["no token 999"]),
        (
            {"label": "![x](http://a.org/x.png)", "method": "gradient_norm", "saliency": "gd", "colour": "blue"},
            [
                "label '![x](http://a.org/x.png)', which is none of predicted, true, neg",
                "method 'gradient_norm', which is none of nn_euc",
                "saliency 'gd', which is none of gradient_x_input",
            ],
        ),
    ],
)
def test_unknown_link_is_ignored_with_a_notice(
    indexed: Workspace, open_app: OpenApp, link: dict[str, str], notices: list[str]
):
    """What the workspace lacks is named in a notice, as plain text, and the page is the default one."""
    app = open_app(indexed.directory, **link)
    assert not app.exception and not app.error
    assert len(app.warning) == len(notices)
    for notice, warning in zip(notices, app.warning, strict=True):
        assert notice in said([warning])
        assert "![" not in warning.value, "a link can carry markdown, which would load a picture"
    assert app.query_params == {"test": str(mispredicted(indexed)[0]), "label": "predicted", "method": "relatif"}


def test_notice_stays_until_it_is_dismissed(indexed: Workspace, open_app: OpenApp):
    """A notice outlives another example and another page; dismissed, it does not come back."""
    app = open_app(indexed.directory, method="trakk", label="maybe")
    app.button(key="step-Next").click().run()
    app.switch_page(ERRORS).run()
    assert len(app.warning) == 2 and "method 'trakk'" in said(app.warning)
    app.button(key="dismiss-1").click().run()
    assert len(app.warning) == 1 and "label 'maybe'" in said(app.warning)
    app.button(key="dismiss-0").click().run()
    assert not app.warning
    app.switch_page("views/explain.py").run()
    assert not app.warning


def test_another_example_clears_the_token(indexed: Workspace, open_app: OpenApp):
    """A token belongs to its text: Next and Previous drop it, and leave the label and the method as they were."""
    app = open_app(indexed.directory, token="1", label="negative", method="gc")
    start = app.query_params["test"]
    assert app.query_params["token"] == "1"
    app.button(key="step-Next").click().run()
    assert app.query_params["test"] != start
    assert {**app.query_params, "test": start} == {"test": start, "label": "negative", "method": "gc"}
    assert "Why does it look there?" in said(app.markdown)
    app.button(key="step-Previous").click().run()
    assert app.query_params["test"] == start and "token" not in app.query_params


def test_page_change_keeps_the_selection(indexed: Workspace, open_app: OpenApp):
    """The selection is still in the URL and on the page after a look at the errors."""
    app = open_app(indexed.directory, test="3", token="2", method="gd")
    before = dict(app.query_params)
    app.switch_page(ERRORS).run()
    assert app.query_params == before
    app.switch_page("views/explain.py").run()
    assert app.query_params == before and "Test example 3 " in said(app.markdown)


def test_errors_page_lists_and_filters_mispredictions(indexed: Workspace, open_app: OpenApp):
    """All mispredictions are listed, most confident first; a word narrows them; a word nobody uses says what to do."""
    app = open_app(indexed.directory)
    app.switch_page(ERRORS).run()
    assert not app.exception and not app.error
    wrong = mispredicted(indexed)
    assert app.dataframe[0].value.index.tolist() == wrong
    assert f"{len(wrong)} of {len(indexed.test)} test examples are mispredicted" in said(app.caption)
    word = str(indexed.test.at[wrong[0], "text"]).split()[0]
    app.text_input(key="errors text").set_value(word.upper()).run()
    kept = [i for i in wrong if word in indexed.test.at[i, "text"]]
    assert app.dataframe[0].value.index.tolist() == kept
    assert f"{len(kept)} examples: mispredictions" in said(app.caption)
    app.text_input(key="errors text").set_value("nowhere").run()
    assert not app.dataframe and "No example passes" in app.info[0].value


@pytest.mark.parametrize("missing", ["workspace.toml", "test.parquet", "model", "."])
def test_unusable_workspace_is_one_red_box(fresh: Workspace, open_app: OpenApp, missing: str):
    """A workspace that cannot be read is one message in a red box, on every page, and no traceback."""
    path = fresh.directory / missing
    shutil.rmtree(path) if path.is_dir() else path.write_text("broken")
    app = open_app(fresh.directory)
    for _ in range(2):
        assert not app.exception
        (box,) = app.error
        assert str(fresh.directory) in said([box])
        assert "Traceback" not in box.value
        app.switch_page(ERRORS).run()


def test_method_that_refuses_says_why_and_leaves_the_rest(indexed, open_app: OpenApp, monkeypatch):
    """Where a method cannot answer, its card says why, and another method can be chosen there."""
    monkeypatch.setattr(head, "MOST_PARAMETERS", 1)
    app = open_app(indexed.directory, method="influence_head")
    assert not app.exception
    assert "choose a method without curvature" in said(app.error)
    assert "Why does it look there?" in said(app.markdown)
    app.selectbox(key="method").set_value("gd").run()
    assert not app.error
    assert "raised the probability of" in said(app.caption)


def test_same_text_with_two_labels_keeps_both_true_labels(tmp_path: Path, open_app: OpenApp):
    """Test examples of one text and two labels are told apart: each page says the label of its own row."""
    rows = pd.DataFrame({"text": ["a warm film", "a warm film"], "label": ["negative", "positive"]})
    made = workspace_of(tmp_path, sentences(12, seed=1), rows)
    build(made, standard_parts(made))
    app = open_app(made.directory, label="true")
    for name in ("Next", "Previous"):
        assert f"Why “{made.test.at[int(app.query_params['test']), 'label']}”?" in said(app.markdown)
        app.button(key=f"step-{name}").click().run()
    assert set(cache.test_table().index) == {0, 1}


# Long work


def finished(job: Job) -> Job:
    job.process.wait(timeout=60)
    return job


def test_index_is_built_in_another_process_once(fresh: Workspace, no_memory: None, monkeypatch: pytest.MonkeyPatch):
    """One job builds the index; asking again while it runs gives the same job; afterwards the parts are there."""
    monkeypatch.setenv(workspaces.WORKSPACE_VARIABLE, str(fresh.directory))
    options = ("--scope", "head", "--checkpoints", "all")
    job = jobs.start(fresh, "head", *options)
    assert jobs.start(fresh, "head", *options) is job and jobs.job("head") is job
    assert job.running and job.failed is None
    share, text = job.progress()
    assert 0 <= share <= 1 and text
    assert jobs.job("embeddings") is None
    finished(job)
    assert not job.running and job.failed is None
    assert all(part.is_built(fresh) for part in parts(fresh, "features", "all"))
    assert not list((fresh.directory / "index").glob("*.new")), "something unfinished is left over"
    with closing(job):
        assert jobs.start(fresh, "head", *options) is not job, "an ended job does not keep a new one from starting"


def test_stopped_job_is_not_a_failure(fresh: Workspace, no_memory: None):
    """Stop ends the process, which then neither runs nor failed."""
    job = jobs.start(fresh, "embeddings", "--scope", "embeddings")
    job.stop()
    assert not finished(job).running
    assert job.process.returncode != 0 and job.failed is None


def test_failed_job_says_why(fresh: Workspace, open_app: OpenApp):
    """A job that cannot read its workspace ends with the reason, which the page shows beside the way to try again."""
    written = (fresh.directory / "workspace.toml").read_bytes()
    (fresh.directory / "workspace.toml").write_bytes(b"broken")
    job = finished(jobs.start(fresh, "standard"))
    (fresh.directory / "workspace.toml").write_bytes(written)
    assert job.failed and re.match("The workspace '.*' is damaged: workspace.toml", job.failed)
    app = open_app(fresh.directory)
    assert job.failed in said(app.error)
    assert app.button(key="build-relatif").label == "Compute it"
    assert jobs.job("standard") is job, "a failed job is not started again unasked"


def test_progress_reads_what_the_command_writes(monkeypatch, capfd):
    """Share and words come from the last line of the reporter; reading does not move where the process writes."""
    with tempfile.TemporaryFile() as log:
        job = Job(
            process=cast(subprocess.Popen, SimpleNamespace(poll=lambda: None)), command=("index",), log=log, out=log
        )
        assert job.progress()[0] == 0 and job.progress()[1].startswith("Starting")
        report = Reporter()
        for done, left in ((0, ""), (1000, r"\d+ s left, "), (2500, r"\d+ s left, ")):
            monkeypatch.setattr(report, "said", 0.0)
            report(done, 10_000, "word gradients of the training set (state 1 of 3)")
            os.write(log.fileno(), capfd.readouterr().err.encode())
            at = os.lseek(log.fileno(), 0, os.SEEK_CUR)
            share, text = job.progress()
            assert os.lseek(log.fileno(), 0, os.SEEK_CUR) == at
            assert share == done / 10_000
            assert re.fullmatch(
                rf"Word gradients of the training set \(state 1 of 3\): {done:,} of 10,000, {left}\d+ s so far",
                text,
            )


# What is kept


@both_tasks
def test_words_are_kept_and_are_those_of_the_table(indexed: Workspace, no_memory: None):
    """Words are unknown before they were asked for, then the same as the table's own, by training id."""
    table = attribute(indexed, "relatif", test=1)
    ids = tuple(int(i) for i in table.ids[table.order[:3]])
    assert cache.known_words(table, (), ids) is None
    found = cache.words(table, (), ids)
    assert found == dict(zip(ids, table.words_of(ids), strict=True))
    assert cache.known_words(table, (), ids) is found
    assert cache.known_words(table, (), ids[:2]) is None
    assert cache.known_words(attribute(indexed, "relatif", test=2), (), ids) is None
    silent = attribute(indexed, "random", test=1)
    assert cache.known_words(silent, (), ids) == cache.words(silent, (), ids) == {}


@both_tasks
def test_an_exact_top_is_kept(indexed: Workspace, no_memory: None):
    """The quick answer is drawn until the exact top is known, which is then kept; a method without one needs none."""
    query = make_query(indexed, test=1)
    quick, other = cache.result(query, "relatif"), cache.result(query, "nn_cos")
    assert cache.known_reranked(quick, ()) is None
    exact = cache.reranked(quick, ())
    assert exact.scored.exact_rows is not None and cache.known_reranked(quick, ()) is exact
    assert cache.known_reranked(other, ()) is other is cache.reranked(other, ())


def test_only_so_many_exact_tops_are_kept(indexed: Workspace, no_memory: None, monkeypatch: pytest.MonkeyPatch):
    """The oldest ones go: each holds gradients of the model's size."""
    monkeypatch.setattr(cache, "ANSWERS", 2)
    tables = [cache.result(make_query(indexed, test=test), "relatif") for test in range(4)]
    tops = [cache.reranked(table, ()) for table in tables]
    assert [cache.known_reranked(table, ()) for table in tables] == [None, None, *tops[2:]]
    assert cache.reranked(tables[3], ()) is tops[3]


def test_missing_parts_are_those_not_built(fresh: Workspace, no_memory: None, monkeypatch):
    """Before the index every part a method reads is missing, afterwards none; a method without index misses none."""
    monkeypatch.setenv(workspaces.WORKSPACE_VARIABLE, str(fresh.directory))
    assert cache.missing_parts("random") == []
    over_head = {"relatif": (("scope", "head"),), "tracin_we": ()}
    for method, kind, states in (("relatif", "features", "final"), ("tracin_we", "word_gradients", "all")):
        wanted = parts(fresh, kind, states)
        assert cache.missing_parts(method, over_head[method]) == wanted
        for done in range(len(wanted)):
            assert cache.missing_parts(method, over_head[method]) == wanted[done:]
            build(fresh, wanted[done : done + 1])
        assert cache.missing_parts(method, over_head[method]) == []
    assert [part.kind for part in cache.missing_parts("relatif")] == ["factors", "curvature", "norms", "fidelity"]
    assert {part.option("scope") for part in cache.missing_parts("relatif", (("scope", "last:1"),))} == {"last:1"}


def test_standard_parts_are_what_the_first_answers_read(fresh: Workspace, no_memory: None, monkeypatch):
    """RelatIF by default and every method over the head are computed unasked; another scope and TracIn are not."""
    monkeypatch.setenv(workspaces.WORKSPACE_VARIABLE, str(fresh.directory))
    for method in ("relatif", "influence_head", "gd"):
        assert cache.are_standard(cache.missing_parts(method)), method
    for method, chosen in (("relatif", (("scope", "last:1"),)), ("relatif", (("damping", 0.5),)), ("tracin", ())):
        assert not cache.are_standard(cache.missing_parts(method, chosen)), f"{method} {chosen}"


def test_vocabulary_of_these_tests_is_the_models(workspace):
    """The words that the texts above are about are words the tiny model knows."""
    assert all(set(workspace.tokenizer.tokenize(word)) == {word} for word in GOOD + BAD)
