"""The workspaces that this user opened lately, the latest first, in a file of their own outside every workspace."""

import json
from contextlib import suppress
from pathlib import Path

import platformdirs

from attribution.storage import write_atomically
from attribution.workspace import SETTINGS

MOST = 12


def _file() -> Path:
    return Path(platformdirs.user_state_path("influscope")) / "recent.json"


def folders() -> list[Path]:
    """The folders that are still workspaces; none where the file is missing or damaged, which only costs the list."""
    try:
        listed = json.loads(_file().read_text(encoding="utf8"))
    except (OSError, ValueError):
        return []
    if not isinstance(listed, list):
        return []
    return [Path(each) for each in listed if isinstance(each, str) and (Path(each) / SETTINGS).is_file()]


def remember(folder: Path) -> None:
    """Put a folder first; where the file cannot be written, nothing is remembered."""
    others = [each for each in folders() if each != folder]
    with suppress(OSError):
        _file().parent.mkdir(parents=True, exist_ok=True)
        write_atomically(_file(), json.dumps([str(each) for each in [folder, *others][:MOST]]).encode())
