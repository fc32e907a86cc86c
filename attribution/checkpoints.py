"""Checkpoints of fine-tuning: what changed against the base model, the step, and the learning rate up to there."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from attribution.errors import UserError
from attribution.storage import atomic_path, digest_file, digest_json, write_atomically


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """One saved state of the model.

    `learning_rate` is the mean over the optimiser steps since the checkpoint before: the weight η_c of TracIn, which
    stands for the steps between two checkpoints (Pruthi et al. 2020 §3.2).
    """

    step: int
    epoch: float
    learning_rate: float
    test_accuracy: float | None = None


def save_checkpoint(folder: Path, meta: Checkpoint, *, new: Mapping[str, Tensor], base: Mapping[str, Tensor]) -> None:
    """Write the tensors that differ from the base as fp16 differences; tensors the base lacks are written whole.

    The difference, not the value, is rounded: a weight of 0.05 that moved by 0.001 keeps the move to 4 digits.
    Raises UserError where a value is no finite fp16 number.
    """
    tensors = {}
    for name, tensor in new.items():
        change = tensor.float() - base[name].float() if name in base else tensor.float()
        if name not in base or bool(change.any()):
            tensors[name] = change.half().cpu().contiguous()
            if not bool(tensors[name].isfinite().all()):
                raise UserError(f"Training made {name} too large to store: choose a smaller learning rate.")
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / "delta.safetensors") as path:
        save_file(tensors, path)
    whole = sorted(name for name in tensors if name not in base)
    text = json.dumps({**asdict(meta), "whole": whole}, indent=2)
    write_atomically(folder / "meta.json", text.encode())


def read_checkpoint(folder: Path) -> Checkpoint:
    """The description beside a checkpoint's tensors; UserError where it is damaged."""
    try:
        values = json.loads((folder / "meta.json").read_text(encoding="utf8"))
        values.pop("whole")
        return Checkpoint(**values)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"The checkpoint {folder} is damaged: meta.json cannot be read ({error}).") from error


def checkpoint_weights(folder: Path, base: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The parameters of a checkpoint that differ from the base, as fp32 on the base's device."""
    try:
        whole = set(json.loads((folder / "meta.json").read_text(encoding="utf8"))["whole"])
        changes = load_file(folder / "delta.safetensors")
    except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
        raise UserError(f"The checkpoint {folder} is damaged: its tensors cannot be read ({error}).") from error
    strange = [name for name in changes if name not in base or base[name].shape != changes[name].shape]
    if strange:
        raise UserError(f"The checkpoint {folder} does not fit its base model: {strange[0]} has no place in it.")
    device = next(iter(base.values())).device
    with torch.no_grad():
        return {
            name: change.float().to(device) + (0 if name in whole else base[name].float())
            for name, change in changes.items()
        }


def checkpoint_folders(directory: Path) -> list[Path]:
    """The checkpoint folders of a workspace, by rising step."""
    folders = [path for path in (directory / "checkpoints").glob("*") if path.name.isdigit()]
    return sorted(folders, key=lambda path: int(path.name))


def checkpoints_digest(directory: Path) -> str:
    """sha256 over the tensors of every checkpoint of a workspace."""
    return digest_json({f.name: digest_file(f / "delta.safetensors") for f in checkpoint_folders(directory)})
