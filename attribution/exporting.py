"""A workspace's classifier as a plain Hugging Face folder."""

import shutil
from pathlib import Path

from attribution.errors import UserError
from attribution.storage import is_writable
from attribution.workspace import Workspace


def export_model(workspace: Workspace, directory: str | Path) -> Path:
    """Write the final model, its configuration with the labels, and its tokenizer, as `save_pretrained` does.

    Everything is written to a sibling folder first and renamed, so a failure leaves nothing behind. Raises UserError
    where the folder holds anything or cannot be made, or the model has no trained head.
    """
    directory = Path(directory).resolve()
    if not workspace.settings.has_head:
        raise UserError(f"Workspace '{workspace.name}' has no trained head to export: run influscope train first.")
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UserError(f"{directory} is there already: choose a new or an empty folder for the model.")
    if not directory.parent.is_dir() or not is_writable(directory.parent):
        raise UserError(f"{directory} cannot be made: its parent folder must exist and be writable.")
    fresh = directory.with_name(f".{directory.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        workspace.model.save_pretrained(fresh, safe_serialization=True)
        workspace.tokenizer.save_pretrained(fresh)
        if directory.exists():
            directory.rmdir()
        fresh.rename(directory)
    except OSError as error:
        raise UserError(f"{directory} cannot be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return directory
