"""The random control of a retraining: as many random edits of the same kinds, on examples of the same labels."""

import re
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher

import numpy as np
import pandas as pd

from attribution.editing.changes import RowEdit, State

_WORD = re.compile(r"\S+")


def random_edits(train: pd.DataFrame, edits: Mapping[int, RowEdit], seed: int) -> State:
    """For each edited example another, drawn among all of its label without replacement, that is edited alike.

    It is removed, gets the same new label, or has as many of its words replaced by words drawn from the training texts.
    No label loses its last example that does not lose it by the edits themselves.
    """
    draw, made = np.random.default_rng(seed), {}
    changed = {row: edit for row, edit in edits.items() if edit.is_changed}
    labels = dict(zip(train.index.tolist(), train["label"].tolist(), strict=True))
    for label in sorted({labels[row] for row in changed}):
        own = [row for row in sorted(changed) if labels[row] == label]
        alike = [row for row, found in labels.items() if found == label]
        drawn = draw.permutation(alike)[: len(own)].tolist()
        for row, other in zip(own, drawn, strict=True):
            made[other] = _alike(train, changed[row], row, other, draw)
    return made


def _alike(train: pd.DataFrame, edit: RowEdit, row: int, other: int, draw: np.random.Generator) -> RowEdit:
    if edit.removed:
        return RowEdit(removed=True)
    texts = {}
    for name in ("text", "text_pair"):
        new = getattr(edit, name)
        if new is not None:
            count = changed_words(str(train.loc[row, name]), new)
            texts[name] = with_random_words(str(train.loc[other, name]), count, train[name].tolist(), draw)
    return RowEdit(label=edit.label, **texts)


def changed_words(before: str, after: str) -> int:
    """How many words of a text another one replaces, leaves out or adds; at least 1."""
    blocks = SequenceMatcher(None, before.split(), after.split(), autojunk=False).get_opcodes()
    return max(1, sum(max(b - a, d - c) for kind, a, b, c, d in blocks if kind != "equal"))


def with_random_words(text: str, count: int, texts: Sequence[str], draw: np.random.Generator) -> str:
    """A text with so many of its words (all at most) replaced by random words of random texts."""
    words = list(_WORD.finditer(text))
    for place in sorted(draw.permutation(len(words))[:count].tolist(), reverse=True):
        pool = texts[int(draw.integers(len(texts)))].split()
        word = pool[int(draw.integers(len(pool)))]
        text = text[: words[place].start()] + word + text[words[place].end() :]
    return text
