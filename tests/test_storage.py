"""Storage: files are whole or absent, one holder at a time has a folder, digests follow the content."""

import hashlib
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.errors import UserError
from attribution.storage import (
    atomic_path,
    digest_bytes,
    digest_file,
    digest_json,
    locked,
    work_folder,
    write_atomically,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
HOLD = "import sys, filelock\nwith filelock.FileLock(sys.argv[1]):\n    print('held', flush=True)\n    sys.stdin.read()"
WORK = """
import sys, pathlib, attribution.storage
with attribution.storage.work_folder(pathlib.Path(sys.argv[1]), ".random-") as folder:
    (folder / "model").mkdir()
    (folder / "model" / "w").write_text("x")
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_write_atomically_replaces_the_whole_file(tmp_path: Path) -> None:
    """The new bytes are all there is, also where they are fewer, and no other file is left."""
    path = tmp_path / "file.bin"
    for data in (b"a long first content", b"short", b""):
        write_atomically(path, data)
        assert path.read_bytes() == data
        assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    """An exception after half the bytes, KeyboardInterrupt included, changes nothing in the folder."""
    path = tmp_path / "table.parquet"
    path.write_bytes(b"old")
    for error in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(error), atomic_path(path) as temporary:
            temporary.write_bytes(b"half of the n")
            raise error
        assert path.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [path]


def test_a_failed_rename_leaves_no_temporary_file(tmp_path: Path) -> None:
    """A target that cannot be replaced, here a folder, is an OSError and leaves the folder as it was."""
    path = tmp_path / "taken"
    path.mkdir()
    with pytest.raises(OSError):
        write_atomically(path, b"data")
    assert list(tmp_path.iterdir()) == [path]


def test_atomic_path_is_a_sibling_with_the_same_suffix(tmp_path: Path) -> None:
    """Writers that go by the suffix, such as numpy's, write to the given path; two writers get two paths."""
    path = tmp_path / "part.npy"
    with atomic_path(path) as first, atomic_path(path) as second:
        assert first != second
        for temporary in (first, second):
            assert temporary.parent == path.parent and temporary.suffix == ".npy" and not path.exists()
            temporary.write_bytes(temporary.name.encode())
    assert path.read_text() == first.name, "the block that ends last gives the content"
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_has_the_usual_permissions(tmp_path: Path) -> None:
    """A file written atomically is as readable to others as one written plainly."""
    (tmp_path / "plain").write_bytes(b"")
    write_atomically(tmp_path / "atomic", b"")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_block_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    """Forgetting to write is not mistaken for success, and keeps the old file."""
    write_atomically(tmp_path / "file", b"old")
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "file"):
        pass
    assert (tmp_path / "file").read_bytes() == b"old"


def refusal(directory: Path) -> str | None:
    """The message with which `directory` is refused to another thread, or None where it is not."""
    messages: list[str | None] = []

    def attempt() -> None:
        try:
            with locked(directory, timeout=0.05):
                messages.append(None)
        except UserError as error:
            messages.append(str(error))

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    return messages[0]


def test_a_second_thread_is_refused_until_the_first_lets_go(tmp_path: Path) -> None:
    """While a thread holds the folder another gets one line that names it; after its block, or an error, it gets in."""
    with locked(tmp_path):
        message = refusal(tmp_path)
        assert message is not None and str(tmp_path) in message and "\n" not in message
    assert refusal(tmp_path) is None
    with pytest.raises(RuntimeError), locked(tmp_path):
        raise RuntimeError
    assert refusal(tmp_path) is None


def test_a_thread_may_lock_what_it_holds(tmp_path: Path) -> None:
    """A locked function that calls another does not wait for itself, and the inner end does not free the folder."""
    with locked(tmp_path, timeout=0.05):
        with locked(tmp_path, timeout=0.05):
            assert refusal(tmp_path) is not None
        assert refusal(tmp_path) is not None
    assert refusal(tmp_path) is None


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    """A lock taken by another process, through filelock itself, is honoured and its folder named in one line."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=str(tmp_path)) as error, locked(tmp_path, timeout=0.05):
            pass
        assert "\n" not in str(error.value)
        holder.communicate()
    with locked(tmp_path, timeout=5):
        pass


def test_what_a_killed_process_left_goes_with_the_next(tmp_path: Path) -> None:
    """A work folder is gone after its block, also after an exception; one of a killed process goes when the next is
    made, while one that a process is at work in, and what has another name, stay.
    """
    command = [sys.executable, "-c", WORK, str(tmp_path)]
    (tmp_path / ".randomly").mkdir()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        theirs = Path(other.stdout.readline().strip())
        with pytest.raises(KeyboardInterrupt), work_folder(tmp_path, ".random-") as mine:
            assert theirs.is_dir() and mine.is_dir() and mine.parent == theirs.parent == tmp_path
            raise KeyboardInterrupt
        assert not mine.exists() and (theirs / "model" / "w").exists()
        other.kill()
    assert theirs.is_dir()
    with work_folder(tmp_path, ".random-") as mine:
        assert sorted(tmp_path.iterdir()) == sorted([mine, tmp_path / ".randomly"])
    assert list(tmp_path.iterdir()) == [tmp_path / ".randomly"]


def test_only_a_folder_can_be_locked(tmp_path: Path) -> None:
    """A mistyped folder is named and not made."""
    with pytest.raises(UserError, match="missing"), locked(tmp_path / "missing"):
        pass
    assert not (tmp_path / "missing").exists()


def test_a_folder_whose_lock_cannot_be_opened_is_named(tmp_path: Path) -> None:
    """The system's refusal, here a folder in the lock's place, is one line and no traceback."""
    (tmp_path / ".lock").mkdir()
    with pytest.raises(UserError, match=str(tmp_path)), locked(tmp_path, timeout=0.05):
        pass


@settings(deadline=None, max_examples=25)
@given(data=st.binary(max_size=300))
def test_digests_are_sha256(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """A file's digest is that of its bytes, in hexadecimal, also past one chunk."""
    path = tmp_path_factory.getbasetemp() / "digested"
    path.write_bytes(data * 2000)
    assert digest_file(path) == digest_bytes(data * 2000) == hashlib.sha256(data * 2000).hexdigest()


@settings(deadline=None, max_examples=50)
@given(value=st.dictionaries(st.text(), JSON, min_size=2, max_size=5))
def test_digest_json_ignores_the_order_of_keys_only(value: dict[str, object]) -> None:
    """Keys in another order give the same digest; a value, a key or a list's order changed gives another."""
    digest = digest_json(value)
    assert digest_json(dict(reversed(value.items()))) == digest
    assert digest_json({**value, "one more" * 9: None}) != digest
    assert digest_json([value, 1]) != digest_json([1, value])


def test_digest_json_refuses_what_is_not_json() -> None:
    """A key that cannot be written down readably, NaN or an object, is no key."""
    with pytest.raises(ValueError):
        digest_json({"damping": float("nan")})
    with pytest.raises(TypeError):
        digest_json({"path": Path()})
