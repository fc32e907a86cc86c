"""Table 3 of Huang et al. 2021 on MAMS: `python -m tests.benchmarks.mams --data FOLDER [--keep FOLDER] [--train N] …`.

A classifier of aspect + sentence, as a pair, is fine-tuned on the training data (all, or N drawn rows), and the six
methods are asked about N test examples by the experiment span_agreement; spans are the clauses around the aspect. The
rows, with the paper's beside them, are printed as JSON. A GPU is used where there is one. FOLDER holds
mams_atsa/train.parquet and test.parquet with columns sentence, aspect, label; it does not come with this repository.
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

EXPERIMENT, TOP = "span_agreement", 100
COLUMNS = Columns(text="aspect", text_pair="sentence", label="label")


def make_workspace(data: Path, folder: Path, count: int, device: str, model: str) -> Workspace:
    """A workspace of `count` drawn training rows (0: all) and all test rows, fine-tuned for three epochs.

    What an earlier run left in the folder is used again.
    """
    if (folder / "workspace" / "checkpoints").exists():
        return open_workspace(folder / "workspace", device=device)
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
        force=True,
    )
    return train(open_workspace(made.directory, device=device), Recipe(trainable="last:2", epochs=3), Reporter())


def beside(found: list[dict[str, Any]], paper: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows found, each with the paper's own of the same method and k, or share that is removed, on MAMS."""

    def key(row: dict[str, Any]) -> tuple[str, str | int]:
        return row["method"], row["removed"] or row["k"]

    told = {key(row): row for row in paper if row["data"] == "MAMS"}
    published = [told.get(key(row), {}) for row in found]
    return [
        {**row, **{f"paper_{name}": own.get(name) for name in ("sag", "lag", "ral")}}
        for row, own in zip(found, published, strict=True)
    ]


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.mams", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds mams_atsa/")
    parser.add_argument("--keep", type=Path, help="where the workspace and its answers stay, for another run")
    parser.add_argument("--train", type=int, default=0, help="training rows, drawn with a fixed seed; 0: all 11,186")
    parser.add_argument("--tests", type=int, default=200, help="test examples, as the paper's 200")
    parser.add_argument("--candidates", type=int, default=300, help="spans that are scored")
    parser.add_argument("--retrain", default="auto", help="what is trained again for Ral: auto, refit, head, last:2")
    parser.add_argument("--model", default=MODEL, help="an encoder or classifier, as influscope new takes it")
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    data = given.data / "mams_atsa"
    if not data.is_dir():
        parser.error(f"there is no {data}: this data does not come with the repository, --data names where it is")
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        workspace = make_workspace(data, folder, given.train, given.device, given.model)
        asked = {"tests": given.tests, "candidates": given.candidates, "finder": "aspect", "top": TOP}
        asked["retrain"] = given.retrain
        report = run_experiment(workspace, EXPERIMENT, parameters=asked, progress=Reporter()).describe()
        accuracy = workspace.checkpoints[-1].test_accuracy
    rows = beside(report["table"], report["paper"] or [])
    print(json.dumps({**report, "test_accuracy": accuracy, "table": rows}, indent=2))


if __name__ == "__main__":
    main()
