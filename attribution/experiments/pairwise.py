"""What the experiments share that hold every method against every other one (Pezeshkpour et al. 2021 §4)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Annotated, Any

import numpy as np

from attribution.experiments.measures import Entry, mean_error
from attribution.experiments.registry import Row, Run
from attribution.parameters import Name, Range

METHODS = ("random", "sbert_cos", "nn_euc", "nn_cos", "nn_dot", "influence", "representer", "relatif", "gd", "gc")
Tests = Annotated[int, Range(low=1, high=1_000_000, help="Test examples at most, drawn.")]
ScopeOf = Annotated[
    str, Name(choices=("head", "last:2"), help="Parameters of the methods that take a scope; the paper's: head.")
]
Wider = Annotated[
    str,
    Name(choices=("", "last:2"), help="A second scope, over which these methods are compared as well; none: no other."),
]
Damped = Annotated[
    float,
    Range(low=0, high=1000, help="Damping of influence and relatif, in mean eigenvalues; 0: each method's own."),
]
MODEL = "BERT-base on SST-2 and on 10,000 MNLI pairs; IF over the head and, by LiSSA, over the top 5 of 12 blocks"


def entries(run: Run, scope: str, wider: str, damping: float) -> dict[str, Entry]:
    """What is compared, by its name in the rows: each method, and "METHOD, SCOPE" where the second scope changes it."""
    found = {method: Entry(method=method, scope=scope, damping=damping) for method in run.methods}
    if wider and wider != scope:
        again = [replace(e, scope=wider) for e in found.values() if e.takes_scope]
        found |= {f"{entry.method}, {wider}": entry for entry in again}
    return found


def asked(compared: Mapping[str, Entry]) -> list[dict[str, Any]]:
    """What is compared, as JSON."""
    return [asdict(entry) for entry in compared.values()]


def pair_rows(names: Sequence[str], measured: Mapping[str, np.ndarray]) -> list[Row]:
    """A row for each two of the names, of measures (tests, names, names): means over the tests and their errors.

    `n`: the tests that the first measure is defined for.
    """
    rows: list[Row] = []
    for one in range(len(names)):
        for other in range(one + 1, len(names)):
            row: Row = {"method": names[one], "other": names[other]}
            for measure, values in measured.items():
                row[measure], row[f"{measure}_error"] = mean_error(values[:, one, other])
            counted = next(iter(measured.values()))[:, one, other]
            rows.append({**row, "n": int(np.isfinite(counted).sum())})
    return rows
