"""The index of masked texts: every training text with one of its spans after the other masked, run once.

Kept are what a search for spans goes by (`attribution.span_search`), the penultimate features and logits, and what
makes scoring a span cheap: the states that enter the last two blocks, the scope of the methods of spans unless they
are asked for another.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attribution.factor_index import States
from attribution.index import BUILDERS, Part, Progress, finish_shard, load, parts, silent
from attribution.model import Encoded, Example
from attribution.query import sample_ids
from attribution.spans import Finder, Span
from attribution.words import erased_rows, training_examples
from attribution.workspace import Workspace

KIND = "masked_texts"
MOST_TOKENS = 4_000_000
MOST_BYTES = 1_000_000_000
SHARD = 512
SAMPLE = 32
ARRAYS = ("features", "logits", "owner", "place", "looked", "lengths", "hidden")


@dataclass(frozen=True, kw_only=True)
class KeptStates:
    """The half-precision states (tokens, width) that entered a block, by example's position and span's place there."""

    block: int
    by_span: Mapping[tuple[int, int], np.ndarray]

    def of(self, spans: Sequence[tuple[int, int]]) -> States | None:
        """Those of masked texts in the order of their spans; None where they are not kept of all."""
        kept = all(span in self.by_span for span in spans)
        return States(block=self.block, of=lambda row: self.by_span[spans[row]]) if kept else None


@dataclass(frozen=True, kw_only=True)
class MaskedTexts:
    """The masked texts that were run, each by its example's position (texts,) and its span's place among that one's.

    `features` (texts, width) and `logits` (texts, labels); `examples`: of how many training examples they are;
    `states` has none where nothing lies below the last two blocks.
    """

    owner: np.ndarray
    place: np.ndarray
    features: np.ndarray
    logits: np.ndarray
    examples: int
    states: KeptStates


def masked_part(workspace: Workspace, finder: Finder) -> Part:
    """The part for the spans that a finder sees, of the final model."""
    options = {"size": str(finder.size)} if finder.name == "ngrams" else {}
    block = max(0, len(workspace.classifier.anatomy.blocks) - 2)
    (part,) = parts(workspace, KIND, finder=finder.name, block=str(block), **options)
    return part


def open_masked(workspace: Workspace, part: Part, progress: Progress = silent) -> MaskedTexts:
    """The masked texts of a part, built first where it is missing."""
    kept = load(workspace, part, progress)
    return workspace.memo((part, "open"), lambda: _opened(part, kept))


def states_of_masked(workspace: Workspace, finder: Finder) -> KeptStates:
    """What is kept of the states; nothing where the masked texts were not read yet."""
    part = masked_part(workspace, finder)
    return open_masked(workspace, part).states if part.is_built(workspace) else KeptStates(block=0, by_span={})


def forward_passes(workspace: Workspace, part: Part) -> float:
    """How many times the training set's tokens a part of this kind reads, judged by a sample of training examples."""
    rows = sample_ids(range(len(workspace.train)), SAMPLE)
    examples, spans = find_spans(workspace, rows, _finder(part))
    lengths = np.array([len(example.tokens) for example in examples])
    masked = float(lengths @ [len(own) for own in spans])
    return min(masked, MOST_TOKENS * len(rows) / len(workspace.train)) / float(lengths.sum())


def find_spans(
    workspace: Workspace, positions: Sequence[int], finder: Finder
) -> tuple[list[Example], list[list[Span]]]:
    """Some training examples, encoded, and the spans of each. UserError where the finder does not fit one of them."""
    table, examples = workspace.train, training_examples(workspace, positions)
    found = [
        finder.find(example, dict(table.iloc[at]), f"training example {table.index[at]}")
        for at, example in zip(positions, examples, strict=True)
    ]
    return examples, found


def masked_rows(
    examples: Sequence[Example], spans: Sequence[Sequence[Span]], erased: int
) -> tuple[Encoded, np.ndarray]:
    """Each example with one of its spans after the other masked: the encoded rows, and which example each is of."""
    encoded, owner = erased_rows(examples, [[span.tokens for span in own] for own in spans], erased)
    masked = np.flatnonzero(np.diff(owner, prepend=-1) == 0)  # an example's first row is whole
    return {name: [values[row] for row in masked] for name, values in encoded.items()}, owner[masked]


def _finder(part: Part) -> Finder:
    options = dict(part.options)
    return Finder(name=options["finder"], size=int(options.get("size", 1)))


def _opened(part: Part, kept: Mapping[str, np.ndarray]) -> MaskedTexts:
    shards = sorted({name.rpartition("-")[0] for name in kept})
    whole = {name: np.concatenate([kept[f"{shard}-{name}"] for shard in shards]) for name in ARRAYS if name != "hidden"}
    by_span: dict[tuple[int, int], np.ndarray] = {}
    for shard in shards:
        owner, place, lengths = (kept[f"{shard}-{name}"].tolist() for name in ("owner", "place", "lengths"))
        hidden, start = kept[f"{shard}-hidden"], 0
        for of, at, length in zip(owner, place, lengths, strict=True):
            if start + length > len(hidden):
                break
            by_span[of, at] = hidden[start : start + length]
            start += length
    return MaskedTexts(
        owner=whole["owner"],
        place=whole["place"],
        features=whole["features"],
        logits=whole["logits"],
        examples=int(whole["looked"].sum()),
        states=KeptStates(block=int(part.option("block")), by_span=by_span),
    )


def _build(workspace: Workspace, part: Part, folder: Path, progress: Progress) -> tuple[str, ...]:
    """Examples in random order, until all are read, or MOST_TOKENS; states while they take less than MOST_BYTES.

    Cost: a forward pass a span. A shard is of SHARD examples; an interrupted build goes on after those finished.
    """
    count, what = len(workspace.train), f"the training set with spans masked ({part.option('finder')})"
    order = np.random.default_rng(0).permutation(count)
    room = MOST_BYTES // (2 * workspace.classifier.model.config.hidden_size)
    names: list[str] = []
    tokens = 0
    for number, first in enumerate(range(0, count, SHARD)):
        if tokens >= MOST_TOKENS:
            break
        some = order[first : first + SHARD]

        def make(
            some: np.ndarray = some, first: int = first, room: int = max(0, room - tokens)
        ) -> dict[str, np.ndarray]:
            def note(share: float) -> None:
                progress(first + int(share * len(some)), count, what)

            return _shard(workspace, part, some, room, note)

        names += finish_shard(folder, number, make)
        tokens += int(np.load(folder / f"shard-{number:04d}-lengths.npy").sum())
        progress(min(count, max(first + SHARD, count * tokens // MOST_TOKENS)), count, what)
    return tuple(names)


def _shard(
    workspace: Workspace, part: Part, positions: np.ndarray, room: int, note: Callable[[float], None]
) -> dict[str, np.ndarray]:
    """The arrays of some training examples; states of the first texts, as long as these have `room` tokens."""
    classifier, block = workspace.classifier, int(part.option("block"))
    examples, spans = find_spans(workspace, positions.tolist(), _finder(part))
    rows, owner = masked_rows(examples, spans, classifier.erased_id)
    lengths = np.array([len(ids) for ids in rows["input_ids"]], dtype=np.int64)
    first = np.concatenate([[0], np.cumsum(lengths)])
    kept = int((first[1:] <= room).sum()) if block else 0
    width = classifier.model.config.hidden_size
    made = {
        "features": np.empty((len(owner), classifier.anatomy.head.in_features), dtype=np.float16),
        "logits": np.empty((len(owner), len(classifier.labels)), dtype=np.float32),
        "hidden": np.empty((first[kept], width), dtype=np.float16),
        "owner": positions[owner],
        "place": np.concatenate([np.arange(len(own)) for own in spans]),
        "looked": np.array([len(positions)]),
        "lengths": lengths,
    }
    done = 0
    weights, watch = workspace.weights(part.checkpoint), block if kept else None
    for batch, features, logits, states in classifier.passes(rows, weights=weights, watch=watch):
        made["features"][batch], made["logits"][batch] = features, logits
        for at in np.flatnonzero(batch < kept):
            assert states is not None
            row = batch[at]
            made["hidden"][first[row] : first[row + 1]] = states[at, : lengths[row]]
        done += len(batch)
        note(done / len(owner))
    return made


BUILDERS[KIND] = _build
