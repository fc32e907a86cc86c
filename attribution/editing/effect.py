"""What a set of edits is predicted to do to one prediction, or to the whole test set, before anything is trained.

Leaving example z out changes F by −score(z)/n (Koh & Liang 2017 eq. 2, summed over a group as in Koh et al. 2019);
changing it to z̃ changes F by (score(z̃) − score(z))/n, both scores under the model as it is (Meng et al. 2020 eq. 6–7).
An estimate to first order: it is good for few edits and gets worse the more of a class they change.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from attribution.editing.apply import changed_ids, edited_table
from attribution.editing.changes import RowEdit
from attribution.errors import unknown
from attribution.group import Group
from attribution.index import Progress, silent
from attribution.parameters import checked
from attribution.query import Query
from attribution.registry import get_method
from attribution.results import Scorer
from attribution.scoring import copies_of, plan, sides_of

METHODS = ("influence_head", "influence")


@dataclass(frozen=True, kw_only=True)
class Effect:
    """The predicted effect of some edits on a quantity F, in F's own unit (log p and margins: natural logarithm).

    `value`: F under the model as it is; `change`: what training with all edits is predicted to add to it. `rows`: the
    part of each edited example, a table of train_id and change by falling size. `notes`: such as convergence.
    """

    quantity: str
    value: float
    change: float
    rows: pd.DataFrame
    method: str
    parameters: Mapping[str, Any]
    scorer: Scorer
    seconds: float
    notes: tuple[str, ...]


def predicted_effect(
    question: Query | Group,
    edits: Mapping[int, RowEdit],
    *,
    method: str = "influence_head",
    parameters: Mapping[str, Any] | None = None,
    progress: Progress = silent,
) -> Effect:
    """The predicted effect on a question's quantity of some edits that hold (`EditLog.current`) or would (`preview`).

    For the whole test set ask `group.whole_test_set`: its quantity is minus the mean loss. How many predictions change
    is not predicted: retraining measures it. Raises UserError for a method that does not predict removal and for a
    normalised one. Cost: a forward and a backward pass over the test examples asked about, and each edited example
    twice; the head's Hessian or the curvature once.
    """
    chosen = get_method(method)
    if method not in METHODS or chosen.preset is None:
        raise unknown("method that predicts what an edit does", method, METHODS)
    values = checked(method, chosen.parameters, parameters or {})
    choices = chosen.preset.overlaid(values)
    if choices.normalise != "none":
        raise unknown("normalise for a predicted effect, whose size it divides out", choices.normalise, ("none",))
    began = time.perf_counter()
    workspace, ids, notes = question.workspace, changed_ids(edits), []
    planned = plan(workspace, choices, indexed=False)
    changes = np.zeros(len(ids))
    if len(ids):
        sides = sides_of(question, question.quantity(), planned, progress, notes)
        encoded, labels, owner, signs = _rows(question, edits, ids)
        scores = copies_of(sides)(encoded, labels, owner)
        place = workspace.train.index.get_indexer(list(ids))
        np.add.at(changes, np.searchsorted(place, owner), signs * scores / len(workspace.train))
    order = np.argsort(-np.abs(changes), kind="stable")
    return Effect(
        quantity=question.quantity().name,
        value=question.value(),
        change=float(changes.sum()),
        rows=pd.DataFrame({"train_id": ids[order], "change": changes[order]}),
        method=method,
        parameters=values,
        scorer=planned.scorer,
        seconds=time.perf_counter() - began,
        notes=tuple(notes),
    )


def _rows(
    question: Query | Group, edits: Mapping[int, RowEdit], ids: np.ndarray
) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray]:
    """The examples as they are (sign −1), then as they will be where they are kept (+1), encoded.

    Also their label ids, the position in the training table of the example that each is of, and the signs.
    """
    workspace = question.workspace
    before = workspace.train.loc[list(ids)]
    after = edited_table(workspace, edits)
    after = after.loc[[row for row in ids if not edits[row].removed]]
    both = pd.concat([before, after])
    pairs = both["text_pair"].tolist() if workspace.is_pair else None
    encoded = workspace.classifier.tokenize(both["text"].tolist(), pairs)
    owner = workspace.train.index.get_indexer(both.index)
    return encoded, workspace.label_ids(both), owner, np.repeat([-1.0, 1.0], [len(before), len(after)])
