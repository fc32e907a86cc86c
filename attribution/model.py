"""A fine-tuned sequence classifier: loaded safely, embeddings in, logits out."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from threading import RLock
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from attribution.anatomy import dissect, hooked
from attribution.narrow import can_narrow, first_position_only
from attribution.packed import packed_blocks
from attribution.plain_blocks import are_plain
from attribution.tokens import Token, Word, cuts_of, tokens_of, words_of

Inputs = dict[str, Tensor]
Encoded = Mapping[str, list[list[int]]]
Entering = tuple[int, Tensor] | None


@dataclass(frozen=True, kw_only=True)
class Example:
    """One encoded text or pair: model inputs of batch size 1, tokens, words, and where the text was cut."""

    text: str
    text_pair: str | None
    inputs: Inputs
    tokens: list[Token]
    words: list[Word]
    cut: tuple[int | None, int | None]

    @property
    def texts(self) -> list[str]:
        return [self.text] if self.text_pair is None else [self.text, self.text_pair]


@dataclass(kw_only=True)
class Classifier:
    """A transformers sequence classifier in evaluation mode with its tokenizer and labels.

    Parameters never carry `requires_grad`: whoever needs a gradient passes its own leaf tensors as `weights` or
    `embeds`. The model is shared by threads, so every run holds `lock`. `scopes` keeps what `make_scope` has found.
    """

    model: Any
    tokenizer: Any
    labels: tuple[str, ...]
    max_length: int
    lock: RLock = field(default_factory=RLock, repr=False)
    scopes: dict[tuple[str, bool], Any] = field(init=False, default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.model.eval().requires_grad_(False)
        self.anatomy = dissect(self.model, self.tokenizer)
        self.reads_first = self._reads_first()

    def _reads_first(self) -> bool:
        """Whether the logits stay the same when the last block runs for the first position alone."""
        if not can_narrow(self.anatomy.blocks[-1]):
            return False
        inputs = self.pad(self.tokenize(["a", "a a a a"]), range(2))
        with torch.no_grad(), self.lock:
            whole = self.model(**inputs).logits
            with self._narrow():
                return torch.allclose(self.model(**inputs).logits, whole, rtol=1e-4, atol=1e-5)

    def _narrow(self) -> AbstractContextManager[None]:
        return first_position_only(self.anatomy.blocks[-1], self.model.config.num_attention_heads)

    @cached_property
    def scale_free(self) -> bool:
        """Whether doubling the word embeddings changes nothing: a LayerNorm follows the table directly (DeBERTa).

        Then gradient · embedding is 0 for every token (Euler's theorem), and only rounding is left of it.
        """
        inputs = self.tokenizer("a", return_tensors="pt").to(self.device)
        embeds = self.embed(inputs)
        with torch.no_grad(), self.watching(0) as entering:
            self.run(inputs, embeds=embeds)
            self.run(inputs, embeds=2 * embeds)
        return torch.allclose(entering[0], entering[1], rtol=1e-3, atol=1e-4)

    @cached_property
    def has_plain_blocks(self) -> bool:
        """Whether blocks written as functions (`attribution.plain_blocks`) give what this model's own do."""
        inputs = self.pad(self.tokenize(["a", "a a a a"]), range(2))
        return self.reads_first and are_plain(self.model, list(self.anatomy.blocks), inputs)

    @cached_property
    def shared_layers(self) -> frozenset[str]:
        """The linear layers that do not run once an example, as those of DeBERTa's relative positions.

        Their gradient is not a sum over the tokens of one example, so it cannot be told apart by example.
        """
        calls: dict[str, list[int]] = {}
        with self.lock, ExitStack() as stack, torch.no_grad():
            for name, module in self.model.named_modules():
                if isinstance(module, nn.Linear):
                    note = calls.setdefault(name, []).append
                    hook = hooked(module.register_forward_hook, lambda _, __, out, note=note: note(len(out)))
                    stack.enter_context(hook)
            self.run(self.pad(self.tokenize(["a", "a a", "a"]), range(3)))
        return frozenset(name for name, sizes in calls.items() if sizes != [3])

    def narrowed(self) -> AbstractContextManager[None]:
        """The last block runs for the first position alone, where nothing else is read and nothing is dropped out."""
        return self._narrow() if self.reads_first and not self.model.training else nullcontext()

    @property
    def device(self) -> torch.device:
        return self.anatomy.head.weight.device

    @property
    def unknown_id(self) -> int:
        """The token id that stands for an erased word: [UNK], else the mask, else the padding."""
        ids = (self.tokenizer.unk_token_id, self.tokenizer.mask_token_id, self.tokenizer.pad_token_id)
        return next(int(i) for i in ids if i is not None)

    @property
    def erased_id(self) -> int:
        """The token id that stands for an erased token of a span: the mask, else [UNK], else the padding."""
        ids = (self.tokenizer.mask_token_id, self.tokenizer.unk_token_id, self.tokenizer.pad_token_id)
        return next(int(i) for i in ids if i is not None)

    def tokenize(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> Any:
        """The fast tokenizer's encodings, truncated to `max_length`, not padded."""
        return self.tokenizer(
            list(texts), None if pairs is None else list(pairs), truncation=True, max_length=self.max_length
        )

    def example(self, text: str, text_pair: str | None = None) -> Example:
        """Encode one text or pair, with tokens, words and the character where truncation cut each text (or None)."""
        return self.examples([text], None if text_pair is None else [text_pair])[0]

    def examples(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[Example]:
        """As `example`, for several texts or pairs."""
        encoded, made = self.tokenize(texts, pairs), []
        for row, text in enumerate(texts):
            own = [text] if pairs is None else [text, pairs[row]]
            tokens = tokens_of(encoded.encodings[row], own)
            made.append(
                Example(
                    text=text,
                    text_pair=None if pairs is None else pairs[row],
                    inputs={name: torch.tensor([values[row]], device=self.device) for name, values in encoded.items()},
                    tokens=tokens,
                    words=words_of(tokens, own),
                    cut=cuts_of(encoded.encodings[row], tokens, own),
                )
            )
        return made

    def pad(self, encoded: Encoded, rows: Sequence[int]) -> Inputs:
        """Model inputs of the named rows, padded on the right to the longest of them."""
        features = [{name: encoded[name][row] for name in encoded} for row in rows]
        padded = self.tokenizer.pad(features, return_tensors="pt", padding_side="right")
        return {name: value.to(self.device) for name, value in padded.items()}

    def embed(self, inputs: Inputs, weights: Mapping[str, Tensor] | None = None) -> Tensor:
        """Word embeddings of the input ids: (batch, tokens, width), from the table in `weights` where it is there.

        They carry a graph only where that table requires a gradient.
        """
        table = (weights or {}).get(f"{self.anatomy.embeddings_name}.weight", self.anatomy.embeddings.weight)
        with self.lock:
            return functional_call(self.anatomy.embeddings, {"weight": table}, (inputs["input_ids"],))

    def run(
        self, inputs: Inputs, *, embeds: Tensor | None = None, weights: Mapping[str, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Logits (batch, labels) and penultimate features (batch, width) of the inputs.

        `embeds` stands in for the output of the word-embedding layer; `weights` stand in for the named parameters.
        Both may require gradients of any order.
        """
        seen: list[Tensor] = []
        with self.lock, ExitStack() as stack:
            stack.enter_context(
                hooked(self.anatomy.head.register_forward_pre_hook, lambda _, args: seen.append(args[0]))
            )
            if embeds is not None:
                stack.enter_context(hooked(self.anatomy.embeddings.register_forward_hook, lambda *_: embeds))
            stack.enter_context(self.narrowed())
            output = functional_call(self.model, dict(weights or {}), args=(), kwargs=inputs)
        return output.logits, seen[0]

    def logits_from(
        self, inputs: Inputs, entering: Entering = None, weights: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """Logits (batch, labels); with `entering`, a block and the states that enter it, only from there on."""
        if entering is None:
            return self.run(inputs, weights=weights)[0]
        with self.cut_before(entering[0]) as suffix:
            return suffix.logits(inputs, entering[1], weights)

    def collect(
        self,
        encoded: Encoded,
        *,
        weights: Mapping[str, Tensor] | None = None,
        progress: Callable[[int], None] = lambda done: None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Penultimate features (rows, width) and logits (rows, labels) as float32, in batches of similar length."""
        count = len(encoded["input_ids"])
        features = np.empty((count, self.anatomy.head.in_features), dtype=np.float32)
        logits = np.empty((count, len(self.labels)), dtype=np.float32)
        done = 0
        for rows, *found, _ in self.passes(encoded, weights=weights):
            features[rows], logits[rows] = found
            done += len(rows)
            progress(done)
        return features, logits

    def passes(
        self, encoded: Encoded, *, weights: Mapping[str, Tensor] | None = None, watch: int | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]]:
        """Batches of rows of similar length with their features and logits as in `collect`.

        `watch`: a transformer block whose entering states (batch, tokens, width), padded on the right, come with them.
        """
        for rows in length_sorted_batches([len(ids) for ids in encoded["input_ids"]]):
            with torch.no_grad(), ExitStack() as stack:
                seen = [] if watch is None else stack.enter_context(self.watching(watch))
                logits, features = self.run(self.pad(encoded, rows.tolist()), weights=weights)
            features, logits, *entered = (found.float().cpu().numpy() for found in (features, logits, *seen))
            yield rows, features, logits, entered[0] if entered else None

    @contextmanager
    def cut_before(self, block: int) -> Iterator["Suffix"]:
        """The classifier from transformer block `block` on, fed with hidden states that were computed once.

        The earlier blocks stay in their places and pass their input on, because some encoders go by a block's place.
        """

        def skip(*args: Any, **kwargs: Any) -> Any:
            hidden = args[0] if args else kwargs["hidden_states"]
            return (hidden, None) if self.anatomy.block_tuples else hidden

        skipped: list[Any] = list(self.anatomy.blocks[:block])
        with self.lock:
            for module in skipped:
                module.forward = skip
            try:
                yield Suffix(classifier=self, first=self.anatomy.blocks[block])
            finally:
                for module in skipped:
                    del module.forward

    @contextmanager
    def watching(self, block: int) -> Iterator[list[Tensor]]:
        """A list to which every run adds the hidden states (batch, tokens, width) that enter a transformer block."""
        seen: list[Tensor] = []

        def catch(_: nn.Module, args: tuple, kwargs: dict) -> None:
            seen.append(args[0] if args else kwargs["hidden_states"])

        register = self.anatomy.blocks[block].register_forward_pre_hook
        with self.lock, hooked(register, catch, with_kwargs=True):
            yield seen

    def hidden_before(self, inputs: Inputs, block: int) -> Tensor:
        """Hidden states (batch, tokens, width) that enter transformer block `block`; the later blocks do not run."""
        home, name = self.anatomy.blocks_home
        blocks = self.anatomy.blocks
        with torch.no_grad(), self.watching(block) as seen:
            setattr(home, name, nn.ModuleList(blocks[: block + 1]))
            try:
                self.model(**inputs)
            finally:
                setattr(home, name, blocks)
        return seen[0]


@dataclass(frozen=True, kw_only=True)
class Suffix:
    """The last blocks of a classifier and everything above them."""

    classifier: Classifier
    first: nn.Module

    def logits(
        self, inputs: Inputs, hidden: Tensor, weights: Mapping[str, Tensor] | None = None, *, packed: bool = False
    ) -> Tensor:
        """Logits from the hidden states that enter the first kept block; `weights` stand in for named parameters.

        Without them, plain autograd on the module's own parameters. `packed`: hidden is (1, tokens, width), the texts
        one after the other without padding, for a model whose blocks can run so (`attribution.packed`).
        """

        def feed(_: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
            return ((hidden, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": hidden})

        run_so = self._packed(inputs) if packed else self.classifier.narrowed()
        if packed:  # the blocks go by `hidden`: what comes before them runs on the first position, for its shape only
            inputs = {name: value[:, :1] for name, value in inputs.items()}
        with run_so, hooked(self.first.register_forward_pre_hook, feed, with_kwargs=True):
            return functional_call(self.classifier.model, dict(weights or {}), args=(), kwargs=inputs).logits

    def _packed(self, inputs: Inputs) -> AbstractContextManager[None]:
        blocks = list(self.classifier.anatomy.blocks)
        kept = blocks[next(place for place, block in enumerate(blocks) if block is self.first) :]
        heads = self.classifier.model.config.num_attention_heads
        return packed_blocks(kept, heads, inputs["attention_mask"].bool())


def length_sorted_batches(lengths: Sequence[int], *, tokens: int = 4096) -> list[np.ndarray]:
    """Row numbers grouped by similar length, longest first, with at most `tokens` padded tokens a batch."""
    order = np.argsort(-np.asarray(lengths), kind="stable")
    batches, start = [], 0
    while start < len(order):
        size = max(1, tokens // max(1, lengths[order[start]]))
        batches.append(order[start : start + size])
        start += size
    return batches


def pick_device(device: str) -> torch.device:
    """The torch device for "auto" (CUDA, else MPS, else CPU) or for an explicit name."""
    if device != "auto":
        return torch.device(device)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
