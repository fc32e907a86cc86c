"""Versions of a workspace: what retraining with edits made, each a workspace of its own below `versions/`.

The workspace that a version is of stays as it is, so going back is opening it.
"""

import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from attribution.checkpoints import Checkpoint, save_checkpoint
from attribution.editing.union import derived_workspace
from attribution.errors import UserError
from attribution.index import Progress
from attribution.loading import load_classifier
from attribution.retraining.heads import RefittedHeads
from attribution.retraining.plan import Plan
from attribution.storage import locked, write_atomically
from attribution.training import train
from attribution.workspace import SETTINGS, Workspace, open_workspace

HOME = "versions"
ABOUT = "version.json"
_MAKING = ".making-"


@dataclass(frozen=True, kw_only=True)
class Version:
    """A version that is there: its number, its folder and what was written down when it was made."""

    number: int
    folder: Path
    about: Mapping[str, Any]

    def open(self, *, device: str = "auto") -> Workspace:
        """The version as a workspace."""
        return open_workspace(self.folder, device=device)


def list_versions(workspace: Workspace) -> list[Version]:
    """The versions of a workspace by rising number. Raises UserError where one is damaged."""
    found = []
    for folder in (workspace.storage / HOME).glob("*"):
        if re.fullmatch(r"[1-9]\d*", folder.name):
            found.append(Version(number=int(folder.name), folder=folder, about=_about(folder)))
    return sorted(found, key=lambda version: version.number)


def get_version(workspace: Workspace, number: int) -> Version:
    """The version of that number; UserError where there is none."""
    versions = list_versions(workspace)
    found = next((version for version in versions if version.number == number), None)
    if found is None:
        known = ", ".join(str(version.number) for version in versions) or "none yet"
        raise UserError(f"No version {number} of workspace '{workspace.name}'. Known: {known}.")
    return found


def origin(workspace: Workspace) -> Mapping[str, Any] | None:
    """What is written down of the workspace that this one is a version of; None for one that is no version."""
    return _about(workspace.directory) if (workspace.directory / ABOUT).exists() else None


def parent(workspace: Workspace) -> Path | None:
    """The folder of the workspace that this one is a version of; None for one that is no version, or was moved away."""
    home = workspace.directory.resolve().parent
    is_below = home.name == HOME and (home.parent / SETTINGS).is_file()
    return home.parent if is_below and origin(workspace) is not None else None


@contextmanager
def making(workspace: Workspace) -> Iterator[Path]:
    """A temporary folder in which a version is made, removed afterwards with all that it still holds.

    Only one process makes a version of a workspace at a time; what a killed one left behind is removed first.
    """
    home = workspace.storage / HOME
    home.mkdir(parents=True, exist_ok=True)
    with locked(home, timeout=1):
        for left in home.glob(f"{_MAKING}*"):
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=home, prefix=_MAKING, ignore_cleanup_errors=True) as folder:
            yield Path(folder)


def keep_version(
    workspace: Workspace,
    plan: Plan,
    edited: pd.DataFrame,
    folder: Path,
    about: Mapping[str, Any],
    *,
    seed: int,
    progress: Progress,
) -> Version:
    """Train the workspace's model on edited data, and keep it as the next version, whole or not at all.

    `folder`: that of `making`, whose lock is held. The checkpoints are those that training the workspace anew would
    save, so that TracIn reads the version as it reads the workspace.
    """
    home = workspace.storage / HOME
    number = max((version.number for version in list_versions(workspace)), default=0) + 1
    # Beside its final place, because the reference to the model is relative.
    fresh = folder.with_name(f"{folder.name}-version")
    try:
        made = derived_workspace(workspace, edited, fresh, name=f"{workspace.name}, version {number}")
        if plan.recipe is None:
            _refit(made, plan.l2, progress)
        else:
            train(made, replace(plan.recipe, seed=seed), progress)
        shutil.rmtree(fresh / "index", ignore_errors=True)
        write_atomically(fresh / ABOUT, json.dumps({"number": number, **about}, ensure_ascii=False, indent=2).encode())
        fresh.rename(home / str(number))
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return get_version(workspace, number)


def _refit(made: Workspace, l2: float, progress: Progress) -> None:
    """Replace the checkpoints by one: the last state with its head solved anew on this workspace's examples."""
    head = made.classifier.anatomy.head_name
    weight, bias = RefittedHeads(made, l2, np.arange(1), progress).solution()
    base, missing = load_classifier(made.model_folder, made.labels, device="cpu")
    old = {name: value.cpu() for name, value in base.model.named_parameters() if name not in missing}
    new = {name: value.cpu() for name, value in made.classifier.model.named_parameters()}
    new |= {f"{head}.weight": torch.from_numpy(weight), f"{head}.bias": torch.from_numpy(bias)}
    step = made.checkpoints[-1].step + 1 if made.checkpoints else 1
    shutil.rmtree(made.directory / "checkpoints", ignore_errors=True)
    state = Checkpoint(step=step, epoch=1.0, learning_rate=1.0)
    save_checkpoint(made.directory / "checkpoints" / str(step), state, new=new, base=old)


def _about(folder: Path) -> Mapping[str, Any]:
    try:
        return json.loads((folder / ABOUT).read_text(encoding="utf8"))
    except (OSError, ValueError) as error:
        raise UserError(f"The version {folder} is damaged: {ABOUT} cannot be read ({error}).") from error
