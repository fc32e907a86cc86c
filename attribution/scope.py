"""Scopes S: which parameters a gradient is taken over."""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import nn

from attribution.errors import UserError
from attribution.model import Classifier

KNOWN = ("head", "last:1", "last:2", "embeddings", "all")


@dataclass(frozen=True, kw_only=True)
class Scope:
    """A selection of parameters.

    `names`: the parameters, by name, each once however many places share it; `layers`: the linear layers whose weight
    is among them, by name; `count`: how many numbers they hold; `first_block`: the first transformer block that has
    to run anew when only these parameters change, or None where something below the blocks is among them.
    """

    text: str
    names: tuple[str, ...]
    layers: tuple[str, ...]
    count: int
    first_block: int | None

    @property
    def is_linear(self) -> bool:
        """Whether the scope is weight matrices of linear layers and nothing else."""
        return len(self.layers) == len(self.names)


def make_scope(classifier: Classifier, text: str, *, bias: bool = False) -> Scope:
    """The parameters that a scope's text names: head, last:K, embeddings, all, or a pattern of parameter names.

    last:K is the last K transformer blocks and everything above them, without the layers that do not run once an
    example (`Classifier.shared_layers`). A scope is its weight matrices; `bias` adds biases and LayerNorms. Frozen
    parameters count as any other. Raises UserError for a scope that names nothing.
    """
    if (text, bias) not in classifier.scopes:
        classifier.scopes[text, bias] = _make_scope(classifier, text, bias)
    return classifier.scopes[text, bias]


def _make_scope(classifier: Classifier, text: str, bias: bool) -> Scope:
    everything = dict(classifier.model.named_parameters())
    chosen = _named(classifier, text)
    names = tuple(name for name in everything if name in chosen and (bias or everything[name].dim() > 1))
    if not names:
        raise UserError(
            f"The scope '{text}' names biases and LayerNorms only: add bias=true."
            if chosen
            else f"No parameter of this model matches the scope '{text}'. A scope is head, last:K, embeddings, all, "
            f"or a pattern of parameter names such as *{classifier.anatomy.head_name}*."
        )
    layers = tuple(
        name
        for name, module in classifier.model.named_modules()
        if isinstance(module, nn.Linear) and f"{name}.weight" in names
    )
    return Scope(
        text=text,
        names=names,
        layers=layers,
        count=sum(everything[name].numel() for name in names),
        first_block=first_block(classifier, names),
    )


def _named(classifier: Classifier, text: str) -> set[str]:
    everything = dict(classifier.model.named_parameters())
    if text == "all":
        return set(everything)
    if text == "head":
        return {name for name in everything if name.rpartition(".")[0] == classifier.anatomy.head_name}
    if text == "embeddings":
        return {f"{classifier.anatomy.embeddings_name}.weight"}
    if match := re.fullmatch(r"last:(\d+)", text):
        shared = {f"{name}.weight" for name in classifier.shared_layers}
        return above(classifier, int(match[1])) - shared
    return {name for name in everything if fnmatchcase(name, text)}


def above(classifier: Classifier, count: int) -> set[str]:
    """The names of the parameters of the last `count` blocks and of everything above them."""
    blocks = classifier.anatomy.blocks
    if not 1 <= count <= len(blocks):
        raise UserError(
            f"last:{count} does not fit the model's {len(blocks)} blocks: choose last:1 to last:{len(blocks)}."
        )
    below = {id(p) for block in blocks[:-count] for p in block.parameters()}
    below |= {id(p) for p in _stem_parameters(classifier)}
    return {name for name, p in classifier.model.named_parameters() if id(p) not in below}


def _stem_parameters(classifier: Classifier) -> Iterator[nn.Parameter]:
    """Parameters below the first block: the encoder's own that are in no block and not above the blocks.

    The encoder lists its parts in the order of use, so what comes before the module that holds the blocks is below.
    """
    blocks = classifier.anatomy.blocks
    for child in classifier.model.base_model.children():
        if any(module is blocks for module in child.modules()):
            inside = {id(p) for p in blocks.parameters()}
            yield from (p for p in child.parameters() if id(p) not in inside)
            return
        yield from child.parameters()


def first_block(classifier: Classifier, names: Collection[str]) -> int | None:
    """The first transformer block that has to run anew when these parameters change; None: everything does."""
    parameters = dict(classifier.model.named_parameters())
    chosen = {id(parameters[name]) for name in names}
    if chosen & {id(p) for p in _stem_parameters(classifier)}:
        return None
    blocks = classifier.anatomy.blocks
    touched = [k for k, block in enumerate(blocks) if chosen & {id(p) for p in block.parameters()}]
    return min(touched, default=len(blocks) - 1)
