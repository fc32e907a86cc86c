"""The last blocks on the tokens that are there: the texts of a batch one after the other, without padding.

The texts of a shuffled batch differ in length, so that half of what a block computes is padding. Above the attention
every layer works token by token: only the attention itself needs to know which text a token is of. The last block runs
for the first positions alone, as in `attribution.narrow`.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def packed_blocks(blocks: Sequence[nn.Module], heads: int, mask: Tensor) -> Iterator[None]:
    """Within, blocks that `can_narrow`, with so many heads, take the states (1, tokens, width) of the texts in `mask`.

    `mask` (batch, longest) says which positions hold a token. The last block returns (batch, 1, width): each text's
    first position. Dropout is as the model's mode has it, drawn otherwise than for padded texts.
    """
    with ExitStack() as stack:
        for block in blocks:
            attention: Any = block.get_submodule("attention")
            attention.forward = partial(_attend, attention, heads, mask, block is blocks[-1])
            stack.callback(delattr, attention, "forward")
        yield


def _attend(
    attention: Any, heads: int, mask: Tensor, first_only: bool, hidden_states: Tensor, *_: Any, **__: Any
) -> tuple[Tensor, None]:
    inner, at = attention.self, mask.flatten().nonzero()[:, 0]

    def by_head(states: Tensor) -> Tensor:
        """(1, tokens, width) to (batch, heads, longest, size), zeros where there is no token."""
        padded = states.new_zeros(mask.numel(), states.shape[-1]).index_copy(0, at, states[0])
        return padded.view(*mask.shape, heads, -1).transpose(1, 2)

    key, value = by_head(inner.key(hidden_states)), by_head(inner.value(hidden_states))
    if first_only:
        asking = hidden_states[0, mask.sum(dim=1).cumsum(dim=0) - mask.sum(dim=1)][:, None]
        query = inner.query(asking).unflatten(-1, (heads, -1)).transpose(1, 2)
    else:
        asking, query = hidden_states, by_head(inner.query(hidden_states))
    scores = (query @ key.mT * query.shape[-1] ** -0.5).masked_fill(~mask[:, None, None], -torch.inf)
    context = (inner.dropout(scores.softmax(dim=-1)).to(value.dtype) @ value).transpose(1, 2).flatten(2)
    if not first_only:
        context = context.flatten(0, 1)[at][None]
    return attention.output(context, asking), None
