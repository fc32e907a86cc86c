"""Model families: every one is taken apart, run, cut, fine-tuned and explained by the same code."""

import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification

from attribution import attribute, create_workspace, open_workspace
from attribution.errors import UserError
from attribution.loading import load_classifier, longest, own_labels, quiet
from attribution.model import Classifier, Example
from attribution.quantity import Saliency, gradient, gradient_x_input
from attribution.training import Recipe, select, train
from attribution.workspace import Workspace
from tests.families import FAMILIES, LONGEST, classifier_of, tiny_model
from tests.tiny import write_tables

TEXT = "a warmly clever scene, but the plot was dull"
TEXTS = ["the plot", TEXT, "film", "a very stale song and the cast was cold ."]
# A family with a convolution beside its first block, as DeBERTa-v2-xlarge has one.
VARIANTS = {**{family: (family, {}) for family in FAMILIES}, "conv": ("deberta-v2", {"conv_kernel_size": 3})}


@dataclass(frozen=True, kw_only=True)
class Tiny:
    """One family's folder and its classifier, loaded once."""

    family: str
    folder: Path
    classifier: Classifier


@pytest.fixture(scope="module", params=VARIANTS, ids=str)
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    family, changes = VARIANTS[request.param]
    folder = tiny_model(family, tmp_path_factory.mktemp(request.param) / "model", **changes)
    classifier, missing = load_classifier(folder, own_labels(folder) or [])
    assert not missing
    return Tiny(family=family, folder=folder, classifier=classifier)


@pytest.fixture(scope="module")
def workspace(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("workspace")
    return create_workspace(folder / "w", model=tiny.folder, **write_tables(folder, n_train=20, n_test=4))[0]


def plain_logits(classifier: Classifier, texts: list[str]) -> torch.Tensor:
    """The logits as transformers computes them, one text at a time, with none of our code between."""
    with torch.no_grad():
        made = [classifier.model(**classifier.tokenizer(text, return_tensors="pt")).logits[0] for text in texts]
    return torch.stack(made)


def test_the_parts_are_found(tiny: Tiny) -> None:
    """Three blocks, the word-embedding table, and a head that turns its own input into the logits."""
    anatomy = tiny.classifier.anatomy
    assert len(anatomy.blocks) == 3
    assert len(anatomy.embeddings.weight) == len(tiny.classifier.tokenizer)
    assert tiny.classifier.model.get_submodule(anatomy.head_name) is anatomy.head
    logits, features = tiny.classifier.run(tiny.classifier.example(TEXT).inputs)
    torch.testing.assert_close(features @ anatomy.head.weight.T + anatomy.head.bias, logits)
    torch.testing.assert_close(logits, plain_logits(tiny.classifier, [TEXT]))


def test_embeddings_stand_in_for_words(tiny: Tiny) -> None:
    """A text's own embeddings give its logits back; other embeddings give other logits."""
    inputs = tiny.classifier.example(TEXT).inputs
    embeds = tiny.classifier.embed(inputs)
    logits = plain_logits(tiny.classifier, [TEXT])
    torch.testing.assert_close(tiny.classifier.run(inputs, embeds=embeds)[0], logits)
    assert not torch.allclose(tiny.classifier.run(inputs, embeds=embeds.flip(dims=[2]))[0], logits, atol=1e-3)


def test_weights_stand_in_for_parameters(tiny: Tiny) -> None:
    """Substituted weights give the logits of a copy of the model that really has them, and leave the model alone."""
    generator = torch.Generator().manual_seed(1)
    weights = {
        name: value + 0.1 * torch.randn(value.shape, generator=generator)
        for name, value in tiny.classifier.model.named_parameters()
    }
    before = plain_logits(tiny.classifier, [TEXT])
    copy = deepcopy(tiny.classifier.model)
    copy.load_state_dict({**copy.state_dict(), **weights})
    inputs = tiny.classifier.example(TEXT).inputs
    with torch.no_grad():
        wanted = copy(**inputs).logits
        found = tiny.classifier.run(inputs, weights=weights)[0]
    torch.testing.assert_close(found, wanted)
    assert not torch.allclose(wanted, before, atol=1e-3)
    torch.testing.assert_close(plain_logits(tiny.classifier, [TEXT]), before)


def sharpness(classifier: Classifier, example: Example, weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """‖∂ log p / ∂e‖² of one token: like a saliency a gradient, but zero for no family."""
    embeds = classifier.embed(example.inputs).requires_grad_()
    logits, _ = classifier.run(example.inputs, embeds=embeds, weights=weights)
    (found,) = torch.autograd.grad(logits.log_softmax(dim=-1)[0, 1], embeds, create_graph=True)
    return found[0, 2].square().sum()


@pytest.mark.parametrize("quantity", [sharpness, Saliency(label=1, tokens=(2,))], ids=["sharpness", "saliency"])
@pytest.mark.parametrize("part", ["head", "middle block"])
def test_the_gradient_of_a_gradient_is_its_rate_of_change(
    tiny: Tiny, part: str, quantity: Callable[..., torch.Tensor]
) -> None:
    """Double backward over the head and over a middle block agrees with central differences along one direction.

    In float64 with a small step, because DistilBERT's head has a ReLU.
    """
    classifier = replace(tiny.classifier, model=deepcopy(tiny.classifier.model).double())
    module = classifier.anatomy.head if part == "head" else classifier.anatomy.blocks[1]
    inside = {id(p) for p in module.parameters()}
    own = {name: p for name, p in classifier.model.named_parameters() if id(p) in inside}
    example = classifier.example(TEXT)
    leaves = {name: p.detach().clone().requires_grad_() for name, p in own.items()}
    value = quantity(classifier, example, leaves)
    found = torch.autograd.grad(value, list(leaves.values()), allow_unused=True, materialize_grads=True)
    size = float(sum(g.square().sum() for g in found)) ** 0.5
    if isinstance(quantity, Saliency):
        for one, other in zip(gradient(classifier, example, quantity, tuple(own), {}), found, strict=True):
            torch.testing.assert_close(one, other)
        assert size > 1e-4, "nothing but rounding is left of the saliency"
    step, moved = 1e-4, []
    for sign in (1, -1):
        weights = {name: p + sign * step * g / size for (name, p), g in zip(own.items(), found, strict=True)}
        moved.append(quantity(classifier, example, weights).item())
    assert size == pytest.approx((moved[0] - moved[1]) / (2 * step), rel=0.01)


def test_every_cut_gives_the_logits_of_the_whole(tiny: Tiny) -> None:
    """Hidden states before block k, fed to the model from block k on, give the logits; no trace of the cut stays."""
    classifier = tiny.classifier
    inputs = classifier.pad(classifier.tokenize(TEXTS), range(len(TEXTS)))
    whole = classifier.run(inputs)[0]
    for block in range(3):
        hidden = classifier.hidden_before(inputs, block)
        assert hidden.shape[:2] == inputs["input_ids"].shape
        with classifier.cut_before(block) as suffix, torch.no_grad():
            torch.testing.assert_close(suffix.logits(inputs, hidden), whole, msg=f"cut before block {block}")
            if block:
                assert not torch.allclose(suffix.logits(inputs, hidden * 0.5), whole, atol=1e-3)
    torch.testing.assert_close(classifier.run(inputs)[0], whole)


def positions_above(classifier: Classifier, run: Callable[[], object]) -> int:
    """How many positions of TEXT reach the last linear layer of the last block."""
    layers = [module for module in classifier.anatomy.blocks[-1].modules() if isinstance(module, nn.Linear)]
    seen: list[int] = []
    handle = layers[-1].register_forward_hook(lambda _, __, out: seen.append(out.shape[1]))
    run()
    handle.remove()
    return seen[-1]


def test_the_last_block_runs_for_what_is_read(tiny: Tiny) -> None:
    """BERT's kin run it for the first token alone; training, which drops out, and the user's own runs do not."""
    classifier = tiny.classifier
    inputs = classifier.example(TEXT).inputs
    count = inputs["input_ids"].shape[1]
    narrow = tiny.family in ("bert", "roberta", "electra")
    assert positions_above(classifier, lambda: classifier.run(inputs)) == (1 if narrow else count)
    assert positions_above(classifier, lambda: classifier.model(**inputs)) == count
    classifier.model.train()
    assert positions_above(classifier, lambda: classifier.run(inputs)) == count
    classifier.model.eval()


def test_a_classifier_that_reads_every_token_is_run_whole() -> None:
    """With a pooler that takes the mean of all tokens, the other positions matter and are computed."""
    model = deepcopy(classifier_of("bert").model)
    pooler = model.bert.pooler
    pooler.forward = lambda states: pooler.activation(pooler.dense(states.mean(dim=1)))
    mean = replace(classifier_of("bert"), model=model)
    assert not mean.reads_first
    torch.testing.assert_close(mean.run(mean.example(TEXT).inputs)[0], plain_logits(mean, [TEXT]))


def test_padding_changes_nothing(tiny: Tiny) -> None:
    """Features and logits of texts of different lengths, in one batch, are those of each text alone."""
    classifier = tiny.classifier
    features, logits = classifier.collect(classifier.tokenize(TEXTS))
    np.testing.assert_allclose(logits, plain_logits(classifier, TEXTS).numpy(), atol=2e-5)
    for row, text in enumerate(TEXTS):
        alone = classifier.run(classifier.example(text).inputs)[1]
        np.testing.assert_allclose(features[row], alone[0].numpy(), atol=2e-5)


def test_the_longest_input_is_found(tiny: Tiny) -> None:
    """Without the tokenizer's word the position table decides: that many tokens run, one more is one too many."""
    classifier = tiny.classifier
    tokenizer = deepcopy(classifier.tokenizer)
    tokenizer.model_max_length = 10**30
    assert longest(classifier.model, tokenizer) == LONGEST
    for count, fits in ((LONGEST, True), (LONGEST + 1, "deberta" in tiny.family)):
        ids = torch.full((1, count), int(tokenizer.convert_tokens_to_ids(tokenizer.tokenize("a")[-1])))
        if fits:
            assert torch.isfinite(classifier.run({"input_ids": ids, "attention_mask": ids * 0 + 1})[0]).all()
        else:
            with pytest.raises((IndexError, RuntimeError)):
                classifier.run({"input_ids": ids, "attention_mask": ids * 0 + 1})


def test_a_long_text_is_cut_where_it_is_said_to_be(tiny: Tiny) -> None:
    """The text up to the named character encodes to the same ids, and only a text that lost something is marked."""
    classifier = tiny.classifier
    long = "the plot was warm and bright " * 12
    example = classifier.example(long)
    (cut, none), ids = example.cut, example.inputs["input_ids"]
    assert cut is not None and none is None and 0 < cut < len(long)
    assert ids.shape == (1, LONGEST)
    read = classifier.tokenizer(long[:cut])["input_ids"][:-1]
    assert ids[0, : len(read)].tolist() == read
    assert len(read) == LONGEST - 1 or (len(read) == LONGEST - 2 and not example.tokens[-2].text.strip())
    assert classifier.example(TEXT).cut == (None, None)
    assert classifier.example("dull", long).cut[0] is None
    assert classifier.example("dull", long).cut[1] in range(1, len(long))


def test_words_slice_back_to_the_text(tiny: Tiny) -> None:
    """The words of a text, put in place, spell it."""
    example = tiny.classifier.example(TEXT)
    words = [word for word in example.words if not word.special]
    assert all(TEXT[word.start : word.end] == word.text for word in words)
    assert "".join(word.text for word in words) == TEXT.replace(" ", "")
    assert len(example.tokens) == example.inputs["input_ids"].shape[1]


@pytest.mark.parametrize("trainable", ["last:1", "head", "all"])
def test_fine_tuning_changes_what_it_should(tiny: Tiny, workspace: Workspace, trainable: str) -> None:
    """The changed tensors are those of the chosen part, only they are stored, and reloading gives them back."""
    base = workspace.base_classifier()
    names = {name for name, _ in base.model.named_parameters()}
    head = {f"{base.anatomy.head_name}.{kind}" for kind in ("weight", "bias")}
    above = r"pooler|classifier"
    wanted = {
        "head": head,
        "last:1": {name for name in names if re.search(rf"\blayer\.2\.|{above}", name)},
        "all": names,
    }[trainable]
    assert select(base, trainable, frozenset())[0] == wanted
    recipe = Recipe(trainable=trainable, epochs=1, batch_size=4, learning_rate=1e-2)
    trained = train(open_workspace(workspace.directory), recipe)
    stored = trained.weights(-1)
    before, after = dict(base.model.named_parameters()), dict(trained.model.named_parameters())
    changed = {name for name in names if not torch.equal(before[name], after[name])}
    assert changed == set(stored)
    assert changed <= wanted
    # A tensor without a gradient, such as a key's bias, whose shift softmax does not see, may stay as it is.
    assert {name for name in wanted - changed if "key" not in name and "bias" not in name} == set()
    copy = deepcopy(base.model)
    with torch.no_grad():
        for name, value in stored.items():
            copy.get_parameter(name).copy_(value)
    inputs = trained.classifier.example(TEXT).inputs
    torch.testing.assert_close(copy(**inputs).logits, trained.classifier.run(inputs)[0], atol=1e-3, rtol=0)


def test_every_kind_of_method_answers(workspace: Workspace) -> None:
    """A method of each scorer gives one finite score a training example or token, not all alike."""
    trained = train(open_workspace(workspace.directory), Recipe(trainable="last:1", epochs=1, batch_size=8))
    for method in ("relatif", "tracin_we", "saliency_influence", "gradient_x_input"):
        token = 1 if method == "saliency_influence" else None
        answer = attribute(trained, method, test=0, token=token)
        tokens = len(answer.query.example.tokens)
        assert answer.scores.shape == (tokens if method == "gradient_x_input" else 20,)
        assert np.isfinite(answer.scores).all() and answer.scores.std() > 0, method


@pytest.mark.parametrize("family", FAMILIES)
def test_an_encoder_gets_a_head(family: str, tmp_path: Path) -> None:
    """An encoder's folder has no labels; its head is drawn from the seed, and is all that is missing."""
    folder = tiny_model(family, tmp_path / "encoder", labels=None)
    assert own_labels(folder) is None
    drawn = {}
    for seed in (0, 0, 1):
        classifier, missing = load_classifier(folder, ["a", "b", "c"], seed=seed)
        assert {f"{classifier.anatomy.head_name}.weight", f"{classifier.anatomy.head_name}.bias"} <= missing
        assert classifier.anatomy.head.out_features == 3
        encoder = classifier.model.base_model_prefix
        assert not any(name.startswith(f"{encoder}.e") for name in missing), "the encoder itself was stored"
        drawn.setdefault(seed, []).append(classifier.anatomy.head.weight)
    assert torch.equal(*drawn[0]) and not torch.equal(drawn[0][0], drawn[1][0])
    labelled = tiny_model(family, tmp_path / "classifier", labels=("x", "y", "z"))
    assert own_labels(labelled) == ["x", "y", "z"]


@pytest.mark.parametrize(("kind", "reason"), [("gpt2", "not the output of a linear layer"), ("albert", "no list of 3")])
def test_other_architectures_are_refused_in_one_line(kind: str, reason: str, tmp_path: Path) -> None:
    """Logits picked out of a longer sequence, and blocks that are one block used again, cannot be explained."""
    labels = ["negative", "positive"]
    common = {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}
    shape = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 3, "embedding_size": 8}
    folder = tiny_model("bert", tmp_path / "bert")
    (folder / "model.safetensors").unlink()
    options = {"albert": {**shape, "intermediate_size": 24}, "gpt2": {"n_embd": 16, "n_layer": 3, "n_head": 2}}[kind]
    config = AutoConfig.for_model(
        kind, vocab_size=40, pad_token_id=0, bos_token_id=1, eos_token_id=2, **common, **options
    )
    with quiet():
        AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    with pytest.raises(UserError, match=reason) as error:
        create_workspace(tmp_path / "w", model=folder, **write_tables(tmp_path))
    assert str(error.value).startswith(f"The {kind} model in {folder} cannot be explained")
    assert not (tmp_path / "w").exists()


def test_a_model_without_an_embedding_table_is_refused(tmp_path: Path) -> None:
    """A classifier whose embeddings are no plain table is refused by name of what it lacks."""
    folder = tiny_model("bert", tmp_path / "bert")
    classifier, _ = load_classifier(folder, ["negative", "positive"])
    classifier.model.set_input_embeddings(nn.Sequential(nn.Embedding(40, 16)))
    with pytest.raises(ValueError, match="not a plain embedding table"):
        Classifier(model=classifier.model, tokenizer=classifier.tokenizer, labels=("a", "b"), max_length=8)


def test_gradient_x_input_is_no_rounding_error(tiny: Tiny) -> None:
    """Its scores are of the size of ‖gradient‖ · ‖vector‖ in every family, also where a LayerNorm follows the table."""
    classifier = tiny.classifier
    example = classifier.example(TEXTS[0])
    embeds = classifier.embed(example.inputs).requires_grad_()
    with classifier.watching(0) as entering:
        logits, _ = classifier.run(example.inputs, embeds=embeds)
    point = entering[0] if "deberta" in tiny.family else embeds
    (found,) = torch.autograd.grad(logits.log_softmax(dim=-1)[0, 1], point)
    scores = gradient_x_input(classifier, example, 1, {})
    torch.testing.assert_close(scores, (found * point)[0].sum(dim=-1))
    scores, found, point = scores.detach(), found.detach(), point.detach()
    assert float(scores.abs().sum()) > 1e-3 * float((found.norm(dim=-1) * point.norm(dim=-1)).sum())
