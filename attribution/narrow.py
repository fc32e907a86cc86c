"""The last block for the one position that is read.

Above the last block's attention a BERT-like classifier reads its first token only: there queries, outputs and the
feed-forward layers of all other tokens are computed for nothing, ten of the block's twelve matrices' worth.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn

USED = {f"attention.{name}" for name in ("self.query", "self.key", "self.value", "self.dropout", "output.dense")}


def can_narrow(block: nn.Module) -> bool:
    """Whether a block is built as BERT's, with its attention's layers in their places."""
    return USED <= {name for name, _ in block.named_modules()}


@contextmanager
def first_position_only(block: nn.Module, heads: int) -> Iterator[None]:
    """Within, the block (`can_narrow`) with so many heads returns (batch, 1, width): its first position."""
    attention: Any = block.get_submodule("attention")
    attention.forward = partial(_attend, attention, heads)
    try:
        yield
    finally:
        del attention.forward


def _attend(
    attention: Any, heads: int, hidden_states: Tensor, attention_mask: Tensor | None = None, **_: Any
) -> tuple[Tensor, None]:
    inner, first = attention.self, hidden_states[:, :1]

    def by_head(states: Tensor) -> Tensor:
        return states.unflatten(-1, (heads, -1)).transpose(1, 2)

    query, key, value = (
        by_head(inner.query(first)),
        by_head(inner.key(hidden_states)),
        by_head(inner.value(hidden_states)),
    )
    scores = query @ key.mT * query.shape[-1] ** -0.5
    if attention_mask is not None:
        scores = scores + attention_mask[:, :, :1]
    context = (scores.softmax(dim=-1) @ value).transpose(1, 2).flatten(2)
    return attention.output(context, first), None
