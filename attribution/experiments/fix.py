"""Mispredicted test examples after adding changed copies of training examples, chosen by influence (Meng 2020 §4.3)."""

from typing import Annotated, Any

import numpy as np

from attribution.errors import UserError
from attribution.experiments.measures import mean_error
from attribution.experiments.perturbed import (
    BOTH,
    NONE,
    RANDOM,
    Aim,
    Candidates,
    Damping,
    Explained,
    Saliency,
    Searching,
    SearchScope,
    Shortlist,
    chosen_changes,
    plan_of,
    searching,
    searching_seconds,
    shares,
    trained_with,
    training_seconds,
    wanted,
)
from attribution.experiments.registry import Findings, Row, Run, experiment
from attribution.experiments.retrained import (
    BatchSize,
    Epochs,
    LearningRate,
    Penalty,
    Retrain,
    Seeds,
    read_counts,
)
from attribution.parameters import Name, Range
from attribution.retraining import Plan

WORDS = "synonyms and antonyms"
RAISE, LOWER = "raise w_y", "lower w_y'"
CHANGES = (RAISE, LOWER, BOTH, RANDOM)
PAPER = [
    {
        "change": BOTH,
        "k": 4,
        "gain": 0.01,
        "place": "§4.3 and Fig. 2",
        "differs": "BERT on IMDB and AG News, every mispredicted example of the dev set at once; gain of the best k on "
        "the test set, no error given; the text does not say which of the directions was taken",
    }
]


def _estimate(run: Run, **values: Any) -> float:
    """The search for one test example, and the retrainings."""
    plan, counts, wrong, held, how = _settings(run, **values)
    asked = searching_seconds(run, int(wrong[0]), _aims(run, wrong[:1])[0], how, len(wrong))
    n = len(run.workspace.train)
    sizes = [n, *(n + k * len(wrong) for _, k in wanted(CHANGES, counts))] * values["seeds"]
    return asked + training_seconds(run, plan, np.concatenate([wrong, held]), sizes)


@experiment(
    title="Repair by added training examples",
    paper="Meng 2020 §4.3, Fig. 2",
    cost="a search over some training examples a mispredicted test example, then 4 × ks × seeds retrainings",
    small={"tests": 2, "k": "1,2", "shortlist": 3, "scope": "head", "retrain": "refit"},
    estimate=_estimate,
)
def fix(
    run: Run,
    *,
    k: Annotated[
        str, Name(choices=("1,2,4,8",), help="Added examples a mispredicted test example, with commas between.")
    ] = "1,2,4",
    tests: Annotated[int, Range(low=1, high=1_000_000, help="Mispredicted test examples at most, drawn.")] = 40,
    seeds: Seeds = 1,
    shortlist: Shortlist = 0,
    candidates: Candidates = 5,
    explain: Explained = "saliency",
    saliency: Saliency = "gradient_x_input",
    scope: SearchScope = "last:2",
    damping: Damping = 0.1,
    retrain: Retrain = "auto",
    epochs: Epochs = 0,
    learning_rate: LearningRate = 0.0,
    batch_size: BatchSize = 0,
    l2: Penalty = 0.001,
) -> Findings:
    """The share of mispredicted test examples that are right after k changed copies of training examples are added.

    Half of the test set, drawn, is the paper's dev set: its mispredicted examples are repaired, all in one retraining;
    `held_out` is the accuracy on the other half, and `gain` what it has over training without the copies under the
    same seed. raise w_y: the copies make the model look more at the word that speaks most for the true label y; lower
    w_y': less at the word that speaks most for the predicted label y'; both: in turns, for even k. A copy has one word
    changed to a synonym or antonym and keeps its label, as in the paper, so an antonym may make it wrong. random:
    copies of as many training examples, a random word each. none: training again without copies, which repairs some.

    Errors are standard errors over the test examples.
    """
    values = {
        "k": k,
        "tests": tests,
        "shortlist": shortlist,
        "candidates": candidates,
        "explain": explain,
        "saliency": saliency,
        "scope": scope,
        "damping": damping,
        "retrain": retrain,
        "epochs": epochs,
        "learning_rate": learning_rate,
        "batch_size": batch_size,
        "l2": l2,
    }
    plan, counts, wrong, held, how = _settings(run, **values)
    every, groups = np.concatenate([wrong, held]), [np.arange(len(wrong))]
    chosen = chosen_changes(run, wrong, _aims(run, wrong), CHANGES, counts, how, groups, once=False)
    made = trained_with(run, plan, every, chosen, groups, lambda group: every, seeds=seeds, replaces=False)
    labels, size = run.workspace.label_ids(run.workspace.test.iloc[every]), len(wrong)
    before = shares(made.plain, labels)[0]
    table = [_row(NONE, 0, 0, before, before, size)]
    table += [
        _row(change, count, made.counts[change, count], before, shares(logits, labels)[0], size)
        for (change, count), logits in made.by_setting.items()
    ]
    found = {f"corrected, {row['change']}, k={row['k']}": row["corrected"] for row in table}
    return Findings(
        summary={"tests": size, "held_out_tests": len(held), **found},
        table=table,
        paper=PAPER,
        notes=(plan.sentence(),),
    )


def _settings(
    run: Run, *, k: str, tests: int, **values: Any
) -> tuple[Plan, list[int], np.ndarray, np.ndarray, Searching]:
    """The plan, the ks, the mispredicted tests of one half and all tests of the other (positions), and the search."""
    workspace = run.workspace
    counts = read_counts(k, "k", len(workspace.train))
    plan, how = plan_of(run, values), searching(values, WORDS, counts[-1])
    count = len(workspace.test)
    dev = np.sort(np.random.default_rng(run.seed).permutation(count)[: -(-count // 2)])
    is_wrong = workspace.predict_test().to_numpy().argmax(axis=1) != workspace.label_ids(workspace.test)
    wrong = np.array(run.sample(dev[is_wrong[dev]].tolist(), tests), dtype=np.int64)
    if not len(wrong):
        raise UserError(
            f"The model is right on all {len(dev)} test examples of the half that is repaired: none to fix."
        )
    return plan, counts, wrong, np.setdiff1d(np.arange(count), dev), how


def _aims(run: Run, wrong: np.ndarray) -> list[tuple[Aim, Aim]]:
    """For each test: w_y is to rise, w_y' of the predicted label to fall."""
    labels = run.workspace.label_ids(run.workspace.test.iloc[wrong])
    predicted = run.workspace.predict_test().to_numpy()[wrong].argmax(axis=1)
    return [
        (Aim(label=int(label), raises=True), Aim(label=int(other), raises=False))
        for label, other in zip(labels, predicted, strict=True)
    ]


def _row(change: str, k: int, added: int, before: np.ndarray, right: np.ndarray, size: int) -> Row:
    """One line of the table from whether each test is right, (seeds, tests): the first `size` are those to repair."""
    corrected, corrected_error = mean_error(right[:, :size].mean(axis=0))
    held, held_error = mean_error(right[:, size:].mean(axis=0))
    gain, gain_error = mean_error((right - before)[:, size:].mean(axis=0))
    return {
        "change": change,
        "k": k,
        "corrected": corrected,
        "corrected_error": corrected_error,
        "held_out": held,
        "held_out_error": held_error,
        "gain": gain,
        "gain_error": gain_error,
        "added": added,
        "n": size,
    }
