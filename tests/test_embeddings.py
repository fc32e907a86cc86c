"""TracIn over word embeddings: against the dense gradient of the whole embedding table, word by word."""

from collections import defaultdict
from typing import Any

import numpy as np
import pytest

from attribution import attribute
from attribution.results import ScoreTable
from attribution.workspace import Workspace
from tests.oracles import assert_close, learning_rates, query_gradient, training_gradients

TABLE = ("bert.embeddings.word_embeddings.weight",)
# fp16 with a scale a position keeps about 3 digits.
HALF = 2e-3
FAMILY = ("tracin_we", "tracin_we_topk", "tracin_we_nocommon", "tracin_common", "tracin_tfidf")


@pytest.fixture(params=["workspace", "pairs", "moving"])
def space(request: pytest.FixtureRequest) -> Workspace:
    return request.getfixturevalue(request.param)


def ask(space: Workspace, test: int = 3, method: str = "tracin_we", **parameters: Any) -> ScoreTable:
    return attribute(space, method, test=test, label=space.labels[1], **parameters)


def dense_terms(space: Workspace, states: list[int], *, rates: bool = True, test: int = 3) -> np.ndarray:
    """Σ_c η_c ⟨∇_w log p, −∇_w ℓ_i⟩ of every row w of the embedding table: (train, vocabulary)."""
    width = space.model.config.hidden_size
    total = np.zeros((len(space.train), space.model.config.vocab_size))
    for state in states:
        query = query_gradient(space, TABLE, test=test, label=1, state=state).reshape(-1, width)
        gradients = training_gradients(space, TABLE, state).reshape(len(space.train), -1, width)
        total -= (learning_rates(space)[state] if rates else 1.0) * (gradients * query).sum(axis=2)
    return total


@pytest.mark.oracle("tracin_we")
def test_scores_are_dense_gradient_products(space: Workspace) -> None:
    """Σ_c η_c ⟨∇_E log p, −∇_E ℓ_i⟩ over the whole table E by autograd, every checkpoint read from its file."""
    states = list(range(len(learning_rates(space))))
    assert len(states) > 1
    assert_close(ask(space).scores, dense_terms(space, states).sum(axis=1), relative=HALF)


@pytest.mark.oracle("tracin_we")
def test_one_checkpoint_and_equal_rates(space: Workspace) -> None:
    """checkpoints=final counts the last state only; rates=false weighs every state by 1."""
    last = len(learning_rates(space)) - 1
    assert_close(ask(space, checkpoints="final").scores, dense_terms(space, [last]).sum(axis=1), relative=HALF)
    every = dense_terms(space, list(range(last + 1)), rates=False).sum(axis=1)
    assert_close(ask(space, rates=False).scores, every, relative=HALF)


@pytest.mark.oracle("tracin_we")
def test_a_words_part_is_its_row_of_the_product(space: Workspace) -> None:
    """The parts of the words that are one vocabulary row sum to that row's term of the dense product."""
    expected = dense_terms(space, list(range(len(learning_rates(space)))))
    found = np.zeros_like(expected)
    table = ask(space)
    for row, train_id in enumerate(space.train.index):
        texts = space.train.loc[train_id]
        example = space.classifier.example(texts["text"], texts["text_pair"] if space.is_pair else None)
        ids = example.inputs["input_ids"][0].tolist()
        for word, score in zip(example.words, table.words(train_id), strict=True):
            assert len(word.tokens) == 1, "the tiny sentences are made of whole words"
            found[row, ids[word.tokens[0]]] += score.score
    assert_close(found, expected, relative=HALF, what="parts of words")


@pytest.mark.parametrize("method", FAMILY)
def test_words_sum_exactly_to_the_score(space: Workspace, method: str) -> None:
    """Σ over the words of a training example, special tokens included, is its score to the last digits."""
    table = ask(space, method=method, **({"k": 3} if method == "tracin_we_topk" else {}))
    ids = space.train.index.tolist()
    sums = np.array([sum(word.score for word in words) for words in table.words_of(ids)])
    assert_close(sums, table.scores, relative=1e-12, what="sums of words")


def test_words_of_several_tokens_sum_too(workspace: Workspace) -> None:
    """A word cut into pieces carries the sum of its pieces, and repeated pieces are counted once each."""
    table = attribute(workspace, "tracin_we", text="unwarmly unwarm warm warm film the")
    for words, score in zip(table.words_of(workspace.train.index.tolist()), table.scores, strict=True):
        assert sum(word.score for word in words) == pytest.approx(score, rel=1e-9, abs=1e-15)


def test_words_not_shared_give_exactly_nothing(space: Workspace) -> None:
    """A word of a training example that the test text lacks has part 0.0; a shared one has not."""
    table = ask(space)
    mine = {word.text for word in table.query.example.words}
    seen: dict[bool, int] = defaultdict(int)
    for words in table.words_of(space.train.index.tolist()):
        for word in words:
            shared = word.text in mine
            seen[shared] += 1
            assert (word.score != 0) == shared, f"'{word.text}' (shared: {shared}) has part {word.score}"
    assert seen[True] and seen[False], "every word is shared, or none is, so the comparison says nothing"


def test_the_products_are_not_one_state_counted_often(moving: Workspace) -> None:
    """Where training moved the embeddings, the states' products differ: each is taken at its own embeddings."""
    first, last = (dense_terms(moving, [state], rates=False).sum(axis=1) for state in (0, 2))
    assert np.abs(first - last).max() > 0.1 * np.abs(last).max(), "the states are too alike to tell apart"
