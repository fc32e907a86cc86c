"""What a command says: results on stdout or in a file, progress on stderr."""

import sys
import time
from pathlib import Path

from attribution.errors import UserError


def write(text: str, output: Path | None) -> None:
    """Write a result to a new or old file, or to stdout; UserError where that cannot be done."""
    from attribution.storage import write_atomically

    if output is None:
        sys.stdout.write(text if text.endswith("\n") else text + "\n")
        return
    try:
        write_atomically(output, text.encode())
    except OSError as error:
        raise UserError(f"{output} cannot be written: {error.strerror or error}.") from error


class Reporter:
    """Progress on stderr: one line that is overwritten on a terminal, else a line every few seconds."""

    def __init__(self) -> None:
        self.began, self.said, self.what = time.monotonic(), 0.0, ""

    def __call__(self, done: int, total: int, what: str) -> None:
        now = time.monotonic()
        if what.split(",")[0] != self.what:
            self.began, self.what = now, what.split(",")[0]
        if done < total and now - self.said < (0.2 if sys.stderr.isatty() else 1):
            return
        self.said = now
        elapsed = now - self.began
        left = f", {elapsed / done * (total - done):.0f} s left" if 0 < done < total else f", {elapsed:.1f} s"
        end = "\r" if sys.stderr.isatty() and done < total else "\n"
        print(f"{what}: {done:,} of {total:,}{left}    ", file=sys.stderr, end=end, flush=True)
