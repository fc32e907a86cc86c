"""Singular pairs of single gradients, and the index that keeps them: against SVDs and whole gradients by loops."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from attribution import factor_index, pair_ranks
from attribution.factor_index import FactorIndex, factor_parts, open_factors
from attribution.factors import leading, read_tokens, run_pass
from attribution.scope import make_scope
from attribution.sketching import sketch
from attribution.workspace import Workspace
from tests.dense import LAST, blocks_of, last
from tests.oracles import assert_close, reopened, training_gradients

BATCH, TOKENS, IN, OUT = 6, 9, 12, 7
# A ridge of 1e-6 keeps the orthogonalisation of like tokens stable, at the price of three digits of an entry.
RIDGE = 3e-3


def pair(seed: int = 0, *, decay: float = 1.0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Random inputs and output gradients of some examples, each token's gradient `decay` times the one's before."""
    draw = torch.Generator().manual_seed(seed)
    inputs = torch.randn(BATCH, TOKENS, IN, generator=draw, dtype=dtype)
    gradients = torch.randn(BATCH, TOKENS, OUT, generator=draw, dtype=dtype)
    return inputs, gradients * decay ** torch.arange(TOKENS)[:, None]


def matrices(inputs: Tensor, gradients: Tensor) -> np.ndarray:
    """Σ_t δ_t a_tᵀ of every example, added token by token: (batch, out, in)."""
    made = np.zeros((len(inputs), gradients.shape[2], inputs.shape[2]))
    for example in range(len(inputs)):
        for token in range(inputs.shape[1]):
            made[example] += np.outer(gradients[example, token], inputs[example, token])
    return made


def rebuilt(left: Tensor, right: Tensor) -> np.ndarray:
    return torch.einsum("nko,nki->noi", left.double(), right.double()).numpy()


@pytest.mark.parametrize("rank", [TOKENS, TOKENS + 3])
def test_as_many_pairs_as_tokens_are_the_gradient(rank: int) -> None:
    """With at least as many pairs as tokens Σ_k left_k right_kᵀ is the gradient, and all its energy is kept."""
    inputs, gradients = (side.float() for side in pair())
    left, right, energy = leading((inputs, gradients), rank)
    expected = matrices(inputs, gradients)
    assert left.shape == (BATCH, rank, OUT) and right.shape == (BATCH, rank, IN)
    assert_close(rebuilt(left, right), expected, relative=RIDGE, what="gradients")
    whole = np.square(expected).sum(axis=(1, 2))
    assert_close(energy.numpy(), np.stack([whole, whole], axis=1), relative=1e-4, what="energies")


def test_one_position_is_kept_as_it_is() -> None:
    """Where one token carries the gradient, wherever it stands, the pair is its input and output gradient."""
    inputs, gradients = (side.float() for side in pair())
    at = torch.tensor([0, 3, 8, 1, 0, 5])
    alone = torch.zeros_like(gradients)
    alone[torch.arange(BATCH), at] = gradients[torch.arange(BATCH), at]
    left, right, energy = leading((inputs, alone), 1)
    expected = matrices(inputs, alone)
    assert_close(rebuilt(left, right), expected, relative=1e-6, what="gradients")
    assert_close(energy[:, 0].numpy(), np.square(expected).sum(axis=(1, 2)), relative=1e-5, what="energies")
    assert energy[:, 0].equal(energy[:, 1])


@pytest.mark.parametrize("rank", [1, 3, 5])
@pytest.mark.parametrize("decay", [1.0, 0.5])
def test_fewer_pairs_keep_nearly_the_most_that_any_can(rank: int, decay: float) -> None:
    """The kept energy is ‖left‖², no more than the best SVD's, and not far below; right has no longer rows than 1."""
    inputs, gradients = (side.float() for side in pair(decay=decay))
    left, right, energy = leading((inputs, gradients), rank)
    gradient = matrices(inputs, gradients)
    best = np.square(np.linalg.svd(gradient, compute_uv=False)[:, :rank]).sum(axis=1)
    kept = energy[:, 1].numpy()
    assert_close(kept, left.square().sum(dim=(1, 2)).numpy(), relative=1e-5, what="kept energies")
    assert torch.linalg.matrix_norm(right, 2).max() < 1 + 1e-4, "right stretches what it is applied to"
    missed = np.square(gradient - rebuilt(left, right)).sum(axis=(1, 2))
    assert_close(kept + missed, energy[:, 0].numpy(), relative=1e-3, what="kept and missed energies")
    assert (kept <= best * (1 + 1e-4)).all(), f"more is kept than any SVD can: {kept / best}"
    assert kept.sum() >= (0.8 if decay == 1 else 0.95) * best.sum(), f"the share of the best SVD is {kept / best}"


def test_examples_of_like_tokens_do_not_break_it() -> None:
    """A word repeated, tokens without gradient and an example without any: finite, and exact where rank allows."""
    inputs, gradients = (side.float() for side in pair())
    inputs[0], gradients[0] = inputs[0, :1], gradients[0, :1]
    gradients[1, 2:] = 0
    gradients[2] = 0
    left, right, energy = leading((inputs, gradients), 4)
    assert torch.isfinite(left).all() and torch.isfinite(right).all()
    expected = matrices(inputs, gradients)[:3]
    assert_close(rebuilt(left, right)[:3], expected, relative=1e-3, what="gradients of rank 1, 2 and 0")
    assert not energy[2].any()


def test_tokens_without_a_gradient_are_not_read() -> None:
    """Inputs where no gradient is are zeroed, and the gradient stays what it is; padding then changes nothing."""
    inputs, gradients = pair()
    gradients[:, 5:] = 0
    entering, leaving = read_tokens((inputs, gradients))
    assert not entering[:, 5:].any() and entering[:, :5].equal(inputs[:, :5])
    assert_close(matrices(entering, leaving), matrices(inputs, gradients), relative=1e-12, what="gradients")


def test_a_pass_gives_each_examples_gradient(workspace: Workspace) -> None:
    """Σ_t δ_t a_tᵀ of every layer of last:2 is ∇_W ℓ_i by autograd, one example at a time, in the model's order."""
    classifier, rows = workspace.classifier, range(8)
    layers = make_scope(classifier, "last:2").layers
    assert layers == last(2)
    inputs = classifier.pad(classifier.tokenize(workspace.texts("train")[0]), rows)
    wanted = torch.from_numpy(workspace.label_ids(workspace.train))[:8]
    found = run_pass(classifier, inputs, lambda _: wanted, layers).factors
    flat = [matrices(*found[name]).reshape(len(rows), -1) for name in layers]
    assert_close(np.hstack(flat), training_gradients(workspace, LAST["last:2"])[:8], relative=1e-4, what="gradients")


def metric(shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(7)
    return torch.rand(shape[0], generator=draw) + 0.1, torch.rand(shape[1], generator=draw) + 0.1


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("shape", [(90, 70), (70, 90), (2, 300), (300, 12)])
def test_a_sketch_of_a_matrix_of_low_rank_is_the_matrix(shape: tuple[int, int], scaled: bool) -> None:
    """Rank 10 is below what a sketch holds, so nothing is lost, in either orientation and in any metric; seeded."""
    draw, rank = torch.Generator().manual_seed(1), min(10, *shape)
    matrix = torch.randn(shape[0], rank, generator=draw) @ torch.randn(rank, shape[1], generator=draw)
    left, right = sketch(matrix, metric(shape) if scaled else None)
    assert len(left) == len(right) < 60
    assert_close((left.T @ right).numpy(), matrix.numpy(), relative=1e-4, what="entries")
    again = sketch(matrix, metric(shape) if scaled else None)
    assert again[0].equal(left) and again[1].equal(right), "a second sketch is another"


@pytest.mark.parametrize("scaled", [False, True])
def test_a_sketch_loses_little_more_than_the_best(scaled: bool) -> None:
    """Of a matrix of full rank, in its metric, the error is at most a tenth above that of the best of its rank."""
    draw = torch.Generator().manual_seed(2)
    u, v = (torch.linalg.qr(torch.randn(90, 90, generator=draw)).Q for _ in range(2))
    matrix = u @ torch.diag(0.9 ** torch.arange(90)) @ v.T
    rows, columns = metric((90, 90)) if scaled else (torch.ones(90), torch.ones(90))
    left, right = sketch(matrix, (rows, columns) if scaled else None)
    values = torch.linalg.svdvals(rows[:, None] * matrix * columns)
    missed = float((rows[:, None] * (left.T @ right - matrix) * columns).norm())
    assert missed <= 1.1 * float(values[len(left) :].norm())


def index_of(workspace: Workspace, scope: str) -> FactorIndex:
    return open_factors(workspace, factor_parts(workspace, scope)[0])


@pytest.mark.parametrize("scope", ["last:1", "last:2"])
def test_the_index_holds_every_gradient(workspace: Workspace, scope: str) -> None:
    """left and right of every layer and training example multiply to ∇_W ℓ_i by loops; nothing is lost."""
    index = index_of(workspace, scope)
    layers = [
        np.concatenate([rebuilt(*s.pairs[n]).reshape(len(s.energy), -1) for s in index.shards])
        for n in index.scope.layers
    ]
    assert_close(np.hstack(layers), training_gradients(workspace, LAST[scope]), relative=RIDGE, what="gradients")
    assert min(index.shares.values()) > 1 - 1e-4, f"kept shares: {index.shares}"


@pytest.mark.parametrize("scope", ["last:1", "last:2"])
def test_norms_are_exact_however_few_pairs_are_kept(
    fresh: Workspace, scope: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """‖∇ℓ_i‖ from the index is that of the whole gradients; the shares say how much of each layer the pairs hold."""
    monkeypatch.setattr(pair_ranks, "HIGHEST_RANK", 1)
    index = index_of(fresh, scope)
    gradients = training_gradients(fresh, LAST[scope])
    assert_close(index.norms(), np.linalg.norm(gradients, axis=1), relative=1e-5, what="norms")
    for place, name in zip(blocks_of(fresh, index.scope.layers), index.scope.layers, strict=True):
        kept = np.concatenate([rebuilt(*shard.pairs[name]) for shard in index.shards])
        share = float(np.square(kept).sum() / np.square(gradients[:, place]).sum())
        assert index.shares[name] == pytest.approx(share, rel=1e-3), f"the share of {name}"
    assert min(index.shares.values()) < 1 - 1e-3, "nothing was dropped, so the norms prove nothing"


def test_products_with_the_index_are_those_with_the_gradients(workspace: Workspace) -> None:
    """⟨V, ∇ℓ_i⟩ for random matrices V, layer by layer, equals the product with gradients by loops."""
    index, draw = index_of(workspace, "last:2"), torch.Generator().manual_seed(4)
    shapes = [workspace.model.get_submodule(name).weight.shape for name in index.scope.layers]
    vectors = {name: torch.randn(s, generator=draw) for name, s in zip(index.scope.layers, shapes, strict=True)}
    flat = np.concatenate([v.double().numpy().ravel() for v in vectors.values()])
    found = index.dot({name: sketch(v) for name, v in vectors.items()})
    assert_close(found, training_gradients(workspace, LAST["last:2"]) @ flat, relative=2 * RIDGE, what="products")


def test_kept_states_are_those_that_enter_the_first_block(workspace: Workspace) -> None:
    """`hidden` of a training example is what a run of that text alone feeds to block 1, to half precision."""
    index = index_of(workspace, "last:2")
    for row in (0, 17, 39):
        example = workspace.classifier.example(str(workspace.train.iloc[row]["text"]))
        expected = workspace.classifier.hidden_before(example.inputs, 1)[0].numpy()
        assert_close(index.hidden(row), expected, relative=2e-3, what=f"states of example {row}")


def test_half_precision_is_the_same_to_two_digits(fresh: Workspace) -> None:
    """bf16 keeps the gradients to two digits, in half the room, as a part of its own."""
    (full,), (half,) = (factor_parts(fresh, "last:1", precision=p) for p in ("fp32", "bf16"))
    exact, rounded = open_factors(fresh, full), open_factors(fresh, half)
    assert full.folder(fresh) != half.folder(fresh)
    for name in exact.scope.layers:
        pairs = [np.concatenate([rebuilt(*shard.pairs[name]) for shard in i.shards]) for i in (rounded, exact)]
        assert_close(pairs[0], pairs[1], relative=0.1, what=f"gradients of {name}")
    assert rounded.shards[0].pairs["classifier"][0].dtype == torch.bfloat16
    sizes = [sum(f.stat().st_size for f in part.folder(fresh).glob("shard-0000.npy")) for part in (full, half)]
    assert sizes[1] < 0.51 * sizes[0]


def test_ranks_fit_the_room(fresh: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers above the last attention keep one pair; the others as many as fit, at least one."""
    (part,) = factor_parts(fresh, "last:2")
    single = {f"bert.encoder.layer.2.{n}" for n in ("attention.self.query", "attention.output.dense")} | {
        *(f"bert.encoder.layer.2.{n}" for n in ("intermediate.dense", "output.dense")),
        "bert.pooler.dense",
        "classifier",
    }
    for room, expected in ((1e9, range(2, 17)), (0, range(1, 2))):
        monkeypatch.setattr(factor_index, "BYTES", room)
        ranks = factor_index.choose_layout(reopened(fresh), part).ranks
        assert all(rank in ((1,) if name in single else expected) for name, rank in zip(last(2), ranks, strict=True))


def test_a_folder_of_an_index_says_what_it_is(workspace: Workspace) -> None:
    """Kind, scope and precision stand in the manifest's own words."""
    (part,) = factor_parts(workspace, "last:1")
    text = Path(part.folder(workspace) / "manifest.json").read_text(encoding="utf8")
    for said in ('"kind": "factors"', '"scope": "last:1"', '"precision": "fp32"', '"n_train": 40'):
        assert said in text, f"{said} is not in {text}"
