"""The index: what is kept of the training set, computed once per saved state of the model.

Kinds made here: `features`, the penultimate features and logits, which the head scorer and the neighbours read;
`word_gradients`, the gradient of every training loss over the word embedding of every position, sorted by vocabulary
row, so that a question touches only the rows of the words it shares with the training set. Other files add kinds to
`BUILDERS`.

A part is written whole and atomically under a key of everything that changes it, with checksums beside it; building
again after an interruption makes only what is missing.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from attribution.errors import UserError
from attribution.model import length_sorted_batches
from attribution.storage import digest_json, locked, write_atomically
from attribution.workspace import Workspace

VERSION = 1
Progress = Callable[[int, int, str], None]


def silent(done: int, total: int, what: str) -> None:
    """The progress reporter that reports nothing."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One kind of index for one saved state of the model (`checkpoint`: its place in `workspace.checkpoints`).

    `options` is what else changes the content, such as the scope of parameters.
    """

    kind: str
    checkpoint: int
    options: tuple[tuple[str, str], ...] = ()

    def option(self, name: str) -> str:
        return dict(self.options)[name]

    def folder(self, workspace: Workspace) -> Path:
        key = {"version": VERSION, "kind": self.kind, "state": self.checkpoint, "of": workspace.digest}
        key |= {"options": dict(self.options)} if self.options else {}
        return workspace.storage / "index" / digest_json(key)[:16]

    def is_built(self, workspace: Workspace) -> bool:
        return (self.folder(workspace) / "manifest.json").exists()


def parts(workspace: Workspace, kind: str, checkpoints: str = "final", **options: str) -> list[Part]:
    """The parts of a kind for the "final" state or for "all" saved states."""
    chosen = tuple(sorted(options.items()))
    return [Part(kind=kind, checkpoint=state, options=chosen) for state in workspace.states(checkpoints)]


def load(workspace: Workspace, part: Part, progress: Progress = silent) -> dict[str, np.ndarray]:
    """The arrays of a part, memory-mapped; built first where missing, rebuilt where a checksum fails."""
    return workspace.memo(part, lambda: _open(workspace, part, progress))


def build(workspace: Workspace, wanted: list[Part], progress: Progress = silent) -> None:
    """Build the parts that are missing, one after the other. Only one process builds at a time; others wait."""
    workspace.storage.mkdir(parents=True, exist_ok=True)
    for part in wanted:
        if part.is_built(workspace):
            continue  # without waiting for a process that builds another part
        with locked(workspace.storage, timeout=3600):
            if not part.is_built(workspace):
                _build(workspace, part, progress)


def _open(workspace: Workspace, part: Part, progress: Progress) -> dict[str, np.ndarray]:
    folder = part.folder(workspace)
    if part.is_built(workspace) and not is_sound(folder, "manifest.json"):
        progress(0, 1, f"the stored {part.kind} were damaged and are made again")
        (folder / "manifest.json").unlink()
        shutil.rmtree(unfinished(folder), ignore_errors=True)
        folder.rename(unfinished(folder))  # where a builder finds what of it is still sound
    build(workspace, [part], progress)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf8"))
    return {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in manifest["arrays"]}


def is_sound(folder: Path, listing: str) -> bool:
    """Whether every array that a JSON listing in the folder names has the checksum it was written with."""
    try:
        sums = json.loads((folder / listing).read_text(encoding="utf8"))["arrays"]
        return bool(sums) and checksums(folder, sums) == sums
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return False


def checksums(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """The checksum of each named array of a folder; hashing leaves the interpreter free, so every core takes part."""
    listed = list(names)
    with ThreadPoolExecutor() as pool:
        return dict(zip(listed, pool.map(lambda name: _checksum(folder / f"{name}.npy"), listed), strict=True))


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


def finish_shard(folder: Path, number: int, make: Callable[[], Mapping[str, np.ndarray]]) -> list[str]:
    """Make the arrays of one shard in a folder, unless it is there and sound; the names under which they lie there.

    A shard is whole once its listing of checksums is written. `make` gives the arrays by name, "" for the shard's own.
    """
    listing = folder / f"shard-{number:04d}.json"
    if not is_sound(folder, listing.name):
        own = {f"{listing.stem}-{name}" if name else listing.stem: array for name, array in make().items()}
        for name, array in own.items():
            np.save(folder / f"{name}.npy", array)
        write_atomically(listing, json.dumps({"arrays": checksums(folder, own)}).encode())
    return list(json.loads(listing.read_text(encoding="utf8"))["arrays"])


def unfinished(folder: Path) -> Path:
    """Where a part is built before it is whole."""
    return folder.with_name(f"{folder.name}.new")


def _build(workspace: Workspace, part: Part, progress: Progress) -> None:
    """Build into a folder beside the final one; a builder that works in shards finds its finished ones there."""
    folder = part.folder(workspace)
    fresh = unfinished(folder)
    fresh.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    try:
        names = BUILDERS[part.kind](workspace, part, fresh, progress)
        manifest = {
            "kind": part.kind,
            "state": part.checkpoint,
            **dict(part.options),
            "workspace": workspace.digest,
            "n_train": len(workspace.train),
            "seconds": round(time.perf_counter() - began, 2),
            "arrays": checksums(fresh, names),
        }
        write_atomically(fresh / "manifest.json", json.dumps(manifest, indent=2).encode())
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)
    except OSError as error:
        raise UserError(f"The index cannot be written to {folder.parent}: {error}.") from error
    finally:
        if not any(fresh.glob("shard-*.json")):
            shutil.rmtree(fresh, ignore_errors=True)


def _build_features(workspace: Workspace, part: Part, folder: Path, progress: Progress) -> tuple[str, ...]:
    state = part.checkpoint
    classifier, n = workspace.classifier, len(workspace.train)
    what = f"reading the training set (state {state + 1} of {max(1, len(workspace.checkpoints))})"
    features, logits = classifier.collect(
        workspace.encoded_train()[0],
        weights=workspace.weights(state),
        progress=lambda done: progress(done, n, what),
    )
    np.save(folder / "features.npy", features)
    np.save(folder / "logits.npy", logits)
    return "features", "logits"


def _build_word_gradients(workspace: Workspace, part: Part, folder: Path, progress: Progress) -> tuple[str, ...]:
    """Per position: ∇_e ℓ_i as fp16 in units of its largest entry (`scale`), at its place in vocabulary order."""
    state = part.checkpoint
    classifier, weights = workspace.classifier, workspace.weights(state)
    encoded, label_ids = workspace.encoded_train()
    ids, first, place = _vocabulary_order(encoded["input_ids"])
    width = classifier.anatomy.embeddings.embedding_dim
    gradient = np.lib.format.open_memmap(
        folder / "gradient.npy", mode="w+", dtype=np.float16, shape=(len(place), width)
    )
    scale, example, position = (np.empty(len(place), dtype=t) for t in (np.float32, np.int32, np.int32))
    labels = torch.from_numpy(label_ids).to(classifier.device)
    what = f"word gradients of the training set (state {state + 1} of {max(1, len(workspace.checkpoints))})"
    done = 0
    for rows in length_sorted_batches([len(ids) for ids in encoded["input_ids"]]):
        inputs = classifier.pad(encoded, rows.tolist())
        embeds = classifier.embed(inputs, weights).requires_grad_()
        out, _ = classifier.run(inputs, embeds=embeds, weights=weights)
        loss = torch.nn.functional.cross_entropy(out, labels[rows], reduction="sum")
        (found,) = torch.autograd.grad(loss, embeds)
        kept = inputs["attention_mask"].bool()
        found, lengths = found[kept].float(), kept.sum(dim=1).tolist()
        largest = found.abs().amax(dim=1).clamp_min(torch.finfo(torch.float32).tiny)
        within = np.concatenate([np.arange(k) for k in lengths])
        at = place[np.repeat(first[rows], lengths) + within]
        gradient[at] = (found / largest[:, None]).half().cpu().numpy()
        scale[at] = largest.cpu().numpy()
        example[at] = np.repeat(rows, lengths)
        position[at] = within
        done += len(rows)
        progress(done, len(workspace.train), what)
    gradient.flush()
    vocabulary, start = np.unique(ids, return_index=True)
    for name, array in {"scale": scale, "example": example, "position": position, "vocabulary": vocabulary}.items():
        np.save(folder / f"{name}.npy", array)
    np.save(folder / "start.npy", np.append(start, len(place)))
    return "gradient", "scale", "example", "position", "vocabulary", "start"


def _vocabulary_order(input_ids: list[list[int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All token ids sorted, each example's first position, and the sorted place of every position."""
    flat = np.concatenate([np.asarray(ids, dtype=np.int64) for ids in input_ids])
    first = np.concatenate([[0], np.cumsum([len(ids) for ids in input_ids])[:-1]])
    order = np.argsort(flat, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return flat[order], first, place


BUILDERS: dict[str, Callable[[Workspace, Part, Path, Progress], tuple[str, ...]]] = {
    "features": _build_features,
    "word_gradients": _build_word_gradients,
}
