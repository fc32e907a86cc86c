"""Whether a method finds the training example that a text is a near copy of (Pezeshkpour et al. 2021 appendix D)."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np

from attribution.experiments.measures import Entry, asking_seconds, mean_error
from attribution.experiments.registry import CONTROL, Findings, Row, Run, experiment
from attribution.parameters import Name, Range
from attribution.query import make_query, sample_ids
from attribution.workspace import Workspace

EDITS = ("train", "add", "remove", "replace")
TOPS = (1, 10)
NONE = -1
MODEL = (
    "BERT-base fine-tuned on {0}; every training example is a target, and what is changed is a token, of which the "
    "paper does not say whether it is a word or a piece of one"
)
SST = MODEL.format("6,920 sentences of SST-2")
MNLI = MODEL.format("10,000 pairs of MNLI")
# HIT@1 and HIT@10 in per cent for train, add, remove and replace.
TABLE_3 = {
    "nn_euc": (100, 100, 99.9, 100, 66.5, 73.7, 99.9, 100),
    "nn_cos": (100, 100, 99.8, 100, 67.3, 74.6, 99.8, 100),
    "nn_dot": (0.73, 2.06, 0.73, 2.06, 0.47, 2.19, 0.73, 2.06),
    "influence_head": (0.01, 0.34, 0.01, 0.35, 0.04, 0.25, 0.01, 0.35),
    "representer": (0.01, 0.27, 0.01, 0.27, 0.04, 0.22, 0.01, 0.27),
    "relatif": (95.8, 96.0, 95.9, 96.0, 65.0, 72.2, 95.8, 96.0),
    "gd": (0.01, 0.38, 0.01, 0.38, 0.04, 0.23, 0.01, 0.37),
    "gc": (95.9, 96.0, 95.9, 96.0, 65.3, 72.3, 95.9, 96.0),
}
TABLE_4 = {
    "nn_euc": (100, 100, 100, 100, 36.7, 45.8, 100, 100),
    "nn_cos": (100, 100, 100, 100, 38.1, 46.8, 100, 100),
    "nn_dot": (1.30, 6.44, 1.30, 6.44, 3.49, 10.7, 1.30, 6.44),
    "influence_head": (0.0, 0.01, 0.0, 0.01, 0.02, 0.10, 0.0, 0.01),
    "representer": (0.0, 0.01, 0.0, 0.01, 0.01, 0.09, 0.0, 0.01),
    "relatif": (92.5, 92.5, 92.5, 92.5, 32.6, 41.2, 92.5, 92.5),
    "gd": (0.0, 0.01, 0.0, 0.01, 0.10, 0.50, 0.0, 0.01),
    "gc": (92.5, 92.5, 92.5, 92.5, 32.8, 41.2, 92.5, 92.5),
}


def _paper(workspace: Workspace) -> list[Row]:
    table, differs = (TABLE_4, MNLI) if workspace.is_pair else (TABLE_3, SST)
    return [
        {
            "method": method,
            "edit": edit,
            "hit_1": hits[2 * k] / 100,
            "hit_10": hits[2 * k + 1] / 100,
            "differs": differs,
        }
        for method, hits in table.items()
        for k, edit in enumerate(EDITS)
    ]


def _seconds(run: Run, *, examples: int, scope: str) -> float:
    entries = [Entry(method=method, scope=scope) for method in run.controlled]
    asked = min(examples, len(run.workspace.train)) * len(EDITS)
    return asking_seconds(run, entries, asked, rerank=True)


@experiment(
    title="Near copies of training examples",
    paper="Pezeshkpour 2021 appendix D, Tables 3–4",
    cost="four questions a training example and method; over the head some milliseconds each",
    methods=(*TABLE_3, CONTROL),
    small={"examples": 3},
    estimate=_seconds,
)
def near_training(
    run: Run,
    *,
    examples: Annotated[int, Range(low=1, high=10_000_000, help="Training examples at most, drawn.")] = 100,
    scope: Annotated[
        str, Name(choices=("head", "last:2"), help="Parameters of the methods that take a scope; the paper's: head.")
    ] = "head",
) -> Findings:
    """HIT@1 and HIT@10: the share, 0 to 1, of near copies whose original is among the method's top 1 and top 10.

    The text asked about is the training example itself (train), or it with a word of the training set put in at a
    random place (add), with a word taken out (remove), or with a word of the training set in the place of one
    (replace); of a pair each text is changed. It is explained for the original's label. A training example with the
    very texts of the original counts as it. With standard errors, beside a random control; a text of one word has none
    to remove (`n`).
    """
    workspace, methods = run.workspace, list(run.controlled)
    words = vocabulary(workspace)
    positions, found = sample_ids(range(len(workspace.train)), examples, run.seed), []
    for done, position in enumerate(positions, start=1):
        question = {"experiment": "near_training", "train": position, "methods": methods, "scope": scope}

        def make(position: int = position) -> dict[str, np.ndarray]:
            return {"ranks": _ranks(run, position, methods, scope, words)}

        found.append(run.kept({**question, "seed": run.seed}, make)["ranks"])
        run.progress(done, len(positions), "training examples edited")
    ranks = np.stack(found)
    rows = [_row(method, edit, ranks[:, e, m]) for m, method in enumerate(methods) for e, edit in enumerate(EDITS)]
    hits = {f"hit_1, {r['edit']}, {r['method']}": r["hit_1"] for r in rows if r["hit_1"] is not None}
    return Findings(summary={"examples": len(positions), **hits}, table=rows, paper=_paper(workspace))


def vocabulary(workspace: Workspace) -> list[str]:
    """The distinct words of the training texts, split at spaces, sorted."""
    texts, pairs = workspace.texts("train")
    return sorted({word for text in (*texts, *(pairs or ())) for word in text.split()})


def edited(texts: Sequence[str], edit: str, words: Sequence[str], draw: np.random.Generator) -> list[str] | None:
    """The texts with one word of each added, removed or replaced; None where no text has a word to spare."""
    made = []
    for text in texts:
        own = text.split()
        at = int(draw.integers(len(own) + (edit == "add")))
        new = str(draw.choice(words))
        if edit == "add":
            own.insert(at, new)
        elif edit == "remove" and len(own) > 1:
            del own[at]
        elif edit == "replace":
            own[at] = new
        made.append(text if edit == "train" else " ".join(own))
    return None if edit == "remove" and all(len(text.split()) < 2 for text in texts) else made


def _ranks(run: Run, position: int, methods: Sequence[str], scope: str, words: Sequence[str]) -> np.ndarray:
    """The best rank of the original or a copy of it under each edit and method, from 1: (edits, methods)."""
    table = run.workspace.train
    columns = ["text", "text_pair"] if run.workspace.is_pair else ["text"]
    original = table.iloc[position]
    copies = np.flatnonzero((table[columns] == original[columns]).all(axis=1))
    texts = [str(original[column]) for column in columns]
    draw, ranks = np.random.default_rng([run.seed, position]), np.full((len(EDITS), len(methods)), NONE)
    for e, edit in enumerate(EDITS):
        changed = edited(texts, edit, words, draw)
        if changed is None:
            continue
        second = changed[1] if run.workspace.is_pair else None
        query = make_query(run.workspace, text=changed[0], text_pair=second, label=str(original["label"]))
        for m, method in enumerate(methods):
            order = run.answer(query, method, scope=scope, rerank=True).order
            ranks[e, m] = 1 + int(np.isin(order, copies).argmax())
    return ranks


def _row(method: str, edit: str, ranks: np.ndarray) -> Row:
    ranks = ranks[ranks != NONE]
    row: Row = {"method": method, "edit": edit}
    for top in TOPS:
        row[f"hit_{top}"], row[f"hit_{top}_error"] = mean_error(ranks <= top)
    return {**row, "n": len(ranks)}
