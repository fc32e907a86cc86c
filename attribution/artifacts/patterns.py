"""A word list or a regular expression of the user's own, matched within limits of time and memory."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import regex

from attribution.errors import UserError

SECONDS = 2.0
LONGEST = 500
REPEATS = 10_000
META = frozenset(r".^$*+?{}[]\|()")
COUNTED = regex.compile(r"\{(\d*),?(\d*)\}")
RECURSIVE = regex.compile(r"\(\?(?:R|[+-]?\d|&|P>)")


def matches(pattern: str, texts: Sequence[str], *, seconds: float = SECONDS) -> np.ndarray:
    """Whether the pattern is found in each text: (texts,) of 0 and 1.

    Raises UserError where the pattern is none, or where it is not done with all the texts in time.
    """
    compiled, end = compile_pattern(pattern), time.monotonic() + seconds
    found = np.zeros(len(texts))
    try:
        for row, text in enumerate(texts):
            # `concurrent` lets other threads run: a slow pattern must not hold up the whole dashboard.
            left = max(end - time.monotonic(), 1e-3)
            found[row] = compiled.search(text, timeout=left, concurrent=True) is not None
    except TimeoutError as error:
        raise UserError(
            f"Pattern '{pattern}' was not done with {len(texts):,} texts in {seconds:g} s: choose a simpler one."
        ) from error
    return found


def compile_pattern(pattern: str) -> Any:
    """The compiled pattern: "word, word" for whole words in either case, else a regular expression as it is written.

    A list has none of . ^ $ * + ? { } [ ] \\ | ( ). Raises UserError for a blank list, for what is no regular
    expression, and for one whose repeats or recursion could fill the memory.
    """
    if len(pattern) > LONGEST:
        raise UserError(f"A pattern has at most {LONGEST} characters, not {len(pattern)}.")
    if not META & set(pattern):
        words = [r"\s+".join(map(regex.escape, entry.split())) for entry in pattern.split(",") if entry.strip()]
        if not words:
            raise UserError("Give a pattern: words with commas between, or a regular expression.")
        return regex.compile(rf"(?<!\w)(?:{'|'.join(words)})(?!\w)", regex.IGNORECASE)
    product = 1
    for low, high in COUNTED.findall(pattern):
        product *= max(1, int(low or 0), int(high or 0))
    if product > REPEATS or RECURSIVE.search(pattern):
        raise UserError(f"Pattern '{pattern}' calls itself or repeats over {REPEATS:,} times: choose a simpler one.")
    try:
        return regex.compile(pattern)
    except (regex.error, RecursionError, OverflowError) as error:
        raise UserError(f"Pattern '{pattern}' is not a regular expression: {error}.") from error
