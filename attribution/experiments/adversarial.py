"""Accuracy after changing a word of k training examples a test example, chosen by influence (Meng et al. 2020 §4.2)."""

from typing import Annotated, Any

import numpy as np

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
    groups_of,
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
    chosen_tests,
    read_counts,
)
from attribution.parameters import Name, Range
from attribution.retraining import Plan
from attribution.suspects.ranking import likeliest_others

WORDS = "synonyms"
LOWER, RAISE = "lower w_y", "raise w_y'"
CHANGES = (LOWER, RAISE, BOTH, RANDOM)
BERT = "BERT on all of {}, every test example attacked, all changes in one retraining; no errors given"
# Accuracy in per cent by setting and number of changed training examples a test example: IMDB, AG News.
TABLE_4 = {
    (NONE, 0): (93.2, 94.4),
    (LOWER, 1): (68.1, 76.8),
    (LOWER, 2): (52.0, 63.3),
    (LOWER, 6): (19.7, 36.2),
    (LOWER, 10): (2.1, 18.4),
    (LOWER, 20): (0.0, 6.9),
    (RAISE, 1): (75.4, 82.0),
    (RAISE, 2): (60.5, 71.5),
    (RAISE, 6): (35.3, 49.2),
    (RAISE, 10): (8.6, 30.6),
    (RAISE, 20): (0.2, 10.3),
    (BOTH, 2): (48.7, 57.5),
    (BOTH, 6): (18.4, 34.1),
    (BOTH, 10): (1.8, 16.5),
    (BOTH, 20): (0.0, 3.9),
}
PAPER = [
    {"change": change, "k": k, "accuracy": found[place] / 100, "data": data, "differs": BERT.format(data)}
    for place, data in enumerate(("IMDB", "AG News"))
    for (change, k), found in TABLE_4.items()
]


def _estimate(run: Run, **values: Any) -> float:
    """The search for one test example, and the retrainings."""
    plan, counts, tests, how = _settings(run, **values)
    aims = _aims(run, tests[:1])[0]
    asked = searching_seconds(run, int(tests[0]), aims, how, len(tests))
    models = 1 + len(groups_of(len(tests), values["together"])) * len(wanted(CHANGES, counts))
    return asked + training_seconds(run, plan, tests, [len(run.workspace.train)] * (values["seeds"] * models))


@experiment(
    title="Adversarial training examples",
    paper="Meng 2020 §4.2, Table 4",
    cost="a search over some training examples a test example, then 4 × ks × seeds retrainings",
    small={"tests": 2, "k": "1,2", "shortlist": 3, "scope": "head", "retrain": "refit"},
    estimate=_estimate,
)
def adversarial(
    run: Run,
    *,
    k: Annotated[
        str, Name(choices=("1,2,6",), help="Changed training examples a test example, with commas between.")
    ] = "1,2,6",
    tests: Annotated[int, Range(low=1, high=1_000_000, help="Test examples at most, drawn.")] = 40,
    together: Annotated[
        int, Range(low=0, high=1_000_000, help="Test examples that share a retraining; 0: all, as in the paper.")
    ] = 0,
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
    """Accuracy on the attacked test examples after k of the training examples are changed for each, by one synonym.

    lower w_y: the change makes the model look less at the word that speaks most for the true label y; raise w_y': more
    at the word that speaks most for the likeliest other label y'; both: in turns, for even k. Changed are, of the
    training examples that raised that saliency most, those with the strongest change; each keeps its label and is
    changed for one test example only. random: as many training examples, a random word, a random synonym.

    flipped: the share, of the test examples that are right without changes under the same seed, that turn wrong.
    probability_change: of the true label. Errors are standard errors over the test examples.
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
    plan, counts, positions, how = _settings(run, **values)
    groups = groups_of(len(positions), together)
    chosen = chosen_changes(run, positions, _aims(run, positions), CHANGES, counts, how, groups, once=True)
    made = trained_with(
        run, plan, positions, chosen, groups, lambda group: positions[group], seeds=seeds, replaces=True
    )
    labels = run.workspace.label_ids(run.workspace.test.iloc[positions])
    before = shares(made.plain, labels)
    table = [_row(NONE, 0, 0, before, before)]
    table += [
        _row(change, count, made.counts[change, count], before, shares(logits, labels))
        for (change, count), logits in made.by_setting.items()
    ]
    found = {f"accuracy, {row['change']}, k={row['k']}": row["accuracy"] for row in table}
    share = max(row["changed"] for row in table) / len(run.workspace.train)
    said = f"At most {share:.1%} of the training examples were changed; the paper attacked whole test sets at once."
    return Findings(summary={"tests": len(positions), **found}, table=table, paper=PAPER, notes=(said, plan.sentence()))


def _settings(run: Run, *, k: str, tests: int, **values: Any) -> tuple[Plan, list[int], np.ndarray, Searching]:
    """The plan, the ks, the test positions and how changes are searched."""
    counts = read_counts(k, "k", len(run.workspace.train))
    return plan_of(run, values), counts, chosen_tests(run, tests), searching(values, WORDS, counts[-1])


def _aims(run: Run, tests: np.ndarray) -> list[tuple[Aim, Aim]]:
    """For each test: w_y is to fall, w_y' to rise."""
    labels = run.workspace.label_ids(run.workspace.test.iloc[tests])
    others = likeliest_others(run.workspace.predict_test().to_numpy()[tests], labels)
    return [
        (Aim(label=int(label), raises=False), Aim(label=int(other), raises=True))
        for label, other in zip(labels, others, strict=True)
    ]


def _row(
    change: str, k: int, changed: int, before: tuple[np.ndarray, np.ndarray], after: tuple[np.ndarray, np.ndarray]
) -> Row:
    """One line of the table from whether each test is right and its probability, (seeds, tests) each."""
    (was, old), (right, new) = before, after
    accuracy, accuracy_error = mean_error(right.mean(axis=0))
    with np.errstate(invalid="ignore"):
        flips = (was * (1 - right)).sum(axis=0) / was.sum(axis=0)
    flipped, flipped_error = mean_error(flips)
    moved, moved_error = mean_error((new - old).mean(axis=0))
    return {
        "change": change,
        "k": k,
        "accuracy": accuracy,
        "accuracy_error": accuracy_error,
        "flipped": flipped,
        "flipped_error": flipped_error,
        "probability_change": moved,
        "probability_change_error": moved_error,
        "changed": changed,
        "n": right.shape[1],
    }
