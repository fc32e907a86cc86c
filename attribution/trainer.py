"""Checkpoint folders that a Hugging Face Trainer saved: their steps, learning rates and weights, for TracIn."""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attribution.checkpoints import Checkpoint, save_checkpoint
from attribution.errors import UserError
from attribution.loading import label_names, model_type, read_weights

STATE = "trainer_state.json"


@dataclass(frozen=True, kw_only=True)
class Saved:
    """One folder that a Trainer saved, its description and its labels; the weights are read when they are stored."""

    folder: Path
    meta: Checkpoint
    labels: list[str]


def read_saved(
    folders: Sequence[str | Path], rates: Sequence[float] | None, *, model: Path, labels: list[str] | None
) -> list[Saved]:
    """The folders' descriptions by rising step.

    η of a checkpoint is the mean of the learning rates that the Trainer logged since the checkpoint before. `rates`,
    one a checkpoint by rising step, stand in for them. Raises UserError for a folder that is no Trainer's, that holds
    pickled weights only, whose architecture is not `model`'s or whose labels are not `labels` (or one another's), for
    two of the same step, and where no learning rate was logged and none is given. Weights are not read.
    """
    if rates is not None and len(rates) != len(folders):
        raise UserError(
            f"--learning-rates needs one value for each of the {len(folders)} checkpoints, by rising step; "
            f"it has {len(rates)}."
        )
    strange = next((rate for rate in rates or () if not 0 < rate < math.inf), None)
    if strange is not None:
        raise UserError(f"--learning-rates must be above 0 and finite, not {strange}.")
    logs = sorted((_Log.read(Path(folder)) for folder in folders), key=lambda log: log.step)
    for log in logs:
        names, kind = label_names(log.folder), model_type(log.folder)
        expected = labels or label_names(logs[0].folder)
        if kind != model_type(model):
            raise UserError(f"The checkpoint {log.folder} is a {kind} model, not {model_type(model)} like {model}.")
        if names != expected:
            raise UserError(
                f"The checkpoint {log.folder} has the labels {', '.join(names)}, not {', '.join(expected)} like "
                f"{model if labels else logs[0].folder}."
            )
    found, before = [], 0
    for number, log in enumerate(logs):
        if found and log.step == before:
            raise UserError(f"{found[-1].folder} and {log.folder} are both of step {log.step}: give each step once.")
        rate = log.mean_rate(before) if rates is None else rates[number]
        meta = Checkpoint(step=log.step, epoch=log.epoch, learning_rate=rate)
        found.append(Saved(folder=log.folder, meta=meta, labels=label_names(log.folder)))
        before = log.step
    return found


def store(saved: Sequence[Saved], model: Any, missing: frozenset[str], home: Path) -> list[str]:
    """Write each checkpoint's difference from `model` to its folder in `home`; returns notices.

    `missing` names the parameters that the model's own files did not hold: they are written whole. Raises UserError
    where a checkpoint has other parameters than the model.
    """
    own = dict(model.named_parameters())
    base = {name: value for name, value in own.items() if name not in missing}
    moved = False
    for one in saved:
        new = read_weights(one.folder)
        for name in sorted(own.keys() | new.keys()):
            shapes = [tuple(part[name].shape) if name in part else "absent" for part in (new, own)]
            if shapes[0] != shapes[1]:
                raise UserError(
                    f"The checkpoint {one.folder} does not fit the model: {name} is {shapes[0]} there and "
                    f"{shapes[1]} in the model."
                )
        save_checkpoint(home / str(one.meta.step), one.meta, new=new, base=base)
        moved = any(not new[name].equal(value) for name, value in base.items())
    if moved and not missing:
        last = saved[-1]
        return [f"Explained is the last checkpoint, {last.folder} (step {last.meta.step}); --model differs from it."]
    return []


@dataclass(frozen=True, kw_only=True)
class _Log:
    """What trainer_state.json says; `rates` are (step, learning rate) as logged."""

    folder: Path
    step: int
    epoch: float
    rates: list[tuple[int, float]]

    @classmethod
    def read(cls, folder: Path) -> "_Log":
        if not folder.is_dir():
            raise UserError(
                f"No checkpoint folder '{folder}': --checkpoints takes those a Trainer saved (checkpoint-N)."
            )
        model_type(folder)
        named = re.fullmatch(r"checkpoint-(\d+)", folder.resolve().name)
        if not (folder / STATE).exists() and named:
            return cls(folder=folder, step=int(named[1]), epoch=0.0, rates=[])
        try:
            values = json.loads((folder / STATE).read_text(encoding="utf8"))
            entries = [e for e in values.get("log_history") or [] if "learning_rate" in e]
            return cls(
                folder=folder,
                step=int(values["global_step"]),
                epoch=float(values.get("epoch") or 0),
                rates=[(int(e["step"]), float(e["learning_rate"])) for e in entries],
            )
        except FileNotFoundError as error:
            raise UserError(f"{folder} is not a Trainer's checkpoint folder: it has no {STATE}.") from error
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(f"The checkpoint {folder} is damaged: {STATE} cannot be read ({error}).") from error

    def mean_rate(self, before: int) -> float:
        """Mean of the rates logged after step `before`.

        A schedule that ends at 0 logs that 0 at its last step: alone it says nothing of the steps up to there.
        """
        rates = [rate for step, rate in self.rates if before < step <= self.step]
        if not any(rates) or not all(math.isfinite(rate) and rate >= 0 for rate in rates):
            raise UserError(
                f"{self.folder} logs no learning rate from step {before + 1} to {self.step}: give one for each "
                "checkpoint by rising step, as --learning-rates 2e-05,1e-05."
            )
        return math.fsum(rates) / len(rates)
