"""How many pairs the index keeps and reads: against explicit matrices, exhaustive search and whole scans."""

from itertools import product

import numpy as np
import pytest
import torch

from attribution import factor_index, sides
from attribution.factor_index import FactorIndex, choose_layout, factor_parts, open_factors
from attribution.factors import Pass, leading
from attribution.pair_ranks import errors_of, fill
from attribution.query import make_query
from attribution.rank_correlation import spearman
from attribution.registry import run_method
from attribution.results import ScoreTable
from attribution.sketching import needed_pairs, products
from attribution.workspace import Workspace
from tests.oracles import assert_close, reopened

EXAMPLES, TOKENS, OUT, IN = 12, 6, 5, 8


def passes(seed: int) -> list[Pass]:
    """Two batches of random factors of one layer, each token's gradient half the one's before."""
    draw = torch.Generator().manual_seed(seed)
    fall = 0.5 ** torch.arange(TOKENS)[:, None]
    return [
        Pass(
            factors={
                "layer": (
                    torch.randn(EXAMPLES // 2, TOKENS, IN, generator=draw),
                    torch.randn(EXAMPLES // 2, TOKENS, OUT, generator=draw) * fall,
                )
            },
            hidden=None,
        )
        for _ in range(2)
    ]


def test_errors_are_those_of_products_with_what_is_left_out() -> None:
    """The mean square of ⟨G_j, (G + ρI)⁻¹ D_i (A + ρI)⁻¹⟩, i ≠ j, D_i what k pairs leave of G_i, by whole matrices."""
    given = passes(0)
    inputs, gradients = (torch.cat([found.factors["layer"][side] for found in given]).double() for side in (0, 1))
    inverses = []
    for side in (gradients, inputs):
        covariance = torch.stack([torch.outer(x, x) for example in side for x in example]).sum(dim=0) / EXAMPLES
        size = torch.linalg.eigvalsh(covariance).mean()
        inverses.append(torch.linalg.inv(covariance + 0.1**0.5 * size * torch.eye(len(covariance))))
    whole = torch.einsum("nto,nti->noi", gradients, inputs)
    expected = []
    for rank in range(1, TOKENS):
        left, right, _ = leading((inputs.float(), gradients.float()), rank)
        missing = whole - torch.einsum("nko,nki->noi", left.double(), right.double())
        turned = inverses[0] @ missing @ inverses[1]
        pairs = [(i, j) for i, j in product(range(EXAMPLES), repeat=2) if i != j]
        expected.append(sum(float((whole[j] * turned[i]).sum()) ** 2 for i, j in pairs) / EXAMPLES**2)
    (found,) = errors_of(given, ["layer"])
    assert_close(found[: TOKENS - 1], np.array(expected), relative=1e-3, what="errors")
    assert not found[TOKENS - 1 :].any(), "as many pairs as tokens leave nothing out"


@pytest.mark.parametrize("room", [3, 5, 8, 11])
def test_a_room_is_filled_as_well_as_can_be(room: int) -> None:
    """Where errors fall ever more slowly and pairs are of one size, no other division of the room has a lower sum."""
    draw = np.random.default_rng(room)
    errors = -np.sort(-draw.random((3, 4)), axis=1)
    errors = np.flip(np.cumsum(np.sort(errors, axis=1), axis=1), axis=1)  # falling and convex
    ranks, is_all = fill(errors, np.ones(3), room)
    every = [r for r in product(range(1, 5), repeat=3) if sum(r) <= room]
    best = min(sum(errors[k, r[k] - 1] for k in range(3)) for r in every)
    assert ranks.sum() <= room and not is_all
    assert sum(errors[k, ranks[k] - 1] for k in range(3)) == pytest.approx(best)


def test_a_late_fall_is_seen_and_nothing_is_added_for_nothing() -> None:
    """A layer whose error falls with the third pair alone gets it; one that has nothing left to lose stays at one."""
    ranks, is_all = fill(np.array([[4.0, 4.0, 0.0], [0.0, 0.0, 0.0]]), np.array([1, 1]), 100)
    assert ranks.tolist() == [3, 1] and is_all


def test_what_does_not_fit_is_kept_in_half_precision(fresh: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """In half the room that all pairs take in float32 they are in bfloat16, and products keep two digits."""
    (part,) = factor_parts(fresh, "last:2", precision="fp32")
    exact = open_factors(fresh, part)
    vectors = random_vectors(exact)
    expected, layout = exact.dot(vectors), choose_layout(fresh, part)
    assert layout.dtype == torch.float32
    numbers = [sum(side.shape[2] for side in pair) for pair in exact.shards[0].pairs.values()]
    room = 2 * len(fresh.train) * (np.dot(layout.ranks, numbers) + 1)
    monkeypatch.setattr(factor_index, "BYTES", room)
    for path in part.folder(fresh).iterdir():
        path.unlink()
    part.folder(fresh).rmdir()
    half = open_factors(reopened(fresh), part)
    assert half.shards[0].pairs["classifier"][0].dtype == torch.bfloat16
    assert [pair[0].shape[1] for pair in half.shards[0].pairs.values()] == layout.ranks.tolist()
    assert_close(half.dot(vectors), expected, relative=2e-2, what="products")


def random_vectors(index: FactorIndex) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    draw = torch.Generator().manual_seed(4)
    return {
        name: (torch.randn(3, left.shape[2], generator=draw), torch.randn(3, right.shape[2], generator=draw))
        for name, (left, right) in index.shards[0].pairs.items()
    }


def test_a_scan_of_some_pairs_is_the_product_with_them(workspace: Workspace) -> None:
    """`counts` reads the leading pairs of the layers it names; `pairs_of` gives those of some rows."""
    index = open_factors(workspace, factor_parts(workspace, "last:2")[0])
    vectors, rows = random_vectors(index), np.array([0, 17, 39])
    counts = dict.fromkeys(list(vectors)[1:4], 1)
    pairs = index.pairs_of(rows)
    some = {name: (pairs[name][0][:, :1], pairs[name][1][:, :1]) for name in counts}
    assert_close(
        index.dot(vectors, counts)[rows], products({n: vectors[n] for n in counts}, some).numpy(), relative=1e-4
    )
    assert_close(index.dot(vectors)[rows], products(vectors, pairs).numpy(), relative=1e-4)


def test_pairs_that_do_not_matter_are_not_read() -> None:
    """Of a strong and a weak layer the weak is left out, the order of the sample stays; a V of zeros leaves all in."""
    draw = torch.Generator().manual_seed(5)
    sample = {name: (torch.randn(90, 3, 6, generator=draw), torch.randn(90, 3, 4, generator=draw)) for name in "ab"}
    strong, weak = ((torch.randn(2, 6, generator=draw) * size, torch.randn(2, 4, generator=draw)) for size in (1, 1e-4))
    vectors = {"a": strong, "b": weak}
    counts = needed_pairs(vectors, sample)
    assert counts == {"a": 3}
    read = products({"a": strong}, sample)
    assert spearman(np.stack([read.numpy(), products(vectors, sample).numpy()]))[0, 1] >= 0.998
    nothing = {name: (torch.zeros(2, 6), torch.zeros(2, 4)) for name in "ab"}
    assert needed_pairs(nothing, sample) == {"a": 3, "b": 3}


@pytest.mark.parametrize("method", ["gd", "gc"])
def test_a_shortened_scan_ranks_as_the_whole_one(
    workspace: Workspace, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a sample below the training set's size the order hardly changes, and the leading rows have whole scores."""
    query, settings = make_query(workspace, test=3), {"scope": "last:2", "scorer": "index"}

    def ask() -> np.ndarray:
        table = run_method(query, method, settings, rerank=False)
        assert isinstance(table, ScoreTable)
        return table.scores

    whole = ask()
    for module in (sides, factor_index):
        monkeypatch.setattr(module, "SCORED", 20)
    monkeypatch.setattr(sides, "LEADING", 5)
    index = open_factors(workspace, factor_parts(workspace, "last:2")[0])
    monkeypatch.delitem(index.__dict__, "sample", raising=False)
    shortened = ask()
    index.__dict__.pop("sample", None)
    assert (shortened != whole).any(), "everything was read"
    assert spearman(np.stack([shortened, whole]))[0, 1] >= 0.98
    top = np.argsort(-shortened)[:3]
    assert_close(shortened[top], whole[top], relative=1e-4, what="leading rows")
