"""Long work in a process of its own, so that it survives page changes and never holds up an answer."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import streamlit as st

from attribution.workspace import Workspace
from dashboard import workspaces

_PROGRESS = re.compile(r"(?P<what>.*): (?P<done>\d[\d,]*) of (?P<total>\d+(,\d{3})*)(?P<left>.*)")


@dataclass(kw_only=True)
class Job:
    """A running or ended `influscope` command: `log` is its stderr, whose last such line is its progress.

    `command` is the subcommand with its arguments, without the workspace; `out` its stdout.
    """

    process: subprocess.Popen
    command: tuple[str, ...]
    log: IO[bytes]
    out: IO[bytes]
    began: float = field(default_factory=time.monotonic)
    stopped: bool = False

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    @property
    def failed(self) -> str | None:
        """Why an ended job did not succeed, in a line; None for one that did, that runs or that was stopped."""
        status = self.process.poll()
        if status in (None, 0) or self.stopped:
            return None
        if status < 0:
            return f"The work was ended from outside ({signal.Signals(-status).name}). What it had finished is kept."
        return (self.lines() or [f"The work ended with status {status}."])[-1].removeprefix("influscope: ")

    @property
    def succeeded(self) -> bool:
        return self.process.poll() == 0

    def progress(self) -> tuple[float, str]:
        """Share done in [0, 1] and a line that says what is being done."""
        found = next(filter(None, map(_PROGRESS.fullmatch, reversed(self.lines()))), None)
        elapsed = f"{time.monotonic() - self.began:.0f} s so far"
        if not found:
            return 0.0, f"Starting, {elapsed}"
        done, total = (int(found[name].replace(",", "")) for name in ("done", "total"))
        line = f"{found['what'].capitalize()}: {done:,} of {total:,}{found['left'].rstrip()}, {elapsed}"
        return done / max(1, total), line

    def stop(self) -> None:
        """End the process; parts that were finished stay."""
        self.stopped = True
        self.process.terminate()

    def close(self) -> None:
        """Let go of what an ended job has written."""
        self.log.close()
        self.out.close()

    def lines(self) -> list[str]:
        """The last lines that the job wrote to stderr."""
        # Reading by position: the process writes at an offset that a seek here would move.
        size = os.fstat(self.log.fileno()).st_size
        return os.pread(self.log.fileno(), 4096, max(0, size - 4096)).decode(errors="replace").strip().splitlines()

    def answer(self) -> str:
        """What the job has written to stdout."""
        return os.pread(self.out.fileno(), os.fstat(self.out.fileno()).st_size, 0).decode()


@st.cache_resource(show_spinner=False)
def _jobs() -> dict[tuple[Path, str], Job]:
    return {}


def job(key: str) -> Job | None:
    """The latest job of a key on the session's workspace, if there was one."""
    return _jobs().get((workspaces.here(), key))


def start(workspace: Workspace, key: str, *options: str, command: str = "index") -> Job:
    """Run a command on the workspace in another process, unless one of that key is running already."""
    place = (Path(workspace.directory).resolve(), key)
    found = _jobs().get(place)
    if found is not None and found.running:
        return found
    log, out = tempfile.TemporaryFile(), tempfile.TemporaryFile()
    line = [sys.executable, "-m", "attribution", command, str(workspace.directory), *options]
    process = subprocess.Popen(line, stdout=out, stderr=log)
    made = Job(process=process, command=(command, *options), log=log, out=out)
    _jobs()[place] = made
    return made
