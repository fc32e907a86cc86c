"""Word by word: how much each word of a training example raised the saliency of each token of the test text.

The matrix that a clicked token's shaded words are one row of (Meng et al. 2020 eq. 5 and 8), for all tokens at once.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attribution.ekfac import open_curvature
from attribution.factors import read_tokens, run_pass
from attribution.head import cosine
from attribution.index import Part, Progress, silent
from attribution.matrices import dense, inner
from attribution.model import Encoded, Example, length_sorted_batches
from attribution.parameters import checked
from attribution.query import Query, with_tokens
from attribution.question_factors import saliency_factors
from attribution.registry import get_method
from attribution.scoring import Plan, plan, side_of
from attribution.sides import HeadSide
from attribution.tokens import Word
from attribution.variants import weights_of
from attribution.words import erased_rows, plain_words, training_examples
from attribution.workspace import Workspace

METHOD = "saliency_influence"
ROOM = 250_000_000
TOKENS = 512


@dataclass(frozen=True, kw_only=True)
class WordPairs:
    """What the words of one training example did to the saliency of the tokens of the test text.

    `groups`: the tokens that each row is about, a word's pieces together; `words`: those of the training example, one a
    column; `scores` (groups, words): positive = the training word raised the saliency, in saliency_influence's unit.
    """

    query: Query
    train_id: int
    parameters: Mapping[str, Any]
    example: Example
    groups: Sequence[tuple[int, ...]]
    words: Sequence[Word]
    scores: np.ndarray
    seconds: float


def word_pairs(
    query: Query,
    train_id: int,
    parameters: Mapping[str, Any] | None = None,
    *,
    groups: Sequence[tuple[int, ...]] | None = None,
    progress: Progress = silent,
) -> WordPairs:
    """The matrix of a test text and a training example under saliency_influence with these parameters.

    Each row is what `ScoreTable.words` gives where that row's tokens are clicked: I(x_t) = I(z) − I(z with x_t →
    [UNK]). Without `groups`, a row for every word of the test text, special tokens too. Over linear layers with EK-FAC
    or no curvature the erased copies run once, in float32, and meet the factors of every row's gradient; otherwise a
    row takes what it takes when it is clicked. Raises UserError as the method does, and for a training example that is
    not there. Cost: a forward and backward pass a training word, and a double backward pass a row.
    """
    began, method, workspace = time.perf_counter(), get_method(METHOD), query.workspace
    values = checked(METHOD, method.parameters, parameters or {})
    assert method.preset is not None
    planned = plan(workspace, method.preset.overlaid(values))
    (position,) = workspace.train_positions([train_id])
    (example,) = training_examples(query.workspace, [position])
    words = plain_words(example)
    rows = [word.tokens for word in query.example.words] if groups is None else list(groups)
    asked = [with_tokens(query, tokens) for tokens in rows]
    encoded, _ = erased_rows([example], [[word.tokens for word in words]], query.classifier.unknown_id)
    answer = _by_factors if _is_factored(workspace, planned) else _one_by_one
    made = answer(asked, values["saliency"], planned, encoded, position, progress)
    return WordPairs(
        query=query,
        train_id=train_id,
        parameters=values,
        example=example,
        groups=rows,
        words=words,
        scores=made[:, :1] - made[:, 1:],
        seconds=time.perf_counter() - began,
    )


def pairs_parts(workspace: Workspace, parameters: Mapping[str, Any] | None = None) -> list[Part]:
    """The parts of the index that `word_pairs` reads with these parameters."""
    method = get_method(METHOD)
    assert method.preset is not None
    planned = plan(workspace, method.preset.overlaid(checked(METHOD, method.parameters, parameters or {})))
    wanted = planned.parts(workspace)
    return [part for part in wanted if part.kind == "curvature"] if _is_factored(workspace, planned) else wanted


def _is_factored(workspace: Workspace, planned: Plan) -> bool:
    shared = workspace.classifier.shared_layers & set(planned.scope.layers)
    return (
        planned.scorer != "head" and planned.scope.is_linear and not shared and planned.solver in ("identity", "ekfac")
    )


def _one_by_one(
    asked: Sequence[Query], kind: str, planned: Plan, encoded: Encoded, position: int, progress: Progress
) -> np.ndarray:
    """The scores of the encoded copies of a training example, for one clicked group after the other: (rows, copies)."""
    workspace, count = asked[0].workspace, len(encoded["input_ids"])
    (state,) = planned.states(workspace)
    labels = np.repeat(workspace.label_ids(workspace.train.iloc[[position]]), count)
    owner, made, units = np.full(count, position), [], None
    for query in asked:
        side = side_of(query, query.saliency(kind), planned, state, progress, [])
        if isinstance(side, HeadSide):
            units = units or side.units_of(encoded, labels)
            made.append(side.of_units(units, owner))
        else:
            made.append(side.copies(encoded, labels, owner))
        progress(len(made), len(asked), "word by word")
    return np.array(made)


def _by_factors(
    asked: Sequence[Query], kind: str, planned: Plan, encoded: Encoded, position: int, progress: Progress
) -> np.ndarray:
    """As `_one_by_one`, every row from the same passes over the copies, as many rows at a time as memory allows."""
    classifier, layers = asked[0].classifier, planned.scope.layers
    shapes = [classifier.model.get_submodule(name).weight.shape for name in layers]
    numbers = len(asked[0].example.tokens) * sum(sum(shape) for shape in shapes)
    size, made = max(1, ROOM // numbers), []
    count = len(encoded["input_ids"])
    total = count * -(-len(asked) // size)
    for start in range(0, len(asked), size):

        def note(done: int, before: int = start // size * count) -> None:
            progress(before + done, total, "erased copies, word by word")

        made.append(_some_by_factors(asked[start : start + size], kind, planned, encoded, position, note))
    return np.concatenate(made)


def _some_by_factors(
    asked: Sequence[Query],
    kind: str,
    planned: Plan,
    encoded: Encoded,
    position: int,
    note: Callable[[int], None],
) -> np.ndarray:
    first, choices, scope = asked[0], planned.choices, planned.scope
    workspace, classifier = first.workspace, first.classifier
    (state,) = planned.states(workspace)
    weights = weights_of(workspace, state)
    curvature = {}
    if planned.solver == "ekfac":
        (part,) = [part for part in planned.parts(workspace) if part.kind == "curvature"]
        curvature = open_curvature(workspace, part)
    groups = [query.tokens for query in asked]
    found = saliency_factors(classifier, first.example, first.label, kind, groups, scope.layers, weights)
    turned = {
        name: factors.turned(curvature[name].of_inputs, curvature[name].of_gradients) if curvature else factors
        for name, factors in found.items()
    }
    inverse = {name: curvature[name].inverse(choices.damping) if curvature else None for name in scope.layers}
    label = torch.from_numpy(workspace.label_ids(workspace.train.iloc[[position]])).to(classifier.device)
    dots, square, done = np.zeros((len(asked), len(encoded["input_ids"]))), 0.0, 0
    for rows in length_sorted_batches([len(ids) for ids in encoded["input_ids"]], tokens=TOKENS):
        labels = label.expand(len(rows))
        inputs = classifier.pad(encoded, rows.tolist())
        made = run_pass(classifier, inputs, lambda _, labels=labels: labels, scope.layers, weights=weights)
        for name, pair in made.factors.items():
            entering, gradients = read_tokens(pair)
            if curvature:
                entering, gradients = entering @ curvature[name].of_inputs, gradients @ curvature[name].of_gradients
            whole, scale = gradients.mT @ entering, inverse[name]
            solved = whole if scale is None else whole * scale
            dots[:, rows] += turned[name].products(solved).double().cpu().numpy()
            if 0 in rows:
                at = rows.tolist().index(0)
                other = solved if choices.normalise == "relatif" else whole
                square += float((whole[at] * other[at]).sum())
        done += len(rows)
        note(done)
    if choices.normalise == "none":
        return -dots
    lengths = np.array([_length(turned, inverse, number, choices.normalise) for number in range(len(asked))])
    return cosine(-dots, lengths[:, None], square**0.5)


def _length(found: Mapping[str, Any], inverse: Mapping[str, Tensor | None], number: int, normalise: str) -> float:
    """‖P^½∇F‖ for relatif, ‖P∇F‖ for cosine, of one of the saliencies."""
    total = 0.0
    for name, factors in found.items():
        matrix, scale = dense(factors.pair(number)), inverse[name]
        solved = matrix if scale is None else matrix * scale
        total += inner(solved, matrix if normalise == "relatif" else solved)
    return total**0.5
