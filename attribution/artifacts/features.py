"""Features of the training examples that a model may have learnt in place of the task: one number an example.

A feature is one function with its label directly above it. `list_features` gives those that fit a workspace, with one
more for each numeric column of its training data.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from attribution.artifacts.patterns import matches
from attribution.artifacts.wordlists import training_words
from attribution.errors import UserError, unknown
from attribution.methods.lexical import lexical_words
from attribution.query import Query
from attribution.workspace import Workspace

COLUMN = "column:"
GIVEN = ("text", "text_pair", "label")
# Gururangan et al. 2018 §3 and the further English words that negate a clause.
NEGATIONS = (
    *("no", "not", "never", "none", "nothing", "nobody", "nowhere", "neither", "nor", "cannot", "without"),
    *("hardly", "scarcely", "barely"),
)
SMOOTHING = 100


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a feature's function is given: the workspace, and what its label needs of query and pattern."""

    workspace: Workspace
    query: Query | None = None
    pattern: str | None = None


@dataclass(frozen=True, kw_only=True)
class Feature:
    """A feature and what is said of it.

    `more`: which training examples have more of it, in words that follow "training pairs". `needs`: "pair" or
    "single" texts, "query" (a test example), "pattern" (the user's own), "cues" (it reads the training labels).
    `function` gives (train,) float64, NaN where the feature is not defined.
    """

    name: str
    title: str
    help: str
    more: str
    needs: tuple[str, ...] = ()
    function: Callable[[Asked], np.ndarray] = field(repr=False)

    def fits(self, workspace: Workspace) -> bool:
        """Whether the workspace has the kind of text that this is a feature of."""
        return ("single" if workspace.is_pair else "pair") not in self.needs


_FEATURES: dict[str, Feature] = {}


def feature(**label: Any) -> Callable[[Callable[[Asked], np.ndarray]], Callable[[Asked], np.ndarray]]:
    """Register a feature under its function's name."""

    def register(function: Callable[[Asked], np.ndarray]) -> Callable[[Asked], np.ndarray]:
        _FEATURES[function.__name__] = Feature(name=function.__name__, function=function, **label)
        return function

    return register


def list_features(workspace: Workspace) -> list[Feature]:
    """The features that fit the workspace, and one named "column:NAME" for each numeric column of the training data."""
    return [f for f in _FEATURES.values() if f.fits(workspace)] + [_column(name) for name in _numeric(workspace)]


def get_feature(workspace: Workspace, name: str) -> Feature:
    """The feature of that name; UserError where it is unknown or does not fit the workspace."""
    if name.startswith(COLUMN):
        return _column(_checked_column(workspace, name.removeprefix(COLUMN)))
    names = [f.name for f in list_features(workspace)]
    if name in _FEATURES and name not in names:
        kinds = ("pairs of", "single") if "pair" in _FEATURES[name].needs else ("single", "pairs of")
        raise UserError(
            f"Feature {name} is of {kinds[0]} texts, and workspace '{workspace.name}' has {kinds[1]} texts. "
            f"Known: {', '.join(names)}."
        )
    if name not in names:
        raise unknown("feature", name, names)
    return _FEATURES[name]


def feature_values(
    workspace: Workspace, name: str, *, query: Query | None = None, pattern: str | None = None
) -> np.ndarray:
    """A feature of every training example: (train,) float64; NaN where it is not defined (a text without words).

    `query` and `pattern` are read by the features that need them. What depends on neither is computed once a
    workspace. Raises UserError for a feature that is unknown or does not fit the workspace, a column that is not
    numeric, a query or pattern that is missing, and a pattern that is wrong or too slow.
    """
    found = get_feature(workspace, name)
    asked = Asked(workspace=workspace, query=query, pattern=pattern)
    if "query" in found.needs and query is None:
        raise UserError(f"Feature {name} compares the training examples with a test example: give one.")
    if "pattern" in found.needs and not (pattern or "").strip():
        raise UserError(f"Feature {name} needs a word list ('no, not, never') or a regular expression.")
    if {"query", "pattern"} & set(found.needs):
        return found.function(asked)
    return workspace.memo(("feature", name), lambda: _sealed(found.function(asked)))


def overlap_rate(workspace: Workspace, scores: np.ndarray, *, top: int) -> float:
    """Mean lexical overlap of the `top` training examples by score (train,), 0 to 1 (Pezeshkpour et al. 2021 Table 2).

    Equal scores go by rising id; hypotheses without a word are left out, and NaN says that no other is among the top.
    """
    values = feature_values(workspace, "lexical_overlap")
    if not 1 <= top <= len(values):
        raise UserError(f"top must be from 1 to {len(values)}, the number of training examples, not {top}.")
    chosen = values[np.argsort(-scores, kind="stable")[:top]]
    chosen = chosen[np.isfinite(chosen)]
    return float(chosen.mean()) if len(chosen) else float("nan")


def _checked_column(workspace: Workspace, name: str) -> str:
    others = [str(column) for column in workspace.train.columns if column not in GIVEN]
    if name not in others:
        raise unknown("column of the training data", name, others)
    numeric = _numeric(workspace)
    if name not in numeric:
        raise UserError(f"Column '{name}' is not numeric. Numeric columns: {', '.join(numeric) or 'none'}.")
    return name


def _numeric(workspace: Workspace) -> list[str]:
    train = workspace.train
    return [str(c) for c in train.columns if c not in GIVEN and pd.api.types.is_numeric_dtype(train[c].dtype)]


def _column(name: str) -> Feature:
    def values(asked: Asked) -> np.ndarray:
        found = asked.workspace.train[name].to_numpy(dtype=np.float64, na_value=np.nan)
        return np.where(np.isfinite(found), found, np.nan)

    return Feature(
        name=f"{COLUMN}{name}",
        title=name,
        more=f"with a higher {name}",
        help=f"The column '{name}' of the training data.",
        function=values,
    )


def _sealed(values: np.ndarray) -> np.ndarray:
    """The values as float64 that a caller cannot change: they are shared by all who ask."""
    made = np.array(values, dtype=np.float64)
    made.setflags(write=False)
    return made


@feature(
    title="Lexical overlap",
    more="with more lexical overlap",
    help=(
        "Share of the hypothesis's words that the premise has: lower-case words without punctuation, "
        "stop words kept, a repeated word counted each time."
    ),
    needs=("pair",),
)
def lexical_overlap(asked: Asked) -> np.ndarray:
    """Han et al. 2020 §5.1: 0 to 1; 1 for every HANS pair. NaN for a hypothesis without a word."""
    words = training_words(asked.workspace)
    assert words.pairs is not None
    size = max(1, len(words.vocabulary))
    there = np.isin(words.pairs.owner * size + words.pairs.ids, words.texts.owner * size + words.texts.ids)
    return words.pairs.share(there)


@feature(
    title="Overlap with the test text",
    more="that share more words with the test text",
    help=(
        "Share of the training text's words that the test text has: lower-case words without punctuation, "
        "stop words kept, a repeated word counted each time."
    ),
    needs=("single", "query"),
)
def test_overlap(asked: Asked) -> np.ndarray:
    """0 to 1; NaN for a training text without a word. Cost: one look-up a word of the training set."""
    words = training_words(asked.workspace)
    assert asked.query is not None
    in_test = np.zeros(max(1, len(words.vocabulary)), dtype=bool)
    in_test[[words.vocabulary[w] for w in lexical_words(asked.query.example.text) if w in words.vocabulary]] = True
    return words.texts.share(in_test[words.texts.ids])


@feature(
    title="Negation in the hypothesis",
    more="with a negation in the hypothesis",
    help=f"1 where the hypothesis has a negation ({', '.join(NEGATIONS)}, or a word that ends in n't), else 0.",
    needs=("pair",),
)
def negation(asked: Asked) -> np.ndarray:
    """Han et al. 2020 Table 6, Fig. 5: 0 or 1."""
    words = training_words(asked.workspace)
    assert words.pairs is not None
    negates = np.array([is_negation(word) for word in words.vocabulary], dtype=bool)
    rows = words.pairs.owner[negates[words.pairs.ids]] if len(negates) else words.pairs.owner
    return (np.bincount(rows, minlength=len(words.pairs.counts)) > 0).astype(np.float64)


def is_negation(word: str) -> bool:
    """Whether a lower-case word negates."""
    return word in NEGATIONS or word.endswith(("n't", "n’t"))


@feature(title="Length", more="with more words", help="Number of words of the text, or of the hypothesis of a pair.")
def length(asked: Asked) -> np.ndarray:
    """Words as in the other features, not the model's tokens."""
    return training_words(asked.workspace).asked.counts.astype(np.float64)


@feature(
    title="Cue words",
    more="with stronger cue words",
    help=(
        "Largest pointwise mutual information (natural logarithm, add-100 smoothing) between a word of the hypothesis "
        "and a label of the training set."
    ),
    needs=("pair", "cues"),
)
def cue_words(asked: Asked) -> np.ndarray:
    """What the hypothesis alone tells (Gururangan et al. 2018 §3): at least 0; 0 for a hypothesis without a word.

    PMI(w, y) = log p(w, y) / p(w) p(y), from the number of hypotheses of label y that have the word, plus 100.
    """
    workspace = asked.workspace
    words = training_words(workspace).pairs
    assert words is not None
    pmi = _pmi(workspace).max(axis=1)
    strongest = np.zeros(len(words.counts))
    np.maximum.at(strongest, words.owner, pmi[words.ids])
    return strongest


def _pmi(workspace: Workspace) -> np.ndarray:
    """Smoothed PMI of every word of the vocabulary with every label, from hypotheses only: (vocabulary, labels)."""
    words, labels = training_words(workspace), workspace.label_ids(workspace.train)
    assert words.pairs is not None
    size, n_labels = max(1, len(words.vocabulary)), len(workspace.labels)
    once = np.unique(words.pairs.owner * size + words.pairs.ids)
    owner, ids = np.divmod(once, size)
    counts = np.bincount(ids * n_labels + labels[owner], minlength=size * n_labels).reshape(size, n_labels)
    joint = np.where(counts.sum(axis=1, keepdims=True) > 0, counts + SMOOTHING, 0).astype(np.float64)
    joint /= max(joint.sum(), 1.0)
    expected = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    return np.log(joint, out=np.zeros_like(joint), where=joint > 0) - np.log(
        expected, out=np.zeros_like(joint), where=joint > 0
    )


@feature(
    title="Own pattern",
    more="that match the pattern",
    help=(
        "1 where the text, or the hypothesis of a pair, has one of your words ('no, not, never': whole words in "
        "either case) or matches your regular expression (as written; (?i) for either case), else 0."
    ),
    needs=("pattern",),
)
def pattern(asked: Asked) -> np.ndarray:
    """0 or 1, within a time limit; see `attribution.artifacts.patterns`."""
    texts, pairs = asked.workspace.texts("train")
    return matches(asked.pattern or "", texts if pairs is None else pairs)
