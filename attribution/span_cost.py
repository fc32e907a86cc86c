"""How long a search for training spans will take, said before it starts."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from attribution.cost import pass_seconds
from attribution.factor_index import DTYPES, States, precision_of
from attribution.masked_texts import find_spans, masked_part, masked_rows, states_of_masked
from attribution.model import Encoded
from attribution.parameters import checked
from attribution.query import Query, sample_ids
from attribution.registry import get_method
from attribution.scoring import Choices, Plan, plan
from attribution.span_scores import SHOWN
from attribution.spans import Finder, check_tokens
from attribution.sweep import sweep
from attribution.workspace import Workspace

SAMPLE, TIMED = 32, 2048


def search_seconds(query: Query, name: str, parameters: Mapping[str, Any]) -> float:
    """About how long a method of spans takes to answer, its index being there, in seconds.

    A sample of training texts says how many tokens have to be read, a small part of them how long one takes. Raises
    what the answer would: UserError where the clicked tokens are no span or the finder does not fit. Cost: some tenths
    of a second, once a finder and scope.
    """
    method = get_method(name)
    values = checked(name, method.parameters, parameters)
    assert method.preset is not None and method.spans != "none"
    if method.spans == "both" and query.tokens:
        check_tokens(query.example, query.tokens)
    workspace, planned = query.workspace, plan(query.workspace, method.preset.overlaid(values))
    finder, choices = Finder(name=values["finder"], size=values["size"]), planned.choices
    is_head = planned.scorer == "head"
    key = ("span cost", finder, planned.scope, is_head, masked_part(workspace, finder).is_built(workspace))
    spans, seconds = workspace.memo(key, lambda: _timed(query, finder, planned))
    masked, whole = _texts(choices, len(workspace.train), spans, values["candidates"])
    return masked * seconds + (0.0 if is_head else whole * pass_seconds(workspace, planned.scope))


def _texts(choices: Choices, count: int, spans: float, candidates: int) -> tuple[float, float]:
    """How many masked and whole texts are read: the searched ones, all of both ends, and of copies the top once more.

    `count` training examples have `spans` each, in the mean.
    """
    passes = choices.copies if choices.checkpoints == "copies" else 0
    if choices.scorer == "sweep":
        return count * spans * max(1, passes), count * max(1, passes)
    top = passes * min(count, SHOWN)
    masked = min(count * spans, candidates + 2 * SHOWN * max(0.0, spans - 1))
    return masked + top * spans, min(candidates, count) + top


def _timed(query: Query, finder: Finder, planned: Plan) -> tuple[float, float]:
    """Spans of a training example, in the mean over a sample, and the seconds that a text with one masked takes."""
    workspace = query.workspace
    at = sample_ids(list(range(len(workspace.train))), SAMPLE)
    examples, found = find_spans(workspace, at, finder)
    encoded, owner = masked_rows(examples, found, query.classifier.erased_id)
    if not len(owner):
        return 0.0, 0.0
    lengths = np.array([len(ids) for ids in encoded["input_ids"]])
    read = max(1, int(np.searchsorted(lengths.cumsum(), TIMED, side="right")))
    labels = workspace.label_ids(workspace.train.iloc[at])[owner][:read]
    some, took = {name: column[:read] for name, column in encoded.items()}, []
    spans = [(position, place) for position, own in zip(at, found, strict=True) for place in range(len(own))]
    states = _kept_states(workspace, finder, planned, spans[:read])
    for _ in range(2):  # the first time some things are made that stay
        began = time.perf_counter()
        _read(query, planned, some, labels, states)
        took.append(time.perf_counter() - began)
    return len(owner) / len(at), min(took) / int(lengths[:read].sum()) * float(lengths.mean())


def _kept_states(
    workspace: Workspace, finder: Finder, planned: Plan, spans: Sequence[tuple[int, int]]
) -> States | None:
    """The states from which the search starts, where masked texts were read and they enter below the scope."""
    kept = states_of_masked(workspace, finder)
    return kept.of(spans) if kept.block <= (planned.scope.first_block or 0) else None


def _read(query: Query, planned: Plan, encoded: Encoded, labels: np.ndarray, states: States | None) -> None:
    """What the search does with its rows; which direction the derivative is taken along does not matter to the time."""
    classifier = query.classifier
    if planned.scorer == "head":
        classifier.collect(encoded)
        return
    along = {name: classifier.model.get_parameter(name).detach() for name in planned.scope.names}
    sweep(classifier, encoded, labels, along, states=states, dtype=DTYPES[precision_of(classifier)])
