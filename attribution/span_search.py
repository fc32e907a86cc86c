"""Which spans of the training examples are worth scoring: foretold by what masking each does to the head's gradient.

A span's score is that of its example less that of the example with the span masked (Huang et al. 2021 §3.1), and an
index of examples holds no masked one; nor does an example whole foretell what its spans score, for that is nearly all
from the masked text, whose loss is large. So the penultimate features and logits of every masked text are kept. The
gradient of the head, (p − e_y) fᵀ, foretells the gradients below it well enough to rank by: a question's scores of
whole examples, which its index has, are regressed on the head's gradients of these, and the fit is read off at the
masked ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.linalg

from attribution.head import HeadUnits, head_units
from attribution.index import BUILDERS, Part, Progress, finish_shard, load, parts
from attribution.model import Encoded, Example
from attribution.query import sample_ids
from attribution.spans import Finder, Span
from attribution.words import erased_rows, training_examples
from attribution.workspace import Workspace

KIND = "masked_features"
MOST_TOKENS = 4_000_000
FITTED = 2000
RIDGE = 1e-3
SHARD = 512
SAMPLE = 32
ARRAYS = ("features", "logits", "owner", "place", "looked")


@dataclass(frozen=True, kw_only=True)
class Foretold:
    """The spans that were looked at, each by its example's position (spans,) and its place among that example's spans.

    `scores` are those foretold, in the unit of the scores given. `examples`: how many training examples were looked at.
    """

    owner: np.ndarray
    place: np.ndarray
    scores: np.ndarray
    examples: int

    def ends(self, count: int) -> dict[int, set[int]]:
        """The places of `count` spans, half of them from either end of the ranking, by their examples' positions."""
        order, half = np.argsort(-self.scores, kind="stable"), (count + 1) // 2
        chosen: dict[int, set[int]] = {}
        for at in np.unique(np.concatenate([order[:half], order[max(half, len(order) - (count - half)) :]])):
            chosen.setdefault(int(self.owner[at]), set()).add(int(self.place[at]))
        return chosen


@dataclass(frozen=True, kw_only=True)
class _Masked:
    """The head's gradients of all masked texts, and as in `Foretold` whose spans they are of."""

    owner: np.ndarray
    place: np.ndarray
    units: HeadUnits
    examples: int


def search_parts(workspace: Workspace, finder: Finder) -> list[Part]:
    """What a search reads of the final model: the features of the training texts, whole and with spans masked."""
    size = {"size": str(finder.size)} if finder.name == "ngrams" else {}
    return [*parts(workspace, "features"), *parts(workspace, KIND, finder=finder.name, **size)]


def foretell(workspace: Workspace, finder: Finder, scores: np.ndarray, progress: Progress) -> Foretold:
    """The scores of spans, foretold from those of the training examples whole (train,).

    Cost, once its parts are there: a product of every masked text's features with a matrix (labels, width).
    """
    features, masked = search_parts(workspace, finder)
    whole, kept = load(workspace, features, progress), load(workspace, masked, progress)
    rows, units, factor = workspace.memo((features, "fit"), lambda: _fitted(_units(workspace, whole)))
    found = workspace.memo((masked, "read"), lambda: _read(workspace, kept))
    weights = scipy.linalg.cho_solve((factor, True), scores[rows])
    along = (units.residuals * weights[:, None]).T @ units.features
    return Foretold(
        owner=found.owner,
        place=found.place,
        scores=scores[found.owner] - found.units.dot(along),
        examples=found.examples,
    )


def forward_passes(workspace: Workspace, part: Part) -> float:
    """How many times the training set's tokens a part of this kind reads, judged by a sample of training examples."""
    rows = sample_ids(range(len(workspace.train)), SAMPLE)
    examples, spans = find_spans(workspace, rows, _finder(part))
    lengths = np.array([len(example.tokens) for example in examples])
    masked = float(lengths @ [len(own) for own in spans])
    return min(masked, MOST_TOKENS * len(rows) / len(workspace.train)) / float(lengths.sum())


def find_spans(
    workspace: Workspace, positions: Sequence[int], finder: Finder
) -> tuple[list[Example], list[list[Span]]]:
    """Some training examples, encoded, and the spans of each. UserError where the finder does not fit one of them."""
    table, examples = workspace.train, training_examples(workspace, positions)
    found = [
        finder.find(example, dict(table.iloc[at]), f"training example {table.index[at]}")
        for at, example in zip(positions, examples, strict=True)
    ]
    return examples, found


def masked_rows(
    examples: Sequence[Example], spans: Sequence[Sequence[Span]], erased: int
) -> tuple[Encoded, np.ndarray]:
    """Each example with one of its spans after the other masked: the encoded rows, and which example each is of."""
    encoded, owner = erased_rows(examples, [[span.tokens for span in own] for own in spans], erased)
    masked = np.flatnonzero(np.diff(owner, prepend=-1) == 0)  # an example's first row is whole
    return {name: [values[row] for row in masked] for name, values in encoded.items()}, owner[masked]


def _read(workspace: Workspace, kept: Mapping[str, np.ndarray]) -> _Masked:
    """What a part of this kind holds, its shards put together."""
    shards = sorted({name.rpartition("-")[0] for name in kept})
    read = {name: np.concatenate([kept[f"{shard}-{name}"] for shard in shards]) for name in ARRAYS}
    units = _units(workspace, read, read["owner"])
    return _Masked(owner=read["owner"], place=read["place"], units=units, examples=int(read["looked"].sum()))


def _units(workspace: Workspace, kept: Mapping[str, np.ndarray], owner: np.ndarray | slice = slice(None)) -> HeadUnits:
    """The head's gradients of texts made of some training examples, under these examples' labels."""
    labels = workspace.label_ids(workspace.train)[owner]
    features = np.asarray(kept["features"], dtype=np.float32)
    return head_units(features, np.asarray(kept["logits"]), labels, bias=False)


def _fitted(units: HeadUnits) -> tuple[np.ndarray, HeadUnits, np.ndarray]:
    """A sample of training examples, their gradients, and the Cholesky factor of K + λI, K their inner products.

    λ is a thousandth of the mean of K's diagonal.
    """
    count = len(units.features)
    rows = np.sort(np.random.default_rng(0).choice(count, min(count, FITTED), replace=False))
    some = HeadUnits(
        features=units.features[rows].astype(np.float64),
        probabilities=units.probabilities[rows],
        residuals=units.residuals[rows],
    )
    products = (some.features @ some.features.T) * (some.residuals @ some.residuals.T)
    penalty = max(RIDGE * np.trace(products) / len(rows), np.finfo(np.float64).eps)
    products[np.diag_indices(len(rows))] += penalty
    return rows, some, np.linalg.cholesky(products)


def _finder(part: Part) -> Finder:
    options = dict(part.options)
    return Finder(name=options["finder"], size=int(options.get("size", 1)))


def _build(workspace: Workspace, part: Part, folder: Path, progress: Progress) -> tuple[str, ...]:
    """Examples in random order, until all are read, or MOST_TOKENS. Cost: a forward pass a span.

    A shard is of SHARD examples; an interrupted build goes on after those that are finished.
    """
    finder, count, weights = _finder(part), len(workspace.train), workspace.weights(part.checkpoint)
    order, what = np.random.default_rng(0).permutation(count), f"the training set with spans masked ({finder.name})"
    names: list[str] = []
    tokens = 0
    for number, first in enumerate(range(0, count, SHARD)):
        if tokens >= MOST_TOKENS:
            break
        some = order[first : first + SHARD]

        def make(some: np.ndarray = some, first: int = first) -> dict[str, np.ndarray]:
            examples, spans = find_spans(workspace, some.tolist(), finder)
            rows, owner = masked_rows(examples, spans, workspace.classifier.erased_id)

            def note(done: int) -> None:
                progress(first + len(some) * done // len(owner), count, what)

            features, logits = workspace.classifier.collect(rows, weights=weights, progress=note)
            return {
                "features": features.astype(np.float16),
                "logits": logits,
                "owner": some[owner],
                "place": np.concatenate([np.arange(len(own)) for own in spans]),
                "looked": np.array([len(some)]),
                "tokens": np.array([sum(map(len, rows["input_ids"]))]),  # the last, and read below
            }

        names += finish_shard(folder, number, make)
        tokens += int(np.load(folder / f"{names[-1]}.npy")[0])
        progress(min(count, max(first + SHARD, count * tokens // MOST_TOKENS)), count, what)
    return tuple(names)


BUILDERS[KIND] = _build
