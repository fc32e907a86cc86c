"""Blocks that are built as BERT's, written as functions of tensors, with tangents (forward-mode differentiation).

A module that is patched for a run serves one batch at a time, and of a pass with tangents over many short rows more
time goes into casts and small operations than into products. A function has no state: every core runs its own batch.
Residuals and LayerNorms stay in the precision of the states; matrix products are in that of the weights given.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from attribution.matrices import Matrix, dense
from attribution.narrow import can_narrow

LINEAR = ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense")
LINEAR += ("intermediate.dense", "output.dense")
NORMS = ("attention.output.LayerNorm", "output.LayerNorm")
Dual = tuple[Tensor, Tensor | None]


@dataclass(frozen=True, kw_only=True)
class Affine:
    """A linear layer, and the tangent of its weight: whole, as factors left (rank, out), right (rank, in), or None."""

    weight: Tensor
    bias: Tensor
    tangent: Matrix | None

    def __call__(self, inputs: Dual) -> Dual:
        values, moved = (None if side is None else side.to(self.weight.dtype) for side in inputs)
        assert values is not None
        tangent = None if moved is None else functional.linear(moved, self.weight)
        if self.tangent is not None:
            own = _product(values, self.tangent)
            tangent = own if tangent is None else tangent.add_(own)
        return functional.linear(values, self.weight, self.bias), tangent


@dataclass(frozen=True, kw_only=True)
class Norm:
    """A LayerNorm over the last dimension."""

    weight: Tensor
    bias: Tensor
    epsilon: float

    def __call__(self, inputs: Dual) -> Dual:
        values, moved = inputs
        if moved is None:
            return functional.layer_norm(values, self.weight.shape, self.weight, self.bias, self.epsilon), None
        scaled, _, inverse = torch.native_layer_norm(values, self.weight.shape, None, None, self.epsilon)
        moved = moved - moved.mean(dim=-1, keepdim=True)
        moved -= scaled * (moved * scaled).mean(dim=-1, keepdim=True)
        return torch.addcmul(self.bias, scaled, self.weight), moved.mul_(inverse * self.weight)


@dataclass(frozen=True, kw_only=True)
class PlainBlock:
    """One block: attention and feed-forward layers, each with its residual and LayerNorm after it."""

    query: Affine
    key: Affine
    value: Affine
    mixed: Affine
    mixed_norm: Norm
    wide: Affine
    narrow: Affine
    narrow_norm: Norm
    heads: int

    def __call__(self, states: Dual, mask: Tensor, *, first_only: bool = False) -> Dual:
        """The states (batch, tokens, width) after the block, or (batch, 1, width); `mask` is added to the scores."""
        asking = _each(states, lambda side: side[:, :1]) if first_only else states
        query, key, value = (
            _each(side, self._by_head) for side in (self.query(asking), self.key(states), self.value(states))
        )
        context = _each(_attend(query, key, value, mask), lambda side: side.transpose(1, 2).flatten(2))
        middle = self.mixed_norm(_plus(self.mixed(context), asking))
        return self.narrow_norm(_plus(self.narrow(_gelu(self.wide(middle))), middle))

    def _by_head(self, states: Tensor) -> Tensor:
        return states.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def read_block(
    block: Any,
    prefix: str,
    parameters: Mapping[str, Tensor],
    vector: Mapping[str, Matrix],
    *,
    heads: int,
    dtype: torch.dtype,
) -> PlainBlock:
    """The block (`are_plain`) of this name from the parameters by name; `vector`: tangents of weights by name."""

    def affine(name: str) -> Affine:
        weight, bias = (parameters[f"{prefix}.{name}.{part}"].detach().to(dtype) for part in ("weight", "bias"))
        tangent = vector.get(f"{prefix}.{name}.weight")
        return Affine(weight=weight, bias=bias, tangent=None if tangent is None else _cheaper(tangent, weight))

    def norm(name: str) -> Norm:
        weight, bias = (parameters[f"{prefix}.{name}.{part}"].detach() for part in ("weight", "bias"))
        return Norm(weight=weight, bias=bias, epsilon=block.get_submodule(name).eps)

    layers = dict(zip(("query", "key", "value", "mixed", "wide", "narrow"), map(affine, LINEAR), strict=True))
    norms = dict(zip(("mixed_norm", "narrow_norm"), map(norm, NORMS), strict=True))
    return PlainBlock(**layers, **norms, heads=heads)


def run_blocks(blocks: Sequence[PlainBlock], states: Tensor, mask: Tensor) -> Dual:
    """The state of the first position after the last block, (batch, 1, width), and its tangent or None.

    `mask` (batch, tokens) is 1 where there is a token.
    """
    weight = blocks[0].query.weight
    added = torch.zeros(mask.shape, dtype=weight.dtype).masked_fill(mask == 0, torch.finfo(weight.dtype).min)
    reached: Dual = (states, None)
    for block in blocks:
        reached = block(reached, added[:, None, None], first_only=block is blocks[-1])
    return reached


def are_plain(model: Any, blocks: Sequence[nn.Module], inputs: Mapping[str, Tensor]) -> bool:
    """Whether a model's blocks have the layers of BERT's, and the functions give what they do for some inputs."""
    if not all(can_narrow(b) and {*LINEAR, *NORMS} <= {name for name, _ in b.named_modules()} for b in blocks):
        return False
    seen: list[Tensor] = []

    def note(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        seen.append(args[0] if args else kwargs["hidden_states"])
        seen.append(out[0] if isinstance(out, tuple) else out)

    hooks = [block.register_forward_hook(note, with_kwargs=True) for block in (blocks[0], blocks[-1])]
    try:
        with torch.no_grad():
            model(**inputs)
    finally:
        for hook in hooks:
            hook.remove()
    names, parameters = {id(module): name for name, module in model.named_modules()}, dict(model.named_parameters())
    heads, dtype = model.config.num_attention_heads, seen[0].dtype
    plain = [read_block(block, names[id(block)], parameters, {}, heads=heads, dtype=dtype) for block in blocks]
    with torch.no_grad():
        made, _ = run_blocks(plain, seen[0], inputs["attention_mask"])
    return torch.allclose(made, seen[-1][:, :1], rtol=1e-4, atol=1e-4)


def _attend(query: Dual, key: Dual, value: Dual, mask: Tensor) -> Dual:
    (q, dq), (k, dk), (v, dv) = query, key, value
    if dq is None and dk is None and dv is None:
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask), None
    dq, dk, dv = (torch.zeros_like(s) if d is None else d for s, d in ((q, dq), (k, dk), (v, dv)))
    scale = q.shape[-1] ** -0.5
    weights = ((q @ k.mT).mul_(scale) + mask).softmax(dim=-1, dtype=torch.promote_types(q.dtype, torch.float32))
    moved = (dq @ k.mT + q @ dk.mT).mul_(scale) * weights
    moved -= weights * moved.sum(dim=-1, keepdim=True)
    weights, moved = weights.to(v.dtype), moved.to(v.dtype)
    return weights @ v, moved @ v + weights @ dv


def _cheaper(matrix: Matrix, like: Tensor) -> Matrix:
    """The matrix in the precision of another; its factors only where a product with them is less than with it whole."""
    if isinstance(matrix, Tensor):
        return matrix.to(like)
    left, right = (side.to(like) for side in matrix)
    return (left, right) if len(left) * sum(like.shape) < like.numel() else dense((left, right))


def _product(values: Tensor, matrix: Matrix) -> Tensor:
    """The rows of `values` times the matrix transposed."""
    if isinstance(matrix, Tensor):
        return functional.linear(values, matrix)
    return functional.linear(values, matrix[1]) @ matrix[0]


def _gelu(inputs: Dual) -> Dual:
    values, moved = inputs
    tangent = None if moved is None else torch.ops.aten.gelu_backward(moved, values)
    return functional.gelu(values), tangent


def _plus(inputs: Dual, residual: Dual) -> Dual:
    (values, moved), (kept, kept_moved) = inputs, residual
    both = moved if kept_moved is None else kept_moved if moved is None else moved + kept_moved
    return values + kept, both


def _each(pair: Dual, function: Any) -> Dual:
    return function(pair[0]), None if pair[1] is None else function(pair[1])
