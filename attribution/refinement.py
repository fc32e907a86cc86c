"""The exact answer that replaces an index's quick one: every training example by the sweep, kept on disk."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd

from attribution.index import Progress, silent
from attribution.registry import run_method
from attribution.results import ScoreTable
from attribution.storage import atomic_path, digest_json, write_atomically


def refine(table: ScoreTable, progress: Progress = silent) -> ScoreTable:
    """The same answer with every score exact; a table that is exact already comes back as it is.

    Kept under results/ with its question readable beside it. Cost: the sweep over the training set, some seconds to
    minutes.
    """
    if table.scored.exact:
        return table
    query, workspace = table.query, table.query.workspace
    parameters = {**table.parameters, "scorer": "sweep"}
    question = {
        "workspace": workspace.digest,
        "method": table.method,
        "parameters": parameters,
        "texts": query.example.texts,
        "label": query.label_name,
        "against": None if query.against is None else workspace.labels[query.against],
        "tokens": list(query.tokens),
        "rates": [state.learning_rate for state in workspace.checkpoints],
    }
    path = workspace.storage / "results" / f"exact-{digest_json(question)[:16]}.parquet"
    if not path.exists():
        found = run_method(query, table.method, parameters, progress)
        assert isinstance(found, ScoreTable)
        path.parent.mkdir(parents=True, exist_ok=True)
        said = {**question, "notes": list(found.scored.notes)}
        write_atomically(path.with_suffix(".json"), json.dumps(said, ensure_ascii=False, indent=2).encode())
        with atomic_path(path) as target:
            pd.DataFrame({"score": found.scores}).to_parquet(target)
    scores = pd.read_parquet(path)["score"].to_numpy(dtype=np.float64)
    notes = json.loads(path.with_suffix(".json").read_text(encoding="utf8")).get("notes", table.scored.notes)
    exact = replace(
        table.scored,
        scores=scores,
        scorer="sweep",
        exact=True,
        exact_rows=None,
        fidelity=None,
        notes=tuple(notes),
        rerank=None,
    )
    return replace(table, scored=exact)
