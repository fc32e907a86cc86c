"""A workspace of invented reviews, for pictures that may be shown: no text of a data set is in it."""

import random
from pathlib import Path

import pandas as pd

from attribution.cli import Reporter
from attribution.creation import create_workspace
from attribution.demo import MODEL
from attribution.index import build
from attribution.registry import standard_parts
from attribution.training import Recipe, train
from attribution.workspace import Workspace, open_workspace

SUBJECTS = (
    *("the film", "this sequel", "her second novel", "the lead", "the script", "the score"),
    *("the final hour", "the camera work", "the dialogue", "this comedy", "the heist", "the ensemble"),
)
PRAISE = (
    *("is warm and quietly funny", "finds its feet early and never lets go", "earns every laugh"),
    *("glows with affection for its people", "makes two hours feel like one"),
    *("is sharp , tender and very much alive", "surprises you when you least expect it", "lingers for days"),
    *("has the finest closing scene of the year", "is a small wonder"),
)
BLAME = (
    *("drags on well past its welcome", "feels borrowed from better films", "mistakes noise for wit"),
    *("never gives anyone a reason to stay", "is dull in a hurry", "collapses under its own weight"),
    *("repeats one joke until it dies", "looks cheap and sounds cheaper"),
    *("has nothing to say and says it twice", "is a chore to sit through"),
)
ASIDES = (
    *("on a rainy night", "for the most part", "in spite of the budget"),
    *("from the first frame", "by the last act", "with a straight face"),
)
FALSE = 0.06


def invented_reviews(count: int, draw: random.Random) -> pd.DataFrame:
    """Sentences of one or two clauses, the second with "but" deciding; the share FALSE has the other label."""

    def clause(praises: bool) -> str:
        said = f"{draw.choice(SUBJECTS)} {draw.choice(PRAISE if praises else BLAME)}"
        return f"{said} {draw.choice(ASIDES)}" if draw.random() < 0.35 else said

    rows = []
    for _ in range(count):
        positive = draw.random() < 0.5
        kinds = (
            lambda p: clause(p),
            lambda p: f"{clause(p)} , and {clause(p)}",
            lambda p: f"{clause(not p)} , but {clause(p)}",
            lambda p: f"{clause(p)} , even though {clause(not p)}",
        )
        (kind,) = draw.choices(kinds, weights=(45, 15, 20, 20))
        text = f"{kind(positive)} ."
        rows.append({"text": text, "label": "positive" if positive != (draw.random() < FALSE) else "negative"})
    return pd.DataFrame(rows)


def invented_workspace(folder: Path) -> Workspace:
    """The workspace in a folder, made and fine-tuned where it is not there yet, with the index of the first answers."""
    if not folder.exists():
        draw = random.Random(5)
        folder.parent.mkdir(parents=True, exist_ok=True)
        files = {name: folder.with_name(f"{folder.name}-{name}.csv") for name in ("train", "test")}
        for (_, path), count in zip(files.items(), (900, 200), strict=True):
            invented_reviews(count, draw).to_csv(path, index=False)
        made, _ = create_workspace(folder, model=MODEL, train=files["train"], test=files["test"])
        train(made, Recipe(trainable="last:2", epochs=3), Reporter())
        for path in files.values():
            path.unlink()
    opened = open_workspace(folder)
    build(opened, standard_parts(opened), Reporter())
    return opened
