"""Where the parts of a classifier are, whatever its family.

The five model families of the tests (BERT, DistilBERT, RoBERTa, ELECTRA, DeBERTa) are not named here: the embedding
layer comes from the library's own accessor, the blocks are the module list that has one entry a hidden layer, and the
head is the linear layer whose output *is* the logits.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """Where the parts of a classifier are: its word embeddings, its transformer blocks and its last linear layer.

    `blocks_home` is the module that holds the blocks, and their name in it; `block_tuples`: whether a block returns
    its hidden states as the first of two values.
    """

    embeddings: nn.Embedding
    embeddings_name: str
    blocks: nn.ModuleList
    blocks_home: tuple[nn.Module, str]
    block_tuples: bool
    head: nn.Linear
    head_name: str


def dissect(model: Any, tokenizer: Any) -> Anatomy:
    """Find the parts of a transformers sequence classifier, by one forward pass over a two-token input.

    Raises ValueError, in words a user can read, where the model has no such parts.
    """
    embeddings = model.get_input_embeddings()
    if not isinstance(embeddings, nn.Embedding):
        raise ValueError("its input embeddings are not a plain embedding table")
    count = model.config.num_hidden_layers
    homes = [
        (parent, name)
        for parent in model.modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.ModuleList) and len(child) == count
    ]
    if not homes:
        raise ValueError(f"it has no list of {count} transformer blocks")
    blocks = getattr(*homes[0])
    head_name, block_tuples = _probe(model, tokenizer, blocks[0])
    return Anatomy(
        embeddings=embeddings,
        embeddings_name=next(name for name, module in model.named_modules() if module is embeddings),
        blocks=blocks,
        blocks_home=homes[0],
        block_tuples=block_tuples,
        head=model.get_submodule(head_name),
        head_name=head_name,
    )


def _probe(model: Any, tokenizer: Any, block: nn.Module) -> tuple[str, bool]:
    """The name of the linear layer whose output is the logits, and whether a block returns a tuple."""
    outputs: dict[str, Tensor] = {}
    block_outputs: list[Any] = []
    with ExitStack() as stack:
        stack.enter_context(hooked(block.register_forward_hook, lambda _, __, out: block_outputs.append(out)))
        for name, module in model.named_modules():
            if isinstance(module, nn.Linear):
                stack.enter_context(
                    hooked(module.register_forward_hook, lambda _, __, out, name=name: outputs.__setitem__(name, out))
                )
        with torch.no_grad():
            inputs = tokenizer("a", return_tensors="pt").to(next(model.parameters()).device)
            logits = model(**inputs).logits
    for name, out in reversed(outputs.items()):
        if out is logits:
            return name, isinstance(block_outputs[0], tuple)
    raise ValueError("its logits are not the output of a linear layer")


@contextmanager
def hooked(register: Any, function: Any, **options: Any) -> Iterator[None]:
    """A hook of a module in its place, within; `register` is the module's own method."""
    handle = register(function, **options)
    try:
        yield
    finally:
        handle.remove()
