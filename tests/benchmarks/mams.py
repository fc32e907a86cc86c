"""Table 3 of Huang et al. 2021 on MAMS: `python -m tests.benchmarks.mams --data FOLDER [--train N] [--tests N]`.

A classifier of aspect + sentence, as a pair, is fine-tuned on the training data (all, or N drawn rows), and the six
methods are asked about N test examples by the experiment span_agreement; spans are the clauses around the aspect. The
rows, with the paper's beside them, are printed as JSON. A GPU is used where there is one. FOLDER holds
mams_atsa/train.parquet and test.parquet with columns sentence, aspect, label.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from attribution import create_workspace
from attribution.cli import Reporter
from attribution.data import Columns
from attribution.demo import MODEL
from attribution.experiments.registry import run_experiment
from attribution.training import Recipe, train
from attribution.workspace import Workspace, open_workspace

EXPERIMENT = "span_agreement"
COLUMNS = Columns(text="aspect", text_pair="sentence", label="label")


def make_workspace(data: Path, folder: Path, count: int, device: str, model: str) -> Workspace:
    """A workspace of `count` drawn training rows (0: all) and all test rows, fine-tuned for three epochs."""
    for part in ("train", "test"):
        rows = pd.read_parquet(data / f"{part}.parquet")
        drawn = rows.sample(count, random_state=0) if part == "train" and 0 < count < len(rows) else rows
        drawn.to_parquet(folder / f"{part}.parquet", index=False)
    made, _ = create_workspace(
        folder / "workspace",
        model=model,
        train=folder / "train.parquet",
        test=folder / "test.parquet",
        columns=COLUMNS,
    )
    return train(open_workspace(made.directory, device=device), Recipe(trainable="last:2", epochs=3), Reporter())


def beside(found: list[dict[str, Any]], paper: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows found, each with the paper's Sag and Lag of the same method on MAMS and the k of its own place."""
    told: dict[str, list[dict[str, Any]]] = {}
    for row in sorted((row for row in paper if row["data"] == "MAMS"), key=lambda row: row["k"]):
        told.setdefault(row["method"], []).append(row)
    rows = []
    for row in sorted(found, key=lambda row: row["k"]):
        published = told[row["method"]].pop(0) if told.get(row["method"]) else {}
        rows.append({**row, **{f"paper_{name}": published.get(name) for name in ("k", "sag", "lag")}})
    return rows


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.mams", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds mams_atsa/")
    parser.add_argument("--train", type=int, default=0, help="training rows, drawn with a fixed seed; 0: all 11,186")
    parser.add_argument("--tests", type=int, default=200, help="test examples, as the paper's 200")
    parser.add_argument("--candidates", type=int, default=300, help="training examples whose spans are scored")
    parser.add_argument("--model", default=MODEL, help="an encoder or classifier, as influscope new takes it")
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        workspace = make_workspace(given.data / "mams_atsa", Path(folder), given.train, given.device, given.model)
        asked = {"tests": given.tests, "candidates": given.candidates, "finder": "aspect"}
        report = run_experiment(workspace, EXPERIMENT, parameters=asked, progress=Reporter()).describe()
        accuracy = workspace.checkpoints[-1].test_accuracy
    rows = beside(report["table"], report["paper"] or [])
    print(json.dumps({**report, "test_accuracy": accuracy, "table": rows}, indent=2))


if __name__ == "__main__":
    main()
