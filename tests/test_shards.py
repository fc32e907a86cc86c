"""The index of gradients in several shards: what damage, interruption, a full disk and several processes do to it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from attribution import factor_index
from attribution.building import build_shards, parts_of_scope
from attribution.factor_index import factor_parts, open_factors
from attribution.index import Part, load, unfinished
from attribution.workspace import Workspace
from tests.oracles import reopened
from tests.test_index import Reports
from tests.tiny import refusal

SHARDS = 3


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """16 examples a shard, so that 40 training examples fall into three."""
    monkeypatch.setattr(factor_index, "SHARD", 16)


@pytest.fixture
def part(fresh: Workspace) -> Part:
    return factor_parts(fresh, "last:1")[0]


def written(folder: Path) -> dict[str, tuple[int, int]]:
    """Which file is which, and when its content was written."""
    found = [path.stat() for path in sorted(folder.glob("shard-*.npy"))]
    names = [path.name for path in sorted(folder.glob("shard-*.npy"))]
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in zip(names, found, strict=True)}


def of_shard(names: dict[str, tuple[int, int]], number: int) -> dict[str, tuple[int, int]]:
    return {name: stat for name, stat in names.items() if name.startswith(f"shard-{number:04d}")}


def test_shards_are_the_training_set_in_order(fresh: Workspace, part: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three shards hold what one does, example by example: products, norms and kept states."""
    several = open_factors(fresh, part)
    assert [len(shard.energy) for shard in several.shards] == [16, 16, 8]
    rows = [several.hidden(row) for row in (0, 15, 16, 39)]
    (fresh.storage / "index").rename(fresh.storage / "index of several")
    monkeypatch.setattr(factor_index, "SHARD", 1024)
    whole = open_factors(reopened(fresh), part)
    assert len(whole.shards) == 1
    np.testing.assert_allclose(several.norms(), whole.norms(), rtol=1e-4)
    for mine, row in zip(rows, (0, 15, 16, 39), strict=True):
        np.testing.assert_allclose(mine.astype(float), whole.hidden(row).astype(float), atol=2e-3)


@pytest.mark.parametrize("array", ["shard-0001", "shard-0001-energy", "shard-0001-hidden", "shard-0001-first"])
def test_a_damaged_shard_alone_is_made_again(fresh: Workspace, part: Part, array: str) -> None:
    """One flipped bit in the second shard: it is rebuilt to what it held, and the other two are not written again."""
    before = {name: np.array(values) for name, values in load(fresh, part).items()}
    folder = part.folder(fresh)
    path = folder / f"{array}.npy"
    content = bytearray(path.read_bytes())
    content[-3] ^= 0x10
    path.write_bytes(content)
    kept, reports = written(folder), Reports()
    after = load(reopened(fresh), part, reports)
    assert any("damaged" in what for _, _, what in reports.seen), f"the damage is not reported: {reports.seen}"
    for name, values in before.items():
        assert np.array_equal(after[name], values), f"{name} is not what it was"
    now = written(folder)
    for number in (0, 2):
        assert of_shard(now, number) == of_shard(kept, number), f"shard {number} was written again"
    assert now[path.name] != kept[path.name]


def test_a_lost_listing_costs_its_shard(fresh: Workspace, part: Part) -> None:
    """Without its listing a shard is not trusted: with the manifest damaged too, that shard alone is made again."""
    load(fresh, part)
    folder = part.folder(fresh)
    (folder / "shard-0002.json").write_text("{")
    (folder / "manifest.json").write_text("{}")
    kept = written(folder)
    load(reopened(fresh), part)
    now = written(folder)
    for number in (0, 1):
        assert of_shard(now, number) == of_shard(kept, number), f"shard {number} was written again"
    assert json.loads((folder / "shard-0002.json").read_text())["arrays"]


def test_a_killed_build_goes_on_where_it_was(fresh: Workspace, part: Part, tmp_path: Path) -> None:
    """The disk as it was at every report: finished shards are kept as they are, and the rest completes the part."""
    moments: list[Path] = []

    def copy_the_disk() -> None:
        moments.append(tmp_path / f"moment{len(moments)}")
        shutil.copytree(fresh.directory, moments[-1])

    whole = load(fresh, part, Reports(copy_the_disk))
    finished = []
    for moment in moments:
        killed = reopened(fresh, moment)
        assert not part.is_built(killed)
        half = unfinished(part.folder(killed))
        names = {path.stem for path in half.glob("shard-*.json")}
        finished.append(len(names))
        kept = {n: s for n, s in written(half).items() if n.removesuffix(".npy")[:10] in names}
        found = load(killed, part)
        assert all(np.array_equal(found[name], whole[name]) for name in whole)
        now = written(part.folder(killed))
        assert {name: now[name] for name in kept} == kept, "a finished shard was written again"
        assert [f.name for f in (moment / "index").iterdir()] == [part.folder(killed).name], "something is left over"
    assert {1, 2, 3} <= set(finished), f"no moment between two shards was seen: {finished}"


def test_a_full_disk_keeps_finished_shards(fresh: Workspace, part: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the second shard cannot be written: one clean line, and the next build does not make the first again."""
    real = np.save

    def full(path: Path, *rest: object) -> None:
        if "shard-0001" in str(path):
            raise OSError(28, "No space left on device")
        real(path, *rest)  # pyright: ignore[reportArgumentType, reportCallIssue]

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", full)
        message = refusal(lambda: load(fresh, part))
    assert "index cannot be written to" in message and "No space left" in message
    half = unfinished(part.folder(fresh))
    kept = of_shard(written(half), 0)
    assert kept and not part.is_built(fresh)
    load(reopened(fresh), part)
    assert of_shard(written(part.folder(fresh)), 0) == kept, "the finished shard was written again"
    assert not half.exists()


def test_several_processes_build_what_one_does(fresh: Workspace, part: Part, tmp_path: Path) -> None:
    """Two workers make the shards; the part is complete and equals that of one process to the last bit."""
    shutil.copytree(fresh.directory, tmp_path / "other")
    other = reopened(fresh, tmp_path / "other")
    # Spawned processes have shards of the usual size, into one of which every example falls.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(factor_index, "SHARD", 1024)
        reports = Reports()
        build_shards(fresh, [part], 2, reports)
        assert reports.seen == [(1, 1, "shards of last:1")]
        kept = written(unfinished(part.folder(fresh)))
        mine, alone = load(fresh, part), load(other, part)
    assert kept and written(part.folder(fresh)) == kept, "what the workers made was made again"
    for name in alone:
        np.testing.assert_array_equal(mine[name], alone[name], err_msg=name)


@pytest.mark.parametrize(
    ("scope", "kinds"),
    [
        ("head", ["features"]),
        ("embeddings", ["word_gradients"]),
        ("last:2", ["factors", "curvature", "norms"]),
        ("all", ["word_gradients", "factors", "curvature", "norms"]),
    ],
)
def test_a_scope_has_its_parts(moving: Workspace, scope: str, kinds: list[str]) -> None:
    """What `index --scope` builds, for the final state and for all; "all" is the embeddings and every block."""
    for checkpoints, states in (("final", [2]), ("all", [0, 1, 2])):
        found = parts_of_scope(moving, scope, checkpoints, "fp32")
        assert [part.kind for part in found] == [kind for kind in kinds for _ in states]
        assert [part.checkpoint for part in found] == states * len(kinds)
    scopes = {part.option("scope") for part in found if part.options}
    expected = {"head": set(), "embeddings": set(), "all": {"last:3"}}.get(scope, {scope})
    assert scopes == expected


def test_a_scope_that_is_no_linear_layers_has_no_index(workspace: Workspace) -> None:
    """One line that says how such a scope is answered."""
    message = refusal(lambda: parts_of_scope(workspace, "*embeddings*", "final", "auto"))
    assert "not linear layers only" in message and "sweep" in message
