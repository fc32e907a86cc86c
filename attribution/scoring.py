"""score(i) = −∇_S F · P · ∇_S ℓ_i: the choices of the equation, and which scorer answers them.

Three scorers answer alike (`attribution.sides`): the head in closed form, the index, and the exact sweep. The top of
an index's answer is scored again by the sweep.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from attribution import iterative
from attribution.ekfac import Layer, curvature_parts, norms_parts, open_curvature
from attribution.errors import UserError
from attribution.exact_norms import kept_index
from attribution.factor_index import FactorIndex, factor_parts, open_factors
from attribution.head import HeadUnits, head_hessian, head_units
from attribution.index import Part, Progress, load, parts
from attribution.matrices import Matrix, dense, inner
from attribution.model import Encoded
from attribution.projection import open_kernel, projection_parts
from attribution.quantity import Explained, OfLogits
from attribution.query import Query, Question
from attribution.results import Scored
from attribution.scope import Scope, make_scope
from attribution.sides import HeadSide, IndexSide, Projected, Side, SweepSide, head_norms
from attribution.variants import Copy, State, unmoved_below, weights_of
from attribution.words import Copies, words_by_erasure
from attribution.workspace import Workspace

SOLVERS = ("auto", "identity", "exact", "ekfac", "cg", "lissa", "arnoldi")
NORMALISATIONS = ("none", "cosine", "relatif")
SCORERS = ("auto", "head", "index", "sweep")
RERANKED = 20
FIDELITY = "fidelity"


@dataclass(frozen=True, kw_only=True)
class Choices:
    """The choices of the equation: scope S, curvature P, normalisation, saved states, and the scorer.

    normalise: none; cosine = ⟨v, ψ⟩ / ‖v‖‖ψ‖ with v = P∇F; relatif = ⟨v, ψ⟩ / ‖P^½∇F‖‖P^½ψ‖, the cosine in the
    metric of the curvature. solver auto: exact for the head, EK-FAC above it; `side`: root of the size of the solver
    projection. checkpoints: final, all, or copies, `copies` of them with one step of size `step` each. `rates`: weigh
    each saved state by its learning rate η_c.
    """

    scope: str = "head"
    bias: bool = False
    solver: str = "identity"
    normalise: str = "none"
    damping: float = 0.1
    checkpoints: str = "final"
    rates: bool = False
    copies: int = 3
    step: float = 1e-4
    side: int = 32
    scorer: str = "auto"
    seed: int = 0

    def overlaid(self, values: Mapping[str, Any]) -> "Choices":
        """These choices with the values that are given for any of them."""
        names = {field.name for field in fields(self)}
        return replace(self, **{name: value for name, value in values.items() if name in names})


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a workspace makes of choices: the scope's parameters, the solver and the scorer that will answer."""

    choices: Choices
    scope: Scope
    solver: str
    scorer: Literal["head", "index", "sweep"]

    def states(self, workspace: Workspace) -> list[State]:
        """The states of the model that the answer is a sum over."""
        choices = self.choices
        if choices.checkpoints == "copies":
            return [Copy(number=k, step=choices.step, seed=choices.seed) for k in range(choices.copies)]
        return list(workspace.states(choices.checkpoints))

    def parts(self, workspace: Workspace, precision: str = "auto") -> list[Part]:
        """The parts of the index that the answer reads, gradients in bf16 or fp32 (auto: see `in_precision`)."""
        choices, states = self.choices, self.choices.checkpoints
        if self.scorer == "head":
            return parts(workspace, "features", states)
        wanted = factor_parts(workspace, choices.scope, states, precision) if self.scorer == "index" else []
        if self.solver == "ekfac":
            wanted += curvature_parts(workspace, choices.scope, states, precision)
            if choices.normalise == "relatif" and self.scorer == "index":
                wanted += norms_parts(workspace, choices.scope, choices.damping, states, precision)
        if self.solver == "projection":
            wanted += projection_parts(workspace, choices.scope, choices.side, choices.seed, states, precision)
        return wanted


def plan(workspace: Workspace, choices: Choices, *, indexed: bool = True) -> Plan:
    """Settle scope, solver and scorer. Raises UserError where the choices do not fit one another or the model.

    Not `indexed`: the sweep stands in for the index, where few rows are asked about and none of the training data's.
    """
    scope = make_scope(workspace.classifier, choices.scope, bias=choices.bias)
    head = workspace.classifier.anatomy.head_name
    is_head = {name.rpartition(".")[0] for name in scope.names} == {head}
    solver = choices.solver if choices.solver != "auto" else "exact" if is_head else "ekfac"
    _check(choices, scope, solver, is_head)
    closed = is_head and solver in ("identity", "exact") and choices.checkpoints != "copies"
    indexable = scope.is_linear and not workspace.classifier.shared_layers & set(scope.layers)
    if choices.scorer == "index" and not indexable:
        raise UserError(
            f"scorer=index needs linear layers that run once an example; the scope {choices.scope}"
            f"{' with biases' if choices.bias else ''} has more: choose scorer=sweep."
        )
    if choices.scorer == "auto":
        found: Any = "head" if closed else "index" if indexable else "sweep"
    else:
        found = choices.scorer
    if found == "index" and not indexed:
        found = "sweep"
    return Plan(choices=choices, scope=scope, solver=solver, scorer=found)


def fidelity_part(workspace: Workspace, planned: Plan) -> Part:
    """The part that says how well the index's answer to these choices agrees with the exact one, at the last state."""
    factors = next(part for part in reversed(planned.parts(workspace)) if part.kind == "factors")
    choices = planned.choices
    settled = {"solver": planned.solver, "normalise": choices.normalise, "damping": repr(choices.damping)}
    return replace(factors, kind=FIDELITY, options=tuple(sorted({**dict(factors.options), **settled}.items())))


def fidelity(workspace: Workspace, planned: Plan) -> float | None:
    """Median Spearman correlation of the index's scores with exact ones, where it was measured."""
    if planned.choices.checkpoints == "copies":
        return None
    part = fidelity_part(workspace, planned)
    return float(np.median(load(workspace, part)["spearman"])) if part.is_built(workspace) else None


def _check(choices: Choices, scope: Scope, solver: str, is_head: bool) -> None:
    if solver == "exact" and not is_head:
        raise UserError(f"solver=exact is for scope=head; for {choices.scope} choose ekfac, cg, lissa or arnoldi.")
    if choices.scorer == "head" and not (is_head and solver in ("identity", "exact")):
        raise UserError("scorer=head is for scope=head with solver=identity or exact: choose scorer=auto.")
    if choices.scorer == "head" and choices.checkpoints == "copies":
        raise UserError("scorer=head reads the final model's features, and copies have others: choose scorer=auto.")
    if solver == "exact" and choices.scorer in ("index", "sweep"):
        raise UserError(f"solver=exact is answered in closed form: choose scorer=head, not {choices.scorer}.")
    if solver in ("ekfac", "projection") and not scope.is_linear:
        raise UserError(
            f"solver={solver} is for the weights of linear layers: choose bias=false and a scope such as last:2, "
            "or solver=cg."
        )
    if choices.normalise == "relatif" and solver not in ("exact", "ekfac"):
        raise UserError(f"normalise=relatif needs solver=exact or ekfac, not {solver}: choose cosine or none.")
    if choices.normalise == "cosine" and not (scope.is_linear or is_head):
        raise UserError("normalise=cosine is for the weights of linear layers: choose normalise=none.")


def score(query: Question, quantity: Explained, choices: Choices, progress: Progress) -> Scored:
    """Scores of every training example: closed form, index, whose top is still to be scored exactly, or sweep."""
    workspace, planned, notes = query.workspace, plan(query.workspace, choices), []
    sides = sides_of(query, quantity, planned, progress, notes)
    total = sum((rate * side.train(progress) for rate, side in sides), np.zeros(len(workspace.train)))

    def rerank() -> Scored:
        rows, scores = np.argsort(-total, kind="stable")[:RERANKED], total.copy()
        scores[rows] = sum(rate * side.exactly(rows) for rate, side in sides)
        return replace(quick, scores=scores, exact_rows=rows)

    quick = Scored(
        scores=total,
        scorer=planned.scorer,
        exact=planned.scorer != "index",
        fidelity=fidelity(workspace, planned) if planned.scorer == "index" else None,
        quantity=quantity.name,
        notes=tuple(notes),
        scope=choices.scope,
        scope_size=planned.scope.count,
        words=lambda positions: words_by_erasure(query, copies_of(sides), positions),
    )
    return replace(quick, rerank=rerank) if planned.scorer == "index" else quick


def sides_of(
    query: Question, quantity: Explained, planned: Plan, progress: Progress, notes: list[str]
) -> list[tuple[float, Side]]:
    """The query's side at every state that the answer is a sum over, with the state's weight in the sum."""
    workspace, rated = query.workspace, planned.choices.rates
    return [
        (
            workspace.rate(state) if rated and isinstance(state, int) else 1.0,
            side_of(query, quantity, planned, state, progress, notes),
        )
        for state in planned.states(workspace)
    ]


def copies_of(sides: Sequence[tuple[float, Side]]) -> Copies:
    """What gives the scores of any encoded rows, summed over the states."""

    def copies(encoded: Encoded, labels: np.ndarray, owner: np.ndarray) -> np.ndarray:
        return sum((rate * side.copies(encoded, labels, owner) for rate, side in sides), np.zeros(len(labels)))

    return copies


def side_of(
    query: Question, quantity: Explained, planned: Plan, state: State, progress: Progress, notes: list[str]
) -> Side:
    """The query's side of the product at one state. A copy, which hardly differs, reads the final state's index."""
    workspace, choices, scope = query.workspace, planned.choices, planned.scope
    saved = state if isinstance(state, int) else workspace.states()[-1]
    by_kind = {part.kind: part for part in planned.parts(workspace) if part.checkpoint == saved}
    if planned.scorer == "head":
        return _head_side(query, quantity, planned, saved, by_kind["features"], progress)
    index = open_factors(workspace, by_kind["factors"], progress) if planned.scorer == "index" else None
    layers = open_curvature(workspace, by_kind["curvature"], progress) if planned.solver == "ekfac" else None
    vectors = _gradient(query, quantity, scope, weights_of(workspace, state))
    projected = None
    if planned.solver == "projection":
        kernel = open_kernel(workspace, by_kind["projected_gradients"], progress)
        matrices = {name.removesuffix(".weight"): dense(g) for name, g in vectors.items()}
        coordinates = kernel.solve(matrices, choices.damping)
        vectors = {f"{layer}.weight": v for layer, v in kernel.projection.back(coordinates).items()}
        projected = Projected(gradients=kernel.gradients, vector=coordinates.cpu().numpy())
    vector, norm = _solve(query, planned, vectors, layers, saved, progress, notes)
    side = SweepSide(
        workspace=workspace,
        state=state,
        scope=scope,
        given=vector,
        norm=norm,
        normalise=choices.normalise,
        layers=layers,
        damping=choices.damping,
        index=kept_states(workspace, scope, state, saved),
    )
    if planned.scorer == "sweep" or index is None:
        return side
    norms = None
    if choices.normalise == "cosine":
        norms = workspace.memo((by_kind["factors"], "norms"), index.norms)
    elif choices.normalise == "relatif":
        norms = np.asarray(load(workspace, by_kind["norms"], progress)["norms"])
    return IndexSide(sweep=side, scanned=projected or index, norms=norms)


def kept_states(workspace: Workspace, scope: Scope, state: State, saved: int) -> FactorIndex | None:
    """The index whose states the sweep starts from; a copy whose step has moved what lies below has other states."""
    if isinstance(state, Copy) and unmoved_below(workspace, state) < (scope.first_block or 0):
        return None
    return kept_index(workspace, scope.text, saved)


def _gradient(query: Question, quantity: Explained, scope: Scope, weights: Mapping[str, Tensor]) -> dict[str, Matrix]:
    """∇F by parameter name; over linear layers as factors, where it has them."""
    if scope.is_linear and not query.classifier.shared_layers & set(scope.layers):
        return {f"{layer}.weight": g for layer, g in query.over_layers(quantity, scope.layers, weights).items()}
    return dict(zip(scope.names, query.gradient(quantity, scope.names, weights), strict=True))


def _solve(
    query: Question,
    planned: Plan,
    found: Mapping[str, Matrix],
    curvature: Mapping[str, Layer] | None,
    state: int,
    progress: Progress,
    notes: list[str],
) -> tuple[Mapping[str, Matrix], float]:
    """v = P∇F by parameter name, with EK-FAC in its eigenbasis, and ‖v‖ or, for RelatIF, ‖P^½∇F‖.

    Where the solver is a projection, its P is in what is given.
    """
    choices = planned.choices
    vector: Mapping[str, Matrix]
    if curvature is not None:
        layers = {name: curvature[name.removesuffix(".weight")] for name in found}
        turned = {name: layers[name].turn(g) for name, g in found.items()}
        vector = {name: g * layers[name].inverse(choices.damping) for name, g in turned.items()}
        other = turned if choices.normalise == "relatif" else vector
    elif planned.solver in ("identity", "projection"):
        vector = other = found
    else:
        vector = other = _by_products(query, planned, found, state, progress, notes)
    return vector, sum(inner(vector[n], other[n]) for n in vector) ** 0.5


def _by_products(
    query: Question, planned: Plan, found: Mapping[str, Matrix], state: int, progress: Progress, notes: list[str]
) -> dict[str, Tensor]:
    """P∇F by an iterative solver; its note on convergence is added to `notes`."""
    choices, scope = planned.choices, planned.scope
    operator = query.workspace.memo(
        ("gauss-newton", scope, state, choices.damping, choices.seed),
        lambda: iterative.gauss_newton(query.workspace, scope, state, choices.damping, choices.seed),
    )
    solver: Any = planned.solver
    matrices = {name: dense(g) for name, g in found.items()}
    flat = torch.cat([g.flatten() for g in matrices.values()])
    solved, note = iterative.solve(operator, flat, solver, choices.seed, progress)
    notes.append(note)
    pieces = solved.split([g.numel() for g in matrices.values()])
    return {name: piece.view_as(g) for (name, g), piece in zip(matrices.items(), pieces, strict=True)}


def _head_side(
    query: Question, quantity: Explained, planned: Plan, state: int, part: Part, progress: Progress
) -> HeadSide:
    workspace, choices = query.workspace, planned.choices
    load(workspace, part, progress)
    units = workspace.memo(("units", state, choices.bias), lambda: _units(workspace, part, choices.bias))
    vector = _head_gradient(query, quantity, planned.scope, state)
    norm, hessian = float(np.linalg.norm(vector)), None
    if planned.solver == "exact":
        hessian = workspace.memo(
            ("hessian", state, choices.bias, choices.damping), lambda: head_hessian(units, damping=choices.damping)
        )
        plain, vector = vector, hessian.solve(vector)
        norm = hessian.norm(plain) if choices.normalise == "relatif" else float(np.linalg.norm(vector))
    norms = None
    if choices.normalise != "none":
        metric = hessian if choices.normalise == "relatif" else None
        key = ("head norms", state, choices.bias, None if metric is None else choices.damping)
        norms = workspace.memo(key, lambda: head_norms(units, metric))
    return HeadSide(
        workspace=workspace, state=state, bias=choices.bias, vector=vector, norm=norm, units=units, norms=norms
    )


def _head_gradient(query: Question, quantity: Explained, scope: Scope, state: int) -> np.ndarray:
    """∇F over the head, (labels, width), with a last column for the bias where the scope has it.

    Where F depends on the logits alone, it is their slope times the features.
    """
    classifier, weights = query.classifier, query.workspace.weights(state)
    if not isinstance(quantity, OfLogits) or not isinstance(query, Query):
        found = query.gradient(quantity, scope.names, weights)
        return np.hstack([g.double().cpu().numpy().reshape(len(g), -1) for g in found])
    logits, features = torch.from_numpy(query.logits), query.features
    if weights:
        with torch.no_grad():
            ran = classifier.run(query.example.inputs, weights=weights)
        logits, features = ran[0][0].float().cpu(), ran[1][0].float().cpu().numpy()
    logits = logits.double().requires_grad_()
    (slope,) = torch.autograd.grad(quantity.of_logits(logits), logits)
    extended = np.append(features, np.ones(len(scope.names) - 1))
    return np.outer(slope.numpy(), extended.astype(np.float64))


def _units(workspace: Workspace, part: Part, bias: bool) -> HeadUnits:
    arrays = load(workspace, part)
    labels = workspace.label_ids(workspace.train)
    return head_units(np.asarray(arrays["features"]), np.asarray(arrays["logits"]), labels, bias=bias)
