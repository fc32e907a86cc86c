"""How long a search for training spans will take, said before it starts."""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from attribution.factor_index import DTYPES, precision_of
from attribution.model import Encoded
from attribution.parameters import checked
from attribution.query import Query, sample_ids
from attribution.registry import get_method
from attribution.scoring import RERANKED, Choices, Plan, plan
from attribution.spans import Finder, check_tokens
from attribution.sweep import sweep
from attribution.words import erased_rows, training_examples

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
    tokens, rate = workspace.memo(
        ("span cost", finder, planned.scope, planned.scorer == "head"), lambda: _timed(query, finder, planned)
    )
    count = len(workspace.train)
    searched = count if choices.scorer == "sweep" else min(count, values["candidates"])
    return tokens * rate * _passes(choices, searched)


def _passes(choices: Choices, searched: int) -> int:
    """How many examples' spans are scored in all: the copies score the top again, or everything where all is swept."""
    if choices.checkpoints != "copies":
        return searched
    return searched * choices.copies if choices.scorer == "sweep" else searched + choices.copies * RERANKED


def _timed(query: Query, finder: Finder, planned: Plan) -> tuple[float, float]:
    """Tokens of a training example and of its masked copies, in the mean over a sample; and seconds a token."""
    workspace = query.workspace
    at = sample_ids(list(range(len(workspace.train))), SAMPLE)
    examples = training_examples(query, at)
    rows = workspace.train.iloc[at]
    found = [
        finder.find(example, dict(rows.iloc[i]), f"training example {rows.index[i]}")
        for i, example in enumerate(examples)
    ]
    encoded, owner = erased_rows(examples, [[s.tokens for s in own] for own in found], query.classifier.erased_id)
    lengths = np.array([len(ids) for ids in encoded["input_ids"]])
    read = max(1, int(np.searchsorted(lengths.cumsum(), TIMED, side="right")))
    labels = workspace.label_ids(rows)[owner][:read]
    began = time.perf_counter()
    _read(query, planned, {name: column[:read] for name, column in encoded.items()}, labels)
    return lengths.sum() / len(at), (time.perf_counter() - began) / int(lengths[:read].sum())


def _read(query: Query, planned: Plan, encoded: Encoded, labels: np.ndarray) -> None:
    """What the search does with its rows; which direction the derivative is taken along does not matter to the time."""
    classifier = query.classifier
    if planned.scorer == "head":
        classifier.collect(encoded)
        return
    along = {name: classifier.model.get_parameter(name).detach() for name in planned.scope.names}
    sweep(classifier, encoded, labels, along, dtype=DTYPES[precision_of(classifier)])
