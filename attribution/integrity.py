"""Whether the files of a workspace are there and as it was made with, and whether they changed since a look before."""

from collections.abc import Iterator
from pathlib import Path

from attribution.checkpoints import checkpoint_folders
from attribution.errors import UserError
from attribution.loading import KEPT
from attribution.workspace import SETTINGS, Workspace

FileMarks = tuple[tuple[str, int, int], ...]
DATA = ("train.parquet", "test.parquet")


def file_marks(directory: Path) -> FileMarks:
    """Path, bytes and time of change of every file that a workspace's answers come from; what is gone is not in it.

    Cost: a look at each file, none of which is read.
    """
    marks = []
    for path in _files(directory):
        try:
            found = path.stat()
        except OSError:
            continue
        marks.append((str(path), found.st_size, found.st_mtime_ns))
    return tuple(marks)


def _files(directory: Path) -> Iterator[Path]:
    yield from (directory / name for name in (SETTINGS, *DATA))
    yield from sorted(path for pattern in KEPT for path in (directory / "model").glob(pattern))
    yield from sorted(path for folder in checkpoint_folders(directory) for path in folder.glob("*"))


def check_workspace(workspace: Workspace) -> None:
    """UserError that names the file and the way out, where one is gone or not what the workspace was made with.

    Cost: the data is read and its digest and the model's are taken; both are kept for what follows.
    """
    missing = [path for path in _required(workspace) if not path.exists()]
    if missing:
        raise UserError(
            f"The workspace '{workspace.directory}' is damaged: {missing[0]} is gone. Put it back, or make the "
            f"workspace again with influscope new {workspace.directory} --force."
        )
    if workspace.settings.trainable and not workspace.checkpoint_folders:
        raise UserError(
            f"The workspace '{workspace.directory}' is damaged: it was trained, and its checkpoints are gone. Put them "
            f"back, or train it again with influscope train {workspace.directory}."
        )
    try:
        _ = workspace.train, workspace.model_folder, workspace.checkpoints, workspace.digest
    except (UserError, OSError) as error:
        raise UserError(
            f"{error} Put the file back as it was, or make the workspace again with influscope new "
            f"{workspace.directory} --force."
        ) from error


def _required(workspace: Workspace) -> list[Path]:
    directory, settings = workspace.directory, workspace.settings
    data = [directory / name for name in DATA] if settings.source == "files" else []
    return data + ([] if settings.model.startswith("package:") else [directory / settings.model])
