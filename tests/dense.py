"""The gradient engine written out: explicit listings, Kronecker and Gauss–Newton matrices, plain loops in float64."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attribution.ekfac import sample
from attribution.workspace import Workspace
from tests.oracles import encoded, log_probability, own_model, query_gradient, training_gradients

BLOCK = [
    *(f"attention.self.{name}" for name in ("query", "key", "value")),
    *("attention.output.dense", "intermediate.dense", "output.dense"),
]
ABOVE = ("bert.pooler.dense", "classifier")


def last(blocks: int) -> tuple[str, ...]:
    """The linear layers of the last blocks of a tiny BERT of three, and what is above them, in the model's order."""
    inside = [f"bert.encoder.layer.{k}.{layer}" for k in range(3 - blocks, 3) for layer in BLOCK]
    return (*inside, *ABOVE)


def weights_of(layers: Sequence[str]) -> tuple[str, ...]:
    """The names of the layers' weight matrices."""
    return tuple(f"{layer}.weight" for layer in layers)


LAST = {f"last:{k}": weights_of(last(k)) for k in (1, 2, 3)}


@dataclass(frozen=True, kw_only=True)
class Loop:
    """What one example's backward pass shows of a layer: inputs, output gradients and the weight's own gradient."""

    inputs: np.ndarray
    gradients: np.ndarray
    weight: np.ndarray


def loops(workspace: Workspace, layers: Sequence[str], state: int = -1) -> list[dict[str, Loop]]:
    """One example after the other: −log p of a label drawn from the model, differentiated by plain autograd."""
    model = own_model(workspace, state)
    modules = {name: model.get_submodule(name) for name in layers}
    for module in modules.values():
        module.weight.requires_grad_()
    rows, seeds = sample(workspace, 2048)
    found = []
    for row, seed in zip(rows, seeds, strict=True):
        inputs = encoded(workspace, workspace.train.iloc[row])
        probabilities = model(**inputs).logits[0].detach().softmax(dim=0)
        label = min(int((probabilities.cumsum(0) < seed).sum()), len(probabilities) - 1)
        found.append(_one_loop(model, modules, inputs, label))
    return found


def _one_loop(model: Any, modules: dict[str, Any], inputs: dict[str, Tensor], label: int) -> dict[str, Loop]:
    entering: dict[str, Tensor] = {}
    leaving: dict[str, Tensor] = {}

    def catch(name: str, args: tuple, out: Tensor) -> None:
        entering[name], leaving[name] = args[0], out

    hooks = [
        module.register_forward_hook(lambda _, args, out, name=name: catch(name, args, out))
        for name, module in modules.items()
    ]
    loss = -log_probability(model, inputs, label)
    for hook in hooks:
        hook.remove()
    names = list(modules)
    wanted = [leaving[name] for name in names] + [modules[name].weight for name in names]
    made = torch.autograd.grad(loss, wanted)
    rows = {name: value.detach().reshape(-1, value.shape[-1]).numpy() for name, value in entering.items()}
    return {
        name: Loop(
            inputs=rows[name],
            gradients=made[i].reshape(-1, made[i].shape[-1]).numpy(),
            weight=made[i + len(names)].numpy(),
        )
        for i, name in enumerate(names)
    }


@cache
def ekfac_matrices(workspace: Workspace, layers: tuple[str, ...], state: int = -1) -> dict[str, np.ndarray]:
    """(U_A ⊗ U_G) diag(S) (U_A ⊗ U_G)ᵀ of every layer, over its weight in row-major order: (parameters, parameters).

    Only tokens with a gradient count in E[Σ_t a_t a_tᵀ].
    """
    examples, made = loops(workspace, layers, state), {}
    for name in layers:
        seen = [example[name] for example in examples]
        used = [np.abs(one.gradients).max(axis=1) > 0 for one in seen]
        of_inputs = sum(one.inputs[u].T @ one.inputs[u] for one, u in zip(seen, used, strict=True)) / len(seen)
        of_gradients = sum(one.gradients.T @ one.gradients for one in seen) / len(seen)
        u_a, u_g = np.linalg.eigh(of_inputs)[1], np.linalg.eigh(of_gradients)[1]
        squares = np.mean([(u_g.T @ one.weight @ u_a) ** 2 for one in seen], axis=0)
        basis = np.kron(u_g, u_a)
        made[name] = basis @ np.diag(squares.ravel()) @ basis.T
    return made


def blocks_of(workspace: Workspace, layers: Sequence[str]) -> list[slice]:
    """Where each layer's weight stands in a vector over all of them."""
    sizes = [workspace.model.get_submodule(name).weight.numel() for name in layers]
    ends = np.cumsum(sizes)
    return [slice(int(end) - size, int(end)) for end, size in zip(ends, sizes, strict=True)]


@cache
def ekfac_inverse(workspace: Workspace, layers: tuple[str, ...], damping: float, state: int = -1) -> np.ndarray:
    """The dense inverse, block by block, of each layer's damped matrix; λ = damping × its mean eigenvalue."""
    matrices = ekfac_matrices(workspace, layers, state)
    places = blocks_of(workspace, layers)
    whole = np.zeros((places[-1].stop, places[-1].stop))
    for place, name in zip(places, layers, strict=True):
        matrix = matrices[name]
        whole[place, place] = np.linalg.inv(matrix + damping * np.trace(matrix) / len(matrix) * np.eye(len(matrix)))
    return whole


@cache
def gauss_newton_matrix(workspace: Workspace, names: tuple[str, ...]) -> np.ndarray:
    """(1/n) Σ_i J_iᵀ (diag p_i − p_i p_iᵀ) J_i over the named parameters, J_i by autograd, label after label."""
    model = own_model(workspace)
    parameters = [dict(model.named_parameters())[name].requires_grad_() for name in names]
    total = np.zeros((sum(p.numel() for p in parameters),) * 2)
    for _, row in workspace.train.iterrows():
        logits = model(**encoded(workspace, row)).logits[0]
        slopes = [torch.autograd.grad(value, parameters, retain_graph=True) for value in logits]
        jacobian = np.stack([np.concatenate([g.numpy().ravel() for g in one]) for one in slopes])
        p = logits.detach().softmax(dim=0).numpy()
        total += jacobian.T @ (np.diag(p) - np.outer(p, p)) @ jacobian
    return total / len(workspace.train)


def scores(query: np.ndarray, gradients: np.ndarray, inverse: np.ndarray, normalise: str = "none") -> np.ndarray:
    """−∇F·P·∇ℓ_i for a dense P, divided as the normalisation says: (train,)."""
    vector = inverse @ query
    dots = -gradients @ vector
    if normalise == "cosine":
        return dots / np.linalg.norm(gradients, axis=1) / np.linalg.norm(vector)
    if normalise == "relatif":
        return dots / np.sqrt(np.einsum("np,pq,nq->n", gradients, inverse, gradients, optimize=True) * (query @ vector))
    return dots


def products(
    workspace: Workspace, names: tuple[str, ...], *, test: int, label: int, state: int = -1, cosine: bool = False
) -> np.ndarray:
    """⟨∇ log p(label), −∇ℓ_i⟩ over the named parameters, or its cosine, by loops: (train,)."""
    query = query_gradient(workspace, names, test=test, label=label, state=state)
    gradients = training_gradients(workspace, names, state)
    dots = -gradients @ query
    return dots / np.linalg.norm(gradients, axis=1) / np.linalg.norm(query) if cosine else dots
