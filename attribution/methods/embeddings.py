"""TracIn over the word embeddings: a sum over the words that the test and the training example share.

And what Yeh et al. (2022) compare it with: fewer positions, some of the words, and TF-IDF in place of the embeddings.
A word is a row of the model's vocabulary; its gradient is the sum over its positions.
"""

import string
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import torch

from attribution.index import Part, Progress, load, parts
from attribution.methods.gradients import States
from attribution.methods.lexical import shared_tfidf
from attribution.parameters import Flag, Range
from attribution.quantity import word_embedding_gradient
from attribution.query import Query
from attribution.registry import example_method
from attribution.results import Scored, WordScore
from attribution.workspace import Workspace, softmax

Rates = Annotated[bool, Flag(help="Weigh each checkpoint by its learning rate η; false weighs all alike.")]
Counts = Callable[[int], bool]


@example_method(
    title="TracIn, word embeddings",
    family="tracin",
    paper="Yeh 2022 §4.1 eq. 3–4",
    formula=r"\sum_c \eta_c \sum_{w \in x' \cap x_i} \nabla_w F_c(x') \cdot (-\nabla_w \ell_{i,c})",
    unit="change of log p that steps on the word embeddings would make, to first order",
    cost="the rows of shared words only; index: a backward pass a training example and checkpoint",
    weakness="Without a shared word only [CLS] and [SEP] speak; where the embeddings were frozen it is a similarity.",
    words=True,
    index=("word_gradients",),
    needs=("checkpoints",),
)
def tracin_we(query: Query, progress: Progress, *, checkpoints: States = "all", rates: Rates = True) -> Scored:
    """Σ_c η_c Σ_w ⟨∇_w F_c, −∇_w ℓ_ic⟩ over the words w of both texts (Yeh et al. 2022 eq. 4).

    The per-word terms are kept and sum to the score. Yeh writes a minus sign before the product of two loss gradients;
    here F is a log-probability, so positive = proponent. The index keeps fp16 gradients with a scale a position:
    about 3 digits.
    """
    return _over_shared_words(query, progress, checkpoints, rates)


@example_method(
    title="TracIn, word embeddings, top positions",
    family="tracin",
    paper="Yeh 2022 §4.4 eq. 5–6",
    formula=r"\sum_c \eta_c \sum_w \nabla_w F_c(x')|_{\text{top-}k} \cdot (-\nabla_w \ell_{i,c}|_{\text{top-}k})",
    unit="change of log p that steps on the word embeddings would make, to first order",
    cost="as tracin_we, after the norms of the stored gradients once",
    weakness="A word counts only where its gradient is among the largest on both sides; rounding breaks near ties.",
    words=True,
    index=("word_gradients",),
    needs=("checkpoints",),
)
def tracin_we_topk(
    query: Query,
    progress: Progress,
    *,
    k: Annotated[int, Range(low=1, high=100_000, help="Positions of each text that count, by gradient norm.")] = 10,
    checkpoints: States = "all",
    rates: Rates = True,
) -> Scored:
    """As tracin_we over the k positions of each text whose gradient is longest (Yeh et al. 2022 eq. 5–6, k = 10).

    The choice is made anew for each checkpoint; the start and end tokens take part in it. Of equal norms the earlier
    position counts. The per-word terms sum to the score.
    """
    return _over_shared_words(query, progress, checkpoints, rates, most=k)


@example_method(
    title="TracIn, word embeddings, no common tokens",
    family="tracin",
    paper="Yeh 2022 §5, TR-WE-NoC",
    formula=r"\sum_c \eta_c \sum_{w \in x' \cap x_i \setminus C} \nabla_w F_c(x') \cdot (-\nabla_w \ell_{i,c})",
    unit="change of log p that steps on the word embeddings would make, to first order",
    cost="the rows of shared words only; index: a backward pass a training example and checkpoint",
    weakness="Nothing speaks without a shared content word; the stop words are scikit-learn's, and 'not' is one.",
    words=True,
    index=("word_gradients",),
    needs=("checkpoints",),
)
def tracin_we_nocommon(query: Query, progress: Progress, *, checkpoints: States = "all", rates: Rates = True) -> Scored:
    """As tracin_we without the common words C: start and end tokens, stop words and punctuation (Yeh et al. 2022 §5).

    A vocabulary row is a stop word where it spells a whole one of scikit-learn's English list, whatever its case, and
    punctuation where it is made of punctuation marks only. With tracin_common and the rows of stop words and
    punctuation it makes up tracin_we. The per-word terms sum to the score.
    """
    tokenizer, ends = query.workspace.tokenizer, _start_and_end(query)
    return _over_shared_words(
        query, progress, checkpoints, rates, lambda row: row not in ends and not _is_common(tokenizer, row)
    )


@example_method(
    title="TracIn, start and end tokens",
    family="tracin",
    paper="Yeh 2022 §5, TR-common",
    formula=r"\sum_c \eta_c \sum_{w \in \{\text{start}, \text{end}\}} \nabla_w F_c(x') \cdot (-\nabla_w \ell_{i,c})",
    unit="change of log p that steps on the word embeddings would make, to first order",
    cost="two rows of the vocabulary; index: a backward pass a training example and checkpoint",
    weakness="Two rows that every text has: what the texts say reaches them only through the blocks above.",
    words=True,
    index=("word_gradients",),
    needs=("checkpoints",),
)
def tracin_common(query: Query, progress: Progress, *, checkpoints: States = "all", rates: Rates = True) -> Scored:
    """As tracin_we over the start and end tokens only, such as [CLS] and [SEP] (Yeh et al. 2022 §5).

    The end token counts wherever it stands, between the two texts of a pair too. The per-word terms sum to the score.
    """
    ends = _start_and_end(query)
    return _over_shared_words(query, progress, checkpoints, rates, lambda row: row in ends)


@example_method(
    title="TracIn, TF-IDF",
    family="tracin",
    paper="Yeh 2022 §5 eq. 7",
    formula=r"\text{Tf-Idf}(x', x_i) \sum_c \eta_c\, \nabla_z F_c(x') \cdot (-\nabla_z \ell_{i,c})",
    unit="TF-IDF cosine × change of log p for a unit step on the logits",
    cost="one pass over the logits a checkpoint, and the columns of the test example's words",
    weakness="A baseline: without a shared word the score is 0, whatever the model makes of the two texts.",
    words=True,
    index=("features",),
    needs=("checkpoints",),
)
def tracin_tfidf(query: Query, progress: Progress, *, checkpoints: States = "all", rates: Rates = True) -> Scored:
    """TF-IDF cosine of the texts × Σ_c η_c ⟨∇_z F_c, −∇_z ℓ_ic⟩ with the gradients over the logits z (eq. 7).

    It is tracin_last with word matching in place of the features' product. The sum over checkpoints, which the paper
    leaves out of its notation, is kept. Each shared word has its term of the cosine times the product, so the words
    sum to the score. Positive = proponent: alike in words, and wrong in the same direction.
    """
    workspace = query.workspace
    labels = np.eye(len(workspace.labels))
    product = np.zeros(len(workspace.train))
    for part in parts(workspace, "features", checkpoints):
        wrong = labels[workspace.label_ids(workspace.train)] - softmax(load(workspace, part, progress)["logits"])
        with torch.no_grad():
            logits, _ = query.classifier.run(query.example.inputs, weights=workspace.weights(part.checkpoint))
        asked = labels[query.label] - softmax(logits.float().cpu().numpy())[0]
        product += (workspace.rate(part.checkpoint) if rates else 1.0) * (wrong @ asked)
    shared = shared_tfidf(query)
    return Scored(
        scores=shared.scores * product,
        scorer="head",
        exact=True,
        quantity="log_probability",
        words=lambda rows: shared.words(workspace, rows, product),
    )


def _over_shared_words(
    query: Query,
    progress: Progress,
    checkpoints: str,
    rates: bool,
    counts: Counts = lambda row: True,
    most: int | None = None,
) -> Scored:
    """Σ_c η_c Σ_w ⟨∇_w F_c, −∇_w ℓ_ic⟩ over the shared words that count, from the `most` longest gradients a text."""
    workspace = query.workspace
    terms = []
    for part in parts(workspace, "word_gradients", checkpoints):
        arrays = load(workspace, part, progress)
        kept = None if most is None else _longest(workspace, part, arrays, most)
        rows = workspace.memo((part, "rows"), lambda part=part: _rows(workspace, part))
        example, position, value = _shared_rows(query, part.checkpoint, arrays, rows, counts, most, kept)
        terms.append((example, position, (workspace.rate(part.checkpoint) if rates else 1.0) * value))
    example, position, value = (np.concatenate(column) for column in zip(*terms, strict=True))
    return Scored(
        scores=np.bincount(example, weights=value, minlength=len(workspace.train)).astype(np.float64),
        scorer="index",
        exact=False,
        quantity="log_probability",
        words=lambda rows: [_words(query, row, position[example == row], value[example == row]) for row in rows],
    )


def _rows(workspace: Workspace, part: Part) -> torch.Tensor:
    """The stored gradients in half precision (places, width), mapped: copied on a write, which torch asks for."""
    return torch.from_numpy(np.load(part.folder(workspace) / "gradient.npy", mmap_mode="c"))


def _shared_rows(
    query: Query,
    state: int,
    arrays: Mapping[str, np.ndarray],
    rows: torch.Tensor,
    counts: Counts,
    most: int | None,
    kept: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Training example, position and term ⟨∇_w F, −∇ℓ⟩ of every training position whose word w is in the test text.

    `rows`: the stored gradients; `most`: how many positions of the test text count; `kept`: which stored positions do
    (None: all).
    """
    gradient = word_embedding_gradient(query.classifier, query.example, query.label, query.workspace.weights(state))
    longest = torch.argsort(gradient.norm(dim=1), descending=True, stable=True)[:most]
    ids, gradient = query.example.inputs["input_ids"][0][longest], gradient[longest]
    places, values = [], []
    for word in filter(counts, torch.unique(ids).tolist()):
        row = np.searchsorted(arrays["vocabulary"], word)
        if row == len(arrays["vocabulary"]) or arrays["vocabulary"][row] != word:
            continue
        stored = slice(int(arrays["start"][row]), int(arrays["start"][row + 1]))
        asked = gradient[ids == word].sum(dim=0).float().cpu()
        size = asked.norm().clamp_min(1e-30)
        # Half by half, which sums in float32: widened first, the rows would be copied twice.
        dots = rows[stored] @ (asked / size).half()
        value = -dots.double().numpy() * (float(size) * arrays["scale"][stored])
        at = np.arange(stored.start, stored.stop)
        places.append(at if kept is None else at[kept[stored]])
        values.append(value if kept is None else value[kept[stored]])
    at = np.concatenate(places) if places else np.empty(0, dtype=np.int64)
    value = np.concatenate(values) if values else np.empty(0)
    return arrays["example"][at], arrays["position"][at], value


def _longest(workspace: Workspace, part: Part, arrays: Mapping[str, np.ndarray], most: int) -> np.ndarray:
    """Which stored positions are among the `most` of their training example with the longest gradients: (places,)."""

    def places_in_their_example() -> np.ndarray:
        blocks = range(0, len(arrays["scale"]), 65_536)
        lengths = [np.linalg.norm(arrays["gradient"][at : at + 65_536].astype(np.float32), axis=1) for at in blocks]
        norm, example = np.concatenate(lengths) * arrays["scale"], np.asarray(arrays["example"])
        order = np.lexsort((arrays["position"], -norm, example))
        first = np.searchsorted(example[order], np.arange(len(workspace.train)))
        place = np.empty(len(order), dtype=np.int32)
        place[order] = np.arange(len(order)) - first[example[order]]
        return place

    return workspace.memo(("place by gradient norm", part.checkpoint), places_in_their_example) < most


def _start_and_end(query: Query) -> set[int]:
    """The vocabulary rows of the tokens that the tokenizer puts before, between and after texts."""
    ids = query.example.inputs["input_ids"][0].tolist()
    return {ids[token.index] for token in query.example.tokens if token.special}


def _is_common(tokenizer: Any, row: int) -> bool:
    """Whether a vocabulary row is a stop word or punctuation; a piece from within a word is no stop word."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    text = tokenizer.decode([row]).strip()
    marks = all(c in string.punctuation or unicodedata.category(c)[0] in "PZ" for c in text.removeprefix("##"))
    return marks or text.lower() in ENGLISH_STOP_WORDS


def _words(query: Query, row: int, positions: Sequence[int] | np.ndarray, values: np.ndarray) -> list[WordScore]:
    """The terms of one training example by word, special tokens included, so that they sum to its score."""
    table = query.workspace.train.iloc[row]
    example = query.classifier.example(table["text"], table["text_pair"] if query.workspace.is_pair else None)
    of_token = np.bincount(positions, weights=values, minlength=len(example.tokens))
    return [
        WordScore(text=w.text, start=w.start, end=w.end, segment=w.segment, score=float(of_token[list(w.tokens)].sum()))
        for w in example.words
    ]
