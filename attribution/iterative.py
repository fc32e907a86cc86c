"""(H + λI)⁻¹ for any scope, by products with the Gauss–Newton matrix of a sample of the training set.

H = (1/m) Σ_i J_iᵀ (diag p_i − p_i p_iᵀ) J_i with J_i the derivative of the logits; a product is one pass with tangents
and one backward pass. λ is one number a parameter tensor: damping × the mean eigenvalue of H over that tensor, which
eight seeded probes ±1 of the logits estimate: H = (1/m) Σ_i J_iᵀ R_i R_iᵀ J_i with R = diag √p − p √pᵀ, so that
‖Jᵀ R z‖² over a tensor is its trace on average and never below 0.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor
from torch.autograd import forward_ad

from attribution.ekfac import sample
from attribution.errors import UserError
from attribution.index import Progress
from attribution.model import Inputs, length_sorted_batches
from attribution.scope import Scope
from attribution.workspace import Workspace

Solver = Literal["cg", "lissa", "arnoldi"]
SAMPLE = 512
PROBES = 8
TOLERANCE = 0.01
STEPS = {"cg": 50, "lissa": 300, "arnoldi": 30}


@dataclass(kw_only=True)
class GaussNewton:
    """Products of the Gauss–Newton matrix of a sample with flat vectors over a scope (count,).

    `damping` is per number of the vector, so that H + diag(damping) is what is inverted.
    """

    workspace: Workspace
    scope: Scope
    state: int
    damping: Tensor = field(default_factory=lambda: torch.empty(0))
    batches: list[tuple[Inputs, Tensor | None]] = field(default_factory=list)
    size: int = 0

    def product(self, vector: Tensor) -> Tensor:
        """H v, undamped."""
        total = torch.zeros_like(vector)
        for inputs, hidden in self.batches:
            tangents = self._apart(vector)
            with torch.no_grad(), forward_ad.dual_level():
                duals = {n: forward_ad.make_dual(w, tangents[n]) for n, w in self._weights().items()}
                logits, moved = forward_ad.unpack_dual(self._logits(inputs, hidden, duals))
            if moved is None:
                continue
            probabilities = logits.softmax(dim=-1)
            pulled = probabilities * (moved - (probabilities * moved).sum(dim=-1, keepdim=True))
            total += torch.cat([g.flatten() for g in self._back(inputs, hidden, lambda _, pulled=pulled: pulled)])
        return total / self.size

    def probe(self, generator: torch.Generator) -> Tensor:
        """A draw of the trace of H over each parameter tensor: (tensors,)."""

        def drawn(logits: Tensor) -> Tensor:
            signs = (torch.randint(0, 2, logits.shape, generator=generator) * 2.0 - 1).to(logits)
            probabilities = logits.softmax(dim=-1)
            moved = probabilities.sqrt() * signs
            return moved - probabilities * moved.sum(dim=-1, keepdim=True)

        total = torch.zeros(len(self.scope.names), device=self.workspace.classifier.device)
        for inputs, hidden in self.batches:
            total += torch.stack([g.square().sum() for g in self._back(inputs, hidden, drawn)])
        return total / self.size

    def _back(self, inputs: Inputs, hidden: Tensor | None, pulled: Callable[[Tensor], Tensor]) -> tuple[Tensor, ...]:
        """Jᵀu of a batch for u that `pulled` gives from the logits, by parameter tensor."""
        leaves = {n: w.clone().requires_grad_() for n, w in self._weights().items()}
        logits = self._logits(inputs, hidden, leaves)
        return torch.autograd.grad(logits, list(leaves.values()), pulled(logits.detach()), materialize_grads=True)

    def damped(self, vector: Tensor) -> Tensor:
        """(H + λ) v."""
        return self.product(vector) + self.damping * vector

    def _weights(self) -> dict[str, Tensor]:
        parameters: dict[str, Tensor] = dict(self.workspace.classifier.model.named_parameters())
        parameters |= self.workspace.weights(self.state)
        return {name: parameters[name].detach() for name in self.scope.names}

    def _logits(self, inputs: Inputs, hidden: Tensor | None, weights: dict[str, Tensor]) -> Tensor:
        whole = {**self.workspace.weights(self.state), **weights}
        entering = (self.scope.first_block, hidden) if self.scope.first_block and hidden is not None else None
        return self.workspace.classifier.logits_from(inputs, entering, whole).float()

    def _apart(self, vector: Tensor) -> dict[str, Tensor]:
        shapes = {name: weight.shape for name, weight in self._weights().items()}
        parts = vector.split([shape.numel() for shape in shapes.values()])
        return {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}


def gauss_newton(workspace: Workspace, scope: Scope, state: int, damping: float, seed: int) -> GaussNewton:
    """The operator over a sample of 512 training examples; its lower blocks run once."""
    classifier = workspace.classifier
    encoded, labels = workspace.encoded_train(sample(workspace, SAMPLE)[0])
    made = GaussNewton(workspace=workspace, scope=scope, state=state, size=len(labels))
    block = None if workspace.weights(state) else scope.first_block
    for rows in length_sorted_batches([len(ids) for ids in encoded["input_ids"]]):
        inputs = classifier.pad(encoded, rows.tolist())
        made.batches.append((inputs, classifier.hidden_before(inputs, block) if block else None))
    generator = torch.Generator().manual_seed(seed)
    traces = torch.stack([made.probe(generator) for _ in range(PROBES)]).mean(dim=0)
    sizes = torch.tensor([weight.numel() for weight in made._weights().values()], device=traces.device)
    # What hardly moves the logits, as a key's bias, has a trace of rounding errors: it is damped as a millionth does.
    means = (traces / sizes).clamp_min(1e-6 * float(traces.sum() / sizes.sum())).clamp_min(1e-12)
    made.damping = damping * means.repeat_interleave(sizes)
    return made


def solve(operator: GaussNewton, vector: Tensor, solver: Solver, seed: int, progress: Progress) -> tuple[Tensor, str]:
    """(H + λ)⁻¹ v, and a sentence on how well it converged. UserError where it diverges."""
    found = SOLVERS[solver](operator, vector, seed, progress)
    left = float((operator.damped(found) - vector).norm() / vector.norm().clamp_min(1e-30))
    if not torch.isfinite(found).all() or left > 1e3:
        raise UserError(f"{solver} diverged (residual {left:.3g}): take a larger damping, or solver=ekfac or cg.")
    reached = "converged" if left <= TOLERANCE else "did not converge"
    return found, f"{solver} {reached}: relative residual {left:.2g} over {operator.size} sampled training examples."


def conjugate_gradients(operator: GaussNewton, vector: Tensor, seed: int, progress: Progress) -> Tensor:
    """Preconditioned by the damping, until the residual is a hundredth of the right side, 50 steps at most."""
    found, residual = torch.zeros_like(vector), vector.clone()
    scaled = residual / operator.damping
    direction, product = scaled.clone(), residual @ scaled
    for step in range(STEPS["cg"]):
        if residual.norm() <= 0.5 * TOLERANCE * vector.norm():
            break
        moved = operator.damped(direction)
        length = product / (direction @ moved)
        found += length * direction
        residual -= length * moved
        scaled = residual / operator.damping
        before, product = product, residual @ scaled
        direction = scaled + (product / before) * direction
        progress(step + 1, STEPS["cg"], "conjugate gradients")
    return found


def lissa(operator: GaussNewton, vector: Tensor, seed: int, progress: Progress) -> Tensor:
    """x ← x + (v − (H + λ) x) / scale (Agarwal et al. 2017), in the damping's own metric, on the whole sample a step.

    The scale is twice the largest eigenvalue, found by ten power steps, so that the series contracts; Koh & Liang leave
    it to the user. UserError where it grows all the same.
    """
    generator = torch.Generator().manual_seed(seed)
    root = operator.damping.sqrt()
    probe = torch.randn(vector.shape, generator=generator).to(vector)
    for _ in range(10):
        probe = operator.damped(probe / root) / root / probe.norm()
    scale = 2 * float(probe.norm())
    target = vector / root
    found = torch.zeros_like(target)
    for step in range(STEPS["lissa"]):
        change = (target - operator.damped(found / root) / root) / scale
        found += change
        size = float(found.norm())
        if not size < 1e6 * float(target.norm()):
            raise UserError(f"lissa diverged at step {step + 1}: take a larger damping, or solver=ekfac or cg.")
        if change.norm() <= 0.5 * TOLERANCE * target.norm() / scale:
            break
        progress(step + 1, STEPS["lissa"], "LiSSA")
    return found / root


def arnoldi(operator: GaussNewton, vector: Tensor, seed: int, progress: Progress) -> Tensor:
    """The leading eigenvectors of H by 30 Lanczos steps from a random start (Schioppa et al. 2022 §3.3), kept.

    In the damping's own metric, where (H + λ)⁻¹ is 1 on whatever the eigenvectors leave out.
    """
    key = ("arnoldi", operator.scope, operator.state, seed, float(operator.damping[0]))
    values, basis = operator.workspace.memo(key, lambda: _lanczos(operator, seed, progress))
    root = operator.damping.sqrt()
    target = vector / root
    inside = basis @ target
    return (target + basis.T @ (inside / (1 + values) - inside)) / root


def _lanczos(operator: GaussNewton, seed: int, progress: Progress) -> tuple[Tensor, Tensor]:
    """Ritz values (steps,) and vectors (steps, count) of H in the damping's metric, fully reorthogonalised."""
    root = operator.damping.sqrt()
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(root.shape, generator=generator).to(root)
    basis, projected = [start / start.norm()], []
    steps = min(STEPS["arnoldi"], len(root))
    for step in range(steps):
        moved = operator.product(basis[-1] / root) / root
        stacked = torch.stack(basis)
        projected.append(stacked @ moved)
        for _ in range(2):
            moved = moved - stacked.T @ (stacked @ moved)
        progress(step + 1, steps, "Arnoldi")
        size = float(moved.norm())
        if size < 1e-6 * float(projected[0].norm()) or step + 1 == steps:
            break
        basis.append(moved / size)
    small = torch.zeros(len(basis), len(basis)).to(root)
    for column, values in enumerate(projected):
        small[: len(values), column] = values
    small = torch.triu(small) + torch.triu(small, 1).T
    values, mixing = torch.linalg.eigh(small)
    return values.clamp_min(0), mixing.T @ torch.stack(basis)


SOLVERS: dict[str, Callable[[GaussNewton, Tensor, int, Progress], Tensor]] = {
    "cg": conjugate_gradients,
    "lissa": lissa,
    "arnoldi": arnoldi,
}
