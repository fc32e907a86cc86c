"""Scopes: the parameters that a text names, listed by hand for every model family."""

from copy import deepcopy
from dataclasses import replace

import pytest

from attribution.model import Classifier
from attribution.scope import make_scope
from tests.families import FAMILIES, classifier_of
from tests.tiny import refusal

BERT = [
    *(f"attention.self.{name}" for name in ("query", "key", "value")),
    *("attention.output.dense", "intermediate.dense", "output.dense"),
]
# The weight matrices of a block. DeBERTa's projections of relative positions run once a batch, and with share_att_key
# those of queries and keys run on the positions too: their gradients cannot be told apart by example.
BLOCK = {
    "bert": BERT,
    "roberta": BERT,
    "electra": BERT,
    "distilbert": "attention.q_lin attention.k_lin attention.v_lin attention.out_lin ffn.lin1 ffn.lin2".split(),
    "deberta": "attention.self.in_proj attention.output.dense intermediate.dense output.dense".split(),
    "deberta-v2": "attention.self.value_proj attention.output.dense intermediate.dense output.dense".split(),
}
SHARED = {
    "deberta": {"attention.self.pos_proj", "attention.self.pos_q_proj"},
    "deberta-v2": {"attention.self.query_proj", "attention.self.key_proj"},
}
HOME = {
    "bert": "bert.encoder.layer",
    "roberta": "roberta.encoder.layer",
    "electra": "electra.encoder.layer",
    "distilbert": "distilbert.transformer.layer",
    "deberta": "deberta.encoder.layer",
    "deberta-v2": "deberta.encoder.layer",
}
ABOVE = {
    "bert": ["bert.pooler.dense", "classifier"],
    "roberta": ["classifier.dense", "classifier.out_proj"],
    "electra": ["classifier.dense", "classifier.out_proj"],
    "distilbert": ["pre_classifier", "classifier"],
    "deberta": ["pooler.dense", "classifier"],
    "deberta-v2": ["pooler.dense", "classifier"],
}
EMBEDDINGS = {
    **{family: f"{family}.embeddings.word_embeddings.weight" for family in FAMILIES},
    "deberta-v2": "deberta.embeddings.word_embeddings.weight",
}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


def sizes(classifier: Classifier) -> dict[str, int]:
    return {name: p.numel() for name, p in classifier.model.named_parameters()}


def listed(family: str, blocks: int) -> set[str]:
    inside = {f"{HOME[family]}.{k}.{layer}.weight" for k in range(3 - blocks, 3) for layer in BLOCK[family]}
    return inside | {f"{layer}.weight" for layer in ABOVE[family]}


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_last_blocks_are_those_listed(family: str, blocks: int) -> None:
    """last:K is the weight matrices of the last K blocks and of all above, by name; the count is their sizes' sum."""
    classifier = classifier_of(family)
    scope = make_scope(classifier, f"last:{blocks}")
    assert set(scope.names) == listed(family, blocks) and len(set(scope.names)) == len(scope.names)
    assert scope.count == sum(sizes(classifier)[name] for name in listed(family, blocks))
    assert {f"{layer}.weight" for layer in scope.layers} == set(scope.names) and scope.is_linear
    assert scope.first_block == 3 - blocks


def test_layers_that_do_not_run_once_an_example_are_left_out(family: str) -> None:
    """DeBERTa's shared layers are not in last:K, and no layer of another family is shared."""
    expected = {f"{HOME[family]}.{k}.{layer}" for k in range(3) for layer in SHARED.get(family, set())}
    assert classifier_of(family).shared_layers == expected


def test_the_head_is_its_weight_and_with_bias_both(family: str) -> None:
    """head is the last linear layer's weight; bias adds its bias and nothing else."""
    classifier, head = classifier_of(family), ABOVE[family][-1]
    assert make_scope(classifier, "head").names == (f"{head}.weight",)
    assert set(make_scope(classifier, "head", bias=True).names) == {f"{head}.weight", f"{head}.bias"}


def test_embeddings_are_the_word_table(family: str) -> None:
    """embeddings is the table of words alone, below every block, and no linear layer."""
    scope = make_scope(classifier_of(family), "embeddings")
    assert scope.names == (EMBEDDINGS[family],)
    assert scope.first_block is None and not scope.layers and not scope.is_linear


def test_all_is_every_matrix_and_with_bias_every_parameter(family: str) -> None:
    """all is each parameter of two dimensions or more; with bias the count is that of the whole model."""
    classifier = classifier_of(family)
    shapes = {name: p.dim() for name, p in classifier.model.named_parameters()}
    plain, whole = make_scope(classifier, "all"), make_scope(classifier, "all", bias=True)
    assert set(plain.names) == {name for name, dim in shapes.items() if dim > 1}
    assert set(whole.names) == set(shapes)
    assert whole.count == sum(sizes(classifier).values()) and whole.first_block is None


def test_bias_adds_biases_and_layer_norms(family: str) -> None:
    """With bias last:1 gains exactly the vectors of the last block and of what is above, and is not linear."""
    classifier = classifier_of(family)
    plain, whole = make_scope(classifier, "last:1"), make_scope(classifier, "last:1", bias=True)
    prefixes = (f"{HOME[family]}.2.", *(f"{layer}." for layer in ABOVE[family]))
    vectors = {n for n, p in classifier.model.named_parameters() if p.dim() == 1 and n.startswith(prefixes)}
    assert set(whole.names) - set(plain.names) == vectors
    assert any("norm" in name.lower() for name in vectors), "no LayerNorm is among them"
    assert not whole.is_linear and whole.first_block == 2


def test_a_pattern_names_parameters_anywhere(family: str) -> None:
    """A pattern picks the matrices whose name matches; the first block is the lowest that it touches."""
    scope = make_scope(classifier_of(family), f"*layer.1.{BLOCK[family][-1]}*")
    assert scope.names == (f"{HOME[family]}.1.{BLOCK[family][-1]}.weight",)
    assert scope.first_block == 1


def test_above_the_blocks_only_the_last_block_runs_anew() -> None:
    """What lies above every block needs the last block's run, since the states are kept before a block."""
    assert make_scope(classifier_of("bert"), "*pooler*").first_block == 2


def test_a_tied_parameter_counts_once() -> None:
    """Two layers that share one matrix: one name, its numbers counted once."""
    model = deepcopy(classifier_of("bert").model)
    attention = model.bert.encoder.layer[2].attention.self
    attention.key.weight = attention.query.weight
    scope = make_scope(replace(classifier_of("bert"), model=model), "last:1")
    whole = make_scope(classifier_of("bert"), "last:1")
    assert set(whole.names) - set(scope.names) == {"bert.encoder.layer.2.attention.self.key.weight"}
    assert whole.count - scope.count == attention.query.weight.numel()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("feet", "No parameter of this model matches the scope 'feet'"),
        ("", "No parameter of this model matches the scope ''"),
        ("last:", "No parameter of this model matches the scope 'last:'"),
        ("last:-1", "No parameter of this model matches the scope 'last:-1'"),
        ("*LayerNorm*", "names biases and LayerNorms only: add bias=true"),
        ("*.bias", "names biases and LayerNorms only: add bias=true"),
        ("last:0", "last:0 does not fit the model's 3 blocks: choose last:1 to last:3"),
        ("last:9", "last:9 does not fit the model's 3 blocks: choose last:1 to last:3"),
    ],
)
def test_a_scope_that_names_nothing_is_refused(text: str, said: str) -> None:
    """One line with the scope and what to write instead."""
    assert said in refusal(lambda: make_scope(classifier_of("bert"), text))
