"""The experiments that change or add training examples, on a convex head that can be solved again independently."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest

from attribution.experiments import perturbed
from attribution.experiments.perturbed import Aim, Change, Searching, best_changes, groups_of, random_changes, rounds
from attribution.experiments.registry import Report, Run, estimate_seconds, run_experiment
from attribution.index import silent
from attribution.perturbing import Kind
from attribution.workspace import Workspace
from tests.oracles import Convex, encoded, own_model, penultimate
from tests.tiny import BAD, GOOD, refusal

L2 = 0.01
ASKED: dict[str, Any] = {
    "retrain": "refit",
    "scope": "head",
    "explain": "log_probability",
    "shortlist": 30,
    "l2": L2,
    "damping": 0.01,
}
HOW = Searching(
    words="synonyms",
    shortlist=30,
    candidates=5,
    explain="log_probability",
    saliency="gradient_x_input",
    scope="head",
    damping=0.01,
)


def opposite(word: str) -> Mapping[str, Kind]:
    """The words of the other label in the place of those that decide one."""
    others = BAD if word in GOOD else GOOD if word in BAD else []
    return dict.fromkeys(others, "synonym")


@pytest.fixture
def decided(convex: Convex, monkeypatch: pytest.MonkeyPatch) -> Convex:
    """A label that one word decides, and a lexicon that turns that word round."""
    monkeypatch.setattr(perturbed, "LEXICONS", {"synonyms": opposite, "synonyms and antonyms": opposite})
    return convex


def run_of(workspace: Workspace) -> Run:
    return Run(workspace=workspace, methods=(), seed=0, progress=silent)


def rows_of(report: Report) -> dict[tuple[str, int], dict[str, Any]]:
    return {(row["change"], row["k"]): row for row in report.findings.table}


def solved(convex: Convex, features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """p of every test example (tests, labels) from a head solved anew, by gradient descent's fixed point in Newton."""
    x, y = np.hstack([features, np.ones((len(features), 1))]), np.eye(2)[labels]
    theta = np.zeros((2, x.shape[1]))
    for _ in range(60):
        p = np.exp(x @ theta.T)
        p /= p.sum(axis=1, keepdims=True)
        slope = (p - y).T @ x / len(x) + 2 * L2 * theta
        spread = np.einsum("nc,ce->nce", p, np.eye(2)) - np.einsum("nc,ne->nce", p, p)
        hessian = np.einsum("nce,nd,nf->cdef", spread, x, x, optimize=True).reshape(theta.size, -1) / len(x)
        theta -= np.linalg.solve(hessian + 2 * L2 * np.eye(theta.size), slope.ravel()).reshape(theta.shape)
    logits = np.hstack([convex.test_features, np.ones((len(convex.test_features), 1))]) @ theta.T
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def features_of(convex: Convex, changes: list[Change]) -> np.ndarray:
    model = own_model(convex.workspace)
    rows = [penultimate(model, encoded(convex.workspace, pd.Series({"text": c.text}))) for c in changes]
    return np.stack(rows)


def test_an_attack_turns_the_tests_and_chance_does_not(decided: Convex) -> None:
    """Turning the deciding word of k examples round costs the true label far more where influence chose them."""
    found = rows_of(
        run_experiment(decided.workspace, "adversarial", parameters={**ASKED, "tests": 8, "k": "2,20", "together": 1})
    )
    assert set(found) == {
        ("none", 0),
        *((c, k) for c in ("lower w_y", "raise w_y'", "both", "random") for k in (2, 20)),
    }
    for change in ("lower w_y", "both"):
        chosen, chance = found[change, 20], found["random", 20]
        gap = chance["probability_change"] - chosen["probability_change"]
        assert gap > 2 * (chosen["probability_change_error"] + chance["probability_change_error"]), (chosen, chance)
        assert chosen["accuracy"] < found["none", 0]["accuracy"] and chosen["flipped"] > chance["flipped"]
        assert found[change, 20]["probability_change"] < found[change, 2]["probability_change"] < 0
    assert found["none", 0]["flipped"] == found["none", 0]["probability_change"] == 0
    assert found["lower w_y", 20]["changed"] == 8 * 20


def test_the_attacked_model_is_the_head_solved_on_the_changed_examples(decided: Convex) -> None:
    """Accuracy, flips and probabilities are those of Newton's method on the data with the changed texts in place."""
    workspace, k = decided.workspace, 5
    report = run_experiment(workspace, "adversarial", parameters={**ASKED, "tests": 11, "k": str(k), "together": 1})
    true = workspace.label_ids(workspace.test)
    before, after = solved(decided, decided.features, decided.labels), []
    for test in range(11):
        changes = best_changes(run_of(workspace), test, Aim(label=int(true[test]), raises=False), HOW)[:k]
        features = decided.features.copy()
        features[[c.position for c in changes]] = features_of(decided, changes)
        after.append(solved(decided, features, decided.labels)[test])
    row, made = rows_of(report)["lower w_y", k], np.array(after)
    each = np.arange(11)
    assert row["probability_change"] == pytest.approx((made[each, true] - before[each, true]).mean(), abs=2e-4)
    assert row["accuracy"] == pytest.approx((made.argmax(axis=1) == true).mean())
    was, now = before.argmax(axis=1) == true, made.argmax(axis=1) == true
    assert row["flipped"] == pytest.approx((was & ~now).sum() / was.sum())


def test_a_repair_adds_copies_and_measures_the_other_half(decided: Convex) -> None:
    """The share repaired and the accuracy of the tests that were not looked at are those of the head solved anew."""
    workspace, k = decided.workspace, 4
    asked = {**ASKED, "tests": 11, "k": f"{k}"}
    assert estimate_seconds(workspace, "fix", parameters=asked) > 0, "the copies are not there yet"
    report = run_experiment(workspace, "fix", parameters=asked)
    found, true = rows_of(report), workspace.label_ids(workspace.test)
    dev = np.sort(np.random.default_rng(0).permutation(11)[:6])
    held = np.setdiff1d(np.arange(11), dev)
    predicted = workspace.predict_test().to_numpy().argmax(axis=1)
    wrong = [t for t in dev if predicted[t] != true[t]]
    assert report.findings.summary["tests"] == len(wrong) and report.findings.summary["held_out_tests"] == len(held)
    changes = [
        change
        for test in wrong
        for change in best_changes(
            run_of(workspace),
            int(test),
            Aim(label=int(true[test]), raises=True),
            Searching(**{**HOW.__dict__, "words": "synonyms and antonyms"}),
        )[:k]
    ]
    assert found["raise w_y", k]["added"] == len(changes) == k * len(wrong)
    features = np.concatenate([decided.features, features_of(decided, changes)])
    labels = np.append(decided.labels, decided.labels[[c.position for c in changes]])
    right = solved(decided, features, labels).argmax(axis=1) == true
    plain = solved(decided, decided.features, decided.labels).argmax(axis=1) == true
    assert found["raise w_y", k]["corrected"] == pytest.approx(right[wrong].mean())
    assert found["raise w_y", k]["held_out"] == pytest.approx(right[held].mean())
    assert found["raise w_y", k]["gain"] == pytest.approx(right[held].mean() - plain[held].mean())
    assert found["none", 0]["corrected"] == pytest.approx(plain[wrong].mean())


def test_changes_move_what_they_aim_at(decided: Convex) -> None:
    """Every change offered for lowering lowers, the strongest first; a training example is offered once."""
    workspace = decided.workspace
    for raises in (False, True):
        found = best_changes(run_of(workspace), 2, Aim(label=1, raises=raises), HOW)
        assert len({c.position for c in found}) == len(found) > 5
        moved, before = [], solved(decided, decided.features, decided.labels)[2, 1]
        for change in found[:4]:
            features = decided.features.copy()
            features[change.position] = features_of(decided, [change])[0]
            moved.append(np.log(solved(decided, features, decided.labels)[2, 1] / before))
        assert all((m > 0) == raises for m in moved), moved


def test_rounds_change_a_training_example_once() -> None:
    """Each test takes its best free change in turn; what is taken is gone; lists take turns."""

    def change(position: int) -> Change:
        return Change(position=position, text=f"text {position}", text_pair=None)

    one, two = [[change(1), change(2), change(3)]], [[change(1), change(3), change(4)]]
    taken = rounds([one, two], 3, once=True)
    assert [[c.position for turn in taken for c in turn[test]] for test in range(2)] == [[1, 2], [3, 4]]
    free = rounds([one, two], 2, once=False)
    assert [[c.position for turn in free for c in turn[test]] for test in range(2)] == [[1, 2], [1, 3]]
    both = rounds([[[change(1), change(2)], [change(8), change(9)]]], 4, once=True)
    assert [c.position for turn in both for c in turn[0]] == [1, 8, 2, 9]


def test_the_control_changes_as_many_at_random(workspace: Workspace) -> None:
    """Distinct training examples, drawn anew for every test, each with one word changed."""
    first, second = (random_changes(run_of(workspace), test, "synonyms", 6) for test in (0, 1))
    assert len({c.position for c in first}) == len(first) == 6 and [*first] != [*second]
    for each in first:
        before, after = str(workspace.train["text"].iloc[each.position]).split(), each.text.split()
        assert len(before) == len(after) and sum(a != b for a, b in zip(before, after, strict=True)) == 1
    assert [g.tolist() for g in groups_of(5, 2)] == [[0, 1], [2, 3], [4]] and len(groups_of(5, 0)) == 1


def test_what_cannot_be_run_is_said(convex: Convex, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A k that is none, a scope that is none, and a half without a mistake."""
    for name in ("adversarial", "fix"):
        said = refusal(lambda name=name: run_experiment(workspace, name, parameters={"k": "none"}))
        assert "k takes whole numbers" in said
        assert "scope" in refusal(lambda name=name: run_experiment(workspace, name, parameters={"scope": "first:2"}))
    truth = pd.DataFrame(np.eye(2)[convex.labels[:0]], columns=list(convex.workspace.labels))
    right = truth.reindex(range(11)).assign(
        **{label: (convex.workspace.test["label"] == label).astype(float) for label in convex.workspace.labels}
    )
    monkeypatch.setattr(Workspace, "predict_test", lambda self: right)
    assert "none to fix" in refusal(lambda: run_experiment(convex.workspace, "fix", parameters=ASKED))
