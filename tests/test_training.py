"""Fine-tuning: repeatable, the same with and without cached activations, and never at the cost of what was there."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import attribution.training as training
from attribution import create_workspace, open_workspace
from attribution.training import WARM_UP, Recipe, train
from attribution.workspace import Workspace
from tests.families import tiny_model
from tests.tiny import refusal, tiny_bert, write_tables

QUICK = Recipe(trainable="last:1", epochs=2, batch_size=8, learning_rate=1e-2)


@pytest.fixture
def untrained(tmp_path: Path) -> Workspace:
    """Single texts on a tiny encoder without a head."""
    model = tiny_bert(tmp_path / "model", labels=None)
    return create_workspace(tmp_path / "w", model=model, **write_tables(tmp_path, n_train=30, n_test=20))[0]


def tensors(workspace: Workspace) -> list[dict[str, torch.Tensor]]:
    return [load_file(folder / "delta.safetensors") for folder in workspace.checkpoint_folders]


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_seed_is_a_run(untrained: Workspace) -> None:
    """The same seed gives the same tensors bit by bit, another seed others; torch's own generator is left alone."""
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    first = tensors(train(untrained, QUICK))
    assert torch.equal(torch.rand(3), wanted)
    again = tensors(train(untrained, QUICK))
    other = tensors(train(untrained, replace(QUICK, seed=1)))
    for one, two, three in zip(first, again, other, strict=True):
        assert one.keys() == two.keys() == three.keys()
        assert all(torch.equal(one[name], two[name]) for name in one)
        assert not any(torch.equal(one[name], three[name]) for name in one)


def test_a_checkpoint_holds_the_mean_rate_since_the_last(untrained: Workspace) -> None:
    """Step, epoch, mean learning rate and test accuracy of each epoch are those of an own computation."""
    recipe = Recipe(trainable="head", epochs=4, batch_size=8, learning_rate=0.02)
    trained = train(untrained, recipe)
    an_epoch = int(np.ceil(30 / 8))
    total = 4 * an_epoch
    warm_up = max(1, round(WARM_UP * total))
    rates = []
    for step in range(total):
        rising, falling = (step + 1) / warm_up, (total - step) / (total - warm_up)
        rates.append(0.02 * min(rising, falling))
    assert [state.step for state in trained.checkpoints] == [an_epoch * k for k in (1, 2, 3, 4)]
    assert [state.epoch for state in trained.checkpoints] == [1.0, 2.0, 3.0, 4.0]
    for k, state in enumerate(trained.checkpoints):
        assert state.learning_rate == pytest.approx(np.mean(rates[k * an_epoch : (k + 1) * an_epoch]))
    assert max(rates) <= 0.02
    shares = trained.predict(*trained.texts("test"))
    right = (shares.to_numpy().argmax(axis=1) == trained.label_ids(trained.test)).mean()
    assert trained.checkpoints[-1].test_accuracy == pytest.approx(right)


def test_it_learns(tmp_path: Path) -> None:
    """On separable sentences the training loss falls and unseen sentences are told apart."""
    losses: list[float] = []

    def listen(done: int, total: int, what: str) -> None:
        if "loss" in what:
            losses.append(float(what.split()[-1]))

    tables = write_tables(tmp_path, n_train=200, n_test=40)
    model = tiny_model("bert", tmp_path / "model", initializer_range=0.1)
    workspace, _ = create_workspace(tmp_path / "w", model=model, **tables)
    recipe = Recipe(trainable="all", epochs=6, batch_size=16, learning_rate=1e-2)
    trained = train(workspace, recipe, listen)
    assert len(losses) == 6 * 13
    assert np.mean(losses[-13:]) < np.mean(losses[:13]) / 3
    accuracy = trained.checkpoints[-1].test_accuracy
    assert accuracy is not None and accuracy > 0.9
    assert trained.settings.has_head and trained.settings.trainable == "all"


@pytest.mark.parametrize("trainable", ["head", "last:1", "last:2"])
def test_cached_activations_change_nothing(trainable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without dropout, feeding the last blocks stored activations gives the weights of running the whole model."""
    off: dict[str, Any] = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model = tiny_model("bert", tmp_path / "model", **off)
    tables = write_tables(tmp_path, n_train=20)
    workspace, _ = create_workspace(tmp_path / "w", model=model, **tables)
    recipe = replace(QUICK, trainable=trainable)
    cached = tensors(train(workspace, recipe))
    select = training.select

    def whole(*arguments: Any) -> tuple[set[str], None]:
        return select(*arguments)[0], None

    monkeypatch.setattr(training, "select", whole)
    plain = tensors(train(workspace, recipe))
    for one, two in zip(cached, plain, strict=True):
        assert one.keys() == two.keys()
        for name in one.keys() - {name for name in one if name.endswith("key.bias")}:
            # A key's bias has no gradient but rounding, which AdamW blows up to whole steps.
            torch.testing.assert_close(one[name].float(), two[name].float(), atol=2e-3, rtol=0.02, msg=name)


def test_training_starts_from_the_base_each_time(untrained: Workspace) -> None:
    """Training again after a first run gives what training at once gives, and replaces every checkpoint."""
    train(untrained, replace(QUICK, epochs=3, trainable="all"))
    after = train(open_workspace(untrained.directory), QUICK)
    assert [folder.name for folder in after.checkpoint_folders] == ["4", "8"]
    assert after.settings.trainable == "last:1"
    kept = [path.name for path in untrained.directory.iterdir()]
    assert set(kept) <= {"workspace.toml", "model", "train.parquet", "test.parquet", "checkpoints", ".lock"}


def test_the_first_checkpoint_is_a_state_of_its_own(untrained: Workspace) -> None:
    """The weights of an earlier checkpoint give the logits of a model trained for that long only."""
    trained = train(untrained, QUICK)
    early = trained.weights(0)
    inputs = trained.classifier.example("a warm plot").inputs
    first, last = (trained.classifier.run(inputs, weights=w)[0] for w in (early, trained.weights(1)))
    assert trained.weights(1) == {}
    assert not torch.allclose(first, last, atol=1e-4)
    model = trained.base_classifier().model
    with torch.no_grad():
        for name, value in early.items():
            model.get_parameter(name).copy_(value)
        torch.testing.assert_close(model(**inputs).logits, first)


class Stop(Exception):
    pass


def stop_at(step: int) -> Callable[[int, int, str], None]:
    def listen(done: int, total: int, what: str) -> None:
        if "loss" in what and done == step:
            raise Stop

    return listen


@pytest.mark.parametrize("step", [1, 5])
def test_an_interruption_leaves_the_old_checkpoints(step: int, untrained: Workspace) -> None:
    """Stopped in the first epoch or after the first new checkpoint, the workspace is what it was, and trains again."""
    trained = train(untrained, QUICK)
    before = snapshot(trained.directory)
    with pytest.raises(Stop):
        train(trained, replace(QUICK, seed=3, trainable="all"), stop_at(step))
    assert snapshot(trained.directory) == before
    assert {path.name for path in trained.directory.iterdir()} >= {"checkpoints"}
    assert not [path for path in trained.directory.iterdir() if path.name.startswith("tmp")]
    assert len(train(open_workspace(trained.directory), QUICK).checkpoints) == 2


def test_an_interrupted_first_training_leaves_no_head(untrained: Workspace) -> None:
    """A workspace whose only training was stopped is still one without a head."""
    with pytest.raises(Stop):
        train(untrained, QUICK, stop_at(2))
    again = open_workspace(untrained.directory)
    assert not again.settings.has_head and again.checkpoint_folders == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"trainable": "everything"}, "'everything'"),
        ({"trainable": "last:0"}, "K from 1"),
        ({"trainable": "last:-1"}, "last:-1"),
        ({"trainable": "last:1\n"}, "Known: head"),
        ({"trainable": ""}, "Known: head"),
        ({"epochs": 0}, "epochs must be above 0 and finite, not 0"),
        ({"batch_size": -1}, "batch_size must be above 0 and finite, not -1"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be above 0"),
        ({"learning_rate": float("inf")}, "learning_rate must be"),
        ({"max_length": 2}, "at least 3"),
        ({"max_length": -5}, "at least 3"),
        ({"seed": -1}, "seed must be"),
    ],
)
def test_a_mistake_in_the_recipe_is_one_line(changes: dict[str, Any], reason: str) -> None:
    """Every setting is checked before anything is loaded."""
    assert reason in refusal(lambda: Recipe(**changes))


def test_more_blocks_than_there_are(untrained: Workspace) -> None:
    """last:4 of three blocks is refused with the choices; last:3 is not."""
    message = refusal(lambda: train(untrained, replace(QUICK, trainable="last:99")))
    assert "last:99" in message and "last:1 to last:3" in message
    assert not (untrained.directory / "checkpoints").exists()
    assert train(untrained, replace(QUICK, trainable="last:3", epochs=1)).checkpoints


def test_a_rate_that_blows_up_is_said(untrained: Workspace) -> None:
    """Where the weights stop being numbers, one line says so and the workspace stays as it was."""
    before = snapshot(untrained.directory)
    message = refusal(lambda: train(untrained, replace(QUICK, learning_rate=1e30)))
    assert "learning rate" in message
    after = snapshot(untrained.directory)
    after.pop(".lock", None)
    assert after == before


def test_the_maximum_length_is_kept(untrained: Workspace) -> None:
    """Texts are cut in training at the length that every later question cuts them at."""
    trained = train(untrained, replace(QUICK, epochs=1, max_length=6))
    assert trained.settings.max_length == 6
    assert trained.classifier.max_length == 6
    assert len(trained.classifier.example("the plot " * 9).tokens) == 6
    again = train(trained, replace(QUICK, epochs=1))
    assert again.classifier.max_length == 6, "0 leaves the workspace's own limit"


def test_one_example_a_batch_and_one_batch_for_all(untrained: Workspace) -> None:
    """The extremes of the batch size run, and every example is seen once an epoch."""
    for size, steps in ((1, 30), (1000, 1)):
        trained = train(untrained, replace(QUICK, epochs=1, batch_size=size, learning_rate=1e-4))
        assert [state.step for state in trained.checkpoints] == [steps]


def test_meta_is_what_tracin_reads(untrained: Workspace) -> None:
    """Every checkpoint's folder is its step and says step, epoch, rate, accuracy and the tensors kept whole."""
    trained = train(untrained, QUICK)
    for folder in trained.checkpoint_folders:
        meta = json.loads((folder / "meta.json").read_text())
        assert set(meta) == {"step", "epoch", "learning_rate", "test_accuracy", "whole"}
        assert folder.name == str(meta["step"])
        assert {"classifier.weight", "classifier.bias"} <= set(meta["whole"])
        assert nn.Linear(16, 2).weight.shape == load_file(folder / "delta.safetensors")["classifier.weight"].shape
