"""Files that are whole or absent, a lock for a folder, and digests of what a result depends on."""

import hashlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from attribution.errors import UserError

AT_WORK = ".at-work"


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary sibling of `path`, with its suffix, to write to: renamed over `path` when the block ends.

    If the block raises, the temporary file is removed and `path` stays as it was. A block that writes nothing
    raises FileNotFoundError.
    """
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp{path.suffix}")
    try:
        yield temporary
        _fsync(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    # Without this the rename itself may be lost in a power cut.
    _fsync(path.parent)


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that a reader sees the old file or the new one, never a part."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


@contextmanager
def locked(directory: Path, *, timeout: float = 30.0, name: str = ".lock") -> Iterator[None]:
    """Hold `directory`'s lock, waiting at most `timeout` seconds for it; a thread may lock again what it holds.

    `name`: the lock's file, for what need not wait for a training or an index that is built.

    UserError: the folder is missing or not writable, or another process or thread holds the lock.
    """
    if not directory.is_dir():
        raise UserError(f"No folder '{directory}' to lock.")
    # A singleton counts its holders in each thread, so that a locked function can call another one.
    lock = FileLock(directory.resolve() / name, is_singleton=True)
    try:
        lock.acquire(timeout=timeout)
    except Timeout as error:
        raise UserError(
            f"'{directory}' is in use by another influscope process: waited {timeout:g} s for its lock."
        ) from error
    except OSError as error:
        raise UserError(f"'{directory}' cannot be locked: {error.strerror or error}.") from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def work_folder(home: Path, prefix: str) -> Iterator[Path]:
    """A temporary folder below `home`, removed afterwards with all that it holds.

    What a process that was killed has left there under the same prefix is removed first; the folders of processes
    that are still at work, which each hold a lock in theirs, stay.
    """
    home.mkdir(parents=True, exist_ok=True)
    for mark in home.glob(f"{prefix}*/{AT_WORK}"):
        try:
            with FileLock(mark, timeout=0):
                shutil.rmtree(mark.parent, ignore_errors=True)
        except (Timeout, OSError):
            continue
    with tempfile.TemporaryDirectory(dir=home, prefix=prefix, ignore_cleanup_errors=True) as folder:
        with FileLock(Path(folder) / AT_WORK):
            yield Path(folder)


def is_writable(directory: Path) -> bool:
    """Whether files can be made in a folder, found out by making one."""
    try:
        probe = directory / ".writable"
        probe.touch()
        probe.unlink()
    except OSError:
        return False
    return True


def digest_bytes(data: bytes) -> str:
    """sha256 of `data`, 64 hexadecimal characters."""
    return hashlib.sha256(data).hexdigest()


def digest_file(path: Path) -> str:
    """sha256 of a file's bytes, read in chunks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_json(value: object) -> str:
    """sha256 of `value` as canonical JSON: the order of keys does not matter, that of lists does.

    TypeError or ValueError: `value` is not JSON (NaN and infinities are not).
    """
    return digest_bytes(json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode())


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
