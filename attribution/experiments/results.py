"""Finished runs of experiments, kept in files under a workspace's results/: list, open, delete."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from attribution import __version__
from attribution.errors import UserError
from attribution.experiments.registry import Report
from attribution.experiments.report import as_json
from attribution.storage import digest_json, write_atomically
from attribution.workspace import Workspace

FORMAT = 1
_NAME = re.compile(r"[0-9A-Za-z_-]{1,100}")


@dataclass(frozen=True, kw_only=True)
class Kept:
    """One finished run: `answer` is what `influscope evaluate --format json` printed, `version` the software's."""

    name: str
    finished: datetime
    version: str
    answer: Mapping[str, Any]

    @property
    def experiment(self) -> str:
        return self.answer["experiment"]

    @property
    def question(self) -> dict[str, Any]:
        """What was asked: two runs of one question differ in nothing that was chosen."""
        return {name: self.answer[name] for name in ("experiment", "methods", "parameters", "seed")}

    def is_of(self, workspace: Workspace) -> bool:
        """Whether the workspace still has the weights and data that this is a result of."""
        return self.answer["workspace"]["digest"] == workspace.digest


def keep(report: Report) -> Kept:
    """Write a finished run to a file of its own, whole or not at all.

    UserError: it cannot be written, for instance because the disk is full.
    """
    answer, finished = json.loads(as_json(report.describe())), datetime.now(UTC)
    digest = digest_json(answer)
    name = f"{finished:%Y%m%dT%H%M%S%f}-{answer['experiment']}-{digest[:8]}"
    record = {
        "format": FORMAT,
        "version": __version__,
        "finished": finished.isoformat(timespec="seconds"),
        "sha256": digest,
        "answer": answer,
    }
    path = _folder(report.run.workspace) / f"{name}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(record, ensure_ascii=False, indent=1).encode())
    except OSError as error:
        raise UserError(f"The result cannot be kept in {path.parent}: {error.strerror or error}.") from error
    return open_kept(report.run.workspace, name)


def list_kept(workspace: Workspace) -> tuple[list[Kept], list[str]]:
    """Every finished run, the latest first, and a sentence on each file that cannot be read."""
    found, damaged = [], []
    # A dot begins what a run that was killed left half-written.
    for path in sorted(_folder(workspace).glob("[!.]*.json"), reverse=True):
        try:
            found.append(open_kept(workspace, path.stem))
        except UserError as error:
            damaged.append(str(error))
    return found, damaged


def open_kept(workspace: Workspace, name: str) -> Kept:
    """A finished run by its name; UserError where there is none, or where its file is damaged."""
    path = _path(workspace, name)
    try:
        return _read(path, path.stat().st_mtime_ns)
    except OSError as error:
        raise UserError(f"The result {path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"The result {path} is damaged ({error}): delete it, and run the experiment again.") from error


def delete_kept(workspace: Workspace, name: str) -> None:
    """Delete a finished run; UserError where there is none."""
    _path(workspace, name).unlink(missing_ok=True)


@lru_cache(maxsize=256)
def _read(path: Path, changed: int) -> Kept:
    """A file as it was when it was last `changed`; ValueError, KeyError or TypeError where it is damaged."""
    record = json.loads(path.read_bytes())
    if record["format"] != FORMAT:
        raise ValueError(f"it has format {record['format']}, and this version reads format {FORMAT}")
    if digest_json(record["answer"]) != record["sha256"]:
        raise ValueError("its checksum differs")
    finished = datetime.fromisoformat(record["finished"])
    return Kept(name=path.stem, finished=finished, version=record["version"], answer=record["answer"])


def _path(workspace: Workspace, name: str) -> Path:
    path = _folder(workspace) / f"{name}.json"
    if not _NAME.fullmatch(name) or not path.is_file():
        raise UserError(f"No result '{name}' in workspace '{workspace.name}': it may have been deleted.")
    return path


def _folder(workspace: Workspace) -> Path:
    return workspace.storage / "results" / "evaluations"
