"""Ral: what accuracy loses when a method's leading training examples go, against heads solved by scipy."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax

from attribution.experiments.accuracy_loss import accuracy_losses, read_shares
from attribution.experiments.registry import Run, run_experiment
from attribution.index import silent
from attribution.registry import attribute
from attribution.retraining import make_plan
from attribution.workspace import Workspace
from tests.oracles import encoded, own_model
from tests.tiny import refusal

L2 = 0.001


def features(workspace: Workspace, part: str) -> np.ndarray:
    """What enters the last layer of a plain model: (texts, width)."""
    model, seen = own_model(workspace), []
    model.get_submodule("classifier").register_forward_pre_hook(lambda _, args: seen.append(args[0][0].numpy()))
    with torch.no_grad():
        for _, row in getattr(workspace, part).iterrows():
            model(**encoded(workspace, row))
    return np.stack(seen)


def accuracy(workspace: Workspace, rows: np.ndarray) -> float:
    """Test accuracy of the head (W, b) that minimises mean cross-entropy + λ‖(W, b)‖² on some training examples."""
    labels = np.array([workspace.labels.index(label) for label in workspace.train["label"]])[rows]
    right = np.array([workspace.labels.index(label) for label in workspace.test["label"]])
    train, test = (np.pad(features(workspace, part), ((0, 0), (0, 1)), constant_values=1) for part in ("train", "test"))

    def loss(flat: np.ndarray) -> float:
        log_p = log_softmax(train[rows] @ flat.reshape(2, -1).T, axis=1)
        return float(-log_p[np.arange(len(rows)), labels].mean() + L2 * (flat**2).sum())

    found = minimize(loss, np.zeros(2 * train.shape[1]), method="L-BFGS-B", tol=1e-12, options={"maxfun": 100_000})
    return float(((test @ found.x.reshape(2, -1).T).argmax(axis=1) == right).mean())


def losses(workspace: Workspace, totals: dict[str, np.ndarray], remove: str, seeds: int = 1) -> Any:
    run = Run(workspace=workspace, methods=(), seed=0, progress=silent)
    shares = read_shares(remove, len(workspace.train))
    plan = make_plan(workspace, "refit", epochs=0, learning_rate=0.0, batch_size=0, l2=L2)
    return accuracy_losses(run, plan, totals, shares, seeds)


def test_ral_is_the_accuracy_lost(workspace: Workspace) -> None:
    """Two rankings and two amounts, each beside a head that is solved without those examples."""
    draw = np.random.default_rng(2)
    totals = {"one": draw.normal(size=40), "other": draw.normal(size=40)}
    found, notes = losses(workspace, totals, "20%, 25")
    whole = accuracy(workspace, np.arange(40))
    assert not notes and set(found) == {(m, share) for m in totals for share in ("20%", "25")}
    for (method, share), values in found.items():
        left = np.argsort(-totals[method])[8 if share == "20%" else 25 :]
        assert values == pytest.approx(whole - accuracy(workspace, np.sort(left)))


def test_a_label_that_is_gone_has_no_ral(workspace: Workspace) -> None:
    """With all examples of a label removed nothing is trained, and a note says so; of ties those that go are drawn."""
    positive = (workspace.train["label"] == "positive").to_numpy(dtype=np.float64)
    count = int(positive.sum())
    found, notes = losses(workspace, {"label": positive, "nothing": np.zeros(40)}, str(count), seeds=2)
    assert np.isnan(found["label", str(count)]).all() and found["nothing", str(count)].shape == (2,)
    assert notes == ["1 removals would leave nothing of a label: they have no Ral."]


def test_the_scores_of_the_tests_are_added(workspace: Workspace) -> None:
    """The experiment removes what leads in the sum of a method's scores over the asked test examples."""
    asked: dict[str, Any] = {"tests": 3, "remove": "30%", "finder": "sentences", "retrain": "refit", "l2": L2}
    found = run_experiment(workspace, "span_agreement", methods=["influence_head"], parameters=asked).findings
    rows = {row["method"]: row for row in found.table if row["removed"]}
    assert set(rows) == {"influence_head", "random"} and rows["random"]["k"] == 12
    run = Run(workspace=workspace, methods=(), seed=0, progress=silent)
    ids = run.sample(list(workspace.test.index), 3)
    total = np.sum([attribute(workspace, "influence_head", test=test).scores for test in ids], axis=0)
    (expected,) = losses(workspace, {"": total}, "30%")[0].values()
    assert rows["influence_head"]["ral"] == pytest.approx(expected[0])
    assert all(row["ral"] is None for row in found.table if not row["removed"])


@pytest.mark.parametrize("remove", ["0%", "100%", "20%,x", "40", "", "0"])
def test_an_amount_that_is_none_is_one_line(workspace: Workspace, remove: str) -> None:
    """Shares strictly between, numbers that leave something."""
    told = refusal(lambda: run_experiment(workspace, "span_agreement", parameters={"tests": 1, "remove": remove}))
    assert "remove" in told and len(told.splitlines()) == 1
