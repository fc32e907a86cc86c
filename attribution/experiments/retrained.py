"""What the experiments that train again share: their parameters, the scores they follow, and what they read off."""

import re
from collections.abc import Sequence
from functools import partial
from typing import Annotated

import numpy as np

from attribution.errors import UserError
from attribution.experiments.measures import Entry, asking_seconds
from attribution.experiments.registry import CONTROL, Run
from attribution.parameters import Choice, Flag, Name, Range
from attribution.query import make_query
from attribution.registry import get_method
from attribution.workspace import softmax

METHODS = (
    "nn_cos",
    "gd",
    "gc",
    "influence_head",
    "influence",
    "relatif",
    "representer",
    "tracin_last",
    "tracin_we",
    "trak",
    "bm25",
)
SCORES_VERSION = 1

Retrain = Annotated[
    str,
    Name(
        choices=("auto", "refit", "head", "last:2", "all"),
        help="What is trained again; auto: what the workspace trained; refit: the last layer, to its optimum.",
    ),
]
Epochs = Annotated[int, Range(low=0, high=1000, help="Epochs of a retraining; 0: as the workspace was trained.")]
LearningRate = Annotated[
    float, Range(low=0, high=10, help="Learning rate of a retraining; 0: as the workspace was trained.")
]
BatchSize = Annotated[int, Range(low=0, high=100_000, help="Batch size; 0: as the workspace was trained.")]
Penalty = Annotated[
    float, Range(low=1e-6, high=10, help="For retrain=refit: the weight of the squared norm beside the mean loss.")
]
Seeds = Annotated[int, Range(low=1, high=1000, help="Models trained on the same examples, with a seed each.")]
Scope = Annotated[
    str, Name(choices=("", "head", "last:2"), help="Parameters of gradient methods; none: each method's own.")
]
Agreement = Annotated[
    bool,
    Flag(help="Similarities speak for the label where a training example has it, and against it otherwise."),
]
Output = Annotated[
    str,
    Choice(
        choices=("probability", "log_probability", "log_odds"),
        help="What is measured of the explained label; log_odds is its margin over all others.",
    ),
]


def usable(run: Run) -> tuple[list[str], list[str]]:
    """The methods to compare, the random control last, and a note on those that the workspace has nothing for."""
    lacking = [] if run.workspace.checkpoints else [m for m in run.methods if "checkpoints" in get_method(m).needs]
    kept = [method for method in run.methods if method not in (*lacking, CONTROL)]
    if not kept and CONTROL not in run.methods:
        raise UserError(
            f"{_listed(lacking)} need saved checkpoints, and workspace '{run.workspace.name}' has none: "
            "give other methods, such as influence_head."
        )
    notes = [f"Left out, for want of saved checkpoints: {_listed(lacking)}."] if lacking else []
    return [*kept, CONTROL], notes


def chosen_tests(run: Run, most: int) -> np.ndarray:
    """The positions of at most so many test examples, drawn with the run's seed, rising."""
    return np.array(run.sample(range(len(run.workspace.test)), most), dtype=np.int64)


def support(run: Run, method: str, tests: np.ndarray, *, label: str, scope: str, agreement: bool) -> np.ndarray:
    """Scores (tests, train) of a method for the predicted or true label of some test examples; higher = for the label.

    With `agreement` similarities, counted from the lowest, are turned against the label where the training example has
    another one. Kept, so that a later run of the same question finds them.
    """
    workspace = run.workspace
    found, explained = np.empty((len(tests), len(workspace.train))), np.empty(len(tests), dtype=np.int64)
    for done, test in enumerate(tests):
        question = {"scores": SCORES_VERSION, "method": method, "test": int(test), "label": label, "scope": scope}
        if method == CONTROL:
            question["seed"] = run.seed
        made = run.kept(question, partial(_answered, run, method, int(workspace.test.index[test]), label, scope))
        found[done], explained[done] = made["scores"], made["explained"]
        run.progress(done + 1, len(tests), f"test examples explained by {method}")
    if get_method(method).signed or method == CONTROL or not agreement:
        return found
    agrees = workspace.label_ids(workspace.train)[None] == explained[:, None]
    return (found - found.min(axis=1, keepdims=True)) * np.where(agrees, 1, -1)


def _answered(run: Run, method: str, test: int, label: str, scope: str) -> dict[str, np.ndarray]:
    query = make_query(run.workspace, test=test, label=label)
    scores = run.answer(query, method, scope=scope).scores
    return {"scores": scores.astype(np.float32), "explained": np.array(query.label)}


def explaining_seconds(run: Run, methods: Sequence[str], tests: np.ndarray, scope: str) -> float:
    """About how long the methods take for some test examples, with what has to be built for them first."""
    return asking_seconds(run, [Entry(method=method, scope=scope) for method in methods], len(tests))


def explained_labels(run: Run, tests: np.ndarray, label: str) -> np.ndarray:
    """The label ids that are explained: the true or the predicted ones (tests,)."""
    if label == "true":
        return run.workspace.label_ids(run.workspace.test.iloc[tests])
    return run.workspace.predict_test().to_numpy()[tests].argmax(axis=1)


def measured(logits: np.ndarray, labels: np.ndarray, output: str) -> np.ndarray:
    """The output of each test example's label from logits (…, tests, labels): (…, tests)."""
    shares = softmax(logits)
    own = np.take_along_axis(shares, np.broadcast_to(labels[:, None], (*logits.shape[:-1], 1)), axis=-1)[..., 0]
    if output == "probability":
        return own
    with np.errstate(divide="ignore"):
        log_p = np.log(np.maximum(own, np.finfo(np.float64).tiny))
        rest = np.log(np.maximum(shares.sum(axis=-1) - own, np.finfo(np.float64).tiny))
    return log_p if output == "log_probability" else log_p - rest


def read_counts(text: str, what: str, most: int) -> list[int]:
    """Whole numbers with commas between, each from 1 to below `most`, rising; UserError for anything else."""
    counts = []
    for part in text.split(","):
        part = part.strip()
        if not part.isdecimal() or int(part) < 1:
            raise UserError(f"{what} takes whole numbers from 1 with commas between, such as 10,50, not '{text}'.")
        if int(part) >= most:
            raise UserError(f"{what} {part} leaves nothing of the {most} training examples: give less than {most}.")
        counts.append(int(part))
    return sorted(set(counts))


def removal_count(part: str, what: str, n: int) -> int:
    """How many of n examples an amount is, a share with % or a number; UserError for anything else."""
    part = part.strip()
    if not re.fullmatch(r"\d+(\.\d+)?%", part):
        return read_counts(part, what, n)[0]
    share = float(part[:-1]) / 100
    if not 0 < share < 1:
        raise UserError(f"{what} {part} must be above 0% and below 100%.")
    return max(1, round(share * n))


def lost_labels(run: Run, rows: np.ndarray) -> list[str]:
    """The labels of the training data that no example among some rows has."""
    labels = run.workspace.label_ids(run.workspace.train)
    return [run.workspace.labels[label] for label in sorted(set(labels.tolist()) - set(labels[rows].tolist()))]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
