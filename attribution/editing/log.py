"""The log of edits: edits.jsonl in the workspace, to which lines are only ever added.

The first line names the training data that the edits are of; each other line is one edit. What is made together is
written together and undone together. The imported data is never touched.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from attribution.editing.changes import Change, Edit, State, check_change, check_classes, replay, undone
from attribution.errors import UserError
from attribution.storage import digest_bytes, locked
from attribution.workspace import Workspace

FORMAT = 1
NAME = "edits.jsonl"
LOCK = ".edits.lock"


@dataclass(frozen=True, kw_only=True)
class _Read:
    """What a file holds: its edits, the length of what counts of it in bytes, and a digest of that."""

    edits: tuple[Edit, ...] = ()
    size: int = 0
    version: str = ""
    is_torn: bool = False


class EditLog:
    """A workspace's edits, read again whenever the file has changed: other tabs and processes add to it too.

    Raises UserError where the file is damaged or belongs to other training data.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.path = workspace.storage / NAME
        self.notice = ""
        self._seen: tuple[Any, _Read] = (None, _Read())

    @property
    def entries(self) -> tuple[Edit, ...]:
        """Every edit by rising number, those that were undone and the undoing included."""
        return self._fresh().edits

    @property
    def version(self) -> str:
        """Changes whenever the file does; "" where nothing was edited yet."""
        return self._fresh().version

    def current(self) -> State:
        """What holds now, by training id; an example that is as it was imported is not in it."""
        return replay(self.entries, self.workspace.train)

    def preview(self, *changes: Change) -> State:
        """What would hold after some more changes, which are checked as `append` checks them; writes nothing."""
        edits = self.entries
        return self._after(edits, _numbered(changes, edits))

    def append(self, *changes: Change) -> list[Edit]:
        """Add some changes as one batch, which one undo takes back; all of them or none.

        Raises UserError for an unknown training id or label, for a change that changes nothing, for two changes of one
        kind to one example, for a change to a removed example, and where a label would lose its last example.
        """
        if not changes:
            raise UserError("No change is given.")
        with self._locked():
            read = self._recovered()
            made = _numbered(changes, read.edits)
            self._after(read.edits, made)
            self._write(read, made)
        return made

    def undo(self, *numbers: int) -> list[Edit]:
        """Take back some edits, each with all that was made together with it, as one batch; all of them or none.

        Undoing an undo brings back what it took. Raises UserError for a number that is not in the log, or is undone
        already, and where a label would lose its last example.
        """
        if not numbers:
            raise UserError("No edit to undo is given.")
        with self._locked():
            read = self._recovered()
            first, gone = {edit.number: edit.first for edit in read.edits}, undone(read.edits)
            for number in numbers:
                if number not in first:
                    known = f"numbers go from 1 to {len(read.edits)}" if read.edits else "there is none"
                    raise UserError(f"No edit {number}: {known}.")
                if first[number] in gone:
                    raise UserError(f"Edit {number} is undone already.")
            batches = sorted({first[number] for number in numbers})
            made = _numbered([Change(action="undo")] * len(batches), read.edits, of=batches)
            check_classes(replay([*read.edits, *made], self.workspace.train), self.workspace.train)
            self._write(read, made)
        return made

    def _after(self, edits: Sequence[Edit], made: Sequence[Edit]) -> State:
        """The state after the edits and some more, which are checked."""
        train, before, seen = self.workspace.train, replay(edits, self.workspace.train), set()
        for edit in made:
            check_change(edit, before, train, self.workspace.labels)
            if (edit.row, edit.action) in seen:
                raise UserError(f"Training example {edit.row} is given two of '{edit.action}' at once: give one.")
            seen.add((edit.row, edit.action))
        state = replay([*edits, *made], train)
        check_classes(state, train)
        return state

    def _locked(self) -> Any:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return locked(self.path.parent, name=LOCK)

    def _fresh(self) -> _Read:
        stamp, seen = _stamp(self.path), self._seen
        if stamp != seen[0]:
            read = self._read()
            if read.is_torn:
                with self._locked():  # perhaps another process is at it
                    stamp, read = _stamp(self.path), self._read()
            self._say(read)
            seen = self._seen = (stamp, read)
        return seen[1]

    def _recovered(self) -> _Read:
        """What the file holds, cut where a write was interrupted; the lock must be held."""
        read = self._read()
        self._say(read)
        if read.is_torn:
            os.truncate(self.path, read.size)
        return read

    def _say(self, read: _Read) -> None:
        if read.is_torn:
            self.notice = "The last edit was interrupted while it was written: it does not count."

    def _read(self) -> _Read:
        return _parse(self.path, self.workspace.settings.train_digest) if self.path.exists() else _Read()

    def _write(self, read: _Read, made: Sequence[Edit]) -> None:
        head = [] if read.size else [{"format": FORMAT, "train_digest": self.workspace.settings.train_digest}]
        lines = [*head, *({k: v for k, v in asdict(edit).items() if v is not None} for edit in made)]
        data = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
        try:
            with self.path.open("ab") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise UserError(f"{self.path} cannot be written: {error.strerror or error}.") from error


def _numbered(changes: Sequence[Change], before: Sequence[Edit], of: Sequence[int] = ()) -> list[Edit]:
    """The changes as one batch of edits; `of`: what each takes back, where they are undos."""
    first, when = len(before) + 1, datetime.now(UTC).isoformat(timespec="seconds")
    last = first + len(changes) - 1
    asked = [{field.name: getattr(change, field.name) for field in fields(Change)} for change in changes]
    return [
        Edit(**values, number=number, first=first, last=last, when=when, of=back)
        for (number, values), back in zip(enumerate(asked, start=first), of or [None] * len(changes), strict=True)
    ]


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_size


def _parse(path: Path, digest: str) -> _Read:
    """The edits of a file up to its last whole batch. A line that cannot be read counts as torn only at the end."""
    data = path.read_bytes()
    *lines, rest = data.split(b"\n")
    if not lines:
        return _Read(is_torn=bool(rest))
    _check_head(path, lines[0], digest)
    edits: list[Edit] = []
    for place, line in enumerate(lines[1:], start=2):
        try:
            edit = Edit(**json.loads(line))
            if edit.number != place - 1:
                raise ValueError(f"edit {edit.number} where {place - 1} is due")
        except (ValueError, TypeError) as error:
            if place == len(lines) and not rest:
                break
            raise UserError(f"{path} is damaged: line {place} cannot be read ({error}).") from error
        edits.append(edit)
    if edits and edits[-1].number < edits[-1].last:
        edits = edits[: edits[-1].first - 1]
    size = sum(len(line) + 1 for line in lines[: len(edits) + 1])
    version = digest_bytes(data[:size])[:16]
    return _Read(edits=tuple(edits), size=size, version=version, is_torn=size < len(data))


def _check_head(path: Path, line: bytes, digest: str) -> None:
    try:
        head: Mapping[str, Any] = json.loads(line)
        found, written = head["format"], head["train_digest"]
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} is damaged: its first line cannot be read ({error}).") from error
    if found != FORMAT:
        raise UserError(f"{path} has format {found}; this version of influscope reads format {FORMAT}.")
    if written != digest:
        raise UserError(
            f"{path} holds edits of other training data (digest {written[:12]}…, here {digest[:12]}…): "
            "move the file away to edit this data."
        )
