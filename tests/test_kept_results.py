"""Finished runs on disk: what is kept comes back, what is damaged is said, what is of other weights is known."""

import errno
import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from attribution import __version__
from attribution.experiments import results
from attribution.experiments.registry import Findings, Report, Run, get_experiment
from attribution.experiments.results import delete_kept, keep, list_kept, open_kept
from attribution.index import silent
from attribution.workspace import Workspace
from tests.tiny import refusal


def report_of(workspace: Workspace, *, seed: int = 0, **findings: Any) -> Report:
    """A finished run with invented findings."""
    found = {
        "summary": {"tests": 2, "mean": 0.25},
        "table": [{"method": "gd", "slice": "a", "feature": "length", "coefficient": 0.5, "low": 0.1, "high": 0.9}],
        **findings,
    }
    chosen = get_experiment("artifact_fit")
    parameters = {name: parameter.default for name, parameter in chosen.parameters.items()} | {"tests": 2}
    run = Run(workspace=workspace, methods=("gd",), seed=seed, progress=silent)
    return Report(run=run, experiment=chosen, parameters=parameters, findings=Findings(**found), seconds=1.25)


def files(workspace: Workspace) -> list[Path]:
    return sorted((workspace.storage / "results" / "evaluations").iterdir())


def test_a_run_is_kept_with_its_question(fresh: Workspace) -> None:
    """What was printed, with date and software; a number that is none is null; the latest run comes first."""
    table = [{"method": "gd", "value": math.nan, "n": 3}, {"method": "gc", "value": 0.5, "n": None}]
    first = keep(report_of(fresh, seed=4, table=table, notes=("„so“ <b>",), more={"ranking": [{"train_id": 3}]}))
    assert abs(datetime.now(UTC) - first.finished) < timedelta(minutes=1) and first.version == __version__
    assert first.answer["table"] == [{"method": "gd", "value": None, "n": 3}, {"method": "gc", "value": 0.5, "n": None}]
    assert first.answer["notes"] == ["„so“ <b>"] and first.answer["ranking"] == [{"train_id": 3}]
    assert first.question["seed"] == 4 and first.question["parameters"]["tests"] == 2
    assert (first.experiment, first.answer["methods"], first.answer["seconds"]) == ("artifact_fit", ["gd"], 1.25)
    results._read.cache_clear()
    assert open_kept(fresh, first.name) == first
    (path,) = files(fresh)
    later = json.loads(path.read_text(encoding="utf8"))
    path.with_name("20990101T000000-artifact_fit-00000000.json").write_text(json.dumps(later))
    found, damaged = list_kept(fresh)
    assert [kept.name[:4] for kept in found] == ["2099", first.name[:4]] and not damaged
    assert found[1] == first


def test_a_result_of_other_weights_or_data_is_known(fresh: Workspace) -> None:
    """Another digest of the data, and the result is no longer this workspace's."""
    kept = keep(report_of(fresh))
    assert kept.is_of(fresh)
    other = Workspace(fresh.directory, replace(fresh.settings, train_digest="0" * 64))
    (found,), _ = list_kept(other)
    assert found == kept and not found.is_of(other)


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda text: text[:-40], "is damaged"),
        (lambda text: text.replace("0.25", "0.26"), "its checksum differs"),
        (lambda text: text.replace('"format": 1', '"format": 2'), "has format 2, and this version reads format 1"),
        (lambda text: "[]", "is damaged"),
        (lambda text: "", "is damaged"),
    ],
    ids=["cut", "changed", "format", "no record", "empty"],
)
def test_a_damaged_file_is_said_and_skipped(fresh: Workspace, harm: Any, says: str) -> None:
    """The others stay; the sentence names the file; it can be deleted."""
    bad, good = keep(report_of(fresh, seed=1)), keep(report_of(fresh, seed=2))
    (path,) = [path for path in files(fresh) if path.stem == bad.name]
    path.write_text(harm(path.read_text(encoding="utf8")), encoding="utf8")
    results._read.cache_clear()
    found, damaged = list_kept(fresh)
    assert found == [good] and len(damaged) == 1
    assert says in damaged[0] and str(path) in damaged[0]
    assert refusal(lambda: open_kept(fresh, bad.name)) == damaged[0]
    delete_kept(fresh, bad.name)
    assert list_kept(fresh) == ([good], [])


def test_what_a_killed_run_left_is_no_result(fresh: Workspace) -> None:
    """A temporary file is neither listed nor called damaged."""
    kept = keep(report_of(fresh))
    files(fresh)[0].with_name(".0123456789abcdef.tmp.json").write_text("{")
    assert list_kept(fresh) == ([kept], [])


def test_delete_is_of_one(fresh: Workspace) -> None:
    """The other run stays; a name that is not there, or that leads elsewhere, is refused."""
    first, second = keep(report_of(fresh, seed=1)), keep(report_of(fresh, seed=2))
    delete_kept(fresh, first.name)
    assert list_kept(fresh) == ([second], [])
    for name in (first.name, "../predictions", "", "workspace.toml"):
        assert f"No result '{name}'" in refusal(lambda name=name: delete_kept(fresh, name))
        assert refusal(lambda name=name: open_kept(fresh, name))


def test_a_full_disk_is_one_line_and_leaves_nothing(fresh: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason in a line; no file, whole or half."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("attribution.storage.os.replace", full)
    assert "No space left on device" in refusal(lambda: keep(report_of(fresh)))
    assert files(fresh) == []
