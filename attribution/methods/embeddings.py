"""TracIn over the word embeddings: a sum over the words that the test and the training example share."""

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
import torch

from attribution.index import Progress, load, parts
from attribution.methods.gradients import States
from attribution.parameters import Flag
from attribution.quantity import word_embedding_gradient
from attribution.query import Query
from attribution.registry import example_method
from attribution.results import Scored, WordScore


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
def tracin_we(
    query: Query,
    progress: Progress,
    *,
    checkpoints: States = "all",
    rates: Annotated[bool, Flag(help="Weigh each checkpoint by its learning rate η; false weighs all alike.")] = True,
) -> Scored:
    """Σ_c η_c Σ_w ⟨∇_w F_c, −∇_w ℓ_ic⟩ over the words w of both texts (Yeh et al. 2022 eq. 4).

    A word is a vocabulary row; its gradient is the sum over its positions. The per-word terms are kept and sum to the
    score. Yeh writes a minus sign before the product of two loss gradients; here F is a log-probability, so
    positive = proponent. The index keeps fp16 gradients with a scale a position: about 3 digits.
    """
    states: Literal["final", "all"] = "all" if checkpoints == "all" else "final"
    workspace = query.workspace
    terms = []
    for part in parts(workspace, "word_gradients", states):
        arrays = load(workspace, part, progress)
        rate = workspace.checkpoints[part.checkpoint].learning_rate if rates and workspace.checkpoints else 1.0
        terms.append(_shared_rows(query, part.checkpoint, arrays, rate))
    example, position, value = (np.concatenate(column) for column in zip(*terms, strict=True))
    return Scored(
        scores=np.bincount(example, weights=value, minlength=len(workspace.train)),
        scorer="index",
        exact=False,
        quantity="log_probability",
        words=lambda rows: [_words(query, row, position[example == row], value[example == row]) for row in rows],
    )


def _shared_rows(
    query: Query, state: int, arrays: dict[str, np.ndarray], rate: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Training example, position and term η⟨∇_w F, −∇ℓ⟩ of every training position whose word is in the test text."""
    gradient = word_embedding_gradient(query.classifier, query.example, query.label, query.workspace.weights(state))
    ids = query.example.inputs["input_ids"][0]
    places, values = [], []
    for word in torch.unique(ids).tolist():
        row = np.searchsorted(arrays["vocabulary"], word)
        if row == len(arrays["vocabulary"]) or arrays["vocabulary"][row] != word:
            continue
        rows = slice(int(arrays["start"][row]), int(arrays["start"][row + 1]))
        mine = gradient[ids == word].sum(dim=0).double().cpu().numpy()
        dots = arrays["gradient"][rows].astype(np.float32) @ mine.astype(np.float32)
        places.append(np.arange(rows.start, rows.stop))
        values.append(-rate * dots.astype(np.float64) * arrays["scale"][rows])
    at = np.concatenate(places) if places else np.empty(0, dtype=np.int64)
    value = np.concatenate(values) if values else np.empty(0)
    return arrays["example"][at], arrays["position"][at], value


def _words(query: Query, row: int, positions: Sequence[int] | np.ndarray, values: np.ndarray) -> list[WordScore]:
    """The terms of one training example by word, special tokens included, so that they sum to its score."""
    table = query.workspace.train.iloc[row]
    example = query.classifier.example(table["text"], table["text_pair"] if query.workspace.is_pair else None)
    of_token = np.bincount(positions, weights=values, minlength=len(example.tokens))
    return [
        WordScore(text=w.text, start=w.start, end=w.end, segment=w.segment, score=float(of_token[list(w.tokens)].sum()))
        for w in example.words
    ]
