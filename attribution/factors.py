"""Gradients of single examples over linear layers, as factors.

For a linear layer with inputs a_t and output gradients δ_t at the tokens t of one example, the gradient of its loss is
∇_W ℓ = Σ_t δ_t a_tᵀ: a matrix whose rank is at most the number of tokens, and 1 where only one position is read (all
that stands above the last block's attention). Its leading singular pairs are nearly all of it, so they are what the
index keeps: Σ_k l_k r_kᵀ. Nothing in them depends on a curvature, so any may be applied to the query in full.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from attribution.errors import UserError
from attribution.matrices import Pair
from attribution.model import Classifier, Entering, Inputs

Target = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One forward and backward pass: for each layer inputs (batch, tokens, in) and output gradients (…, out), fp32.

    `hidden`: the states that entered the watched block, where one was watched.
    """

    factors: dict[str, Pair]
    hidden: Tensor | None


def fast_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device multiplies it faster than float32, else float32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    fast = device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if fast else torch.float32


@contextmanager
def computing_in(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Matrix products in `dtype`; float32 leaves everything as it is."""
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        yield


def run_pass(
    classifier: Classifier,
    inputs: Inputs,
    target: Target,
    layers: Sequence[str],
    *,
    weights: Mapping[str, Tensor] | None = None,
    dtype: torch.dtype = torch.float32,
    watch: int | None = None,
    entering: Entering = None,
) -> Pass:
    """Factors of the gradient of every example's loss −log p(target); `target` gives label ids (batch,) from logits.

    `watch` asks for the states that enter a block; `entering` gives a block and such states, so that no lower one runs.
    Raises UserError where a layer is not run once an example, as the relative positions of DeBERTa are: its gradient
    cannot be told apart by example. Cost: a forward pass, and a backward pass down to the lowest of the layers.
    """
    with linear_parts(classifier, layers) as seen, ExitStack() as stack:
        hidden = stack.enter_context(classifier.watching(watch)) if watch is not None else []
        stack.enter_context(computing_in(classifier.device, dtype))
        logits = classifier.logits_from(inputs, entering, weights)
    for name, (_, out) in seen.items():
        if len(out) != len(logits) or out.dim() > 3:
            raise _inseparable(name)
    labels = target(logits.detach().float())
    loss = nn.functional.cross_entropy(logits.float(), labels, reduction="sum")
    found = torch.autograd.grad(loss, [out for _, out in seen.values()])
    return Pass(
        factors={
            name: (_by_token(entering), _by_token(gradient))
            for (name, (entering, _)), gradient in zip(seen.items(), found, strict=True)
        },
        hidden=hidden[0].detach() if hidden else None,
    )


@contextmanager
def linear_parts(classifier: Classifier, layers: Sequence[str]) -> Iterator[dict[str, Pair]]:
    """Within, for each layer of the pass that is run there what enters it, and what leaves it, to differentiate by.

    Probes of the model, which are run without gradients, are not looked at. Raises UserError where a layer runs twice.
    """
    seen: dict[str, Pair] = {}

    def catch(name: str, args: tuple, out: Tensor) -> None:
        if not torch.is_grad_enabled():
            return
        if name in seen:
            raise _inseparable(name)
        if not out.requires_grad:
            out.requires_grad_()
        seen[name] = (args[0].detach(), out)

    with classifier.lock, ExitStack() as stack:
        for name in layers:
            module = classifier.model.get_submodule(name)
            handle = module.register_forward_hook(lambda _, args, out, name=name: catch(name, args, out))
            stack.callback(handle.remove)
        stack.enter_context(torch.enable_grad())
        yield seen


def _inseparable(layer: str) -> UserError:
    return UserError(
        f"The layer {layer} of this model is not run once an example, so its gradients cannot be told apart: "
        "choose scorer=sweep with solver=identity or cg, or a scope without it."
    )


def _by_token(values: Tensor) -> Tensor:
    """(batch, tokens, width) in float32, also where a layer sees one position only."""
    return (values if values.dim() == 3 else values[:, None]).float()


def leading(pair: Pair, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """The gradient of every example as Σ_k left_k right_kᵀ: left (batch, rank, out), right (batch, rank, in), energy.

    One step of subspace iteration from the tokens with the largest ‖δ_t‖‖a_t‖: right is orthonormal up to a ridge of
    1e-6, left is the gradient times right. With at most `rank` tokens no more than the ridge is lost. `energy`:
    (batch, 2), ‖Σ_t δ_t a_tᵀ‖² and how much of it is kept.
    """
    inputs, gradients = read_tokens(pair)
    if inputs.shape[1] == 1:
        whole = inputs.square().sum(dim=2) * gradients.square().sum(dim=2)
        left, right, energy = gradients, inputs, whole.expand(-1, 2)
    else:
        left, right, energy = _subspace(inputs, gradients, rank)
    missing = rank - right.shape[1]
    if missing:
        left, right = (nn.functional.pad(side, (0, 0, 0, missing)) for side in (left, right))
    return left, right, energy


def read_tokens(pair: Pair) -> Pair:
    """The factors at the tokens that carry a gradient: one token where no example has more, else zeros elsewhere.

    What remains does not depend on padding.
    """
    inputs, gradients = pair
    strength = gradients.abs().amax(dim=2)
    if inputs.shape[1] == 1 or int((strength > 0).sum(dim=1).max()) > 1:
        return inputs * (strength > 0)[:, :, None], gradients
    at = strength.argmax(dim=1)
    rows = torch.arange(len(at), device=at.device)
    return inputs[rows, at][:, None], gradients[rows, at][:, None]


def gram(side: Tensor) -> Tensor:
    """Σ x xᵀ over all tokens of all examples, (batch, tokens, width): (width, width)."""
    flat = side.flatten(0, -2)
    return flat.mT @ flat


def spanned(matrix: Tensor, columns: int) -> Tensor:
    """Orthonormal columns (out, columns) that span those of a matrix (out, in), if its rank is below; seeded."""
    return torch.linalg.qr(matrix @ _start(matrix.shape[1], columns).to(matrix)).Q


@cache
def _start(rows: int, columns: int) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(0))


def _subspace(inputs: Tensor, gradients: Tensor, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    of_inputs, of_gradients = inputs @ inputs.mT, gradients @ gradients.mT
    strength = of_inputs.diagonal(dim1=1, dim2=2) * of_gradients.diagonal(dim1=1, dim2=2)
    top = strength.topk(min(rank, inputs.shape[1]), dim=1).indices
    spread = of_gradients.gather(2, top[:, None, :].expand(-1, inputs.shape[1], -1))
    spread = (spread / spread.norm(dim=1, keepdim=True).clamp_min(1e-30)).double()
    gram = spread.mT @ of_inputs.double() @ spread
    size = gram.diagonal(dim1=1, dim2=2).mean(dim=1).clamp_min(1e-30)
    # The ridge is above the rounding of float32, which can make the Gram matrix of like tokens indefinite.
    gram = gram + 1e-6 * size[:, None, None] * torch.eye(gram.shape[1], device=gram.device, dtype=gram.dtype)
    mixed = torch.linalg.solve_triangular(torch.linalg.cholesky(gram), spread.mT, upper=False).float()
    right = mixed @ inputs
    left = (mixed @ of_inputs) @ gradients
    whole = (of_inputs * of_gradients).sum(dim=(1, 2)).clamp_min(0)
    return left, right, torch.stack([whole, left.square().sum(dim=(1, 2))], dim=1)
