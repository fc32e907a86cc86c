"""Retraining with edits: the right examples are trained on, the control is alike, and a version is whole or absent."""

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from attribution import create_workspace, open_workspace
from attribution.cli import app
from attribution.editing import EditLog, RowEdit, edited_table, perturb, relabel, remove, versions
from attribution.editing.control import changed_words, random_edits
from attribution.editing.measure import BASELINE, CONTROL, EDITED, Measured, interval
from attribution.editing.retrain import plan_of, retrain
from attribution.editing.union import derived_workspace, union_of
from attribution.editing.versions import get_version, list_versions, origin, parent
from attribution.exporting import export_model
from attribution.storage import locked
from attribution.training import Recipe, train
from attribution.workspace import Workspace
from tests.families import tiny_model
from tests.oracles import reopened
from tests.tiny import refusal, write_tables


def edit(workspace: Workspace) -> EditLog:
    """A log that removes, relabels and perturbs an example each."""
    log = EditLog(workspace)
    (label,) = set(workspace.labels) - {workspace.train.loc[5, "label"]}
    log.append(remove(3), relabel(5, label), perturb(7, text="a warm plot with a cold song"))
    return log


def command(*words: object) -> None:
    app([str(word) for word in words], standalone_mode=False)


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Trained without dropout, which every engine draws in its own order."""
    folder = tmp_path_factory.mktemp("still")
    model = tiny_model("bert", folder / "model", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    made, _ = create_workspace(folder / "w", model=model, **write_tables(folder, n_train=40, n_test=11))
    return train(made, Recipe(trainable="last:1", epochs=2, batch_size=8, learning_rate=1e-2))


@pytest.fixture(params=["fine-tuned here", "fine-tuned elsewhere"])
def edited(request: pytest.FixtureRequest, still: Workspace, tmp_path: Path) -> Workspace:
    """A workspace with edits; trained by `influscope train`, or made from a model that came trained."""
    if request.param == "fine-tuned here":
        shutil.copytree(still.directory, tmp_path / "w")
        workspace = open_workspace(tmp_path / "w")
    else:
        model = export_model(still, tmp_path / "model")
        workspace, _ = create_workspace(tmp_path / "w", model=model, **write_tables(tmp_path, n_train=40, n_test=11))
    edit(workspace)
    return workspace


def test_a_version_is_the_workspace_trained_on_the_edited_data(edited: Workspace) -> None:
    """Its data is the edited table with the imported ids; its model is what training that data by the recipe gives.

    The workspace that it is of keeps its files, and neither place names the other by an absolute path. What is edited
    while it is made is not its own.
    """
    files = {p: p.read_bytes() for p in edited.directory.rglob("*.parquet")} | {
        p: p.read_bytes() for p in edited.directory.rglob("delta.safetensors")
    }
    before = edited.predict_test().to_numpy()
    log = EditLog(edited)
    made_of, state = log.version, log.current()

    def meanwhile(*_: object) -> None:
        if log.version == made_of:
            log.append(remove(9))

    found = retrain(edited, seeds=2, progress=meanwhile)
    assert len(log.entries) == 4, "an edit must be made meanwhile for this to show anything"
    version = reopened_at_home(found.version.open())
    pd.testing.assert_frame_equal(version.train, edited_table(edited, state))
    plan = plan_of(edited)
    if plan.recipe is not None:
        again = derived_workspace(edited, version.train, edited.directory / "again", name="again")
        expected = train(again, plan.recipe).predict_test().to_numpy()
        assert [state.step for state in version.checkpoints] == [state.step for state in edited.checkpoints]
    else:
        expected = found.measured.shares[EDITED][0]
    np.testing.assert_allclose(version.predict_test().to_numpy(), expected, atol=2e-3)
    assert np.abs(before - expected).max() > 0.02, "the edits must change something for this to show anything"
    assert origin(version) == found.version.about and origin(edited) is None
    counts = {"removed": 1, "relabelled": 1, "perturbed": 1}
    assert found.version.about["edits"] == {**counts, "log": made_of, "last": 3}
    assert all(path.read_bytes() == data for path, data in files.items())
    np.testing.assert_array_equal(open_workspace(edited.directory).predict_test().to_numpy(), before)


def reopened_at_home(version: Workspace) -> Workspace:
    """The version after the workspace that holds it was moved."""
    home = version.directory.parent.parent
    moved = home.rename(home.with_name("moved"))
    again = open_workspace(moved / "versions" / version.directory.name)
    assert not Path(again.settings.model).is_absolute()
    again.predict_test()
    assert parent(again) == moved and parent(open_workspace(moved)) is None
    moved.rename(home)
    return open_workspace(version.directory)


def test_each_kind_of_model_trains_on_its_own_examples(edited: Workspace) -> None:
    """Measured are, for each seed, models on the imported data, with the edits, and with that seed's random edits.

    Each is retrained by itself on a workspace of its own, without the union of the training sets.
    """
    found = retrain(edited, seeds=2, tests=[4])
    state, plan = EditLog(edited).current(), plan_of(edited)
    states = {BASELINE: {}, EDITED: state, CONTROL: random_edits(edited.train, state, 1)}
    for kind, own in states.items():
        alone = derived_workspace(edited, edited_table(edited, own), edited.directory / f"alone {kind}", name=kind)
        if plan.recipe is None:
            versions._refit(alone, plan.l2, lambda *_: None)
            expected = open_workspace(alone.directory).predict_test().to_numpy()
        else:
            expected = train(alone, replace(plan.recipe, seed=1)).predict_test().to_numpy()
        np.testing.assert_allclose(found.measured.shares[kind][1], expected, atol=2e-2, err_msg=kind)
    told = found.version.about["tests"][0]["models"]
    assert [row["models"] for row in told] == [BASELINE, EDITED, CONTROL]
    true = edited.label_ids(edited.test)[4]
    for row in told:
        shares = found.measured.shares[row["models"]][:, 4]
        assert row["probability"] == pytest.approx(shares[:, true].mean())
        assert row["predicted"] == edited.labels[int(shares.mean(axis=0).argmax())]


def test_an_interrupted_retraining_leaves_no_version(fresh: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped while the version is written: no version, no leftover after the next start, and no model made twice."""
    edit(fresh)

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(versions, "write_atomically", stop)
        with pytest.raises(KeyboardInterrupt):
            retrain(fresh, seeds=1)
    home = fresh.directory / "versions"
    assert list_versions(fresh) == [] and [path.name for path in home.iterdir()] == [".lock"]
    (home / ".making-killed").mkdir()
    (home / ".making-killed" / "half").write_text("x")
    steps: list[str] = []
    found = retrain(fresh, seeds=1, progress=lambda done, total, what: steps.append(what))
    assert found.version.number == 1 and sorted(p.name for p in home.iterdir()) == [".lock", "1"]
    assert not any(what.startswith("steps,") for what in steps), "models that were kept must not be trained again"
    with locked(home):
        assert "in use" in refusal(lambda: in_another_process(fresh))
    assert [version.number for version in list_versions(fresh)] == [1]
    assert retrain(fresh, seeds=1).version.number == 2
    (home / "2" / versions.ABOUT).write_text("{")
    assert "is damaged" in refusal(lambda: list_versions(fresh))


def in_another_process(workspace: Workspace) -> None:
    """Retrain where another thread, which a lock takes for a process, holds the lock."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        pool.submit(retrain, workspace, seeds=1).result()


def test_the_control_is_as_many_edits_of_the_same_kinds() -> None:
    """Counts of removals, new labels and changed words by label are the edits' own; other seeds draw others."""
    draw = np.random.default_rng(0)
    labels = draw.choice(["a", "b", "c"], 60)
    texts = [" ".join(draw.choice(["one", "two", "three", "four"], 8)) for _ in labels]
    table = pd.DataFrame({"text": texts, "label": labels}, index=pd.RangeIndex(60) * 3)
    state = {int(row): RowEdit(removed=True) for row in table.index[:9]}
    state |= {int(row): RowEdit(label="c" if table.loc[row, "label"] == "a" else "a") for row in table.index[9:20]}
    state |= {
        int(row): RowEdit(text="new words " + " ".join(str(table.loc[row, "text"]).split()[2:])) for row in (90, 93)
    }
    state[99] = RowEdit(note="no change of the data")

    def kinds(edits: dict[int, RowEdit]) -> Counter[tuple[str, bool, str | None, bool]]:
        rows = [(str(table.loc[row, "label"]), e.removed, e.label, e.text is None) for row, e in edits.items()]
        return Counter(rows)

    first, second = random_edits(table, state, 1), random_edits(table, state, 2)
    del state[99]
    assert kinds(first) == kinds(second) == kinds(state) and set(first) != set(second)
    for row, made in first.items():
        if made.text is not None:
            words, before = made.text.split(), str(table.loc[row, "text"]).split()
            assert len(words) == 8 and sum(a != b for a, b in zip(words, before, strict=True)) <= 2
    assert [changed_words("a b c", text) for text in ("a x c", "a c", "a b c d e", "x y z")] == [1, 1, 2, 3]


def test_positions_of_a_union_read_each_training_set(fresh: Workspace) -> None:
    """Every state's positions give its edited table row by row, an edited copy in its original's place."""
    state = edit(fresh).current()
    states = [state, random_edits(fresh.train, state, 0), {}]
    table, (unedited, *positions) = union_of(fresh, states)
    pd.testing.assert_frame_equal(table.iloc[unedited].reset_index(drop=True), fresh.train.reset_index(drop=True))
    for own, at in zip(states, positions, strict=True):
        expected = edited_table(fresh, own).reset_index(drop=True)
        pd.testing.assert_frame_equal(table.iloc[at].reset_index(drop=True), expected)


def test_intervals_cover_other_seeds_and_other_test_examples() -> None:
    """Of drawn seeds and test examples at least nine in ten 95 % intervals hold the true mean, without being wide."""
    draw, held, width = np.random.default_rng(0), 0, []
    for _ in range(300):
        test, seed = draw.normal(0, 0.3, 80), draw.normal(0, 0.02, 6)
        found = interval(0.1 + test[None] + seed[:, None] + draw.normal(0, 0.3, (6, 80)))
        held += found["low"] <= 0.1 <= found["high"]
        width.append(found["high"] - found["low"])
    true = 2 * 1.96 * np.sqrt(0.3**2 / 80 + 0.02**2 / 6 + 0.3**2 / 480)
    assert held >= 270 and np.mean(width) < 1.3 * true, (held, np.mean(width) / true)


def test_fixed_and_broken_follow_the_mean_prediction() -> None:
    """By hand: two seeds, four tests; the label of the highest mean probability counts."""
    up, down, even = [4.0, 0.0], [0.0, 4.0], [0.0, 0.1]
    logits = {
        BASELINE: np.array([[up, up, down, even], [up, down, down, up]]),
        EDITED: np.array([[down, up, down, up], [down, up, up, up]]),
        CONTROL: np.array([[up, up, up, up], [up, up, up, up]]),
    }
    measured = Measured.of(logits, np.array([1, 0, 1, 0]))
    found = {name: places.tolist() for name, places in measured.outcomes(EDITED).items()}
    # Test 1 is even before, which counts as label 0; test 2 is even after, which breaks it.
    assert found == {"fixed": [0], "broken": [2], "same": [1, 3]}
    assert measured.accuracies()[0]["by_seed"] == [0.5, 0.5]
    assert measured.differences()[2]["mean"] == pytest.approx(7 / 8 - 0.5)


def test_the_commands(fresh: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """export --cleaned and --log, retrain --edits as a table and as JSON; mistakes are one line."""
    folder = fresh.directory
    assert "there is no log to write" in refusal(lambda: command("export", folder, "--log", tmp_path / "log.csv"))
    assert "edit an example first" in refusal(lambda: command("retrain", folder, "--edits"))
    edit(fresh)
    command("export", folder, "--cleaned", tmp_path / "clean.jsonl", "--log", tmp_path / "log.csv")
    rows = [json.loads(line) for line in (tmp_path / "clean.jsonl").read_text().splitlines()]
    assert len(rows) == 39 and rows[6] == {"text": "a warm plot with a cold song", "label": fresh.train.loc[7, "label"]}
    assert pd.read_csv(tmp_path / "log.csv")["action"].tolist() == ["remove", "relabel", "perturb"]
    capsys.readouterr()
    command("retrain", folder, "--edits", "--seeds", 1, "--format", "json", "--test", 2)
    answer = json.loads(capsys.readouterr().out)
    assert answer["version"] == 1 and Path(answer["folder"]) == get_version(fresh, 1).folder
    command("retrain", folder, "--edits", "--seeds", 1, "--output", tmp_path / "found.txt")
    said = (tmp_path / "found.txt").read_text()
    assert "1 removed, 1 relabelled, 1 perturbed" in said and "edited − random edits" in said
    for words, expected in (
        (("retrain", folder), "--edits"),
        (("retrain", folder, "--edits", "--seeds", 0), "seeds must be from 1"),
        (("retrain", folder, "--edits", "--test", 99), "No test example 99"),
        (("retrain", folder, "--edits", "--format", "csv"), "No format 'csv'"),
    ):
        assert expected in refusal(lambda words=words: command(*words))
    assert "No version 9" in refusal(lambda: get_version(reopened(fresh), 9))
