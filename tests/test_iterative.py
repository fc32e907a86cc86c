"""Gauss–Newton products and the solvers that use them: against a dense matrix built by autograd, and dense solves."""

import numpy as np
import pytest
import torch

from attribution import attribute, iterative
from attribution.index import silent
from attribution.iterative import GaussNewton, Solver, gauss_newton, solve
from attribution.scope import make_scope
from attribution.workspace import Workspace
from tests.dense import LAST, gauss_newton_matrix, scores
from tests.oracles import assert_close, query_gradient, training_gradients
from tests.tiny import refusal

SCOPES = {"*pooler*": ("bert.pooler.dense.weight",), "last:1": LAST["last:1"]}
SOLVERS: tuple[Solver, ...] = ("cg", "lissa", "arnoldi")


def operator(workspace: Workspace, scope: str = "*pooler*", damping: float = 0.1, seed: int = 0) -> GaussNewton:
    state = len(workspace.checkpoints) - 1
    return gauss_newton(workspace, make_scope(workspace.classifier, scope), state, damping, seed)


def vectors(count: int, size: int) -> torch.Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(5))


def damped(workspace: Workspace, made: GaussNewton, scope: str) -> np.ndarray:
    return gauss_newton_matrix(workspace, SCOPES[scope]) + np.diag(made.damping.double().numpy())


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("space", ["workspace", "pairs"])
def test_products_are_those_of_the_dense_matrix(request: pytest.FixtureRequest, space: str, scope: str) -> None:
    """H v equals (1/n) Σ_i J_iᵀ (diag p_i − p_i p_iᵀ) J_i v, with J_i by autograd one label and example at a time."""
    opened: Workspace = request.getfixturevalue(space)
    made, matrix = operator(opened, scope), gauss_newton_matrix(opened, SCOPES[scope])
    for vector in vectors(3, len(matrix)):
        assert_close(made.product(vector).numpy(), matrix @ vector.double().numpy(), relative=1e-4, what="products")
        assert_close(made.damped(vector).numpy(), damped(opened, made, scope) @ vector.double().numpy(), relative=1e-4)


def test_an_earlier_state_has_its_own_matrix(moving: Workspace) -> None:
    """The operator of the first saved state runs every layer with that state's weights: vᵀHv is its own."""
    scope, model_of = make_scope(moving.classifier, "*pooler*"), {}
    vector = vectors(1, scope.count)[0]
    for state in (0, 2):
        model_of[state] = float(vector @ gauss_newton(moving, scope, state, 0.1, 0).product(vector))
    last = float(vector.double().numpy() @ gauss_newton_matrix(moving, SCOPES["*pooler*"]) @ vector.double().numpy())
    assert model_of[2] == pytest.approx(last, rel=1e-4)
    assert abs(model_of[0] / model_of[2] - 1) > 0.01, "both states give the same matrix"


@pytest.mark.parametrize("scope", SCOPES)
def test_the_damping_is_a_share_of_the_mean_eigenvalue(workspace: Workspace, scope: str) -> None:
    """One λ a tensor: damping × the mean eigenvalue of its own block of the dense matrix, over many seeds; never 0."""
    diagonal, at = np.diag(gauss_newton_matrix(workspace, SCOPES[scope])), 0
    drawn = torch.stack([operator(workspace, scope, damping=0.5, seed=seed).damping for seed in range(24)])
    for name in SCOPES[scope]:
        size = workspace.model.get_parameter(name).numel()
        mine = drawn[:, at : at + size]
        assert (mine == mine[:, :1]).all(), f"{name} has several dampings"
        expected = 0.5 * diagonal[at : at + size].mean()
        assert float(mine[:, 0].mean()) == pytest.approx(expected, rel=0.3), f"the damping of {name}"
        assert (mine > 0.02 * expected).all(), f"{name} is hardly damped: {mine[:, 0].tolist()}, expected {expected}"
        at += size
    torch.testing.assert_close(operator(workspace, scope, damping=1.0).damping, 2 * drawn[0])


def test_what_hardly_moves_the_logits_is_damped_too(workspace: Workspace) -> None:
    """The bias of a key has no effect, so its trace is rounding: its λ is a millionth of the scope's mean."""
    scope = make_scope(workspace.classifier, "last:1", bias=True)
    made = gauss_newton(workspace, scope, 1, 0.1, 0)
    sizes = [workspace.model.get_parameter(name).numel() for name in scope.names]
    by_name = dict(zip(scope.names, made.damping.split(sizes), strict=True))
    found = float(by_name["bert.encoder.layer.2.attention.self.key.bias"][0])
    assert 1e-7 * float(made.damping.mean()) < found < 1e-3 * float(made.damping.mean())


@pytest.mark.parametrize("damping", [0.1, 30.0])
@pytest.mark.parametrize("solver", SOLVERS)
def test_where_it_converged_it_is_the_dense_solve(workspace: Workspace, solver: Solver, damping: float) -> None:
    """The note's residual is that of the dense system, and a solution that converged is (H + λ)⁻¹v to a few percent."""
    made = operator(workspace, damping=damping)
    matrix = damped(workspace, made, "*pooler*")
    vector = vectors(1, len(matrix))[0]
    found, note = solve(made, vector, solver, 0, silent)
    wanted = vector.double().numpy()
    residual = np.linalg.norm(matrix @ found.double().numpy() - wanted) / np.linalg.norm(wanted)
    said = float(note.split("relative residual ")[1].split(" ")[0])
    assert said == pytest.approx(residual, rel=0.06, abs=1e-5), note
    assert note.startswith(f"{solver} converged" if residual <= 0.01 else f"{solver} did not converge"), note
    assert "40 sampled training examples" in note
    if solver == "cg" or damping > 1:
        assert residual <= 0.011, note
    if "did not converge" not in note:
        assert_close(found.numpy(), np.linalg.solve(matrix, wanted), relative=0.03, what=f"the solution of {solver}")


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_same_seed_gives_the_same_solution(
    workspace: Workspace, solver: Solver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Probes are drawn from the seed alone, whatever was drawn before; another seed gives another damping."""
    monkeypatch.setitem(iterative.STEPS, "lissa", 20)
    found = []
    for drawn_before in (0, 1):
        torch.manual_seed(drawn_before)
        made = operator(workspace, seed=4)
        found.append(solve(made, vectors(1, len(made.damping))[0], solver, 4, silent)[0])
    assert found[0].equal(found[1])
    assert not operator(workspace, seed=5).damping.equal(operator(workspace, seed=4).damping)


def test_lissa_that_grows_is_refused(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps that are too long for the series make it grow: one line with what to choose, and never NaN."""
    made = operator(workspace, damping=0.001)
    whole = GaussNewton.damped
    monkeypatch.setattr(GaussNewton, "damped", lambda self, v: -whole(self, v))
    vector = vectors(1, len(made.damping))[0]
    assert "lissa diverged" in refusal(lambda: solve(made, vector, "lissa", 0, silent))


@pytest.mark.parametrize("value", [float("nan"), 1e30])
def test_a_solution_that_is_none_is_refused(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    """Whatever solver returns numbers that are no solution, the answer is one line with the residual."""
    monkeypatch.setitem(iterative.SOLVERS, "cg", lambda operator, vector, seed, progress: vector * value)
    made = operator(workspace)
    message = refusal(lambda: solve(made, vectors(1, len(made.damping))[0], "cg", 0, silent))
    assert message.startswith("cg diverged (residual") and "larger damping" in message


@pytest.mark.oracle("influence")
@pytest.mark.parametrize("normalise", ["none", "cosine"])
@pytest.mark.parametrize("scope", SCOPES)
def test_influence_by_conjugate_gradients_is_the_dense_solve(workspace: Workspace, scope: str, normalise: str) -> None:
    """−∇Fᵀ(H + λ)⁻¹∇ℓ_i with the dense Gauss–Newton matrix and the operator's own λ, to two digits, with its note."""
    inverse = np.linalg.inv(damped(workspace, operator(workspace, scope, damping=1.0), scope))
    query = query_gradient(workspace, SCOPES[scope], test=3, label=1)
    expected = scores(query, training_gradients(workspace, SCOPES[scope]), inverse, normalise)
    options = {"scope": scope, "solver": "cg", "normalise": normalise, "damping": 1.0}
    table = attribute(workspace, "influence", test=3, label=workspace.labels[1], **options)
    assert_close(table.scores, expected, relative=0.03)
    assert any("relative residual" in note and "cg" in note for note in table.scored.notes)


@pytest.mark.parametrize("solver", SOLVERS)
def test_solvers_take_what_the_index_cannot(workspace: Workspace, solver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With biases and LayerNorms the answer comes from the sweep: finite, not all alike, the same again."""
    monkeypatch.setitem(iterative.STEPS, "lissa", 20)
    options = {"scope": "last:1", "bias": True, "solver": solver, "damping": 1.0}
    tables = [attribute(workspace, "influence", test=3, **options) for _ in range(2)]
    assert tables[0].scored.scorer == "sweep"
    assert np.isfinite(tables[0].scores).all() and np.ptp(tables[0].scores) > 0
    assert np.array_equal(tables[0].scores, tables[1].scores)
