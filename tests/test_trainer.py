"""Checkpoint folders of a Hugging Face Trainer: what comes back is what was saved, and what does not fit is said."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from attribution import attribute, create_workspace
from tests.families import tiny_model
from tests.oracles import assert_close, encoded, learning_rates, own_model
from tests.tiny import Tables, refusal, tiny_bert, write_tables
from tests.trainers import LABELS, RATES, trained, with_log


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny_bert(tmp_path / "model")


@pytest.fixture
def folders(model: Path, tmp_path: Path) -> list[Path]:
    """Three checkpoints, not in the order of their steps."""
    return [with_log(trained(tmp_path / "out", model, steps), RATES) for steps in (20, 30, 10)]


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    return write_tables(tmp_path)


def test_steps_and_learning_rates_are_the_trainers(
    model: Path, folders: list[Path], tables: Tables, tmp_path: Path
) -> None:
    """By rising step; η is the mean of the rates logged since the checkpoint before."""
    made, notices = create_workspace(tmp_path / "w", model=model, checkpoints=folders, **tables)
    assert [state.step for state in made.checkpoints] == [10, 20, 30]
    assert [state.epoch for state in made.checkpoints] == [1.0, 2.0, 3.0]
    assert [s.learning_rate for s in made.checkpoints] == pytest.approx([3.5e-3, 1.5e-3, 5e-4])
    assert [state.test_accuracy for state in made.checkpoints] == [None] * 3
    assert len(notices) == 1 and "step 30" in notices[0] and "--model differs" in notices[0]


@pytest.mark.parametrize("head", [True, False])
def test_every_state_comes_back(head: bool, tables: Tables, tmp_path: Path) -> None:
    """The weights of each state, and the last as the explained model, are the folders' own; a new head is kept too."""
    model = tiny_bert(tmp_path / "base", labels=LABELS if head else None)
    folders = [with_log(trained(tmp_path / "out", model, steps), RATES) for steps in (10, 20)]
    made, notices = create_workspace(tmp_path / "w", model=model, checkpoints=folders, **tables)
    assert made.settings.has_head and made.labels == LABELS and len(notices) == head
    for number, folder in enumerate(folders):
        expected = load_file(folder / "model.safetensors")
        current = {**dict(made.model.named_parameters()), **made.weights(number)}
        assert set(current) == set(expected)
        for name, value in expected.items():
            torch.testing.assert_close(current[name], value, atol=5e-4, rtol=1e-3)
    stored = load_file(made.directory / "checkpoints" / "20" / "delta.safetensors")
    assert max(float(v.abs().max()) for k, v in stored.items() if "embeddings" in k) < 0.2, "values, not differences"


def test_a_model_that_is_the_last_checkpoint_costs_nothing(tables: Tables, tmp_path: Path) -> None:
    """Where the model given is the last checkpoint, nothing of that state is stored and nothing has to be said."""
    model = tiny_bert(tmp_path / "base")
    folders = [with_log(trained(tmp_path / "out", model, steps), RATES) for steps in (10, 20)]
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(model / name, folders[1] / name)
    made, notices = create_workspace(tmp_path / "w", model=folders[1], checkpoints=folders, **tables)
    assert notices == [] and load_file(made.directory / "checkpoints" / "20" / "delta.safetensors") == {}
    assert load_file(made.directory / "checkpoints" / "10" / "delta.safetensors")
    assert not (made.directory / "model" / "training_args.bin").exists(), "a pickle was copied"


def test_tracin_sums_over_them(model: Path, folders: list[Path], tables: Tables, tmp_path: Path) -> None:
    """tracin_last weighs the gradient products of each state, read from its own file, by the Trainer's rates."""
    made, _ = create_workspace(tmp_path / "w", model=model, checkpoints=folders, **tables)
    expected = np.zeros(len(made.train))
    for state, rate in enumerate(learning_rates(made)):
        slopes = []
        for table in (made.test.loc[[1]], made.train):
            for _, row in table.iterrows():
                plain = own_model(made, state)
                weight = plain.classifier.weight.requires_grad_()
                value = plain(**encoded(made, row)).logits.log_softmax(-1)[0, made.labels.index(row["label"])]
                slopes.append(torch.autograd.grad(value, weight)[0].numpy().ravel())
        expected += rate * (np.stack(slopes[1:]) @ slopes[0])
    assert_close(attribute(made, "tracin_last", test=1, label="true").scores, expected, relative=1e-4)


def test_rates_that_are_given_stand_in(model: Path, folders: list[Path], tables: Tables, tmp_path: Path) -> None:
    """learning_rates go by rising step, whatever the order of the folders; they replace what was logged."""
    made, _ = create_workspace(
        tmp_path / "w", model=model, checkpoints=folders, learning_rates=[3e-3, 2e-3, 1e-3], **tables
    )
    assert [(s.step, s.learning_rate) for s in made.checkpoints] == [(10, 3e-3), (20, 2e-3), (30, 1e-3)]


def test_folders_that_do_not_fit_are_one_line(model: Path, folders: list[Path], tables: Tables, tmp_path: Path) -> None:
    """No folder, no checkpoint, pickles only, another architecture, other sizes, other labels, one step twice."""
    out = tmp_path / "other"
    pickled = with_log(trained(out / "pickled", model, 10), RATES)
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    relabelled = with_log(trained(out / "labels", model, 10, labels=("positive", "negative")), RATES)
    headless = with_log(trained(out / "headless", model, 10), RATES)
    shutil.copyfile(tiny_bert(out / "encoder", labels=None) / "model.safetensors", headless / "model.safetensors")
    family = with_log(trained(out / "family", tiny_model("electra", out / "electra"), 10), RATES)
    size = with_log(trained(out / "size", tiny_model("bert", out / "wide", intermediate_size=40), 10), RATES)
    twice = shutil.copytree(folders[2], out / "copy" / "checkpoint-10")
    unnamed = shutil.copytree(folders[2], out / "best")
    (unnamed / "trainer_state.json").unlink()
    for wrong, said in {
        out / "nowhere": "No checkpoint folder",
        tables["train"].parent: "no config.json",
        pickled: "never read",
        relabelled: "labels positive, negative, not negative, positive",
        headless: "no classification head",
        family: "electra",
        size: "intermediate",
        twice: "both of step 10",
        unnamed: "no trainer_state.json",
    }.items():
        before = set(tmp_path.rglob("*"))
        given = [*(folders if wrong == twice else folders[:2]), wrong]
        message = refusal(
            lambda given=given: create_workspace(tmp_path / "w", model=model, checkpoints=given, **tables)
        )
        assert said in message and str(wrong) in message, message
        assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("state", ["", "[]", "{}", '{"global_step": "x"}', '{"global_step": 3, "log_history": [3]}'])
def test_a_damaged_state_is_one_line(
    state: str, model: Path, folders: list[Path], tables: Tables, tmp_path: Path
) -> None:
    """Whatever trainer_state.json holds instead, the folder is named."""
    (folders[0] / "trainer_state.json").write_text(state)
    message = refusal(lambda: create_workspace(tmp_path / "w", model=model, checkpoints=folders, **tables))
    assert "damaged" in message and str(folders[0]) in message
