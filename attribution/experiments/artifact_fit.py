"""How much an artifact of the training data goes with influence, over slices of the test set (Han et al. 2020 §5.1)."""

import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Annotated, Any

import numpy as np

from attribution.artifacts import SliceFit, feature_values, list_features, slice_fit
from attribution.artifacts.features import COLUMN, GIVEN, get_feature, is_negation
from attribution.artifacts.fits import RESPONSES, NothingToFit, check_varies
from attribution.errors import UserError, unknown
from attribution.experiments.labels import label_of
from attribution.experiments.measures import Entry, asking_seconds
from attribution.experiments.registry import Findings, Row, Run, experiment
from attribution.methods.lexical import lexical_words
from attribution.parameters import Choice, Name, Range
from attribution.query import Query, make_query

DENIAL = "It is not true that "
# A first word that keeps its meaning in lower case, which a name would not.
PLAIN = frozenset("a an the this that these those there he she it we they some all many most".split())
MOST_VALUES = 20
TIMED = 4
Slices = list[tuple[str, list[Query]]]

MODEL = "BERT-base, its last 4 blocks and head fine-tuned on 10,000 MNLI pairs, influence by LiSSA with damping .003"
HANS = f"{MODEL}; the means are over 30 HANS pairs a kind, without an interval"
PAPER = [
    {"slice": s, "feature": f, "coefficient": c, "place": p, "differs": d}
    for s, f, c, p, d in (
        ("HANS, predicted entailment", "lexical_overlap", 3.28e-3, "§5.1", HANS),
        ("HANS, predicted non-entailment", "lexical_overlap", 3.30e-3, "§5.1", HANS),
        ("MNLI, 50 natural pairs", "lexical_overlap", 0.65e-3, "§5.1", MODEL),
        ("HANS, original", "lexical_overlap", 3.05e-3, "Table 6", HANS),
        ("HANS, original", "negation", -1.13e-3, "Table 6", HANS),
        ("HANS, negated", "lexical_overlap", 0.53e-3, "Table 6", f"{HANS}; negated by hand ('did not')"),
        ("HANS, negated", "negation", 0.27e-3, "Table 6", f"{HANS}; negated by hand ('did not')"),
    )
]


def _seconds(
    run: Run, *, features: str, pattern: str, by: str, label: str, tests: int, response: str, scope: str
) -> float:
    """The questions of every slice, and a fit of every feature for each of them."""
    names, _ = _varying(run, _features(run, features), pattern)
    queries = [query for _, queries in _slices(run, by, label, tests) for query in queries]
    asked = asking_seconds(run, [Entry(method=method, scope=scope) for method in run.methods], len(queries))
    scores = [np.random.default_rng(run.seed).standard_normal(len(run.workspace.train))] * TIMED
    began = time.perf_counter()
    for name in names:
        values = [feature_values(run.workspace, name, query=query, pattern=pattern) for query in queries[:TIMED]]
        with suppress(NothingToFit):
            slice_fit(scores[: len(values)], values, seed=run.seed, response=response)
    fitted = (time.perf_counter() - began) / max(1, len(queries[:TIMED]))
    return asked + len(queries) * len(run.methods) * fitted


@experiment(
    title="Influence against artifacts",
    paper="Han 2020 §5.1, Figs 4–5, Table 6",
    cost="one question a test example and method",
    methods=("influence",),
    small={"tests": 4},
    estimate=_seconds,
)
def artifact_fit(
    run: Run,
    *,
    features: Annotated[
        str,
        Name(
            choices=("auto", "lexical_overlap", "negation", "length", "cue_words", "test_overlap", "pattern"),
            help="Features with commas between; auto: lexical_overlap and negation, or test_overlap and length.",
        ),
    ] = "auto",
    pattern: Annotated[str, Name(choices=(), help="The word list or regular expression of feature pattern.")] = "",
    by: Annotated[
        str,
        Name(
            choices=("predicted", "true", "negated", "column:NAME"),
            help="Slices: by predicted or true label, by a column of the test data, or pairs and their negation.",
        ),
    ] = "predicted",
    label: Annotated[
        str, Name(choices=("auto",), help="For by=negated: the true label of the pairs; auto: entailment if there.")
    ] = "auto",
    tests: Annotated[int, Range(low=2, high=1_000_000, help="Test examples a slice at most, drawn.")] = 30,
    response: Annotated[
        str,
        Choice(choices=RESPONSES[::-1], help="feature: it is regressed on z-scored influence (Han); or the reverse."),
    ] = "feature",
    scope: Annotated[
        str, Name(choices=("", "head", "last:2"), help="Parameters of gradient methods; none: each method's own.")
    ] = "",
) -> Findings:
    """The mean quadratic coefficient of the slices' test examples, each explained for its predicted label.

    With response=feature it is in units of the feature for a squared standard deviation of influence. An index's scores
    are read as they are. by=negated negates a hypothesis by "It is not true that …" before it.
    """
    names = _features(run, features)
    if pattern and "pattern" not in names:
        raise UserError(f"pattern is for the feature of that name: give features=pattern too, not {features}.")
    if label != "auto" and by != "negated":
        raise UserError(f"label is for by=negated: leave it out with by={by}.")
    names, notes = _varying(run, names, pattern)
    slices = _slices(run, by, label, tests)
    rows: list[Row] = []
    for (slice_name, queries), method, scores in _scored(run, slices, scope):
        for name in names:
            values = [feature_values(run.workspace, name, query=query, pattern=pattern) for query in queries]
            found = {"method": method, "slice": slice_name, "feature": name}
            try:
                made = slice_fit(scores, values, seed=run.seed, response=response)
            except NothingToFit as error:
                notes.append(f"{method}, {slice_name}, {name}: {error}")
                continue
            rows.append(found | _numbers(made))
    if not rows:
        raise UserError(f"No slice has a fit. {notes[0]}" if notes else "No slice has test examples.")
    summary = {f"{row['feature']}, {row['slice']}, {row['method']}": row["coefficient"] for row in rows}
    return Findings(
        summary={"tests": sum(len(queries) for _, queries in slices), **summary},
        table=rows,
        paper=PAPER if run.workspace.is_pair and response == "feature" else None,
        notes=tuple(notes),
    )


def _numbers(made: SliceFit) -> Row:
    return {
        "coefficient": made.coefficient,
        "low": made.low,
        "high": made.high,
        "n": made.n,
        "left_out": made.left_out,
        "degree": made.degree,
    }


def _features(run: Run, given: str) -> list[str]:
    if given == "auto":
        return ["lexical_overlap", "negation"] if run.workspace.is_pair else ["test_overlap", "length"]
    known = [f.name for f in list_features(run.workspace)]
    names = list(dict.fromkeys(name.strip() for name in given.split(",") if name.strip()))
    if not names:
        raise unknown("feature", given, known)
    return names


def _varying(run: Run, names: list[str], pattern: str) -> tuple[list[str], list[str]]:
    """The features that there is something to fit of, and a note on each other one, before the long part begins."""
    kept, notes = [], []
    for name in names:
        try:
            if "query" not in get_feature(run.workspace, name).needs:
                check_varies(feature_values(run.workspace, name, pattern=pattern))
            kept.append(name)
        except NothingToFit as error:
            notes.append(f"{name}: {error}")
    if not kept:
        raise UserError(notes[0])
    return kept, notes


def _slices(run: Run, by: str, label: str, tests: int) -> Slices:
    """The test examples of each slice as queries for their predicted labels."""
    workspace = run.workspace
    groups: Any  # a Series, by test id
    if by == "negated":
        return _negated(run, label, tests)
    if by == "predicted":
        groups, word = workspace.predict_test().idxmax(axis=1), "predicted"
    elif by == "true":
        groups, word = workspace.test["label"], "true"
    elif by.startswith(COLUMN):
        word = by.removeprefix(COLUMN)
        others = [str(c) for c in workspace.test.columns if c not in GIVEN]
        if word not in others:
            raise unknown("column of the test data", word, others)
        groups = workspace.test[word].dropna()
        if groups.nunique() > MOST_VALUES:
            raise UserError(f"Column '{word}' has {groups.nunique()} values; slices need at most {MOST_VALUES}.")
    else:
        raise unknown("value for by", by, ("predicted", "true", "negated", "column:NAME"))
    return [
        (f"{word} {value}", [make_query(workspace, test=test) for test in run.sample(ids.tolist(), tests)])
        for value, ids in groups.index.to_series().groupby(groups.to_numpy()).groups.items()
    ]


def _negated(run: Run, label: str, tests: int) -> Slices:
    """Pairs of a true label whose hypotheses negate nothing, and the same with their hypotheses negated."""
    workspace = run.workspace
    if not workspace.is_pair:
        raise UserError(f"by=negated needs pairs of texts, and workspace '{workspace.name}' has single texts.")
    label = label_of(workspace, label)
    test = workspace.test[workspace.test["label"] == label]
    plain = [not any(map(is_negation, lexical_words(text))) for text in test["text_pair"]]
    ids = run.sample(test.index[np.array(plain, dtype=bool)].tolist(), tests)
    if len(ids) < 2:
        raise UserError(f"by=negated needs 2 test pairs labelled '{label}' without a negation; there are {len(ids)}.")
    chosen = test.loc[ids]
    pairs = zip(chosen["text"].tolist(), chosen["text_pair"].tolist(), strict=True)
    return [
        ("original", [make_query(workspace, test=i) for i in ids]),
        ("negated", [make_query(workspace, text=text, text_pair=negated(pair)) for text, pair in pairs]),
    ]


def negated(sentence: str) -> str:
    """The sentence denied: "The plot works." becomes "It is not true that the plot works."."""
    first, space, rest = sentence.strip().partition(" ")
    return f"{DENIAL}{first.lower() if first.lower() in PLAIN else first}{space}{rest}"


def _scored(run: Run, slices: Slices, scope: str) -> Iterator[tuple[tuple[str, list[Query]], str, list[np.ndarray]]]:
    """Every slice and method with the scores (train,) of each of the slice's test examples."""
    total, done = len(run.methods) * sum(len(queries) for _, queries in slices), 0
    for part in slices:
        for method in run.methods:
            scores = []
            for query in part[1]:
                scores.append(run.answer(query, method, scope=scope).scores)
                done += 1
                run.progress(done, total, "test examples explained")
            yield part, method, scores
