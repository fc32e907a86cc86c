"""Long work in a process of its own, so that it survives page changes and never holds up an answer."""

import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import streamlit as st

from attribution.workspace import Workspace

_PROGRESS = re.compile(r"(?P<what>.*): (?P<done>\d[\d,]*) of (?P<total>\d+(,\d{3})*)(?P<left>.*)")


@dataclass(kw_only=True)
class Job:
    """A running or ended `influscope index`; its progress is the last line that it wrote to stderr."""

    process: subprocess.Popen
    log: IO[bytes]
    began: float = field(default_factory=time.monotonic)
    stopped: bool = False

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    @property
    def failed(self) -> str | None:
        """The last line of an ended job that did not succeed and was not stopped."""
        return self._last_line() if self.process.poll() not in (None, 0) and not self.stopped else None

    @property
    def succeeded(self) -> bool:
        return self.process.poll() == 0

    def progress(self) -> tuple[float, str]:
        """Share done in [0, 1] and a line that says what is being done."""
        found = _PROGRESS.match(self._last_line())
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

    def _last_line(self) -> str:
        # Reading by position: the process writes at an offset that a seek here would move.
        size = os.fstat(self.log.fileno()).st_size
        lines = os.pread(self.log.fileno(), 4096, max(0, size - 4096)).decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""


@st.cache_resource(show_spinner=False)
def _jobs() -> dict[str, Job]:
    return {}


def job(key: str) -> Job | None:
    """The latest job of a key, if there was one."""
    return _jobs().get(key)


def start(workspace: Workspace, key: str, *options: str) -> Job:
    """Run `influscope index` with these options in another process, unless one of that key is running already."""
    found = job(key)
    if found is not None and found.running:
        return found
    log = tempfile.TemporaryFile()
    command = [sys.executable, "-m", "attribution", "index", str(Path(workspace.directory)), *options]
    made = Job(process=subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log), log=log)
    _jobs()[key] = made
    return made
