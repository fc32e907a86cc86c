"""The tested model families, tiny: random weights, and a fast tokenizer of the kind each family has."""

import json
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from tokenizers import Tokenizer, pre_tokenizers, trainers
from tokenizers.models import BPE, Unigram
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification
from transformers.models.bert.tokenization_bert import BertTokenizer
from transformers.models.deberta.tokenization_deberta import DebertaTokenizer
from transformers.models.deberta_v2.tokenization_deberta_v2 import DebertaV2Tokenizer
from transformers.models.distilbert.tokenization_distilbert import DistilBertTokenizer
from transformers.models.roberta.tokenization_roberta import RobertaTokenizer

from attribution.loading import load_classifier, quiet
from attribution.model import Classifier
from tests.tiny import PIECES, WORDS, sentences

LONGEST = 48
BERT_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def corpus() -> list[str]:
    """Invented sentences that a subword tokenizer is trained on, with a few words of other scripts."""
    return [*sentences(200, seed=1)["text"], "warmly unwarm dullness, was it? 中文 שלום café 🙂"]


def word_pieces(kind: Callable[..., Any]) -> Any:
    """A WordPiece tokenizer with the vocabulary of `tests.tiny`."""
    return kind(vocab={piece: i for i, piece in enumerate([*BERT_SPECIAL, *WORDS, *PIECES])}, model_max_length=LONGEST)


def byte_pairs(kind: Callable[..., Any], special: Sequence[str]) -> Any:
    """A byte-level BPE tokenizer, trained on the invented sentences."""
    trained = Tokenizer(BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=list(special), initial_alphabet=alphabet, show_progress=False
    )
    trained.train_from_iterator(corpus(), trainer)
    state = json.loads(trained.to_str())["model"]
    merges = [tuple(merge) for merge in state["merges"]]
    return kind(vocab=state["vocab"], merges=merges, model_max_length=LONGEST)


def unigrams() -> Any:
    """A sentencepiece-like unigram tokenizer, trained on the invented sentences without the sentencepiece package."""
    trained = Tokenizer(Unigram())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=120, special_tokens=list(BERT_SPECIAL), unk_token="[UNK]", show_progress=False
    )
    trained.train_from_iterator(corpus(), trainer)
    pieces = [(piece, -1.0 - i / 10) for piece, i in sorted(trained.get_vocab().items(), key=lambda item: item[1])]
    vocabulary = [(piece, 0.0) if piece in BERT_SPECIAL else (piece, score) for piece, score in pieces]
    return DebertaV2Tokenizer(vocab=vocabulary, model_max_length=LONGEST)


COMMON = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": LONGEST,
    "initializer_range": 0.3,
}
RELATIVE = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "max_relative_positions": 12}
CONFIGS: dict[str, dict[str, Any]] = {
    "bert": COMMON,
    "distilbert": {
        "dim": 16,
        "n_layers": 3,
        "n_heads": 2,
        "hidden_dim": 24,
        "max_position_embeddings": LONGEST,
        "initializer_range": 0.3,
    },
    "roberta": {**COMMON, "max_position_embeddings": LONGEST + 2, "pad_token_id": 1, "type_vocab_size": 1},
    "electra": {**COMMON, "embedding_size": 10},
    "deberta": {**COMMON, **RELATIVE, "position_biased_input": False, "type_vocab_size": 0, "pad_token_id": 0},
    "deberta-v2": {
        **COMMON,
        **RELATIVE,
        "position_biased_input": False,
        "type_vocab_size": 0,
        "position_buckets": 8,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
    },
}
TOKENIZERS: dict[str, Callable[[], Any]] = {
    "bert": lambda: word_pieces(BertTokenizer),
    "distilbert": lambda: word_pieces(DistilBertTokenizer),
    "roberta": lambda: byte_pairs(RobertaTokenizer, ("<s>", "<pad>", "</s>", "<unk>", "<mask>")),
    "electra": lambda: word_pieces(BertTokenizer),
    "deberta": lambda: byte_pairs(DebertaTokenizer, BERT_SPECIAL),
    "deberta-v2": unigrams,
}
FAMILIES = tuple(CONFIGS)


def tiny_model(
    family: str,
    folder: Path,
    *,
    labels: Sequence[str] | None = ("negative", "positive"),
    seed: int = 0,
    **changes: Any,
) -> Path:
    """A 3-block model of width 16 saved to a folder; without labels an encoder that has no head.

    `changes` are further settings of the family's configuration.
    """
    tokenizer = TOKENIZERS[family]()
    settings = {**CONFIGS[family], "vocab_size": len(tokenizer), **changes}
    if labels:
        settings["id2label"] = dict(enumerate(labels))
        settings["label2id"] = {label: i for i, label in enumerate(labels)}
    config = AutoConfig.for_model(family, **settings)
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(seed)
        kind = AutoModelForSequenceClassification if labels else AutoModel
        kind.from_config(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


@cache
def classifier_of(family: str) -> Classifier:
    """The tiny classifier of a family, read once; tests share it and leave it as it is."""
    with TemporaryDirectory() as folder:
        classifier, missing = load_classifier(tiny_model(family, Path(folder) / "model"), ["negative", "positive"])
    assert not missing
    return classifier


def in_float64(classifier: Classifier) -> Classifier:
    """A copy of a classifier that computes in float64."""
    return replace(classifier, model=deepcopy(classifier.model).double())
