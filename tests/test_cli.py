"""The command line: answers on stdout, progress on stderr, and every mistake one line and status 2."""

import csv
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from attribution import __version__, cli, list_methods, open_workspace
from attribution.experiments.results import list_kept
from attribution.workspace import Workspace
from tests.tiny import sentences, tiny_bert, write_tables
from tests.trainers import RATES, trained, with_log

SCRIPT = Path(sys.executable).with_name("influscope")


@dataclass(frozen=True, kw_only=True)
class Done:
    """How a command ended and what it wrote."""

    status: int
    out: str
    err: str


Command = Callable[..., Done]


@pytest.fixture
def influscope(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command in this process."""

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["influscope", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        written = capsys.readouterr()
        assert isinstance(end.value.code, int)
        return Done(status=end.value.code, out=written.out, err=written.err)

    return run


@pytest.fixture
def mistake(influscope: Command) -> Callable[..., str]:
    """Runs a command that is a user's mistake; returns the one line it leaves on stderr."""

    def run(*arguments: object) -> str:
        done = influscope(*arguments)
        assert done.status == 2, done
        assert done.out == ""
        assert done.err.startswith("influscope: ") and done.err.endswith("\n")
        assert len(done.err.splitlines()) == 1, done.err
        return done.err

    return run


def answer(done: Done) -> dict:
    assert done.status == 0, done.err
    return json.loads(done.out)


def test_from_files_to_an_explanation(influscope: Command, tmp_path: Path) -> None:
    """new, train and explain, as in the README, on an encoder without a head."""
    model, tables = tiny_bert(tmp_path / "model", labels=None), write_tables(tmp_path)
    folder = tmp_path / "w"
    made = influscope("new", folder, "--model", model, "--train", tables["train"], "--test", tables["test"])
    assert (made.status, made.out) == (0, f"{folder}: 20 train, 6 test, labels negative, positive\n")
    assert made.err == f"The model has no classification head yet: influscope train {folder}\n"
    assert influscope("explain", folder, "--test", 0).status == 2
    trained = influscope("train", folder, "--trainable", "last:1", "--epochs", 2, "--batch-size", 8)
    assert trained.status == 0
    assert re.fullmatch(r"(step \d  learning rate \S+  test accuracy \d\.\d{4}\n){2}", trained.out)
    assert "loss" in trained.err and "loss" not in trained.out
    shown = influscope("explain", folder, "--test", 0, "--top", 2)
    assert shown.status == 0
    assert "proponents" in shown.out and "opponents" in shown.out and "relatif for '" in shown.out
    for what in ("gradients of the training set over last:2", "curvature of last:2", "norms over last:2"):
        assert what in shown.err
    assert influscope("index", folder).status == 0
    assert influscope("explain", folder, "--test", 0, "--top", 2).err == "", "the index is built once"


def test_rows_that_cannot_be_used_are_said(influscope: Command, tmp_path: Path) -> None:
    """A blank text does not stop anything and is named on stderr."""
    frame = sentences(8, seed=1)
    frame.loc[3, "text"] = " "
    frame.to_csv(tmp_path / "a.csv", index=False)
    tables = ["--train", tmp_path / "a.csv", "--test", tmp_path / "a.csv"]
    done = influscope("new", tmp_path / "w", "--model", tiny_bert(tmp_path / "m"), *tables)
    assert done.status == 0 and done.err.count("1 of 8 rows cannot be used: row 3 (blank text)") == 2
    assert "7 train, 7 test" in done.out


@pytest.fixture
def asked(tmp_path: Path) -> list[object]:
    """`new` for a tiny model and data, without checkpoints."""
    model, tables = tiny_bert(tmp_path / "model"), write_tables(tmp_path)
    return ["new", tmp_path / "w", "--model", model, "--train", tables["train"], "--test", tables["test"]]


@pytest.mark.parametrize("rates", [{}, {5: 1e-3}, {5: 1e-3, 20: 0.0}])
def test_a_missing_learning_rate_is_asked_for(
    rates: dict[int, float], asked: list[object], tmp_path: Path, mistake: Callable[..., str]
) -> None:
    """No rate logged since the checkpoint before, or only the 0 at a schedule's end: the option is named."""
    folders = [with_log(trained(tmp_path / "out", tmp_path / "model", steps), rates) for steps in (10, 20)]
    said = mistake(*asked, "--checkpoints", folders[0], "--checkpoints", folders[1])
    assert "--learning-rates" in said and ("checkpoint-20" in said) == bool(rates)
    assert not (tmp_path / "w").exists()


def test_checkpoints_of_a_trainer(
    asked: list[object], tmp_path: Path, influscope: Command, mistake: Callable[..., str]
) -> None:
    """--checkpoints takes what the shell makes of checkpoint-*; without trainer_state.json the rates are given."""
    folders = [with_log(trained(tmp_path / "out", tmp_path / "model", steps), RATES) for steps in (20, 30, 10)]
    made = influscope(*asked, "--checkpoints", *folders)
    assert made.status == 0
    lines = [f"step {step}  learning rate {rate}" for step, rate in ((10, "0.0035"), (20, "0.0015"), (30, "0.0005"))]
    assert made.out.splitlines()[1:] == lines
    shown = answer(influscope("explain", tmp_path / "w", "--test", 0, "--method", "tracin_last", "--format", "json"))
    assert len(shown["proponents"]) == 10
    for folder in folders:
        (folder / "trainer_state.json").unlink()
    given = influscope(*asked, "--force", "--checkpoints", *folders, "--learning-rates", "1e-3,2e-3,4e-3")
    assert given.status == 0 and given.out.splitlines()[1] == "step 10  learning rate 0.001"
    assert "--learning-rates" in mistake(*asked, "--force", "--checkpoints", *folders)
    assert "one value for each of the 3" in mistake(
        *asked, "--force", "--checkpoints", *folders, "--learning-rates", "1e-3"
    )
    for wrong in ("1e-3,2e-3,many", "1e-3,2e-3,0", "1e-3,2e-3,nan", "1e-3,2e-3,-1"):
        assert "--learning-rates" in mistake(*asked, "--force", "--checkpoints", *folders, "--learning-rates", wrong)
    assert "--checkpoints" in mistake(*asked, "--force", "--learning-rates", "1e-3")
    assert "one WORKSPACE" in mistake(*asked, "--force", tmp_path / "second")
    assert [s.learning_rate for s in open_workspace(tmp_path / "w").checkpoints] == [1e-3, 2e-3, 4e-3]


def test_pairs_and_other_columns(influscope: Command, mistake: Callable[..., str], tmp_path: Path) -> None:
    """--pair-columns, --label-column and --force do what they say; a text without its pair is a mistake."""
    frame = sentences(12, seed=2).rename(columns={"text": "premise", "label": "gold"})
    frame.assign(hypothesis=sentences(12, seed=3)["text"]).to_csv(tmp_path / "a.tsv", index=False, sep="\t")
    model, folder = tiny_bert(tmp_path / "model"), tmp_path / "w"
    basic = ["new", folder, "--model", model, "--train", tmp_path / "a.tsv", "--test", tmp_path / "a.tsv"]
    assert "text column 'text'" in mistake(*basic)
    assert "'premise'" in mistake(*basic, "--pair-columns", "premise", "--label-column", "gold")
    pair = ["--pair-columns", "premise, hypothesis", "--label-column", "gold"]
    assert influscope(*basic, *pair).status == 0
    assert "--force" in mistake(*basic, *pair)
    assert influscope(*basic, *pair, "--force").status == 0
    assert "second text" in mistake("explain", folder, "--text", "a plot")
    found = answer(influscope("explain", folder, "--text", "a plot", "--text-pair", "a song", "--format", "json"))
    assert (found["text"], found["text_pair"]) == ("a plot", "a song")
    assert found["proponents"][0]["text_pair"] in frame.assign(h=sentences(12, seed=3)["text"])["h"].tolist()
    long = "a plot " * 60
    cut = influscope("explain", folder, "--text", "a song", "--text-pair", long, "--method", "gradient_x_input")
    assert cut.status == 0 and "Text 2 of the pair is longer" in cut.err


def test_json_has_the_promised_shape(influscope: Command, workspace: Workspace) -> None:
    """stdout is one JSON object with every promised key and type, and nothing else."""
    found = answer(influscope("explain", workspace.directory, "--test", 2, "--top", 3, "--format", "json"))
    assert found["workspace"] == {"name": "workspace", "digest": workspace.digest, "n_train": 40, "n_test": 11}
    assert found["method"] == "relatif" and found["parameters"]["damping"] == 0.1
    assert found["scorer"] in ("head", "index", "sweep", "none") and isinstance(found["exact"], bool)
    assert isinstance(found["seconds"], float)
    assert found["text"] == workspace.test.loc[2, "text"] and found["text_pair"] is None
    assert found["true_label"] == workspace.test.loc[2, "label"]
    assert sum(found["probabilities"].values()) == pytest.approx(1)
    assert found["predicted_label"] == max(found["probabilities"], key=found["probabilities"].get)
    assert set(found["explained"]) == {"quantity", "label", "token", "tokens", "against"}
    assert found["explained"]["token"] is None and found["explained"]["against"] is None
    for token in found["tokens"]:
        assert {"index", "text", "start", "end", "special", "score"} <= set(token)
        assert token["special"] or found["text"][token["start"] : token["end"]] == token["text"]
    assert sum(abs(token["score"]) for token in found["tokens"]) == pytest.approx(1)
    for side, sign in (("proponents", -1), ("opponents", 1)):
        assert [row["rank"] for row in found[side]] == [1, 2, 3]
        scores = [sign * row["score"] for row in found[side]]
        assert scores == sorted(scores)
        for row in found[side]:
            assert set(row) >= {"rank", "train_id", "label", "text", "text_pair", "score", "z", "words"}
            assert row["text"] == workspace.train.loc[row["train_id"], "text"]
            for word in row["words"]:
                assert row["text"][word["start"] : word["end"]] == word["text"] or word["start"] == word["end"]


def test_top_0_is_everything(influscope: Command, workspace: Workspace) -> None:
    """--top 0 lists every training example once by falling score, and no opponents."""
    found = answer(influscope("explain", workspace.directory, "--test", 0, "--top", 0, "--format", "json"))
    scores = [row["score"] for row in found["proponents"]]
    assert scores == sorted(scores, reverse=True) and found["opponents"] == []
    assert sorted(row["train_id"] for row in found["proponents"]) == workspace.train.index.tolist()


def test_csv_is_the_same_answer(influscope: Command, workspace: Workspace) -> None:
    """The rows of csv are those of json; a saliency method gives its tokens."""
    common = ["explain", workspace.directory, "--test", 1, "--top", 4]
    rows = list(csv.DictReader(io.StringIO(influscope(*common, "--format", "csv").out)))
    found = answer(influscope(*common, "--format", "json"))
    wanted = [("proponents", row) for row in found["proponents"]] + [("opponents", row) for row in found["opponents"]]
    assert [(row["side"], int(row["train_id"]), row["text"]) for row in rows] == [
        (side, row["train_id"], row["text"]) for side, row in wanted
    ]
    saliency = influscope(*common, "--method", "gradient_norm", "--format", "csv").out
    tokens = list(csv.DictReader(io.StringIO(saliency)))
    assert [int(token["index"]) for token in tokens] == list(range(len(tokens))) and len(tokens) > 2


def test_a_saliency_method_explains_tokens(influscope: Command, workspace: Workspace) -> None:
    """Its tokens carry its own scores, there are no rows, and its table lists the tokens."""
    common = ["explain", workspace.directory, "--test", 0, "--method", "gradient_norm"]
    found = answer(influscope(*common, "--format", "json"))
    assert found["proponents"] == found["opponents"] == [] and found["scorer"] == "none"
    other = answer(influscope("explain", workspace.directory, "--test", 0, "--format", "json"))
    assert [t["score"] for t in found["tokens"]] != [t["score"] for t in other["tokens"]]
    assert "[CLS]" in influscope(*common).out


INDEXES: dict[str, tuple[list[object], list[tuple[str, int, str]]]] = {
    "the standard": ([], [("curvature", 1, "last:2"), ("factors", 1, "last:2"), ("features", 1, "")]),
    "a scope": (["--scope", "head", "--checkpoints", "all"], [("features", 0, ""), ("features", 1, "")]),
    "a precision": (
        ["--scope", "last:1", "--precision", "bf16"],
        [("curvature", 1, "last:1"), ("factors", 1, "last:1")],
    ),
    "a method": (["--method", "gd", "--set", "scope=last:1"], [("factors", 1, "last:1")]),
    "every state": (["--method", "tracin"], [("factors", 0, "last:2"), ("factors", 1, "last:2")]),
}


@pytest.mark.parametrize("name", INDEXES)
def test_index_builds_what_it_is_asked(influscope: Command, fresh: Workspace, name: str) -> None:
    """Kind, saved state and scope of everything that lies on disk afterwards, norms aside; the precision is kept."""
    options, expected = INDEXES[name]
    done = influscope("index", fresh.directory, *options)
    assert (done.status, done.out) == (0, ""), done.err
    found = [json.loads(path.read_text()) for path in (fresh.directory / "index").glob("*/manifest.json")]
    made = sorted((part["kind"], part["state"], part.get("scope", "")) for part in found)
    assert [part for part in made if part[0] not in ("norms", "fidelity")] == expected
    if "bf16" in options:
        assert {part["precision"] for part in found} == {"bf16"}
    assert influscope("index", fresh.directory, *options).err == "", "built again"


def test_options_reach_the_method(influscope: Command, workspace: Workspace) -> None:
    """--token, --label and --set change the question and are repeated in the answer."""
    common = ["explain", workspace.directory, "--test", 0, "--top", 1, "--format", "json"]
    clicked = answer(influscope(*common, "--method", "saliency_influence", "--token", 2))
    assert clicked["explained"]["token"] == 2
    for several in ("2-4", "2-3-4", "2,3-4"):
        found = answer(influscope(*common, "--method", "if_plus_plus", "--token", several, "--set", "scope=head"))
        assert found["explained"]["tokens"] == [2, 3, 4] and found["explained"]["quantity"] == "importance"
    for label in workspace.labels:
        assert answer(influscope(*common, "--label", label))["explained"]["label"] == label
    assert answer(influscope(*common, "--label", "true"))["explained"]["label"] == workspace.test.loc[0, "label"]
    tuned = answer(influscope(*common, "--set", "damping=0.5", "--set", "bias=true", "--set", "scope=head"))
    assert tuned["parameters"]["damping"] == 0.5 and tuned["parameters"]["bias"] is True
    text = answer(influscope(*common[:2], "--text", "a very warm film", *common[4:]))
    assert text["text"] == "a very warm film" and text["true_label"] is None


def test_evaluate_answers_as_promised(influscope: Command, pairs: Workspace, tmp_path: Path) -> None:
    """stdout is one JSON object with the promised keys, the choices given have arrived, and --output takes a file."""
    asked = ["evaluate", pairs.directory, "artifact_fit", "--methods", "gd, nn_cos", "--set", "tests=2", "--seed", 5]
    found = answer(influscope(*asked, "--format", "json"))
    promised = {"experiment", "workspace", "parameters", "seed", "seconds", "summary", "table", "paper"}
    assert promised <= set(found) and found["experiment"] == "artifact_fit" and found["seed"] == 5
    assert found["parameters"]["tests"] == 2 and found["methods"] == ["gd", "nn_cos"]
    for row in found["table"]:
        assert row["low"] <= row["coefficient"] <= row["high"] and row["n"] == 2
    path = tmp_path / "answer.json"
    done = influscope(*asked, "--format", "json", "--output", path)
    assert (done.status, done.out) == (0, "") and "test examples explained" in done.err
    assert json.loads(path.read_text(encoding="utf8"))["table"] == found["table"]
    assert "lexical_overlap" in influscope(*asked).out
    kept, damaged = list_kept(pairs)
    assert not damaged and [each.answer["table"] for each in kept] == [found["table"]] * 3
    assert influscope(*asked, "--estimate").out.strip().isdigit() and len(list_kept(pairs)[0]) == 3


def test_output_goes_to_a_file(influscope: Command, workspace: Workspace, tmp_path: Path) -> None:
    """--output writes what stdout would show, and leaves stdout empty."""
    common = ["explain", workspace.directory, "--test", 0, "--top", 1, "--format", "json"]
    done = influscope(*common, "--output", tmp_path / "answer.json")
    assert (done.status, done.out) == (0, "")
    written, shown = json.loads((tmp_path / "answer.json").read_text()), answer(influscope(*common))
    assert written["proponents"] == shown["proponents"]


def test_a_text_that_is_cut_is_said(influscope: Command, workspace: Workspace) -> None:
    """A text past the model's limit is explained as far as it is read, and stderr says how far that is."""
    long = "the plot was warm " * 40
    done = influscope(
        "explain", workspace.directory, "--text", long, "--method", "gradient_x_input", "--format", "json"
    )
    found = answer(done)
    (line,) = done.err.splitlines()
    assert f"longer than the model's {workspace.classifier.max_length} tokens" in line
    cut = int(re.search(r"to character (\d+) of", line)[1])  # pyright: ignore[reportOptionalSubscript]
    assert cut == max(token["end"] for token in found["tokens"]) and found["truncated"] == [cut]


def test_control_characters_do_not_reach_the_terminal(influscope: Command, workspace: Workspace) -> None:
    """An escape sequence in a text is shown as a mark in the table and kept in json."""
    text = "a \x1b[31mwarm\x07 film"
    assert not set("\x1b\x07") & set(influscope("explain", workspace.directory, "--text", text).out)
    found = answer(influscope("explain", workspace.directory, "--text", text, "--format", "json"))
    assert found["text"] == text


MISTAKES: dict[str, tuple[list[object], list[str]]] = {
    "unknown method": (["--test", 0, "--method", "relatiff"], ["Did you mean 'relatif'?", "tracin_we"]),
    "unknown parameter": (["--test", 0, "--set", "dampin=1"], ["'dampin'", "Did you mean 'damping'?"]),
    "parameter without value": (["--test", 0, "--set", "damping"], ["NAME=VALUE", "'damping'"]),
    "parameter out of range": (["--test", 0, "--set", "damping=-1"], ["damping must be", "-1"]),
    "parameter of another type": (["--test", 0, "--set", "damping=much"], ["damping must be", "'much'"]),
    "choice unknown": (["--test", 0, "--method", "saliency_influence", "--set", "solver=magic"], ["'magic'", "exact"]),
    "test id too large": (["--test", 11], ["No test example 11", "0 to 10"]),
    "test id negative": (["--test", -1], ["No test example -1", "0 to 10"]),
    "test id no number": (["--test", "first"], ["--test", "first"]),
    "token too large": (["--test", 0, "--token", 99], ["No token 99", "0 to"]),
    "token negative": (["--test", 0, "--token", -1], ["No token -1"]),
    "tokens backwards": (["--test", 0, "--token", "3-2"], ["--token 3-2", "backwards"]),
    "tokens too many": (["--test", 0, "--token", "1-999999"], ["No token", "0 to"]),
    "token no number": (["--test", 0, "--token", "second"], ["--token", "'second'", "3-7"]),
    "token empty": (["--test", 0, "--token", ""], ["--token", "''"]),
    "span over special tokens": (["--test", 0, "--token", "0-1", "--method", "if_plus_plus"], ["[CLS]", "no part"]),
    "span with a token twice": (["--test", 0, "--token", "2-3,3", "--method", "if_plus_plus"], ["twice"]),
    "span of everything": (["--text", "warm film", "--token", "1-2", "--method", "if_plus_plus"], ["the whole text"]),
    "spans not given": (
        ["--test", 0, "--method", "if_plus", "--set", "finder=given"],
        ["'start' and 'end', or 'span'"],
    ),
    "finder unknown": (["--test", 0, "--method", "if_plus", "--set", "finder=words"], ["'words'", "sentences"]),
    "finder of pairs": (["--test", 0, "--method", "if_plus", "--set", "finder=aspect"], ["pairs of an aspect"]),
    "token missing": (["--test", 0, "--method", "saliency_influence"], ["--token"]),
    "unknown label": (["--test", 0, "--label", "postive"], ["Did you mean 'positive'?", "predicted, true"]),
    "true label of a text": (["--text", "a", "--label", "true"], ["no true label"]),
    "unknown format": (["--test", 0, "--format", "yaml"], ["'yaml'", "table, json, csv"]),
    "both text and test": (["--test", 0, "--text", "a"], ["not both"]),
    "neither text nor test": ([], ["Give either"]),
    "blank text": (["--text", " \t"], ["blank"]),
    "empty text": (["--text", ""], ["blank"]),
    "pair for single": (["--text", "a", "--text-pair", "b"], ["leave the second text out"]),
    "top negative": (["--test", 0, "--top", -1], ["--top", "-1"]),
    "unknown option": (["--tset", 0], ["--tset", "--test"]),
    "option without value": (["--test"], ["--test"]),
    "unknown device": (["--test", 0, "--device", "gpu"], ["'gpu'", "cuda"]),
    "output in no folder": (["--test", 0, "--output", "/nowhere/at/all.json"], ["/nowhere/at/all.json"]),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_explain_is_one_line(name: str, mistake: Callable[..., str], workspace: Workspace) -> None:
    """Status 2 and one line that names the thing and the choices."""
    open_workspace(workspace.directory).predict_test()
    arguments, reasons = MISTAKES[name]
    line = mistake("explain", workspace.directory, *arguments)
    assert all(reason in line for reason in reasons), line


OTHER_MISTAKES: dict[str, tuple[list[object], list[str]]] = {
    "unknown command": (["exlpain"], ["'exlpain'", "explain"]),
    "explain without a workspace": (["explain"], ["WORKSPACE"]),
    "explain what is not there": (["explain", "{tmp}/none", "--test", 0], ["{tmp}/none", "influscope new"]),
    "explain what is no workspace": (["explain", "{tmp}", "--test", 0], ["{tmp}", "not a workspace"]),
    "train what is no workspace": (["train", "{tmp}"], ["not a workspace"]),
    "train for no epochs": (["train", "{w}", "--epochs", 0], ["epochs must be above 0"]),
    "train for some epochs": (["train", "{w}", "--epochs", "some"], ["--epochs", "some"]),
    "train with no seed": (["train", "{w}", "--seed", -1], ["seed"]),
    "train too many blocks": (["train", "{w}", "--trainable", "last:9"], ["last:9", "last:3"]),
    "index of what": (["index", "{w}", "--scope", "feet"], ["'feet'", "head"]),
    "index of two things": (["index", "{w}", "--scope", "head", "--method", "gd"], ["--scope or --method, not both"]),
    "index of no method": (["index", "{w}", "--method", "trakk"], ["No method 'trakk'"]),
    "index of which states": (["index", "{w}", "--checkpoints", "first"], ["No checkpoints 'first'", "all, final"]),
    "index how precise": (["index", "{w}", "--precision", "fp16"], ["No precision 'fp16'", "auto, bf16, fp32"]),
    "index by nobody": (["index", "{w}", "--workers", 0], ["--workers", "0"]),
    "index of too many blocks": (["index", "{w}", "--scope", "last:9"], ["last:9", "last:3"]),
    "index of what is no linear layer": (["index", "{w}", "--scope", "*embeddings*"], ["not linear layers only"]),
    "evaluate what is no experiment": (["evaluate", "{w}", "artifact_fat"], ["Did you mean 'artifact_fit'"]),
    "evaluate pairs of single texts": (["evaluate", "{w}", "lexical_overlap"], ["needs pairs", "artifact_fit"]),
    "evaluate nothing": (["evaluate", "{w}"], ["EXPERIMENT"]),
    "evaluate as what": (["evaluate", "{w}", "artifact_fit", "--format", "csv"], ["'csv'", "table, json"]),
    "evaluate with what": (["evaluate", "{w}", "artifact_fit", "--set", "tests=none"], ["tests", "'none'"]),
    "evaluate by what": (["evaluate", "{w}", "artifact_fit", "--methods", "gd,trakk"], ["'trakk'", "trak"]),
    "methods as what": (["methods", "--format", "xml"], ["'xml'", "json"]),
    "new without a model": (["new", "{tmp}/x", "--train", "a.csv", "--test", "b.csv"], ["--model"]),
    "new from nothing": (
        ["new", "{tmp}/x", "--model", "{tmp}/none", "--train", "a.csv", "--test", "b.csv"],
        ["{tmp}/none"],
    ),
    "dashboard on no workspace": (["dashboard", "{tmp}"], ["{tmp}", "not a workspace"]),
    "dashboard on nothing": (["dashboard", "{tmp}/none"], ["{tmp}/none"]),
    "dashboard on port 0": (["dashboard", "{w}", "--port", 0], ["--port", "0"]),
    "dashboard on no host": (["dashboard", "{w}", "--host", "no.such.host.invalid"], ["no.such.host.invalid"]),
}


@pytest.mark.parametrize("name", OTHER_MISTAKES)
def test_a_mistake_elsewhere_is_one_line(
    name: str, mistake: Callable[..., str], workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for explain; nothing is made, trained or served."""
    monkeypatch.setattr(os, "execv", lambda *_: pytest.fail("the dashboard was started"))
    (tmp_path / "file").touch()
    places = {"{tmp}": str(tmp_path), "{w}": str(workspace.directory)}

    def placed(text: object) -> object:
        for mark, place in places.items():
            text = text.replace(mark, place) if isinstance(text, str) else text
        return text

    arguments, reasons = OTHER_MISTAKES[name]
    line = mistake(*map(placed, arguments))
    assert all(str(placed(reason)) in line for reason in reasons), line
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_port_in_use_is_one_line(
    mistake: Callable[..., str], workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is started, with the port and how to choose another."""
    monkeypatch.setattr(os, "execv", lambda *_: pytest.fail("the dashboard was started"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = mistake("dashboard", workspace.directory, "--port", port)
    assert str(port) in line and "--port" in line


def test_the_dashboard_is_started_on_the_workspace(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, influscope: Command
) -> None:
    """The process becomes the dashboard, with the folder in full, the host, the port and the folders it may open."""
    started: list[list[str]] = []

    def execute(program: str, command: list[str]) -> None:
        started.append(command)
        raise SystemExit(0)

    monkeypatch.setattr(os, "execv", execute)
    monkeypatch.chdir(workspace.directory.parent)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert influscope("dashboard", "workspace", "--port", port).status == 0
    assert influscope("dashboard", "workspace", "--port", port, "--allow", ".", "--allow", "/").status == 0
    plain, allowing = started
    assert plain[1:] == ["-m", "dashboard", str(workspace.directory), "--host", "127.0.0.1", "--port", str(port)]
    assert allowing == [*plain, f"--allow={workspace.directory.parent}", "--allow=/"]
    refused = influscope("dashboard", "workspace", "--port", port, "--allow", "nowhere")
    assert refused.status == 2 and "'nowhere'" in refused.err


def test_version_and_help(influscope: Command) -> None:
    """--version is the package's; --help lists the commands, as no argument at all does; each has its own."""
    assert influscope("--version") == Done(status=0, out=f"influscope {__version__}\n", err="")
    shown = influscope("--help")
    assert shown.status == 0 and shown.err == "" and influscope() == shown
    for command in ("dashboard", "new", "train", "index", "explain", "evaluate", "methods"):
        assert command in shown.out
        assert influscope(command, "--help").status == 0
    options = ["--test", "--text", "--text-pair", "--method", "--token", "--label", "--top", "--set", "--format"]
    page = influscope("explain", "--help").out
    for option in [*options, "--output", "--device", "WORKSPACE", "NAME=VALUE"]:
        assert option in page, option


def test_methods_are_listed(influscope: Command) -> None:
    """Every registered method is a row of the table and an object of the JSON, with every promised key."""
    names = [method.name for method in list_methods()]
    listed = json.loads(influscope("methods", "--format", "json").out)
    assert [entry["name"] for entry in listed] == names
    promised = {"name", "title", "family", "explains", "paper", "formula", "signed", "unit", "cost", "parameters"}
    for entry in listed:
        assert promised | {"words", "needs"} <= set(entry)
        for parameter in entry["parameters"].values():
            assert {"default", "help"} < set(parameter)
            assert "choices" in parameter or {"low", "high"} < set(parameter)
    assert [line.split()[0] for line in influscope("methods").out.splitlines()] == names


def test_an_interruption_is_quiet(influscope: Command, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C is no mistake and no answer: the shell's status for it, and no traceback."""

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("attribution.query.make_query", interrupt)
    assert influscope("explain", workspace.directory, "--test", 0) == Done(status=130, out="", err="")


def test_the_installed_script(workspace: Workspace, tmp_path: Path) -> None:
    """The console script itself: stdout is pure JSON in UTF-8, stderr has nothing but progress."""
    folder = shutil.copytree(workspace.directory, tmp_path / "w", ignore=shutil.ignore_patterns("index", "results"))
    command = [str(SCRIPT), "explain", str(folder), "--text", "ein schönes 中文 🙂 film", "--format", "json"]
    done = subprocess.run(command, capture_output=True, timeout=120, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout)["text"] == "ein schönes 中文 🙂 film"
    for line in done.stderr.decode().splitlines():
        assert re.match(r"[\w ():]+: [\d,]+ of [\d,]+, ", line), line


def test_the_installed_script_refuses(tmp_path: Path) -> None:
    """A mistake ends the console script with status 2, one line and no traceback."""
    done = subprocess.run([str(SCRIPT), "methods", "--format", "xml"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == "influscope: No format 'xml'. Known: table, json.\n"


def test_a_closed_pipe_is_quiet() -> None:
    """`influscope methods | head -0` ends without a traceback."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([str(SCRIPT), "methods"], stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(writing)
    assert done.stderr == "" and done.returncode in (0, 1)
