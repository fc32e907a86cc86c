"""Planted wrong labels: a ranking finds them, and repairing what it finds brings the lost accuracy back."""

import numpy as np
import pandas as pd
import pytest

from attribution import create_workspace
from attribution.demo import demo_directory
from attribution.editing.retrain import plan_of
from attribution.experiments.mislabel import LOSS, SELF
from attribution.exporting import export_model
from attribution.index import silent
from attribution.retraining import Job, Plan, Retrainer
from attribution.workspace import Workspace, open_workspace

N, TESTS, DRAWS = 200, 1300, 12


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The demo's model with reviews that it was not trained on: so many to train its head on, twice, and to test it.

    Training example N + i is example i with the other label, so that every draw of flips is a choice of rows.
    """
    folder, demo = tmp_path_factory.mktemp("held-out"), open_workspace(demo_directory(), device="cpu")
    rows = demo.test.sample(N + TESTS, random_state=0).reset_index(drop=True)
    true = rows[:N]
    one, two = demo.labels
    other = true.assign(label=np.where(true["label"] == one, two, one))
    pd.concat([true, other]).to_parquet(folder / "train.parquet")
    rows[N:].to_parquet(folder / "test.parquet")
    model = export_model(demo, folder / "model")
    files = {name: folder / f"{name}.parquet" for name in ("train", "test")}
    return create_workspace(folder / "w", model=model, train=files["train"], test=files["test"])[0]


def test_repairing_what_a_ranking_finds_brings_the_accuracy_back(held_out: Workspace) -> None:
    """5 % of the labels flipped, twelve times: at least 60 % of them stand in the first 15 % by loss.

    Relabelling those, as a person who reads the first 15 % would, recovers at least half of the accuracy that the flips
    cost. What is retrained is the head, with a penalty small enough for it to follow single examples.
    """
    assert plan_of(held_out).recipe is None, "a model that came trained has its head solved anew"
    losses, everything = SELF[LOSS](held_out, silent), np.arange(N)
    draw, jobs, found = np.random.default_rng(0), [], []
    for _ in range(DRAWS):
        flips = draw.permutation(N)[: round(0.05 * N)]
        flipped = everything + N * np.isin(everything, flips)
        first = np.argsort(-losses[flipped], kind="stable")[: round(0.15 * N)]
        repaired = np.where(np.isin(everything, first), everything, flipped)
        found.append(np.isin(flips, first).mean())
        jobs += [Job(rows=rows, seed=0, tests=np.arange(TESTS)) for rows in (everything, flipped, repaired)]
    retrainer = Retrainer(
        held_out, Plan(recipe=None, l2=1e-5), np.arange(TESTS), lambda question, make: dict(make()), silent
    )
    logits = np.stack(retrainer.logits(jobs)).reshape(DRAWS, 3, TESTS, -1)
    clean, spoilt, mended = (logits.argmax(axis=-1) == held_out.label_ids(held_out.test)).mean(axis=(0, 2))
    assert np.mean(found) >= 0.6, f"{np.mean(found):.2f} of the flips in the first 15 %"
    assert clean - spoilt > 0.01, f"flips must cost accuracy to show anything: {clean:.3f} to {spoilt:.3f}"
    assert mended - spoilt >= (clean - spoilt) / 2, f"{clean:.3f} clean, {spoilt:.3f} flipped, {mended:.3f} repaired"
