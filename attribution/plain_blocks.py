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
            tangent = _product(values, self.tangent, onto=tangent)
        return functional.linear(values, self.weight, self.bias), tangent

    def by_head(self, heads: int) -> Dual:
        """The weight and its tangent, whole: (heads, size, in) each."""
        moved = None if self.tangent is None else dense(self.tangent).view(heads, -1, self.weight.shape[1])
        return self.weight.view(heads, -1, self.weight.shape[1]), moved


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
        context = self._gathered(asking, states, mask) if first_only else self._attended(states, mask)
        middle = self.mixed_norm(_plus(self.mixed(context), asking))
        return self.narrow_norm(_plus(self.narrow(_gelu(self.wide(middle))), middle))

    def _attended(self, states: Dual, mask: Tensor) -> Dual:
        """What the tokens of each row take from one another: (batch, tokens, width)."""
        query, key, value = (
            _each(layer(states), lambda side: side.unflatten(-1, (self.heads, -1)).transpose(1, 2).contiguous())
            for layer in (self.query, self.key, self.value)
        )
        return _each(_attend(query, key, value, mask), lambda side: side.transpose(1, 2).flatten(2))

    def _gathered(self, asking: Dual, states: Dual, mask: Tensor) -> Dual:
        """What one token of each row takes from all of them: (batch, 1, width). No token's key or value is made.

        Of one query q, qᵀ(Kx + b) is (Kᵀq)ᵀx but for a constant, which no softmax sees, and Σ_t w_t (Vx_t + b) is
        V Σ_t w_t x_t + b: products with K and V once a row, not once a token.
        """
        narrowed = _each(states, lambda side: side.to(self.key.weight.dtype))
        of_key, of_value = (layer.by_head(self.heads) for layer in (self.key, self.value))
        query = _each(self.query(asking), lambda side: side.view(len(side), self.heads, -1).transpose(0, 1))
        sought = _each(_matmul(query, of_key), lambda side: side.transpose(0, 1))
        weights = _softmax(_matmul(sought, _each(narrowed, lambda side: side.mT)), mask[:, 0], query[0].shape[-1])
        taken = _each(_matmul(weights, narrowed), lambda side: side.transpose(0, 1))
        context = _each(
            _matmul(taken, _each(of_value, lambda side: side.mT)), lambda side: side.transpose(0, 1).flatten(1)[:, None]
        )
        return context[0] + self.value.bias, context[1]


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
    scores = _matmul(query, _each(key, lambda side: side.mT))
    return _matmul(_softmax(scores, mask, q.shape[-1]), value)


def _softmax(scores: Dual, mask: Tensor, size: int) -> Dual:
    """The weights of attention, in the precision of the scores, of products of vectors of a size."""
    (values, moved), scale = scores, size**-0.5
    weights = (values.mul_(scale) + mask).softmax(dim=-1, dtype=torch.promote_types(values.dtype, torch.float32))
    if moved is None:
        return weights.to(values.dtype), None
    moved = moved.mul_(scale) * weights
    moved -= weights * moved.sum(dim=-1, keepdim=True)
    return weights.to(values.dtype), moved.to(values.dtype)


def _matmul(first: Dual, second: Dual) -> Dual:
    """Products of matrices, and by the product rule their tangent."""
    (x, dx), (y, dy) = first, second
    moved = None if dx is None else dx @ y
    if dy is not None:
        moved = x @ dy if moved is None else moved.add_(x @ dy)
    return x @ y, moved


def _cheaper(matrix: Matrix, like: Tensor) -> Matrix:
    """The matrix in the precision of another; its factors only where a product with them is less than with it whole."""
    if isinstance(matrix, Tensor):
        return matrix.to(like)
    left, right = (side.to(like) for side in matrix)
    return (left, right) if len(left) * sum(like.shape) < like.numel() else dense((left, right))


def _product(values: Tensor, matrix: Matrix, onto: Tensor | None) -> Tensor:
    """The rows of `values` times the matrix transposed, added to `onto` in place where that is given."""
    if not isinstance(matrix, Tensor):
        values, matrix = functional.linear(values, matrix[1]), matrix[0].mT
    if onto is None:
        return functional.linear(values, matrix)
    onto.flatten(end_dim=-2).addmm_(values.flatten(end_dim=-2), matrix.mT)
    return onto


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
