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
    """Progress on stderr: one line that is overwritten on a terminal, else a line every few seconds.

    The time left is told by the pace since this kind of work was first heard of, which may have been half done by then.
    """

    def __init__(self) -> None:
        self.began, self.said, self.what, self.before = time.monotonic(), 0.0, "", 0

    def __call__(self, done: int, total: int, what: str) -> None:
        now = time.monotonic()
        if what.split(",")[0] != self.what:
            self.began, self.what, self.before = now, what.split(",")[0], done
        if done < total and now - self.said < (0.2 if sys.stderr.isatty() else 1):
            return
        self.said = now
        elapsed = now - self.began
        made, left = done - self.before, ""
        if done >= total:
            left = f", {elapsed:.1f} s"
        elif made > 0:
            left = f", {elapsed / made * (total - done):.0f} s left"
        end = "\r" if sys.stderr.isatty() and done < total else "\n"
        print(f"{what}: {done:,} of {total:,}{left}    ", file=sys.stderr, end=end, flush=True)
