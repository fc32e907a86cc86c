"""Training examples that resemble the test example in the model's penultimate features f, and a random control."""

import hashlib
from collections.abc import Callable
from typing import Annotated

import numpy as np

from attribution.index import Progress, load, parts
from attribution.model import Encoded
from attribution.parameters import Range
from attribution.query import Query
from attribution.registry import example_method
from attribution.results import Scored
from attribution.words import words_by_erasure

Measure = Callable[[np.ndarray, np.ndarray], np.ndarray]


def minus_squared_distances(test: np.ndarray, train: np.ndarray) -> np.ndarray:
    """−‖test − train_i‖² of vectors (width,) and (train, width): (train,)."""
    return -np.square(train - test).sum(axis=1)


def cosines(test: np.ndarray, train: np.ndarray) -> np.ndarray:
    """cos(test, train_i): (train,); 0 where a vector vanishes."""
    return train @ test / np.maximum(np.linalg.norm(train, axis=1) * np.linalg.norm(test), 1e-12)


def dots(test: np.ndarray, train: np.ndarray) -> np.ndarray:
    """⟨test, train_i⟩: (train,)."""
    return train @ test


def _similar(query: Query, progress: Progress, measure: Measure) -> Scored:
    """A measure between the penultimate features of the test example and of the training set; words by erasure."""
    (part,) = parts(query.workspace, "features")
    train = np.asarray(load(query.workspace, part, progress)["features"])

    def copies(encoded: Encoded, labels: np.ndarray, owner: np.ndarray) -> np.ndarray:
        return measure(query.features, query.classifier.collect(encoded)[0]).astype(np.float64)

    return Scored(
        scores=measure(query.features, train).astype(np.float64),
        scorer="head",
        exact=True,
        quantity="similarity",
        words=lambda positions: words_by_erasure(query, copies, positions),
    )


@example_method(
    title="Nearest, Euclidean",
    family="similarity",
    paper="Pezeshkpour 2021 §2, NN EUC",
    formula=r"-\lVert f' - f_i \rVert^2",
    unit="minus squared distance in feature space; 0 is identical",
    cost="one pass over the features",
    weakness="Looks at what the texts share, not at what training on them did; blind to the label.",
    signed=False,
    words=True,
    index=("features",),
)
def nn_euc(query: Query, progress: Progress) -> Scored:
    """−‖f′ − f_i‖² (Pezeshkpour et al. 2021 §2); at most 0, higher = nearer."""
    return _similar(query, progress, minus_squared_distances)


@example_method(
    title="Nearest, cosine",
    family="similarity",
    paper="Pezeshkpour 2021 §2, NN COS",
    formula=r"\cos(f', f_i)",
    unit="cosine, −1 to 1",
    cost="one pass over the features",
    weakness="Looks at what the texts share, not at what training on them did; blind to the label.",
    signed=False,
    words=True,
    index=("features",),
)
def nn_cos(query: Query, progress: Progress) -> Scored:
    """cos(f′, f_i) (Pezeshkpour et al. 2021 §2); higher = more alike."""
    return _similar(query, progress, cosines)


@example_method(
    title="Nearest, dot product",
    family="similarity",
    paper="Pezeshkpour 2021 §2, NN DOT",
    formula=r"\langle f', f_i \rangle",
    unit="dot product of features",
    cost="one pass over the features",
    weakness="Led by training examples with large features whatever the question; blind to the label.",
    signed=False,
    words=True,
    index=("features",),
)
def nn_dot(query: Query, progress: Progress) -> Scored:
    """⟨f′, f_i⟩ (Pezeshkpour et al. 2021 §2); higher = more alike."""
    return _similar(query, progress, dots)


@example_method(
    title="Random control",
    family="similarity",
    paper="control of every removal experiment",
    formula=r"u_i \sim U(0, 1)",
    unit="none",
    cost="a hash a training example",
    weakness="Says nothing: it is what a method has to beat.",
    signed=False,
)
def random(
    query: Query,
    progress: Progress,
    *,
    seed: Annotated[int, Range(low=0, high=2**31 - 1, help="Another seed gives another order.")] = 0,
) -> Scored:
    """A uniform number in [0, 1) from a hash of the seed and the example, so it does not depend on the order."""
    names = ("text", "text_pair" if query.workspace.is_pair else "label", "label")
    keys = zip(*(query.workspace.train[name].tolist() for name in names), strict=True)
    digests = (hashlib.blake2b(repr((seed, *key)).encode(), digest_size=8).digest() for key in keys)
    scores = np.array([int.from_bytes(digest, "big") / 2**64 for digest in digests])
    return Scored(scores=scores, scorer="none", exact=True, quantity="none")
