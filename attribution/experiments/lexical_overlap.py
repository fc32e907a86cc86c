"""Lexical overlap of the training pairs that methods find for mispredicted test pairs (Pezeshkpour et al. 2021)."""

from typing import Annotated

import numpy as np

from attribution.artifacts import feature_values, overlap_rate
from attribution.errors import UserError
from attribution.experiments.labels import label_of
from attribution.experiments.measures import Entry, asking_seconds, mean_error
from attribution.experiments.registry import Findings, Row, Run, experiment
from attribution.parameters import Name, Range
from attribution.query import make_query
from attribution.workspace import Workspace

TOPS = (1, 10)
BASE = "training set"
DIFFERS = (
    "BERT-base fine-tuned on 10,000 MNLI pairs with two labels, 1,000 HANS pairs. The base rate .40 is that of "
    "distinct lower-case words split at spaces, punctuation kept; our words give .49 on the same pairs."
)
PAPER = [
    {"method": ours, "name": theirs, "top_1": one, "top_10": ten, "differs": DIFFERS}
    for ours, theirs, one, ten in (
        ("random", "Random", 0.40, 0.40),
        ("sbert_euc", "sentence-BERT NN EUC", 0.39, 0.41),
        ("sbert_cos", "sentence-BERT NN COS", 0.38, 0.39),
        ("sbert_dot", "sentence-BERT NN DOT", 0.39, 0.40),
        ("nn_euc", "NN EUC", 0.56, 0.57),
        ("nn_cos", "NN COS", 0.56, 0.56),
        ("nn_dot", "NN DOT", 0.44, 0.44),
        ("influence_head", "IF", 0.43, 0.44),
        ("representer", "REP", 0.43, 0.35),
        ("relatif", "RIF", 0.55, 0.56),
        ("gd", "GD", 0.43, 0.44),
        ("gc", "GC", 0.55, 0.56),
    )
]


def _seconds(run: Run, *, label: str, tests: int, scope: str) -> float:
    entries = [Entry(method=method, scope=scope) for method in run.controlled]
    asked = len(_mispredicted(run, label_of(run.workspace, label), tests))
    return asking_seconds(run, entries, asked, rerank=True)


@experiment(
    title="Lexical overlap of what methods find",
    paper="Pezeshkpour 2021 §4, Table 2",
    cost="one question a mispredicted test pair and method; over the head some milliseconds each",
    methods=tuple(row["method"] for row in PAPER),
    needs="pair",
    small={"tests": 3},
    estimate=_seconds,
)
def lexical_overlap(
    run: Run,
    *,
    label: Annotated[
        str,
        Name(choices=("auto",), help="Test pairs mispredicted as this; auto: entailment, or where overlap is most."),
    ] = "auto",
    tests: Annotated[int, Range(low=1, high=1_000_000, help="Mispredicted test pairs at most, drawn.")] = 100,
    scope: Annotated[
        str, Name(choices=("head", "last:2"), help="Parameters of the methods that take a scope; the paper's: head.")
    ] = "head",
) -> Findings:
    """Mean overlap of the top-1 and top-10 training pairs of each method, explaining the wrong prediction.

    0 to 1, with standard errors over the test pairs, beside a random control and the mean of the training set. A
    method that finds the artifact lies above these.
    """
    workspace = run.workspace
    label = label_of(workspace, label)
    ids = _mispredicted(run, label, tests)
    methods = run.controlled
    rates: dict[str, list[list[float]]] = {method: [] for method in methods}
    for done, test in enumerate(ids, start=1):
        query = make_query(workspace, test=test)
        for method in methods:
            scores = run.answer(query, method, scope=scope, rerank=True).scores
            rates[method].append([overlap_rate(workspace, scores, top=min(k, len(scores))) for k in TOPS])
        run.progress(done, len(ids), "mispredicted test pairs explained")
    base = float(np.nanmean(feature_values(workspace, "lexical_overlap")))
    rows = [_row(method, np.array(found)) for method, found in rates.items()]
    return Findings(
        summary={"base_rate": base, "tests": len(ids), **{f"top_10, {row['method']}": row["top_10"] for row in rows}},
        table=[*rows, {**_row(BASE, np.array([[base, base]])), "n": None}],
        paper=PAPER,
        notes=(f"Test pairs mispredicted as '{label}'.",),
    )


def _mispredicted(run: Run, label: str, most: int) -> list[int]:
    """At most `most` ids of test pairs mispredicted as a label, drawn; UserError where there is none."""
    wrong = wrongly_predicted(run.workspace)
    ids = run.sample(wrong.get(label, []), most)
    if not ids:
        others = ", ".join(f"{name} {len(wrong.get(name, []))}" for name in run.workspace.labels)
        raise UserError(f"No test pair is mispredicted as '{label}'. Mispredictions as each label: {others}.")
    return ids


def wrongly_predicted(workspace: Workspace) -> dict[str, list[int]]:
    """The mispredicted test ids by the label that was predicted."""
    found: dict[str, list[int]] = {}
    predicted = workspace.predict_test().to_numpy().argmax(axis=1)
    for test, label, true in zip(workspace.test.index, predicted, workspace.label_ids(workspace.test), strict=True):
        if label != true:
            found.setdefault(workspace.labels[label], []).append(int(test))
    return found


def _row(method: str, rates: np.ndarray) -> Row:
    """Means over the test pairs (tests, tops) and their standard errors; None where there are too few."""
    row: Row = {"method": method}
    for k, found in zip(TOPS, rates.T, strict=True):
        row[f"top_{k}"], row[f"top_{k}_error"] = mean_error(found)
    return {**row, "n": len(rates)}
