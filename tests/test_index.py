"""The index on disk: what it holds, when it is the same one, and what damage and interruption do to it."""

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from attribution import fidelity, index, list_methods, masked_texts, open_workspace
from attribution.ekfac import curvature_parts, norms_parts
from attribution.errors import UserError
from attribution.exact_norms import exact_norms_part
from attribution.factor_index import factor_parts
from attribution.index import Part, build, load, parts
from attribution.neighbours import neighbours_part
from attribution.projection import projection_parts
from attribution.scoring import Choices, fidelity_part, plan
from attribution.workspace import Workspace
from tests.oracles import assert_close, encoded, log_probability, penultimate, plain_model, reopened, with_training_data

list_methods()  # with the methods come the builders of what they read

ARRAYS = {
    "features": ["features", "logits"],
    "masked_texts": [f"shard-0000-{name}" for name in masked_texts.ARRAYS],
    "word_gradients": ["gradient", "scale", "example", "position", "vocabulary", "start"],
    "sentence_embeddings": ["embeddings"],
    "factors": ["ranks", "shard-0000", "shard-0000-energy", "shard-0000-first", "shard-0000-hidden"],
    "curvature": [f"{i:03d}-{name}" for i in (0, 7) for name in ("of_inputs", "gradient_values", "eigenvalues")],
    "norms": ["norms"],
    "fidelity": ["spearman"],
    "exact_norms": ["norms"],
    "projected_gradients": ["values", "vectors", "gradients"],
    "neighbours": ["positions", "cosines"],
}
KINDS = tuple(ARRAYS)
OF_FINAL_STATE = ("neighbours",)
MADE_FROM = {
    "norms": ["factors", "curvature"],
    "fidelity": ["factors"],
    "exact_norms": ["factors", "curvature"],
    "projected_gradients": ["factors", "features"],
    "neighbours": ["features"],
}


class Reports:
    """A progress reporter that keeps what it was told."""

    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        self.seen: list[tuple[int, int, str]] = []
        self.then = then

    def __call__(self, done: int, total: int, what: str) -> None:
        self.seen.append((done, total, what))
        self.then()


def some_parts(workspace: Workspace, kind: str, checkpoints: str = "final") -> list[Part]:
    """The parts of a kind, over last:1 where it has a scope."""
    match kind:
        case "factors":
            return factor_parts(workspace, "last:1", checkpoints)
        case "curvature":
            return curvature_parts(workspace, "last:1", checkpoints)
        case "norms":
            return norms_parts(workspace, "last:1", 0.1, checkpoints)
        case "exact_norms":
            states = workspace.states(checkpoints)
            return [exact_norms_part(workspace, "last:1", state, damping=0.1, precision="fp32") for state in states]
        case "projected_gradients":
            return projection_parts(workspace, "last:1", 4, 0, checkpoints)
        case "neighbours":
            return [neighbours_part(workspace, 3)]
        case "fidelity":
            final = fidelity_part(workspace, plan(workspace, Choices(scope="last:1")))
            return parts(workspace, kind, checkpoints, **dict(final.options))
        case "masked_texts":
            return parts(workspace, kind, checkpoints, finder="clauses", block="1")
        case _:
            return parts(workspace, kind, checkpoints)


def one(workspace: Workspace, kind: str) -> Part:
    return some_parts(workspace, kind)[0]


def ready(workspace: Workspace, kind: str) -> Part:
    """The part of a kind, not built, with what it is made from."""
    build(workspace, [one(workspace, other) for other in MADE_FROM.get(kind, [])])
    return one(workspace, kind)


def test_every_kind_is_tested_here() -> None:
    """A kind of index that is added has its arrays listed above."""
    assert set(index.BUILDERS) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_arrays_are_memory_mapped_and_read_only(workspace: Workspace, kind: str) -> None:
    """No array is read into memory, and none can be changed through the map."""
    for name, array in load(workspace, one(workspace, kind)).items():
        assert isinstance(array, np.memmap), f"{name} is a {type(array).__name__}"
        assert not array.flags.writeable, f"{name} can be written to"


@pytest.mark.parametrize("state", [0, 1, 2])
def test_features_are_those_of_each_text_alone(moving: Workspace, state: int) -> None:
    """Features and logits at every saved state, one text at a time through a plain model of that state."""
    arrays = load(moving, Part(kind="features", checkpoint=state))
    model = plain_model(moving, state)
    rows = [encoded(moving, row) for _, row in moving.train.iterrows()]
    assert_close(arrays["features"], np.stack([penultimate(model, r) for r in rows]), relative=1e-5, what="features")
    logits = np.stack([model(**r).logits[0].numpy() for r in rows])
    assert_close(arrays["logits"], logits, relative=1e-5, what="logits")


@pytest.mark.parametrize("space", ["workspace", "pairs", "moving"])
def test_word_gradients_are_those_of_a_loop(request: pytest.FixtureRequest, space: str) -> None:
    """Every position of every example stands once, under its word, with its own ∇_e ℓ to three digits."""
    opened: Workspace = request.getfixturevalue(space)
    arrays = load(opened, Part(kind="word_gradients", checkpoint=0))
    vocabulary, start = arrays["vocabulary"], arrays["start"]
    assert (np.diff(vocabulary) > 0).all(), "the vocabulary is not sorted"
    word = np.repeat(vocabulary, np.diff(start))
    found = {
        (int(e), int(p)): (int(w), g.astype(np.float64) * s)
        for e, p, w, g, s in zip(
            arrays["example"], arrays["position"], word, arrays["gradient"], arrays["scale"], strict=True
        )
    }
    assert len(found) == len(word), "a position stands there twice"
    model = plain_model(opened, 0)
    for i, (_, row) in enumerate(opened.train.iterrows()):
        inputs = encoded(opened, row)
        embeds = model.get_input_embeddings().weight[inputs["input_ids"]].detach().requires_grad_()
        loss = -log_probability(model, inputs, opened.labels.index(row["label"]), embeds)
        expected = torch.autograd.grad(loss, embeds)[0][0].numpy()
        mine = [found.pop((i, p)) for p in range(len(expected))]
        assert [w for w, _ in mine] == inputs["input_ids"][0].tolist(), f"example {i}: positions under other words"
        for (_, gradient), wanted in zip(mine, expected, strict=True):
            assert_close(gradient, wanted, relative=1e-3, what=f"gradient of example {i}")
    assert not found, f"positions of no example: {sorted(found)}"


@pytest.mark.parametrize("kind", KINDS)
def test_every_part_is_read_once_and_kept(fresh: Workspace, kind: str) -> None:
    """The first load reports rising progress up to n_train; later ones, and other processes, build nothing."""
    part, reports = ready(fresh, kind), Reports()
    first = load(fresh, part, reports)
    done, (total,) = [d for d, _, _ in reports.seen], {total for _, total, _ in reports.seen}
    assert done == sorted(done) and done[-1] == total
    n = len(fresh.train)
    assert total == {"curvature": 2 * n, "fidelity": fidelity.TESTS}.get(kind, n)
    again, silence = reopened(fresh), Reports()
    second = load(again, one(again, kind), silence)
    assert not silence.seen, f"built again: {silence.seen}"
    assert all(np.array_equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(("kind", "array"), [(kind, array) for kind in KINDS for array in ARRAYS[kind]])
def test_a_damaged_array_is_made_again(fresh: Workspace, kind: str, array: str) -> None:
    """One flipped bit in any array: the part is rebuilt, says so, and holds what it held."""
    part = ready(fresh, kind)
    before = {name: np.array(values) for name, values in load(fresh, part).items()}
    path = part.folder(fresh) / f"{array}.npy"
    content = bytearray(path.read_bytes())
    content[-3] ^= 0x10
    path.write_bytes(content)
    again, reports = reopened(fresh), Reports()
    after = load(again, part, reports)
    assert any("damaged" in what for _, _, what in reports.seen), f"the damage is not reported: {reports.seen}"
    for name, values in before.items():
        assert np.array_equal(after[name], values), f"{name} is not what it was"


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"arrays": []}', '{"arrays": {}}', '{"arrays": {"no_such": "0"}}']
)
def test_a_damaged_manifest_is_made_again(fresh: Workspace, content: str) -> None:
    """Whatever stands in the manifest instead, the part is rebuilt and not trusted."""
    part = one(fresh, "features")
    before = np.array(load(fresh, part)["features"])
    (part.folder(fresh) / "manifest.json").write_text(content)
    again = reopened(fresh)
    assert np.array_equal(load(again, part)["features"], before)


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_build_leaves_no_half_part(fresh: Workspace, tmp_path: Path, kind: str) -> None:
    """The disk as it was at any moment of a build: no part that counts as built, and the next build completes it."""
    moments: list[Path] = []

    def copy_the_disk() -> None:
        moments.append(tmp_path / f"moment{len(moments)}")
        shutil.copytree(fresh.directory, moments[-1])

    part = ready(fresh, kind)
    before = {f.name for f in (fresh.directory / "index").glob("*") if f.is_dir()}
    whole = load(fresh, part, Reports(copy_the_disk))
    assert moments
    for moment in moments:
        killed = reopened(fresh, moment)
        assert not part.is_built(killed), f"{kind} count as built in the middle of the build"
        found = load(killed, part)
        assert all(np.array_equal(found[name], whole[name]) for name in whole)
        left = {f.name for f in (moment / "index").iterdir()} - {part.folder(killed).name}
        assert left == before, "something is left over"


def test_only_missing_parts_are_built(fresh: Workspace) -> None:
    """After an interruption between two parts the first is kept as it is and the second alone is built."""
    first, second = parts(fresh, "features", "all")

    def interrupt() -> None:
        if second.folder(fresh).with_name(f"{second.folder(fresh).name}.new").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(fresh, [first, second], Reports(interrupt))
    assert first.is_built(fresh) and not second.is_built(fresh)
    assert [f.name for f in (fresh.directory / "index").iterdir()] == [first.folder(fresh).name]
    kept = (first.folder(fresh) / "manifest.json").stat().st_mtime_ns
    reports = Reports()
    build(fresh, [first, second], reports)
    assert {what for _, _, what in reports.seen} == {"reading the training set (state 2 of 2)"}
    assert (first.folder(fresh) / "manifest.json").stat().st_mtime_ns == kept


def test_a_full_disk_is_one_line_and_leaves_nothing(fresh: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where an array cannot be written: a UserError that names the folder, and no half part."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(UserError, match=r"index cannot be written to .*No space left"):
        load(fresh, one(fresh, "features"))
    assert not list((fresh.directory / "index").iterdir())


def test_two_threads_build_once(fresh: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two workspaces of one folder, asked at the same time: one builds, the other waits and reads."""
    builder, calls = index.BUILDERS["features"], []

    def counted(*arguments: object) -> tuple[str, ...]:
        calls.append(1)
        return builder(*arguments)  # pyright: ignore[reportArgumentType]

    monkeypatch.setitem(index.BUILDERS, "features", counted)
    opened = [fresh, reopened(fresh)]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda space: load(space, one(space, "features"))["features"], opened))
    assert len(calls) == 1, f"built {len(calls)} times"
    assert np.array_equal(found[0], found[1])


class TestKey:
    """The folder of a part is named by everything that changes it, and by nothing else."""

    def test_every_part_has_its_own(self, moving: Workspace) -> None:
        """Kinds and saved states never share a folder."""
        folders = [part.folder(moving) for kind in KINDS for part in some_parts(moving, kind, "all")]
        assert len(set(folders)) == len(folders) == 3 * len(KINDS) - 2 * len(OF_FINAL_STATE)

    def test_scope_precision_and_damping_are_in_it(self, workspace: Workspace) -> None:
        """Every choice that changes the content has a folder of its own."""
        wanted = [
            *factor_parts(workspace, "last:1", precision="fp32"),
            *factor_parts(workspace, "last:1", precision="bf16"),
        ]
        wanted += [*factor_parts(workspace, "last:2"), *curvature_parts(workspace, "last:2")]
        wanted += [part for damping in (0.1, 0.2) for part in norms_parts(workspace, "last:1", damping)]
        assert len({part.folder(workspace) for part in wanted}) == len(wanted)

    def test_place_and_name_do_not_matter(self, workspace: Workspace, fresh: Workspace) -> None:
        """A copy elsewhere, under another name, has the same key: an index travels with its workspace."""
        part = one(workspace, "features")
        assert workspace.directory != fresh.directory
        assert part.folder(workspace).name == part.folder(fresh).name

    def test_other_data_other_key(self, workspace: Workspace, tmp_path: Path) -> None:
        """A changed label, a changed text and another order of the rows each give a key of their own."""
        relabelled, reworded = workspace.train.copy(), workspace.train.copy()
        relabelled.loc[3, "label"] = next(v for v in workspace.labels if v != workspace.train.loc[3, "label"])
        reworded.loc[3, "text"] = "a warm film"
        tables = [workspace.train, relabelled, reworded, workspace.train.iloc[::-1]]
        spaces = [with_training_data(workspace, t, tmp_path / str(i)) for i, t in enumerate(tables)]
        assert len({one(s, "features").folder(s).name for s in spaces}) == len(tables)

    def test_another_model_another_key(self, fresh: Workspace) -> None:
        """A changed tensor in a checkpoint, a checkpoint less, and another maximum length change the key."""
        from safetensors.torch import load_file, save_file

        def key() -> str:
            opened = open_workspace(fresh.directory)
            return one(opened, "features").folder(opened).name

        keys = [key()]
        delta = fresh.checkpoint_folders[-1] / "delta.safetensors"
        tensors = load_file(delta)
        tensors["classifier.bias"][0] += 0.5
        save_file(tensors, delta)
        keys.append(key())
        settings = fresh.directory / "workspace.toml"
        settings.write_text(settings.read_text().replace("max_length = 0", "max_length = 7"))
        keys.append(key())
        shutil.rmtree(fresh.checkpoint_folders[0])
        keys.append(key())
        assert len(set(keys)) == len(keys), f"keys are shared: {keys}"

    def test_what_it_is_of_stands_beside_it(self, workspace: Workspace) -> None:
        """The manifest says in plain words which workspace, kind and state an array belongs to."""
        part = one(workspace, "features")
        load(workspace, part)
        manifest = json.loads((part.folder(workspace) / "manifest.json").read_text())
        assert manifest["workspace"] == workspace.digest and manifest["n_train"] == len(workspace.train)
        assert (manifest["kind"], manifest["state"]) == ("features", 1)
