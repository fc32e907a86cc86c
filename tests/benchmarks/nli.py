"""MNLI and HANS beside the papers: `python -m tests.benchmarks.nli --data FOLDER [--keep FOLDER] [--tests N]`, as JSON.

FOLDER holds mnli_hans/{train,dev,test}.parquet: MNLI pairs with two labels to train on, natural pairs, and HANS pairs,
columns premise, hypothesis, label. MiniLM is fine-tuned on the first; then `artifact_fit` over the slices of Han 2020
§5.1 and `lexical_overlap` over the HANS pairs mispredicted as entailment. `--trainable all` is for a GPU.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from attribution import create_workspace, open_workspace
from attribution.cli import Reporter
from attribution.data import Columns
from attribution.demo import MODEL
from attribution.experiments.registry import run_experiment
from attribution.exporting import export_model
from attribution.training import Recipe, train
from attribution.workspace import Workspace

COLUMNS = Columns(text="premise", text_pair="hypothesis", label="label")
SLICE = "slice"
NATURAL = 1000


def test_pairs(data: Path) -> pd.DataFrame:
    """The HANS pairs and a seeded sample of natural ones, with a column that tells them apart."""
    hans = pd.read_parquet(data / "test.parquet").assign(**{SLICE: "HANS"})
    natural = pd.read_parquet(data / "dev.parquet").sample(NATURAL, random_state=0).assign(**{SLICE: "MNLI"})
    return pd.concat([hans, natural], ignore_index=True)


def sliced(workspace: Workspace, tests: pd.DataFrame) -> pd.DataFrame:
    """The test pairs whose HANS slice also says what was predicted, as the paper's does."""
    predicted = workspace.predict_test().idxmax(axis=1).to_numpy()
    hans = tests[SLICE] == "HANS"
    return tests.assign(**{SLICE: tests[SLICE].where(~hans, "HANS, predicted " + pd.Series(predicted))})


def prepared(data: Path, home: Path, recipe: Recipe, device: str) -> Workspace:
    """A fine-tuned workspace whose test pairs carry their slices; what an earlier run made is used again."""
    final = home / "mnli-hans"
    if final.exists():
        return open_workspace(final, device=device)
    tests = test_pairs(data)
    tests.to_parquet(home / "test.parquet")
    made, _ = create_workspace(
        home / "training", model=MODEL, train=data / "train.parquet", test=home / "test.parquet", columns=COLUMNS
    )
    tuned = train(open_workspace(made.directory, device=device), recipe, progress=Reporter())
    model = export_model(tuned, home / "model")
    sliced(tuned, tests).to_parquet(home / "test.parquet")
    create_workspace(final, model=model, train=data / "train.parquet", test=home / "test.parquet", columns=COLUMNS)
    return open_workspace(final, device=device)


def accuracies(workspace: Workspace) -> dict[str, float]:
    """The share of test pairs predicted right, HANS by true label and natural ones together."""
    right = workspace.predict_test().idxmax(axis=1).to_numpy() == workspace.test["label"]
    kinds = workspace.test[SLICE].str.partition(",")[0]
    by_label = kinds.where(kinds == "MNLI", kinds + ", " + workspace.test["label"])
    return {kind: round(float(share), 3) for kind, share in right.groupby(by_label).mean().items()}


def measure(workspace: Workspace, tests: int) -> dict[str, Any]:
    """Both tables, with the papers' rows beside ours."""
    slices = {"by": f"column:{SLICE}", "tests": tests}
    fit = run_experiment(workspace, "artifact_fit", parameters=slices, progress=Reporter())
    overlap = run_experiment(workspace, "lexical_overlap", parameters={"tests": 100}, progress=Reporter())
    return {
        "accuracy": accuracies(workspace),
        "artifact_fit": fit.describe(),
        "lexical_overlap": overlap.describe(),
    }


def main() -> None:
    """Fine-tune where nothing is kept, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.nli", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds mnli_hans/")
    parser.add_argument("--keep", type=Path, help="where the workspace stays for another run")
    parser.add_argument("--tests", type=int, default=30, help="test pairs a slice")
    parser.add_argument("--trainable", default="last:2", help="head, last:K or all")
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        home = given.keep or Path(temporary)
        home.mkdir(parents=True, exist_ok=True)
        workspace = prepared(given.data / "mnli_hans", home, Recipe(trainable=given.trainable), given.device)
        print(json.dumps(measure(workspace, given.tests), indent=2))


if __name__ == "__main__":
    main()
