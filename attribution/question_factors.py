"""∇F over linear layers as factors, no matrix formed: its rank is at most the text's number of tokens, or twice that.

Of a log-probability it is Σ_t δ_t a_tᵀ, as of a training loss. A saliency is computed from a forward and a backward
pass, and a linear layer's W takes part in both: y_t = W x_t, and on the way back ∂y_t W. So
∇_W F = Σ_t (∂F/∂y_t) x_tᵀ + Σ_t (∂y_t) (∂F/∂x'_t)ᵀ, where x'_t is the gradient that the layer hands down. Of the four
factors x_t and ∂y_t are the same for every token's saliency.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor

from attribution.errors import UserError
from attribution.factors import linear_parts
from attribution.matrices import Matrix, Pair, dense
from attribution.model import Classifier, Example
from attribution.quantity import DIFFERENTIABLE, Quantity, Saliency


@dataclass(frozen=True, kw_only=True)
class SaliencyFactors:
    """∇_W of several saliencies F_g over one layer W (out, in), at its tokens t.

    `inputs`: x_t (tokens, in); `gradients`: ∂y_t (tokens, out); `of_outputs`: ∂F_g/∂y_t (saliencies, tokens, out);
    `of_gradients`: ∂F_g/∂x'_t (saliencies, tokens, in).
    """

    inputs: Tensor
    gradients: Tensor
    of_outputs: Tensor
    of_gradients: Tensor

    def turned(self, of_inputs: Tensor, of_gradients: Tensor) -> "SaliencyFactors":
        """The factors of U_Gᵀ ∇_W F_g U_A for U_A (in, in) and U_G (out, out)."""
        return SaliencyFactors(
            inputs=self.inputs @ of_inputs,
            gradients=self.gradients @ of_gradients,
            of_outputs=self.of_outputs @ of_gradients,
            of_gradients=self.of_gradients @ of_inputs,
        )

    def pair(self, number: int) -> Pair:
        """∇_W of one of the saliencies as left (2 · tokens, out) and right (…, in)."""
        return (
            torch.cat([self.of_outputs[number], self.gradients]),
            torch.cat([self.inputs, self.of_gradients[number]]),
        )

    def products(self, matrices: Tensor) -> Tensor:
        """⟨∇_W F_g, M_c⟩ with every matrix (matrices, out, in): (saliencies, matrices)."""
        outputs = (matrices @ self.inputs.mT).mT.flatten(1)
        inputs = (matrices.mT @ self.gradients.mT).mT.flatten(1)
        return self.of_outputs.flatten(1) @ outputs.mT + self.of_gradients.flatten(1) @ inputs.mT


def gradient_factors(
    classifier: Classifier, example: Example, quantity: Quantity, layers: Sequence[str], weights: Mapping[str, Tensor]
) -> dict[str, Matrix]:
    """∇_W F of each layer, as factors where the text is short enough that they are smaller than the matrix.

    Raises UserError where a layer runs more than once. Cost: as `quantity.gradient`, less the matrices.
    """
    if isinstance(quantity, Saliency):
        groups = [quantity.tokens]
        found = saliency_factors(classifier, example, quantity.label, quantity.kind, groups, layers, weights)
        factors = {name: own.pair(0) for name, own in found.items()}
    else:
        factors = _of_one_pass(classifier, example, quantity, layers, weights)
    return {name: pair if _is_smaller(*pair) else dense(pair) for name, pair in factors.items()}


def _is_smaller(left: Tensor, right: Tensor) -> bool:
    return left.numel() + right.numel() < left.shape[1] * right.shape[1]


def _of_one_pass(
    classifier: Classifier, example: Example, quantity: Quantity, layers: Sequence[str], weights: Mapping[str, Tensor]
) -> dict[str, Pair]:
    """The factors of a quantity that runs the model once, on one row or several."""
    with linear_parts(classifier, layers) as seen:
        value = quantity(classifier, example, weights)
    outputs = [seen[name][1] for name in layers]
    found = torch.autograd.grad(value, outputs, allow_unused=True, materialize_grads=True)
    return {name: (_by_token(gradient), _by_token(seen[name][0])) for name, gradient in zip(layers, found, strict=True)}


def saliency_factors(
    classifier: Classifier,
    example: Example,
    label: int,
    kind: str,
    groups: Sequence[tuple[int, ...]],
    layers: Sequence[str],
    weights: Mapping[str, Tensor],
) -> dict[str, SaliencyFactors]:
    """For each layer the factors of ∇_W w_y(group), the raw saliency of each group of tokens for a label.

    Raises UserError where a layer is not run once an example. Cost: a forward and a backward pass, then a backward pass
    through both of them for each group.
    """
    entered: dict[str, Tensor] = {}
    left: dict[str, Tensor] = {}
    handed: dict[str, Tensor] = {}
    received: dict[str, Tensor] = {}

    def note(where: dict[str, Tensor], name: str, gradient: Tensor) -> None:
        where.setdefault(name, gradient)  # later passes come back through the forward pass, and are not the first

    def enter(name: str, args: tuple) -> tuple | None:
        if not torch.is_grad_enabled():
            return None  # a probe of the model, not the pass that is explained
        if name in entered or len(args[0]) != 1:
            raise UserError(f"The layer {name} of this model is not run once an example: choose a scope without it.")
        # A node of its own: what other layers hand down to the same input stays apart.
        entered[name] = args[0].view_as(args[0])
        entered[name].register_hook(lambda gradient: note(handed, name, gradient))
        return entered[name], *args[1:]

    def leave(name: str, out: Tensor) -> None:
        if torch.is_grad_enabled():
            left[name] = out
            out.register_hook(lambda gradient: note(received, name, gradient))

    with classifier.lock, ExitStack() as stack:
        for name in layers:
            module = classifier.model.get_submodule(name)
            hooks = (
                module.register_forward_pre_hook(lambda _, args, name=name: enter(name, args)),
                module.register_forward_hook(lambda _, __, out, name=name: leave(name, out)),
            )
            for hook in hooks:
                stack.callback(hook.remove)
        stack.enter_context(torch.enable_grad())
        scores = DIFFERENTIABLE[kind](classifier, example, label, weights, True)
    points = [*(left[name] for name in layers), *(handed[name] for name in layers)]
    found = [
        torch.autograd.grad(scores[list(group)].sum(), points, retain_graph=True, materialize_grads=True)
        for group in groups
    ]
    made = {}
    for number, name in enumerate(layers):
        of_outputs, of_gradients = (
            torch.stack([_by_token(gradients[place]) for gradients in found])
            for place in (number, len(layers) + number)
        )
        made[name] = SaliencyFactors(
            inputs=_by_token(entered[name]),
            gradients=_by_token(received[name]),
            of_outputs=of_outputs,
            of_gradients=of_gradients,
        )
    return made


def _by_token(values: Tensor) -> Tensor:
    """(tokens, width) of all rows, also where a layer sees one position only."""
    return values.detach().reshape(-1, values.shape[-1]).float()
