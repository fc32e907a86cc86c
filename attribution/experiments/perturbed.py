"""What the experiments that change training examples share (Meng et al. 2020 §4.2–4.3): which changes, and training."""

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Annotated, Any

import numpy as np

from attribution.experiments.registry import Run
from attribution.index import silent
from attribution.parameters import Choice, Name, Range
from attribution.perturbing import (
    Lexicon,
    Replacement,
    copy_scores,
    random_replacement,
    search_replacements,
    synonyms_and_antonyms_of,
    synonyms_of,
)
from attribution.quantity import DIFFERENTIABLE
from attribution.query import Query, make_query, with_tokens
from attribution.retraining import Added, Job, Plan, Retrainer, make_plan
from attribution.scoring import Choices, score
from attribution.workspace import softmax

VERSION = 1
RANDOM, BOTH, NONE = "random", "both", "none"
LEXICONS: dict[str, Lexicon] = {"synonyms": synonyms_of, "synonyms and antonyms": synonyms_and_antonyms_of}
SALIENCY = "saliency"
SHORTLISTED = 2

Shortlist = Annotated[
    int,
    Range(
        low=0, high=10_000, help="Highest-scoring training examples searched a test example; 0: twice the largest k."
    ),
]
Candidates = Annotated[
    int, Range(low=0, high=1000, help="Random words that are tried beside the leading one; the paper's: 5.")
]
Explained = Annotated[
    str,
    Choice(
        choices=(SALIENCY, "log_probability"),
        help="What is moved: the saliency of the most salient word, as in the paper, or the log-probability.",
    ),
]
Saliency = Annotated[str, Choice(choices=("gradient_x_input", "gradient_sum"), help="The saliency of the words.")]
SearchScope = Annotated[str, Name(choices=("last:2", "head"), help="Parameters over which influence is computed.")]
Damping = Annotated[float, Range(low=1e-6, high=1000, help="λ as a share of the curvature's mean.")]


@dataclass(frozen=True, kw_only=True)
class Searching:
    """How changes are searched: `words` names the lexicon, the others are the experiment's parameters."""

    words: str
    shortlist: int
    candidates: int
    explain: str
    saliency: str
    scope: str
    damping: float


@dataclass(frozen=True, kw_only=True)
class Aim:
    """One direction: F is of this label id, and is to rise or to fall."""

    label: int
    raises: bool


@dataclass(frozen=True, kw_only=True)
class Change:
    """A training example, by position, as it is changed."""

    position: int
    text: str
    text_pair: str | None


@dataclass(frozen=True, kw_only=True)
class Trained:
    """Test logits of models trained again: `plain` (seeds, tests, labels) on the data as it is, and by setting and k.

    `counts`: how many examples each setting changed or added for all tests together.
    """

    plain: np.ndarray
    by_setting: Mapping[tuple[str, int], np.ndarray]
    counts: Mapping[tuple[str, int], int]


def searching(values: Mapping[str, Any], words: str, most: int) -> Searching:
    """How an experiment's parameters say that changes are searched, where `most` are wanted for a test example."""
    given = {name: values[name] for name in ("candidates", "explain", "saliency", "scope", "damping")}
    return Searching(words=words, shortlist=values["shortlist"] or SHORTLISTED * most, **given)


def plan_of(run: Run, values: Mapping[str, Any]) -> Plan:
    """How an experiment's parameters say that models are trained again."""
    given = {name: values[name] for name in ("epochs", "learning_rate", "batch_size", "l2")}
    return make_plan(run.workspace, values["retrain"], **given)


def wanted(changes: Sequence[str], counts: Sequence[int]) -> list[tuple[str, int]]:
    """The settings of an experiment with their ks: both takes turns, so its k is even."""
    return [(change, k) for change in changes for k in counts if change != BOTH or k % 2 == 0]


def best_changes(run: Run, test: int, aim: Aim, how: Searching) -> list[Change]:
    """The best change of each shortlisted training example that moves F as aimed, the one that moves it most first.

    The shortlist are the highest scores I(z, F) for the test example at position `test`: those that the model leans on.
    Kept, so that a later run of the same question finds them.
    """
    question = {"changes": VERSION, "test": test, **asdict(aim), **asdict(how), "seed": run.seed}
    found = run.kept(question, partial(_searched, run, test, aim, how))
    pairs = found["pairs"].tolist() if run.workspace.is_pair else [None] * len(found["positions"])
    return [
        Change(position=position, text=text, text_pair=pair)
        for position, text, pair in zip(found["positions"].tolist(), found["texts"].tolist(), pairs, strict=True)
    ]


def _searched(run: Run, test: int, aim: Aim, how: Searching) -> dict[str, np.ndarray]:
    workspace = run.workspace
    query = make_query(workspace, test=int(workspace.test.index[test]), label=workspace.labels[aim.label])
    if how.explain == SALIENCY:
        query = with_tokens(query, salient_word(query, how.saliency))
    quantity = query.saliency(how.saliency) if query.tokens else query.quantity()
    choices = Choices(scope=how.scope, solver="auto", normalise="none", damping=how.damping)
    leading = np.argsort(-score(query, quantity, choices, silent).scores, kind="stable")[: how.shortlist]
    ids = workspace.train.index[leading].tolist()
    searches = search_replacements(
        query,
        copy_scores(query, quantity, choices),
        ids,
        raises=aim.raises,
        lexicon=LEXICONS[how.words],
        candidates=how.candidates,
        seed=run.seed,
    )
    best = [(position, s.replacements[0]) for position, s in zip(leading, searches, strict=True) if s.replacements]
    sign = 1 if aim.raises else -1
    best = sorted((each for each in best if sign * each[1].score > 0), key=lambda each: -sign * each[1].score)
    return {
        "positions": np.array([position for position, _ in best], dtype=np.int64),
        "texts": np.array([each.text for _, each in best], dtype=np.str_),
        "pairs": np.array([each.text_pair or "" for _, each in best], dtype=np.str_),
    }


def salient_word(query: Query, saliency: str) -> tuple[int, ...]:
    """The tokens of the word of the text that speaks most for the explained label."""
    tokens = DIFFERENTIABLE[saliency](query.classifier, query.example, query.label, {}, False).detach().cpu().numpy()
    words = [word.tokens for word in query.example.words if not word.special]
    return max(words, key=lambda word: float(tokens[list(word)].sum()))


def random_changes(run: Run, test: int, words: str, count: int) -> list[Change]:
    """The control: training examples drawn at random, a random word of each replaced by one of its replacements."""
    workspace, draw = run.workspace, np.random.default_rng([run.seed, test])
    query, made = make_query(workspace, test=int(workspace.test.index[test])), []
    for position in draw.permutation(len(workspace.train)).tolist():
        if len(made) == count:
            break
        found = random_replacement(query, int(workspace.train.index[position]), LEXICONS[words], draw)
        if isinstance(found, Replacement):
            made.append(Change(position=position, text=found.text, text_pair=found.text_pair))
    return made


def chosen_changes(
    run: Run,
    tests: np.ndarray,
    aims: Sequence[tuple[Aim, Aim]],
    changes: Sequence[str],
    counts: Sequence[int],
    how: Searching,
    groups: Sequence[np.ndarray],
    *,
    once: bool,
) -> dict[tuple[str, int], list[list[Change]]]:
    """By setting and k, the changes for each test.

    changes: the names of the two directions, in the order of each test's aims, of both in turns and of the control.
    groups: places of the tests that are changed together; `once` is said in `rounds`.
    """
    offers: dict[str, list[list[list[Change]]]] = {change: [] for change in changes}
    for done, (test, pair) in enumerate(zip(tests.tolist(), aims, strict=True), start=1):
        first, second = (best_changes(run, test, aim, how) for aim in pair)
        control = random_changes(run, test, how.words, how.shortlist)
        for change, lists in zip(changes, ([first], [second], [first, second], [control]), strict=True):
            offers[change].append(lists)
        run.progress(done, len(tests), "test examples searched for changes")
    taken = {
        change: [rounds([lists[int(at)] for at in group], counts[-1], once=once) for group in groups]
        for change, lists in offers.items()
    }
    return {
        (change, k): [
            [c for turn in by_round[:k] for c in turn[at]]
            for group, by_round in zip(groups, taken[change], strict=True)
            for at in range(len(group))
        ]
        for change, k in wanted(changes, counts)
    }


def rounds(offers: Sequence[Sequence[Sequence[Change]]], most: int, *, once: bool) -> list[list[list[Change]]]:
    """What each test example takes, round after round: (most rounds, tests, at most one change).

    offers: for every test the lists of its changes, which take turns; one that has run out is passed over. `once`: a
    training example is changed once, for the test that comes first; the others go on to their next best change.
    """
    taken: set[int] = set()
    turns = [[iter(each) for each in lists] for lists in offers]
    made = []
    for number in range(most):
        row: list[list[Change]] = []
        for lists in turns:
            order = lists[number % len(lists) :] + lists[: number % len(lists)]
            free = (c for c in itertools.chain(*order) if not once or c.position not in taken)
            chosen = next(free, None)
            taken |= {chosen.position} if chosen else set()
            row.append([chosen] if chosen else [])
        made.append(row)
    return made


def trained_with(
    run: Run,
    plan: Plan,
    tests: np.ndarray,
    chosen: Mapping[tuple[str, int], Sequence[Sequence[Change]]],
    groups: Sequence[np.ndarray],
    asked: Callable[[np.ndarray], np.ndarray],
    *,
    seeds: int,
    replaces: bool,
) -> Trained:
    """Train a model for every setting, seed and group of tests, and one a seed on the data as it is.

    chosen: by setting and k, the changes for each of the tests; they stand in the place of the originals (`replaces`)
    or beside them. groups: places of the tests that share a model. asked: the tests (positions) whose logits a group's
    model is asked for; those of all groups, one after the other, are the tests of the result.
    """
    n, labels = len(run.workspace.train), run.workspace.label_ids(run.workspace.train)
    pool = list(dict.fromkeys(c for sets in chosen.values() for each in sets for c in each))
    place = {change: n + number for number, change in enumerate(pool)}
    everything = np.concatenate([asked(group) for group in groups])
    jobs = [Job(rows=np.arange(n), seed=run.seed + seed, tests=everything) for seed in range(seeds)]
    for sets, group in itertools.product(chosen.values(), groups):
        changes = [c for at in group for c in sets[int(at)]]
        if replaces:
            rows = np.arange(n)
            rows[[c.position for c in changes]] = [place[c] for c in changes]
        else:
            rows = np.append(np.arange(n), np.array([place[c] for c in changes], dtype=np.int64))
        jobs += [Job(rows=rows, seed=run.seed + seed, tests=asked(group)) for seed in range(seeds)]
    added = Added(
        texts=[c.text for c in pool],
        pairs=[str(c.text_pair) for c in pool] if run.workspace.is_pair else None,
        labels=labels[np.array([c.position for c in pool], dtype=np.int64)],
    )
    everyone = np.unique(np.concatenate([tests, everything]))
    retrainer = Retrainer(run.workspace, plan, everyone, run.kept, run.progress, added if pool else None)
    found = iter(retrainer.logits(jobs))
    plain = np.stack([next(found) for _ in range(seeds)])
    made = {}
    for key in chosen:
        by_group = [np.stack([next(found) for _ in range(seeds)]) for _ in groups]
        made[key] = np.concatenate(by_group, axis=1)
    counts = {key: sum(len(each) for each in sets) for key, sets in chosen.items()}
    return Trained(plain=plain, by_setting=made, counts=counts)


def training_seconds(run: Run, plan: Plan, tests: np.ndarray, sizes: Sequence[int]) -> float:
    """About how long models on so many examples each take."""
    return Retrainer(run.workspace, plan, tests, run.kept, run.progress).seconds(sizes)


def searching_seconds(run: Run, test: int, aims: Sequence[Aim], how: Searching, tests: int) -> float:
    """About how long the changes for so many test examples take to find, by those of one, searched twice."""
    seconds = 0.0
    for aim in aims:
        _searched(run, test, aim, how)
        began = time.perf_counter()
        _searched(run, test, aim, how)
        seconds += time.perf_counter() - began
    return seconds * tests


def shares(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether each test is right, and its label's probability, from logits (seeds, tests, labels): (seeds, tests)."""
    probabilities = softmax(logits)
    own = np.take_along_axis(probabilities, np.broadcast_to(labels[:, None], (*logits.shape[:-1], 1)), axis=-1)[..., 0]
    return (logits.argmax(axis=-1) == labels).astype(np.float64), own


def groups_of(count: int, together: int) -> list[np.ndarray]:
    """Places of the tests that share a retraining: `together` of them each, or all for 0."""
    size = together or count
    return [np.arange(at, min(at + size, count)) for at in range(0, count, size)]
