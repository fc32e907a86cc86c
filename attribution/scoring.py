"""score(i) = −∇_S F · P · ∇_S ℓ_i for the head as scope S, in closed form; words of a training example by erasure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from attribution.head import HeadHessian, HeadUnits, cosine, head_hessian, head_units
from attribution.index import Progress, load, parts
from attribution.model import Example
from attribution.quantity import LogProbability, Quantity, gradient
from attribution.query import Query
from attribution.results import Scored, WordScore

Solver = Literal["identity", "exact"]
Normalise = Literal["none", "cosine", "relatif"]


@dataclass(frozen=True, kw_only=True)
class Choices:
    """The choices of the equation: parameters counted, curvature P, normalisation, and the saved states summed over.

    normalise: none; cosine = ⟨v, ψ⟩ / ‖v‖‖ψ‖ with v = P∇F; relatif = ⟨v, ψ⟩ / ‖P^½∇F‖‖P^½ψ‖, the cosine in the
    metric of the curvature. `rates`: weigh each saved state by its learning rate η_c.
    """

    bias: bool = False
    solver: Solver = "identity"
    normalise: Normalise = "none"
    damping: float = 0.01
    checkpoints: Literal["final", "all"] = "final"
    rates: bool = False


@dataclass(frozen=True, kw_only=True)
class _Side:
    """The query's side of the product for one saved state: vector v (labels, width), ‖query‖ and η_c."""

    state: int
    vector: np.ndarray
    norm: float
    rate: float


def score_head(query: Query, quantity: Quantity, choices: Choices, progress: Progress) -> Scored:
    """Scores of every training example for the head as scope. Cost: train × labels × width a saved state."""
    sides = []
    total = np.zeros(len(query.workspace.train))
    for part in parts(query.workspace, "features", choices.checkpoints):
        load(query.workspace, part, progress)
        side = _query_side(query, quantity, choices, part.checkpoint)
        sides.append(side)
        units = _units(query, part.checkpoint, choices.bias)
        norms = _norms(query, part.checkpoint, choices)
        total += side.rate * _scaled(-units.dot(side.vector), norms, side.norm)
    return Scored(
        scores=total,
        scorer="head",
        exact=True,
        quantity="saliency" if not isinstance(quantity, LogProbability) else "log_probability",
        words=lambda positions: _words_by_erasure(query, sides, choices, positions),
    )


def _query_side(query: Query, quantity: Quantity, choices: Choices, state: int) -> _Side:
    workspace, classifier = query.workspace, query.classifier
    head = classifier.anatomy.head_name
    names = (f"{head}.weight",) + ((f"{head}.bias",) if choices.bias else ())
    found = gradient(classifier, query.example, quantity, names, workspace.weights(state))
    columns = [found[0].double().cpu().numpy()] + [g.double().cpu().numpy()[:, None] for g in found[1:]]
    vector = np.hstack(columns)
    norm = float(np.linalg.norm(vector))
    if choices.solver == "exact":
        hessian = _hessian(query, state, choices)
        plain, vector = vector, hessian.solve(vector)
        norm = hessian.norm(plain) if choices.normalise == "relatif" else float(np.linalg.norm(vector))
    rate = workspace.checkpoints[state].learning_rate if choices.rates and workspace.checkpoints else 1.0
    return _Side(state=state, vector=vector, norm=norm, rate=rate)


def _scaled(dots: np.ndarray, norms: np.ndarray | None, query_norm: float) -> np.ndarray:
    return dots if norms is None else cosine(dots, norms, query_norm)


def _units(query: Query, state: int, bias: bool) -> HeadUnits:
    def make() -> HeadUnits:
        (part,) = [p for p in parts(query.workspace, "features", "all") if p.checkpoint == state]
        arrays = load(query.workspace, part)
        labels = query.workspace.label_ids(query.workspace.train)
        return head_units(np.asarray(arrays["features"]), np.asarray(arrays["logits"]), labels, bias=bias)

    return query.workspace.memo(("units", state, bias), make)


def _hessian(query: Query, state: int, choices: Choices) -> HeadHessian:
    key = ("hessian", state, choices.bias, choices.damping)
    return query.workspace.memo(key, lambda: head_hessian(_units(query, state, choices.bias), damping=choices.damping))


def _norms(query: Query, state: int, choices: Choices) -> np.ndarray | None:
    if choices.normalise == "none":
        return None
    units = _units(query, state, choices.bias)
    if choices.normalise == "cosine" or choices.solver == "identity":
        return query.workspace.memo(("norms", state, choices.bias), units.norms)
    key = ("relative norms", state, choices.bias, choices.damping)
    return query.workspace.memo(key, lambda: _hessian(query, state, choices).norms(units))


def _words_by_erasure(
    query: Query, sides: list[_Side], choices: Choices, positions: Sequence[int]
) -> list[list[WordScore]]:
    """I(x_t) = I(z) − I(z with x_t → [UNK]) for every word of some training examples (Meng et al. 2020 eq. 8).

    A normalised score keeps the norm of the whole example, so that a word's part is in the score's own unit.
    Cost: one forward pass a word and saved state.
    """
    workspace, classifier = query.workspace, query.classifier
    rows = workspace.train.iloc[list(positions)]
    pairs = rows["text_pair"] if workspace.is_pair else [None] * len(rows)
    examples = [classifier.example(text, pair) for text, pair in zip(rows["text"], pairs, strict=True)]
    encoded, owner = _erased(examples, classifier.unknown_id)
    labels = workspace.label_ids(rows)[owner]
    scores = np.zeros(len(owner))
    for side in sides:
        features, logits = classifier.collect(encoded, weights=workspace.weights(side.state))
        dots = -head_units(features, logits, labels, bias=choices.bias).dot(side.vector)
        norms = _norms(query, side.state, choices)
        whole = None if norms is None else norms[np.asarray(positions)][owner]
        scores += side.rate * _scaled(dots, whole, side.norm)
    return [_word_scores(example, scores[owner == i]) for i, example in enumerate(examples)]


def _word_scores(example: Example, scores: np.ndarray) -> list[WordScore]:
    """Scores of the whole example (first) and of its erased copies, as the words' parts."""
    words = [word for word in example.words if not word.special]
    return [
        WordScore(text=w.text, start=w.start, end=w.end, segment=w.segment, score=float(scores[0] - erased))
        for w, erased in zip(words, scores[1:], strict=True)
    ]


def _erased(examples: Sequence[Example], unknown: int) -> tuple[dict[str, list[list[int]]], np.ndarray]:
    """Each example whole and with one word after the other replaced, and which example each row belongs to."""
    encoded: dict[str, list[list[int]]] = {name: [] for name in examples[0].inputs}
    owner = []
    for number, example in enumerate(examples):
        plain = {name: value[0].tolist() for name, value in example.inputs.items()}
        for tokens in [(), *(word.tokens for word in example.words if not word.special)]:
            for name, values in plain.items():
                encoded[name].append(values)
            ids = [unknown if i in tokens else token for i, token in enumerate(plain["input_ids"])]
            encoded["input_ids"][-1] = ids
            owner.append(number)
    return encoded, np.array(owner)
