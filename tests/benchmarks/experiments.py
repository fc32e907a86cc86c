"""Which method predicts retraining? `lds` and `deletion_curve` on the reviews demo, as a Markdown table.

`python -m tests.benchmarks.experiments [--workspace FOLDER] [--output FILE]` (make experiments). What a run that was
stopped had finished is kept in the workspace and not made again.
"""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attribution import open_workspace
from attribution.cli import Reporter
from attribution.demo import demo_directory
from attribution.experiments.registry import Report, run_experiment
from attribution.experiments.retrained import METHODS

SEED = 0
RUNS: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("lds", {"retrain": "refit", "subsets": 200, "tests": 40}),
    ("deletion_curve", {"retrain": "refit", "k": "10,50,100", "tests": 20}),
    ("lds", {"retrain": "last:2", "subsets": 24, "tests": 40}),
    ("deletion_curve", {"retrain": "last:2", "k": "50", "tests": 20, "together": 10}),
)


def as_markdown(report: Report) -> str:
    """A heading with the settings, a row a method, the notes, and how long it took."""
    asked = ", ".join(f"{name}={value}" for name, value in report.parameters.items() if value not in ("", 0))
    columns, rows = TABLES[report.experiment.name](report)
    lines = [
        f"### {report.experiment.title}",
        "",
        f"`{report.experiment.name}`, seed {report.run.seed}, {asked}.",
        "",
        f"| {' | '.join(columns)} |",
        f"| {' | '.join('---' if number == 0 else '---:' for number in range(len(columns)))} |",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
        *report.findings.notes,
        f"{report.seconds / 60:.0f} minutes on {os.cpu_count()} cores with what was kept.",
        "",
    ]
    return "\n".join(lines)


def _lds(report: Report) -> tuple[list[str], list[list[str]]]:
    rows = sorted(report.findings.table, key=lambda row: -(row["lds"] or 0))
    return ["method", "LDS"], [[row["method"], _with_error(row["lds"], row["standard_error"])] for row in rows]


def _deletion(report: Report) -> tuple[list[str], list[list[str]]]:
    measures = ("AUC-DEL+", "AUC-DEL-")
    found = {(row["method"], row["measure"]): row for row in report.findings.table}
    methods = dict.fromkeys(row["method"] for row in report.findings.table)
    rows = [
        [m, *(_with_error(found[m, x]["mean_change"], found[m, x]["standard_error"]) for x in measures)]
        for m in methods
    ]
    return ["method", *measures], rows


TABLES = {"lds": _lds, "deletion_curve": _deletion}


def _with_error(value: float | None, error: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:+.3f}" if error is None else f"{value:+.3f} ± {error:.3f}"


def main() -> None:
    """Run them one after the other; print each table as soon as it is there, and write all of them at the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, default=demo_directory("reviews"))
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    workspace, tables = open_workspace(given.workspace), []
    for name, parameters in RUNS:
        report = run_experiment(workspace, name, methods=METHODS, parameters=parameters, seed=SEED, progress=Reporter())
        tables.append(as_markdown(report))
        print(tables[-1], flush=True)
    if given.output is not None:
        given.output.write_text("\n".join(tables), encoding="utf8")


if __name__ == "__main__":
    main()
