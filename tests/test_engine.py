"""Gradient methods over the upper blocks: against loops of autograd, whichever scorer answers; and what is refused."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attribution import attribute, pair_ranks
from attribution.query import make_query
from attribution.registry import required_parts, run_method, standard_parts
from attribution.results import ScoreTable
from attribution.workspace import Workspace
from tests.dense import LAST, ekfac_inverse, last, products, scores
from tests.oracles import (
    assert_close,
    doubled,
    encoded,
    flat_gradient,
    learning_rates,
    own_model,
    query_gradient,
    reopened,
    training_gradients,
)
from tests.tiny import refusal

TEST, LABEL = 3, 1
Copies = dict[str, dict[str, Workspace]]
NEAR = {"sweep": 1e-3, "index": 5e-3}
scorers = pytest.mark.parametrize("scorer", NEAR)
scopes = pytest.mark.parametrize("scope", ["last:1", "last:2"])


@pytest.fixture(scope="module")
def copies(workspace: Workspace, moving: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Copies:
    """Copies by scorer: those of the sweep never get an index, whose half-precision states it would start from."""
    folder, made = tmp_path_factory.mktemp("engine"), {}
    for name, space in (("workspace", workspace), ("moving", moving)):
        made[name] = {scorer: copied(space, folder / f"{name}-{scorer}") for scorer in NEAR}
    return made


def copied(space: Workspace, folder: Path) -> Workspace:
    shutil.copytree(space.directory, folder, ignore=shutil.ignore_patterns("index", "results"))
    return reopened(space, folder)


def ask(space: Workspace, method: str, **parameters: Any) -> ScoreTable:
    return attribute(space, method, test=TEST, label=space.labels[LABEL], **parameters)


@pytest.mark.oracle("gd", "gc")
@scorers
@scopes
@pytest.mark.parametrize("method", ["gd", "gc"])
def test_products_and_cosines_are_the_loops(
    workspace: Workspace, copies: Copies, method: str, scope: str, scorer: str
) -> None:
    """⟨∇F, −∇ℓ_i⟩ and its cosine over the last blocks, every gradient by autograd on one example."""
    table = ask(copies["workspace"][scorer], method, scope=scope, scorer=scorer)
    assert table.scored.scorer == scorer
    expected = products(workspace, LAST[scope], test=TEST, label=LABEL, cosine=method == "gc")
    assert_close(table.scores, expected, relative=NEAR[scorer])


@pytest.mark.oracle("tracin")
@scorers
@pytest.mark.parametrize("options", [{}, {"rates": False}, {"normalise": "cosine"}, {"checkpoints": "final"}], ids=str)
def test_tracin_sums_over_checkpoints(moving: Workspace, copies: Copies, scorer: str, options: dict[str, Any]) -> None:
    """Σ_c η_c ⟨∇F_c, −∇ℓ_ic⟩ over last:2, between three states in which every layer differs."""
    rates, cosine = learning_rates(moving), options.get("normalise") == "cosine"
    assert len(set(rates)) == 3, "the rates are alike, so their use is not tested"
    expected = np.zeros(len(moving.train))
    for state in [2] if options.get("checkpoints") == "final" else [0, 1, 2]:
        rate = rates[state] if options.get("rates", True) else 1.0
        expected += rate * products(moving, LAST["last:2"], test=TEST, label=LABEL, state=state, cosine=cosine)
    table = ask(copies["moving"][scorer], "tracin", scorer=scorer, **options)
    assert_close(table.scores, expected, relative=NEAR[scorer])


@pytest.mark.oracle("tracin", "gd")
@pytest.mark.parametrize("scope", ["embeddings", "all", "*layer.1*"])
@pytest.mark.parametrize("bias", [False, True])
def test_scopes_without_an_index_are_swept(workspace: Workspace, scope: str, bias: bool) -> None:
    """Word embeddings, everything, and a pattern with its biases: the loops' products, without building anything."""
    from fnmatch import fnmatchcase

    if scope == "embeddings" and bias:
        pytest.skip("the table of words has no bias")
    patterns = {"embeddings": "bert.embeddings.word_embeddings.weight", "all": "*"}
    shapes = {name: p.dim() for name, p in workspace.model.named_parameters()}
    names = tuple(n for n, dim in shapes.items() if fnmatchcase(n, patterns.get(scope, scope)) and (bias or dim > 1))
    table = ask(workspace, "tracin", scope=scope, bias=bias, scorer="sweep", checkpoints="final", rates=False)
    assert_close(table.scores, products(workspace, names, test=TEST, label=LABEL), relative=2e-4)


@scopes
@pytest.mark.parametrize("method", ["gd", "gc", "influence", "relatif"])
def test_the_top_rows_of_an_index_are_exact(
    copies: Copies, scope: str, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one pair a gradient the index is rough, and yet the rows it calls exact have the sweep's scores."""
    monkeypatch.setattr(pair_ranks, "HIGHEST_RANK", 1)
    bare = copies["workspace"]["sweep"]
    rough = copied(bare, tmp_path / "rough")
    exact, table = ask(bare, method, scope=scope, scorer="sweep"), ask(rough, method, scope=scope, scorer="index")
    rows = table.scored.exact_rows
    assert rows is not None and len(set(rows.tolist())) == 20 and not table.scored.exact
    assert_close(table.scores[rows], exact.scores[rows], relative=1e-2, what="exact rows")
    others = np.setdiff1d(np.arange(len(table.scores)), rows)
    assert np.abs(table.scores - exact.scores)[others].max() > np.abs(table.scores - exact.scores)[rows].max()
    assert set(np.argsort(-exact.scores)[:5]) <= set(rows.tolist()), "a top row is not among the exact ones"


def test_the_top_may_be_scored_exactly_later(copies: Copies) -> None:
    """An index's answer without reranking calls no row exact; reranked, it is the answer that is given otherwise."""
    space = copies["workspace"]["index"]
    query, options = make_query(space, test=TEST), {"scope": "last:2", "scorer": "index"}
    whole, quick = (run_method(query, "relatif", options, rerank=rerank) for rerank in (True, False))
    assert isinstance(whole, ScoreTable) and isinstance(quick, ScoreTable)
    assert quick.scored.exact_rows is None and not quick.scored.exact
    later = quick.reranked()
    rows = later.scored.exact_rows
    np.testing.assert_array_equal(later.scores, whole.scores)
    assert rows is not None and set(rows.tolist()) == set(quick.order[:20].tolist())
    rest = quick.order[20:]
    np.testing.assert_array_equal(later.scores[rest], quick.scores[rest])
    assert later.seconds > quick.seconds and later.reranked() is later
    swept = run_method(query, "relatif", {**options, "scorer": "sweep"}, rerank=False)
    assert isinstance(swept, ScoreTable) and swept.reranked() is swept


@pytest.mark.oracle("saliency_influence")
@scorers
@scopes
@pytest.mark.parametrize("normalise", ["none", "relatif"])
@pytest.mark.parametrize("kind", ["gradient_x_input", "gradient_sum"])
def test_influence_on_a_saliency_is_the_dense_product(
    workspace: Workspace, copies: Copies, kind: str, normalise: str, scope: str, scorer: str
) -> None:
    """−∇w(e_t)ᵀ(H + λI)⁻¹∇ℓ_i over the upper blocks: ∇w by double backward in float64, H⁻¹ dense a layer."""
    query = slope_of_saliency(workspace, LAST[scope], kind)
    inverse = ekfac_inverse(workspace, last(int(scope[-1])), 0.1)
    expected = scores(query, training_gradients(workspace, LAST[scope]), inverse, normalise)
    table = ask(
        copies["workspace"][scorer],
        "saliency_influence",
        token=2,
        saliency=kind,
        scope=scope,
        normalise=normalise,
        scorer=scorer,
    )
    assert_close(table.scores, expected, relative=2 * NEAR[scorer])


def slope_of_saliency(workspace: Workspace, names: tuple[str, ...], kind: str) -> np.ndarray:
    """∇θ of the raw saliency of token 2, by differentiating a plain BERT's gradient once more."""
    import torch

    model, inputs = own_model(workspace), encoded(workspace, workspace.test.loc[TEST])
    for name in names:
        model.get_parameter(name).requires_grad_()
    embeds = model.get_input_embeddings().weight[inputs["input_ids"]].detach().requires_grad_()
    entering: list[torch.Tensor] = []
    hook = model.bert.encoder.layer[0].register_forward_pre_hook(lambda _, args: entering.append(args[0]))
    rest = {name: value for name, value in inputs.items() if name != "input_ids"}
    p = model(**rest, inputs_embeds=embeds).logits.softmax(dim=-1)[0, LABEL]
    hook.remove()
    if kind == "gradient_x_input":
        value = (torch.autograd.grad(p.log(), embeds, create_graph=True)[0] * embeds)[0, 2].sum()
    else:
        value = torch.autograd.grad(p, entering[0], create_graph=True)[0][0, 2].sum()
    return flat_gradient(model, value, names)


@pytest.mark.oracle("influence")
@pytest.mark.parametrize("method", ["gd", "gc", "tracin", "influence", "relatif"])
@pytest.mark.parametrize("scorer", NEAR)
def test_words_are_what_erasing_them_changes(workspace: Workspace, copies: Copies, method: str, scorer: str) -> None:
    """A word's part is the score minus that of the example with the word as [UNK], by loops over erased copies."""
    names, final = LAST["last:1"], {"checkpoints": "final", "rates": False} if method == "tracin" else {}
    table = ask(copies["workspace"][scorer], method, scope="last:1", scorer=scorer, **final)
    query = query_gradient(workspace, names, test=TEST, label=LABEL)
    curved = method in ("influence", "relatif")
    inverse = ekfac_inverse(workspace, last(1), 0.1) if curved else np.eye(len(query))
    whole = training_gradients(workspace, names)[5]
    size = {"gc": np.linalg.norm(whole) * np.linalg.norm(query)}
    size["relatif"] = np.sqrt((whole @ inverse @ whole) * (query @ inverse @ query))
    expected = [
        -query @ inverse @ (whole - erased) / size.get(method, 1.0) for erased in erased_gradients(workspace, 5)
    ]
    assert_close(np.array([w.score for w in table.words(5)]), np.array(expected), relative=5e-3, what="words")


def erased_gradients(workspace: Workspace, row: int) -> list[np.ndarray]:
    """∇ℓ over last:1 of a training example with one token after the other as [UNK]."""
    import torch

    model, inputs = own_model(workspace), encoded(workspace, workspace.train.loc[row])
    for name in LAST["last:1"]:
        model.get_parameter(name).requires_grad_()
    label = torch.tensor([workspace.labels.index(workspace.train.loc[row, "label"])])
    found = []
    for token in range(1, inputs["input_ids"].shape[1] - 1):
        ids = inputs["input_ids"].clone()
        ids[0, token] = workspace.tokenizer.unk_token_id
        loss = torch.nn.functional.cross_entropy(model(**{**inputs, "input_ids": ids}).logits, label)
        found.append(flat_gradient(model, loss, LAST["last:1"]))
    return found


@pytest.mark.oracle("gd")
@pytest.mark.parametrize("scorer", ["auto", "index"])
def test_a_margin_is_the_difference_of_two_logits(workspace: Workspace, copies: Copies, scorer: str) -> None:
    """With `against`, F is one logit minus another: for two labels the log of their odds, by loops."""
    first, second = workspace.labels
    options: dict[str, Any] = {"scope": "last:1" if scorer == "index" else "head", "scorer": scorer}
    table = attribute(copies["workspace"]["index"], "gd", test=TEST, label=first, against=second, **options)
    names = LAST["last:1"] if scorer == "index" else ("classifier.weight",)
    query = [query_gradient(workspace, names, test=TEST, label=label) for label in (0, 1)]
    expected = -training_gradients(workspace, names) @ (query[0] - query[1])
    assert table.scored.quantity == "margin"
    assert_close(table.scores, expected, relative=5e-3)


def test_auto_takes_the_quickest_that_fits(workspace: Workspace) -> None:
    """auto: the head in closed form, linear layers from the index, anything else by the sweep."""
    found = {
        (scope, bias): ask(workspace, "gd", scope=scope, bias=bias).scored.scorer
        for scope, bias in (("head", False), ("head", True), ("last:1", False), ("last:1", True), ("embeddings", False))
    }
    assert list(found.values()) == ["head", "head", "index", "sweep", "sweep"], found


def test_the_parts_read_are_those_of_the_choices(workspace: Workspace) -> None:
    """What has to be built follows from scope, solver, normalisation, saved states and scorer."""

    def kinds(method: str, **parameters: Any) -> list[str]:
        return [part.kind for part in required_parts(workspace, method, parameters)]

    assert kinds("gd") == kinds("relatif", scope="head") == ["features"]
    assert kinds("tracin") == ["factors", "factors"] and kinds("tracin", checkpoints="final") == ["factors"]
    assert kinds("influence") == ["factors", "curvature"]
    assert kinds("influence", scorer="sweep") == ["curvature"] and kinds("influence", solver="cg") == ["factors"]
    assert kinds("relatif") == ["factors", "curvature", "norms"] and kinds("relatif", scorer="sweep") == ["curvature"]
    assert kinds("gd", scope="embeddings") == []
    assert {part.kind for part in standard_parts(workspace)} >= {"features", "factors", "curvature", "norms"}


REFUSED: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "unknown solver": ("influence", {"solver": "lu"}, ["No value for solver 'lu'", "ekfac", "arnoldi"]),
    "unknown scorer": ("gd", {"scorer": "idnex"}, ["No value for scorer 'idnex'", "Did you mean 'index'"]),
    "unknown normalisation": ("influence", {"normalise": "l2"}, ["No value for normalise 'l2'", "cosine", "relatif"]),
    "index with biases": ("gd", {"scope": "last:1", "bias": True, "scorer": "index"}, ["scorer=index", "with biases"]),
    "index of embeddings": ("gd", {"scope": "embeddings", "scorer": "index"}, ["scorer=index", "scorer=sweep"]),
    "exact above the head": ("influence", {"solver": "exact"}, ["solver=exact is for scope=head", "last:2", "ekfac"]),
    "exact by the sweep": ("influence", {"scope": "head", "scorer": "sweep"}, ["closed form", "scorer=head"]),
    "head scorer above the head": ("gd", {"scope": "last:1", "scorer": "head"}, ["scorer=head is for scope=head"]),
    "relatif by cg": ("relatif", {"solver": "cg"}, ["No value for solver 'cg'", "exact, ekfac"]),
    "normalised by cg": ("influence", {"solver": "cg", "normalise": "relatif"}, ["normalise=relatif needs", "not cg"]),
    "EK-FAC with biases": ("influence", {"bias": True}, ["solver=ekfac", "bias=false", "solver=cg"]),
    "EK-FAC of embeddings": ("influence", {"scope": "embeddings"}, ["solver=ekfac", "last:2"]),
    "cosine with biases": ("gc", {"scope": "last:1", "bias": True}, ["normalise=cosine", "linear layers"]),
    "no damping": ("influence", {"damping": 0}, ["damping must be above 0", "not 0"]),
    "damping below zero": ("relatif", {"damping": "-1"}, ["damping must be above 0", "-1"]),
    "damping that is none": ("influence", {"damping": "nan"}, ["damping must be above 0", "nan"]),
    "a seed below zero": ("influence", {"seed": -1}, ["seed must be from 0"]),
    "a scope of nothing": ("gd", {"scope": "feet"}, ["No parameter of this model matches the scope 'feet'", "last:K"]),
    "a scope of biases": ("gd", {"scope": "*.bias"}, ["biases and LayerNorms only: add bias=true"]),
    "too many blocks": ("tracin", {"scope": "last:9"}, ["last:9", "choose last:1 to last:3"]),
    "another label that is the same": ("gd", {"against": "positive"}, ["margin of 'positive' over itself"]),
    "against what is no label": ("gd", {"against": "postive"}, ["No label 'postive'", "Did you mean 'positive'"]),
    "a label that is none": ("gd", {"label": "neutral"}, ["No label 'neutral'", "negative, positive"]),
    "a token beyond the end": ("saliency_influence", {"token": 99}, ["No token 99", "tokens 0 to"]),
    "no token": ("saliency_influence", {}, ["give its index"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(workspace: Workspace, case: str) -> None:
    """Choices that do not fit one another or the model: one line that names them and what to choose."""
    method, options, said = REFUSED[case]
    message = refusal(lambda: attribute(workspace, method, test=TEST, **{"label": "positive", **options}))
    assert all(part in message for part in said), message


def test_refusals_come_before_anything_is_built(fresh: Workspace) -> None:
    """A refused question leaves no index behind."""
    for method, options, _ in REFUSED.values():
        refusal(lambda m=method, o=options: attribute(fresh, m, test=TEST, **{"label": "positive", **o}))
    assert not Path(fresh.directory / "index").exists() or not list((fresh.directory / "index").iterdir())


def test_a_special_token_may_be_clicked(workspace: Workspace) -> None:
    """[CLS] and [SEP] are tokens with a saliency like any other: finite scores, not all alike."""
    tokens = workspace.classifier.example(str(workspace.test.loc[TEST, "text"])).tokens
    assert tokens[0].special and tokens[-1].special
    for token in (0, len(tokens) - 1):
        found = ask(workspace, "saliency_influence", token=token).scores
        assert np.isfinite(found).all() and np.ptp(found) > 0


def test_float64_and_float32_models_agree(workspace: Workspace) -> None:
    """The same question to a twin that computes in float64: rounding is all that differs."""
    options: dict[str, Any] = {"scope": "all", "scorer": "sweep"}
    here, there = (ask(space, "gd", **options).scores for space in (workspace, doubled(workspace)))
    assert_close(here, there, relative=2e-4)
