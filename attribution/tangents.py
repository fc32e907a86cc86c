"""A pass with tangents through a model with plain blocks (`attribution.plain_blocks`), every core with its own batch.

What lies below and above the blocks runs through the model's own modules, for several batches at once.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call

from attribution.cores import use_cores
from attribution.factor_index import States, padded_states
from attribution.factors import computing_in
from attribution.matrices import Matrix, dense
from attribution.model import Classifier, Encoded, Inputs, length_sorted_batches
from attribution.plain_blocks import Dual, read_block, run_blocks
from attribution.scope import first_block

TOKENS, AT_ONCE = 512, 64
Found = tuple[np.ndarray, Tensor, Tensor | None]


def can_write_out(classifier: Classifier, vector: Mapping[str, Matrix]) -> bool:
    """Whether the pass can be made of functions: on a CPU, along weights of linear layers in or above plain blocks."""
    if classifier.device.type != "cpu" or classifier.model.training or not classifier.has_plain_blocks:
        return False
    modules = dict(classifier.model.named_modules())
    layers = [name.removesuffix(".weight") for name in vector]
    return all(isinstance(modules.get(layer), nn.Linear) for layer in layers) and (
        first_block(classifier, list(vector)) is not None
    )


def written_out(
    classifier: Classifier,
    encoded: Encoded,
    vector: Mapping[str, Matrix],
    weights: Mapping[str, Tensor],
    states: States | None,
    dtype: torch.dtype,
) -> Iterator[Found]:
    """Rows with their logits (rows, labels) and the tangents of these along v, or None where nothing moves them."""
    names = {id(module): name for name, module in classifier.model.named_modules()}
    with classifier.lock:  # another thread's run has its own weights in the model's place
        parameters = dict(classifier.model.named_parameters()) | dict(weights)
    heads, given = classifier.model.config.num_attention_heads, parameters[next(iter(parameters))].dtype
    blocks = [
        read_block(
            block,
            names[id(block)],
            parameters,
            vector,
            heads=heads,
            dtype=torch.bfloat16 if dtype == torch.bfloat16 else given,
        )
        for block in classifier.anatomy.blocks
    ]
    own = tuple(f"{names[id(block)]}." for block in classifier.anatomy.blocks)
    above = {name: dense(v) for name, v in vector.items() if not name.startswith(own)}
    first = 0 if states is None else states.block
    sorted_rows = length_sorted_batches([len(ids) for ids in encoded["input_ids"]], tokens=TOKENS)
    for start in range(0, len(sorted_rows), AT_ONCE):
        some = sorted_rows[start : start + AT_ONCE]
        inputs = [classifier.pad(encoded, rows.tolist()) for rows in some]
        entering = []
        for rows, batch in zip(some, inputs, strict=True):
            kept = padded_states(classifier, rows, states)
            entering.append(_below(classifier, batch, weights) if kept is None else kept[1])

        def through(batch: Inputs, hidden: Tensor) -> Dual:
            with torch.no_grad():
                return run_blocks(blocks[first:], hidden, batch["attention_mask"])

        reached = _on_every_core(through, inputs, entering)
        with computing_in(classifier.device, dtype):
            logits, tangent = _above(classifier, inputs, reached, parameters, weights, above)
        yield np.concatenate(some), logits, tangent


def _on_every_core(function: Callable[..., Dual], *given: Sequence[Any]) -> list[Dual]:
    """The function of each batch; several threads, with one core each, where torch has several."""
    cores = min(torch.get_num_threads(), len(given[0]))
    if cores == 1:
        return [function(*one) for one in zip(*given, strict=True)]
    with ThreadPoolExecutor(cores, initializer=use_cores, initargs=(1,)) as pool:
        return list(pool.map(function, *given))


def _below(classifier: Classifier, inputs: Inputs, weights: Mapping[str, Tensor]) -> Tensor:
    """The states that enter the first block, of which none runs."""
    with torch.no_grad(), classifier.watching(0) as seen, _passed_by(classifier, None):
        functional_call(classifier.model, dict(weights), args=(), kwargs=inputs)
    return seen[0]


def _above(
    classifier: Classifier,
    inputs: Sequence[Inputs],
    reached: Sequence[Dual],
    parameters: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    vector: Mapping[str, Tensor],
) -> Dual:
    """Logits of the first positions' states after the last block, and their tangents or None."""
    ones = {name: torch.cat([batch[name][:, :1] for batch in inputs]) for name in inputs[0]}
    values, moved = torch.cat([value for value, _ in reached]), [tangent for _, tangent in reached]
    with torch.no_grad(), classifier.lock, forward_ad.dual_level():
        last = values
        if moved[0] is not None:
            last = forward_ad.make_dual(values, torch.cat([tangent for tangent in moved if tangent is not None]))
        duals = {
            name: forward_ad.make_dual(parameters[name].detach(), v.to(parameters[name])) for name, v in vector.items()
        }
        with _passed_by(classifier, last):
            output = functional_call(classifier.model, {**weights, **duals}, args=(), kwargs=ones)
        return forward_ad.unpack_dual(output.logits)


@contextmanager
def _passed_by(classifier: Classifier, last: Tensor | None) -> Iterator[None]:
    """Within, every block hands on what it is given, and the last one `last` where that is something."""
    blocks, in_tuple = list(classifier.anatomy.blocks), classifier.anatomy.block_tuples

    def hand_on(*args: Any, **kwargs: Any) -> Any:
        hidden = args[0] if args else kwargs["hidden_states"]
        return (hidden, None) if in_tuple else hidden

    def end(*_: Any, **__: Any) -> Any:
        return (last, None) if in_tuple else last

    with classifier.lock, ExitStack() as stack:
        for block in blocks:
            module: Any = block
            module.forward = end if block is blocks[-1] and last is not None else hand_on
            stack.callback(delattr, module, "forward")
        yield
