"""What Yeh et al. compare TracIn-WE with: dense definitions on plain models, one example and one position at a time."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics.pairwise import cosine_similarity
from torch import Tensor

from attribution import attribute
from attribution.methods.embeddings import _is_common
from attribution.workspace import Workspace
from tests.families import tiny_model
from tests.oracles import assert_close, encoded, learning_rates, log_probability, plain_model
from tests.test_embeddings import HALF, ask, dense_terms

CUTS = {"[CLS]", "[SEP]"}
# Those of the invented vocabulary that are in scikit-learn's list, read there by eye; "empty" is, to one's surprise.
STOP = {"the", "and", "was", "with", "a", "very", "not", "un", "empty"}


@pytest.fixture(params=["workspace", "pairs", "moving"])
def space(request: pytest.FixtureRequest) -> Workspace:
    return request.getfixturevalue(request.param)


def rows_of(space: Workspace, names: set[str]) -> list[int]:
    return [row for name, row in space.tokenizer.get_vocab().items() if name in names]


def every_term(space: Workspace) -> np.ndarray:
    """The term of each vocabulary row over all states: (train, vocabulary)."""
    return dense_terms(space, list(range(len(learning_rates(space)))))


@pytest.mark.oracle("tracin_common")
def test_common_is_the_start_and_end_rows(space: Workspace) -> None:
    """The columns [CLS] and [SEP] of the dense product and no other."""
    expected = every_term(space)[:, rows_of(space, CUTS)].sum(axis=1)
    assert_close(ask(space, method="tracin_common").scores, expected, relative=HALF)


@pytest.mark.oracle("tracin_we_nocommon")
def test_nocommon_is_the_rows_of_content_words(space: Workspace) -> None:
    """Every column of the dense product but those of [CLS], [SEP], stop words and the full stop."""
    terms = every_term(space)
    terms[:, rows_of(space, CUTS | STOP | {"."})] = 0
    assert_close(ask(space, method="tracin_we_nocommon").scores, terms.sum(axis=1), relative=HALF)


@pytest.mark.oracle("tracin_common", "tracin_we_nocommon")
def test_the_two_and_the_rest_make_up_the_whole(space: Workspace) -> None:
    """tracin_we = tracin_common + tracin_we_nocommon + the rows of stop words and punctuation; no part is empty."""
    rest = every_term(space)[:, rows_of(space, STOP | {"."})].sum(axis=1)
    parts = [rest, *(ask(space, method=name).scores for name in ("tracin_common", "tracin_we_nocommon"))]
    assert all(np.abs(part).max() > 0 for part in parts)
    assert_close(sum(parts, np.zeros(len(rest))), ask(space).scores, relative=HALF)


def position_gradients(space: Workspace, state: int, inputs: dict[str, Tensor], label: int) -> np.ndarray:
    """∇ log p(label) over each position's word embedding, by a plain model in float64: (tokens, width)."""
    model = plain_model(space, state)
    embeds = model.get_input_embeddings().weight[inputs["input_ids"]].detach().requires_grad_()
    (found,) = torch.autograd.grad(log_probability(model, inputs, label, embeds), embeds)
    return found[0].numpy()


def longest(gradients: np.ndarray, k: int) -> tuple[list[int], bool]:
    """The k positions of the longest gradients, and whether half precision tells the last of them from the next."""
    norms = np.linalg.norm(gradients, axis=1)
    order = sorted(range(len(norms)), key=lambda at: -float(norms[at]))
    return order[:k], len(order) <= k or bool(norms[order[k - 1]] > (1 + HALF) * norms[order[k]])


@pytest.mark.oracle("tracin_we_topk")
@pytest.mark.parametrize("k", [2, 4, 10])
def test_topk_is_a_loop_over_the_longest_positions(space: Workspace, k: int) -> None:
    """Σ_c η_c Σ ⟨∇_a F, ∇_b log p(y_i)⟩ over positions a, b of one token, each among its text's k longest gradients."""
    asked = encoded(space, space.test.loc[3])
    expected, clear = np.zeros(len(space.train)), np.ones(len(space.train), dtype=bool)
    for state, rate in enumerate(learning_rates(space)):
        mine = position_gradients(space, state, asked, 1)
        ours, _ = longest(mine, k)
        for row, (_, example) in enumerate(space.train.iterrows()):
            inputs = encoded(space, example)
            theirs = position_gradients(space, state, inputs, space.labels.index(example["label"]))
            chosen, told = longest(theirs, k)
            clear[row] &= told
            for a, b in product(ours, chosen):
                if asked["input_ids"][0, a] == inputs["input_ids"][0, b]:
                    expected[row] += rate * float(mine[a] @ theirs[b])
    assert clear.mean() > 0.9, "near ties everywhere, so the comparison says little"
    found = ask(space, method="tracin_we_topk", k=k).scores
    assert_close(found[clear], expected[clear], relative=HALF)


def test_enough_positions_are_all_of_them(space: Workspace) -> None:
    """Where k is no less than the longest text has tokens, topk is tracin_we; where k is small it is not."""
    whole = ask(space).scores
    assert_close(ask(space, method="tracin_we_topk", k=48).scores, whole, relative=1e-6)
    assert np.abs(ask(space, method="tracin_we_topk", k=2).scores - whole).max() > 0.05 * np.abs(whole).max()


@pytest.mark.oracle("tracin_tfidf")
@pytest.mark.parametrize("rates", [True, False])
def test_tfidf_times_the_product_over_logits(space: Workspace, rates: bool) -> None:
    """scikit-learn's cosine × Σ_c η_c ⟨∂ log p(label)/∂z, ∂ log p(y_i)/∂z⟩ by autograd on a plain model's logits z."""

    def slope(state: int, inputs: dict[str, Tensor], label: int) -> np.ndarray:
        with torch.no_grad():
            logits = plain_model(space, state)(**inputs).logits
        (found,) = torch.autograd.grad(logits.requires_grad_().log_softmax(dim=-1)[0, label], logits)
        return found[0].numpy()

    columns = ["text", "text_pair"] if space.is_pair else ["text"]
    texts = [" ".join(row) for row in space.train[columns].to_numpy()]
    vectors = TfidfVectorizer(token_pattern=r"\w+").fit(texts)
    mine = vectors.transform([" ".join(space.test.loc[3, columns])])
    alike = np.zeros(len(space.train))
    for state, rate in enumerate(learning_rates(space)):
        asked = slope(state, encoded(space, space.test.loc[3]), 1)
        examples = [(encoded(space, row), space.labels.index(row["label"])) for _, row in space.train.iterrows()]
        alike += (rate if rates else 1.0) * np.array([slope(state, *example) @ asked for example in examples])
    expected = cosine_similarity(vectors.transform(texts), mine)[:, 0] * alike
    assert_close(ask(space, method="tracin_tfidf", rates=rates).scores, expected, relative=1e-5)


@pytest.mark.parametrize("family", ["bert", "roberta", "deberta-v2"])
def test_common_words_are_told_in_every_vocabulary(family: str, tmp_path: Path) -> None:
    """Stop words and marks are common however a tokenizer writes them; content words and pieces of words are not."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model(family, tmp_path / family))
    common = {row for row in range(len(tokenizer)) if _is_common(tokenizer, row)}
    pieces = dict.fromkeys(tokenizer.convert_ids_to_tokens(tokenizer(" the plot .")["input_ids"][1:-1]))
    told = [_is_common(tokenizer, tokenizer.convert_tokens_to_ids(piece)) for piece in pieces]
    assert told[0] and told[-1], f"{pieces}"
    assert any(not flag for flag in told) and 0 < len(common) < len(tokenizer)
    if family == "bert":
        assert common == {tokenizer.convert_tokens_to_ids(word) for word in STOP | {"."}}


def test_a_text_without_content_words_scores_nothing(workspace: Workspace) -> None:
    """Stop words only: nothing is left to share, and every score and word is exactly 0."""
    table = attribute(workspace, "tracin_we_nocommon", text="the and . with")
    assert not table.scores.any() and not any(word.score for word in table.words(0))
    assert table.scores.dtype == np.float64
