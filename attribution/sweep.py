"""The exact sweep: the directional derivative of every loss along v, by forward-mode differentiation.

⟨v, ∇_S ℓ_i⟩ is the tangent of ℓ_i when the parameters move along v, so one forward pass that carries tangents gives it
for any scope, without an index and without approximation. With a scope of last blocks the pass starts from the states
that enter the first of them, where these were kept.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor
from torch.autograd import forward_ad

from attribution.ekfac import Layer
from attribution.factors import computing_in, read_tokens, run_pass
from attribution.model import Classifier, Inputs, length_sorted_batches

Encoded = Mapping[str, list[list[int]]]


def sweep(
    classifier: Classifier,
    encoded: Encoded,
    labels: np.ndarray,
    vector: Mapping[str, Tensor],
    *,
    weights: Mapping[str, Tensor] | None = None,
    first_block: int | None = None,
    hidden: Callable[[int], np.ndarray] | None = None,
    dtype: torch.dtype = torch.float32,
    progress: Callable[[int], None] = lambda done: None,
) -> np.ndarray:
    """⟨v, ∇ℓ_i⟩ of every encoded row for v given by parameter name: (rows,) float64.

    `hidden` gives the states (tokens, width) that enter `first_block` for a row; without it the lower blocks run. Cost:
    about three forward passes of what lies above. bfloat16 keeps about three digits of the largest score.
    """
    own = dict(weights or {})
    parameters: dict[str, Tensor] = dict(classifier.model.named_parameters()) | own
    lengths = [len(ids) for ids in encoded["input_ids"]]
    targets = torch.from_numpy(labels).to(classifier.device)
    made, done = np.empty(len(lengths)), 0
    for rows in length_sorted_batches(lengths):
        inputs = classifier.pad(encoded, rows.tolist())
        with torch.no_grad(), computing_in(classifier.device, dtype), classifier.lock:
            entering = _entering(classifier, inputs, rows, own, first_block, hidden)
            with forward_ad.dual_level():
                duals = {
                    name: forward_ad.make_dual(parameters[name].detach(), tangent.to(parameters[name]))
                    for name, tangent in vector.items()
                }
                logits, tangent = forward_ad.unpack_dual(_logits(classifier, inputs, entering, {**own, **duals}))
        if tangent is None:
            made[rows] = 0  # nothing in the scope reaches the logits
            continue
        residual = logits.double().softmax(dim=-1)
        residual[torch.arange(len(rows)), targets[rows]] -= 1
        made[rows] = (residual * tangent.double()).sum(dim=-1).cpu().numpy()
        done += len(rows)
        progress(done)
    return made


Entering = tuple[int, Tensor] | None


def _entering(
    classifier: Classifier,
    inputs: Inputs,
    rows: np.ndarray,
    weights: Mapping[str, Tensor],
    first_block: int | None,
    hidden: Callable[[int], np.ndarray] | None,
) -> Entering:
    """The first block that runs with tangents and the states that enter it; None where everything runs."""
    if not first_block or hidden is None:
        return None
    states = [torch.from_numpy(np.asarray(hidden(int(row)), dtype=np.float32)) for row in rows]
    return first_block, torch.nn.utils.rnn.pad_sequence(states, batch_first=True).to(classifier.device)


def _logits(classifier: Classifier, inputs: Inputs, entering: Entering, weights: Mapping[str, Tensor]) -> Tensor:
    if entering is None:
        return classifier.run(inputs, weights=weights)[0]
    with classifier.cut_before(entering[0]) as suffix:
        return suffix.logits(inputs, entering[1], weights)


def exact_squares(
    classifier: Classifier,
    encoded: Encoded,
    labels: np.ndarray,
    layers: Mapping[str, Layer] | None,
    names: tuple[str, ...],
    damping: float,
    *,
    weights: Mapping[str, Tensor] | None = None,
    dtype: torch.dtype = torch.float32,
    progress: Callable[[int], None] = lambda done: None,
) -> np.ndarray:
    """∇ℓ_iᵀ(H + λI)⁻¹∇ℓ_i of every encoded row over linear layers, or ‖∇ℓ_i‖² where `layers` is None: (rows,).

    Nothing is truncated: every gradient is formed and turned into the eigenbasis whole. Cost: a forward and a backward
    pass, and about three products of the layers' size a token.
    """
    inverse = {name: layer.inverse(damping) for name, layer in (layers or {}).items()}
    targets = torch.from_numpy(labels).to(classifier.device)
    lengths = [len(ids) for ids in encoded["input_ids"]]
    made, done = np.empty(len(lengths)), 0
    for rows in length_sorted_batches(lengths, tokens=1024):
        inputs = classifier.pad(encoded, rows.tolist())
        wanted = targets[rows]
        found = run_pass(classifier, inputs, lambda _, wanted=wanted: wanted, names, weights=weights, dtype=dtype)
        total = torch.zeros(len(rows), device=classifier.device)
        for name, pair in found.factors.items():
            entering, gradients = read_tokens(pair)
            if layers is None:
                total += ((entering @ entering.mT) * (gradients @ gradients.mT)).sum(dim=(1, 2))
                continue
            with computing_in(classifier.device, dtype):
                total += _squares(entering, gradients, layers[name], inverse[name])
        made[rows] = total.double().cpu().numpy()
        done += len(rows)
        progress(done)
    return made


def _squares(entering: Tensor, gradients: Tensor, layer: Layer, inverse: Tensor) -> Tensor:
    entering, gradients = entering @ layer.of_inputs, gradients @ layer.of_gradients
    if entering.shape[1] == 1:
        left, right = gradients[:, 0].float().square(), entering[:, 0].float().square()
        return ((left @ inverse) * right).sum(dim=1).float()
    pairs = zip(gradients.split(4), entering.split(4), strict=True)
    return torch.cat([((one.mT @ other).float().square() * inverse).sum(dim=(1, 2)) for one, other in pairs])
