"""The exact sweep: the directional derivative of every loss along v, by forward-mode differentiation.

⟨v, ∇_S ℓ_i⟩ is the tangent of ℓ_i when the parameters move along v, so one forward pass that carries tangents gives it
for any scope, without an index and without approximation. With a scope of last blocks the pass starts from the states
that enter the first of them, where these were kept. Blocks like BERT's run as functions, a batch on each core of a CPU
(`attribution.tangents`); all else through the model's own modules.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.autograd import forward_ad

from attribution.ekfac import Layer, weighted_squares
from attribution.factor_index import States, padded_states
from attribution.factors import computing_in, read_tokens, run_pass
from attribution.matrices import Matrix, Pair, dense
from attribution.model import Classifier, Encoded, length_sorted_batches
from attribution.tangents import Found, can_write_out, written_out


@dataclass(frozen=True, kw_only=True)
class Direction:
    """V (out, in) over one linear layer, whole or as factors; with a `basis`, in its eigenbasis."""

    given: Matrix
    basis: Layer | None = None

    @cached_property
    def own(self) -> Tensor:
        """V in the layer's own coordinates, whole."""
        return dense(self.given) if self.basis is None else self.basis.turn_back(dense(self.given))

    def products(self, inputs: Tensor, gradients: Tensor, turned: Pair | None = None) -> Tensor:
        """⟨V, Σ_t δ_t a_tᵀ⟩ of every example, over the tokens that carry a gradient only: (batch,).

        `turned`: the factors in the eigenbasis, where they are at hand. Else V is turned back, which costs as much as
        to turn some hundred tokens' factors to it: what is less is done.
        """
        row, token = (gradients != 0).any(dim=2).nonzero(as_tuple=True)
        entering, leaving, matrix = inputs[row, token], gradients[row, token], self.given
        if self.basis is not None and turned is not None:
            entering, leaving = (side[row, token] for side in turned)
        elif self.basis is not None:
            out, width = self.basis.eigenvalues.shape
            if len(row) * (out**2 + width**2) < out * width * (out + width):
                entering, leaving = entering @ self.basis.of_inputs, leaving @ self.basis.of_gradients
            else:
                matrix = self.own
        if isinstance(matrix, Tensor):
            of_tokens = ((leaving @ matrix).float() * entering).sum(dim=1)
        else:
            of_tokens = ((leaving @ matrix[0].mT).float() * (entering @ matrix[1].mT).float()).sum(dim=1)
        return torch.zeros(len(inputs), device=inputs.device).index_add(0, row, of_tokens)


@dataclass(frozen=True, kw_only=True)
class Metric:
    """M over linear layers, `names`: the damped inverse of EK-FAC, or the identity where there are no `layers`."""

    names: tuple[str, ...]
    layers: Mapping[str, Layer] | None = None
    damping: float = 0.1


def sweep(
    classifier: Classifier,
    encoded: Encoded,
    labels: np.ndarray,
    vector: Mapping[str, Matrix],
    *,
    weights: Mapping[str, Tensor] | None = None,
    states: States | None = None,
    dtype: torch.dtype = torch.float32,
    progress: Callable[[int], None] = lambda done: None,
) -> np.ndarray:
    """⟨v, ∇ℓ_i⟩ of every encoded row for v given by parameter name, weights also as factors: (rows,) float64.

    `states` gives what enters a block below which nothing is in the scope; without it the lower blocks run. Cost: about
    three forward passes of what lies above. bfloat16 keeps about three digits of the largest score.
    """
    own, targets = dict(weights or {}), torch.from_numpy(labels).to(classifier.device)
    made, done = np.zeros(len(labels)), 0
    passes = written_out if can_write_out(classifier, vector) else _by_modules
    for rows, logits, tangent in passes(classifier, encoded, vector, own, states, dtype):
        if tangent is not None:
            residual = logits.double().softmax(dim=-1)
            residual[torch.arange(len(rows)), targets[rows]] -= 1
            made[rows] = (residual * tangent.double()).sum(dim=-1).cpu().numpy()
        done += len(rows)
        progress(done)
    return made


def _by_modules(
    classifier: Classifier,
    encoded: Encoded,
    vector: Mapping[str, Matrix],
    weights: Mapping[str, Tensor],
    states: States | None,
    dtype: torch.dtype,
) -> Iterator[Found]:
    """As `written_out`, for any model and scope: the model's own modules, with tangents by torch."""
    parameters = dict(classifier.model.named_parameters()) | dict(weights)
    for rows in length_sorted_batches([len(ids) for ids in encoded["input_ids"]]):
        inputs = classifier.pad(encoded, rows.tolist())
        with torch.no_grad(), computing_in(classifier.device, dtype), classifier.lock:
            entering = padded_states(classifier, rows, states)
            with forward_ad.dual_level():
                duals = {
                    name: forward_ad.make_dual(parameters[name].detach(), dense(tangent).to(parameters[name]))
                    for name, tangent in vector.items()
                }
                found = forward_ad.unpack_dual(classifier.logits_from(inputs, entering, {**weights, **duals}))
        yield rows, found.primal, found.tangent


def layer_dots(
    classifier: Classifier,
    encoded: Encoded,
    labels: np.ndarray,
    vector: Mapping[str, Direction],
    *,
    weights: Mapping[str, Tensor] | None = None,
    states: States | None = None,
) -> np.ndarray:
    """As `sweep`, over linear layers only, v given by layer, from each row's factors: (rows,) float64.

    Cost: a forward and a backward pass and a product of the layers' size a token; less than a pass with tangents where
    few rows are asked for, more where many are.
    """
    made = np.zeros(len(labels))
    for rows, found in _factored(classifier, encoded, labels, tuple(vector), weights, states, torch.float32):
        for name, pair in found.items():
            made[rows] += vector[name].products(*pair).double().cpu().numpy()
    return made


def products(
    classifier: Classifier,
    encoded: Encoded,
    labels: np.ndarray,
    vector: Mapping[str, Direction],
    metric: Metric,
    *,
    weights: Mapping[str, Tensor] | None = None,
    states: States | None = None,
    dtype: torch.dtype = torch.float32,
    metric_dtype: torch.dtype = torch.float32,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[np.ndarray, np.ndarray]:
    """⟨v, ∇ℓ_i⟩ and ∇ℓ_iᵀ M ∇ℓ_i of every encoded row over linear layers: two arrays (rows,).

    v is given by layer; a layer that it lacks adds nothing. Nothing is truncated: for the second, every
    gradient is formed whole, in the eigenbasis where the metric has one. `metric_dtype`: what turns it there; of the
    sum of so many squares bfloat16 keeps four digits. Cost: a forward and a backward pass, and about three products of
    the layers' size a token.
    """
    inverse = {name: layer.inverse(metric.damping) for name, layer in (metric.layers or {}).items()}
    made, done = np.zeros((2, len(labels))), 0
    for rows, found in _factored(classifier, encoded, labels, metric.names, weights, states, dtype):
        for name, pair in found.items():
            inputs, gradients = read_tokens(pair)
            turned = None if metric.layers is None else _turned(inputs, gradients, metric.layers[name], metric_dtype)
            if name in vector:
                at_hand = turned if metric_dtype == torch.float32 else None
                with computing_in(classifier.device, dtype):
                    made[0, rows] += vector[name].products(inputs, gradients, at_hand).double().cpu().numpy()
            if turned is None:
                squares = ((inputs @ inputs.mT) * (gradients @ gradients.mT)).sum(dim=(1, 2))
            else:
                squares = weighted_squares(*turned, inverse[name])
            made[1, rows] += squares.double().cpu().numpy()
        done += len(rows)
        progress(done)
    return made[0], made[1]


def _factored(
    classifier: Classifier,
    encoded: Encoded,
    labels: np.ndarray,
    names: tuple[str, ...],
    weights: Mapping[str, Tensor] | None,
    states: States | None,
    dtype: torch.dtype,
) -> Iterator[tuple[np.ndarray, dict[str, Pair]]]:
    """Batches of rows with the factors of their own labels' gradients."""
    targets = torch.from_numpy(labels).to(classifier.device)
    for rows in length_sorted_batches([len(ids) for ids in encoded["input_ids"]], tokens=512):
        found = run_pass(
            classifier,
            classifier.pad(encoded, rows.tolist()),
            lambda _, wanted=targets[rows]: wanted,
            names,
            weights=weights,
            dtype=dtype,
            entering=padded_states(classifier, rows, states),
        )
        yield rows, found.factors


def _turned(inputs: Tensor, gradients: Tensor, layer: Layer, dtype: torch.dtype) -> Pair:
    """Factors of gradients in the layer's eigenbasis, by products in `dtype`."""
    of_inputs, of_gradients = layer.bases(dtype)
    return (inputs.to(dtype) @ of_inputs).float(), (gradients.to(dtype) @ of_gradients).float()
