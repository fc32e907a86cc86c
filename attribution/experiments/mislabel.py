"""Wrong labels found by the influence of training examples on themselves (Koh & Liang 2017 §5.4)."""

import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from attribution.cost import build_seconds
from attribution.data import data_digest
from attribution.errors import UserError, unknown
from attribution.experiments.registry import CONTROL, Findings, Row, Run, experiment
from attribution.experiments.retrained import BatchSize, Epochs, LearningRate, usable
from attribution.index import load, parts, silent
from attribution.parameters import Name, Range
from attribution.registry import required_parts
from attribution.retraining import Job, make_plan
from attribution.retraining.blocks import Blocks
from attribution.self_influence import LOSS, SELF, needed_parts
from attribution.storage import digest_json
from attribution.suspects.ranking import likeliest_others
from attribution.training import Recipe, train
from attribution.workspace import Workspace, open_workspace, write_settings, write_tables

VERSION = 1
CHECKED = (5, 10, 20, 30)
SHOWN = 20


def _seconds(run: Run, *, flips: float, retrain: str, epochs: int, learning_rate: float, batch_size: int) -> float:
    """Every method's pass over the training set, asked twice; with flips the training and its model's index too."""
    workspace, methods, total = run.workspace, [m for m in _methods(run)[0] if m != CONTROL], 0.0
    for done, method in enumerate((*methods, LOSS), start=1):
        SELF[method](workspace, run.progress)
        began = time.perf_counter()
        SELF[method](workspace, silent)
        total += time.perf_counter() - began
        run.progress(done, len(methods) + 1, "methods timed")
    if not _count(run, flips):
        return total
    began = time.perf_counter()
    recipe = _recipe(run, retrain, epochs, learning_rate, batch_size)
    engine = Blocks(workspace, recipe, np.arange(1), run.progress)
    prefix = time.perf_counter() - began
    everything = Job(rows=np.arange(len(workspace.train)), seed=run.seed, tests=np.arange(1))
    read = dict.fromkeys(p for m in methods for p in (*required_parts(workspace, m), *needed_parts(workspace, m)))
    return total + prefix + engine.seconds(everything) + (build_seconds(workspace, list(read)) or 0.0)


@experiment(
    title="Finding wrong labels",
    paper="Koh & Liang 2017 §5.4",
    cost="with planted flips one training, then one pass over the training set a method",
    methods=("influence_head", "influence", "gd", "tracin_last", "representer"),
    small={"epochs": 1},
    estimate=_seconds,
)
def mislabel(
    run: Run,
    *,
    flips: Annotated[
        float, Range(low=0, high=0.5, help="Share of training labels to flip before training; 0: the data as it is.")
    ] = 0.1,
    retrain: Annotated[
        str,
        Name(choices=("auto", "head", "last:2", "all"), help="What is trained; auto: as the workspace was, or head."),
    ] = "auto",
    epochs: Epochs = 0,
    learning_rate: LearningRate = 0.0,
    batch_size: BatchSize = 0,
) -> Findings:
    """Training examples by their influence on their own loss: the share of planted flips among the first x %, and AUC.

    A model is trained on the flipped labels first. The table has the loss itself and a random order beside, with
    Hanley and McNeil's standard error of the AUC. `ranking` lists all training examples by the first method, with the
    likeliest other label. flips=0 ranks the user's own data under the workspace's own model.
    """
    methods, notes = _methods(run)
    planted = np.sort(np.random.default_rng(run.seed).permutation(len(run.workspace.train))[: _count(run, flips)])
    recipe = _recipe(run, retrain, epochs, learning_rate, batch_size) if len(planted) else None
    found, logits = _scores(run, [*methods, LOSS], planted, recipe)
    labels = _flipped(run, planted)
    leading = methods[0]
    ranking = _ranking(run, found[leading], labels, logits)
    more = {"ranking": ranking, "ranking_method": leading}
    if not len(planted):
        table = [{"method": leading, **row} for row in ranking[:SHOWN]]
        said = f"No label was flipped: the {len(table)} examples that are the likeliest to be labelled wrongly."
        return Findings(summary={"examples": len(labels)}, table=table, notes=(*notes, said), more=more)
    table = [_row(method, scores, planted) for method, scores in found.items()]
    trained = f"Trained on the flipped labels: {recipe.trainable}, {recipe.epochs} epochs." if recipe else ""
    return Findings(
        summary={"flipped": len(planted), **{f"auc, {row['method']}": row["auc"] for row in table}},
        table=table,
        notes=(*notes, trained),
        more={**more, "planted": run.workspace.train.index[planted].tolist()},
    )


def _methods(run: Run) -> tuple[list[str], list[str]]:
    """The methods, the random control last, and notes; UserError for one that has no influence on itself."""
    methods, notes = usable(run)
    for method in methods:
        if method not in (*SELF, CONTROL):
            raise unknown("method with an influence on itself", method, [m for m in SELF if m != LOSS])
    return methods, notes


def _count(run: Run, flips: float) -> int:
    """How many labels to flip; UserError where a share above 0 is less than one example."""
    count = round(flips * len(run.workspace.train))
    if flips and not count:
        raise UserError(f"flips={flips:g} is less than one of the {len(run.workspace.train)} training examples.")
    return count


def _recipe(run: Run, retrain: str, epochs: int, learning_rate: float, batch_size: int) -> Recipe:
    def plan(part: str) -> Recipe | None:
        given: Any = {"epochs": epochs, "learning_rate": learning_rate, "batch_size": batch_size, "l2": 1.0}
        return make_plan(run.workspace, part, **given).recipe

    made = plan(retrain) or (plan("head") if retrain == "auto" else None)
    if made is None:
        raise UserError(
            "retrain=refit keeps features that have seen the true labels: choose auto, head, last:K or all."
        )
    return replace(made, seed=run.seed)


def _flipped(run: Run, planted: np.ndarray) -> np.ndarray:
    """The label ids with the planted ones moved to another label, drawn with the run's seed."""
    labels, count = run.workspace.label_ids(run.workspace.train), len(run.workspace.labels)
    labels[planted] = (labels[planted] + np.random.default_rng(run.seed).integers(1, count, len(planted))) % count
    return labels


def _scores(
    run: Run, methods: Sequence[str], planted: np.ndarray, recipe: Recipe | None
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The influence of every training example on itself by method, and the final logits (train, labels); kept."""
    question = {"self_influence": VERSION, "planted": planted.tolist(), "seed": run.seed, "recipe": repr(recipe)}
    folder = run.workspace.storage / "results" / "experiments" / f"mislabel-{digest_json(question)[:16]}"
    opened: list[Workspace] = []

    def model() -> Workspace:
        if not opened:
            opened.append(run.workspace if recipe is None else _trained(run, planted, recipe, folder))
        return opened[0]

    def logits() -> dict[str, np.ndarray]:
        (part,) = parts(model(), "features")
        return {"logits": np.asarray(load(model(), part, run.progress)["logits"])}

    found = {}
    for done, method in enumerate(methods):
        if method == CONTROL:
            found[method] = np.random.default_rng(run.seed + 1).random(len(run.workspace.train))
        else:
            given = {**question, "method": method}
            found[method] = run.kept(given, lambda m=method: {"scores": SELF[m](model(), run.progress)})["scores"]
        run.progress(done + 1, len(methods), "methods")
    last = run.kept({**question, "logits": True}, logits)["logits"]
    shutil.rmtree(folder, ignore_errors=True)
    return found, last


def _trained(run: Run, planted: np.ndarray, recipe: Recipe, folder: Path) -> Workspace:
    """A workspace with the flipped labels, trained; one that an interrupted run left there trained is taken."""
    if (folder / "checkpoints").is_dir():
        return open_workspace(folder, device=run.workspace.device)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    workspace = run.workspace
    names = np.array(workspace.labels)
    changed: pd.DataFrame = workspace.train.assign(label=names[_flipped(run, planted)])
    reference = workspace.settings.model
    settings = replace(
        workspace.settings,
        name=f"{workspace.name}, labels flipped",
        source="files",
        train_digest=data_digest(changed),
        model=reference if reference.startswith("package:") else str((workspace.directory / reference).resolve()),
        has_head=False,
    )
    write_tables((changed, workspace.test), (folder / "train.parquet", folder / "test.parquet"))
    write_settings(folder, settings)
    return train(open_workspace(folder, device=workspace.device), recipe, run.progress)


def _ranking(run: Run, scores: np.ndarray, labels: np.ndarray, logits: np.ndarray) -> list[Row]:
    """Every training example by falling score, with the label it has and the likeliest other one."""
    names, ids, suspected = run.workspace.labels, run.workspace.train.index, likeliest_others(logits, labels)
    return [
        {
            "rank": rank,
            "train_id": int(ids[row]),
            "label": names[labels[row]],
            "suspected_label": names[suspected[row]],
            "score": float(scores[row]),
        }
        for rank, row in enumerate(np.argsort(-scores, kind="stable"), start=1)
    ]


def _row(method: str, scores: np.ndarray, planted: np.ndarray) -> Row:
    """AUC with its error, and the share of the planted flips among the first x % by falling score."""
    n, m = len(scores), len(planted)
    area = (rankdata(scores)[planted].sum() - m * (m + 1) / 2) / (m * (n - m))
    one, two = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (m - 1) * (one - area**2) + (n - m - 1) * (two - area**2)
    order = np.argsort(-scores, kind="stable")
    shares = {f"found_in_{x}%": float(np.isin(order[: round(x / 100 * n)], planted).sum() / m) for x in CHECKED}
    return {"method": method, "auc": float(area), "standard_error": math.sqrt(variance / (m * (n - m))), **shares}
