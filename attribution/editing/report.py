"""What retraining found, as text for a terminal and as JSON."""

import json
from collections.abc import Mapping
from typing import Any

from attribution.explain import printable

SHOWN = 10


def as_json(answer: Mapping[str, Any]) -> str:
    return json.dumps(answer, ensure_ascii=False, indent=2, allow_nan=False)


def as_table(answer: Mapping[str, Any]) -> str:
    """The versions' accuracies, their differences, and what changed; numbers and ids only, no text from the data."""
    edits = ", ".join(f"{answer['edits'][name]} {name}" for name in ("removed", "relabelled", "perturbed"))
    lines = [
        f"version {answer['version']}: {answer['folder']}",
        f"{edits}. {answer['retraining']} {len(answer['seeds'])} seeds, {answer['seconds']:.0f} s.",
        "",
        "accuracy, with the 95 % interval for other seeds and test examples",
        *(_line(row["models"], row, ".4f") for row in answer["accuracy"]),
        "",
        "difference",
        *(_line(f"{row['models']} − {row['over']}", row, "+.4f") for row in answer["differences"]),
    ]
    for kind, found in answer["outcomes"].items():
        lines += [
            "",
            f"{kind}: {_ids('fixed', found['fixed'])}; {_ids('broken', found['broken'])}; {found['same']} same",
        ]
    for test in answer["tests"]:
        lines += ["", f"test {test['test']}, true label '{test['true_label']}': its probability"]
        for row in test["models"]:
            error = "" if row["error"] is None else f" ± {row['error']:.4f}"
            lines.append(f"  {row['models']:<24}{row['probability']:.4f}{error}  predicted '{row['predicted']}'")
    return "\n".join(printable(line) for line in lines)


def _line(name: str, row: Mapping[str, Any], form: str) -> str:
    return f"  {name:<24}{row['mean']:{form}}  {row['low']:{form}} to {row['high']:{form}}"


def _ids(what: str, ids: list[int]) -> str:
    listed = ", ".join(str(i) for i in ids[:SHOWN]) + (", …" if len(ids) > SHOWN else "")
    return f"{len(ids)} {what}" + (f" ({listed})" if ids else "")
