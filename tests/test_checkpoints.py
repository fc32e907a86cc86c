"""Checkpoints: what is stored is small, is everything that changed, and comes back as it was."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.torch import load_file, save_file

from attribution.checkpoints import (
    Checkpoint,
    checkpoint_folders,
    checkpoint_weights,
    checkpoints_digest,
    read_checkpoint,
    save_checkpoint,
)
from tests.tiny import refusal

META = Checkpoint(step=7, epoch=0.5, learning_rate=3e-4, test_accuracy=0.75)


def base() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(4, 3, generator=generator) / 20 for name in ("a", "b", "c")}


def test_only_what_changed_is_stored(tmp_path: Path) -> None:
    """A tensor equal to the base's is left out; one that the base lacks is kept whole; all are fp16."""
    old = base()
    new = {"a": old["a"].clone(), "b": old["b"] + 1e-3, "head": torch.ones(2, 2) * 0.3}
    save_checkpoint(tmp_path, META, new=new, base=old)
    stored = load_file(tmp_path / "delta.safetensors")
    assert set(stored) == {"b", "head"}
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    weights = checkpoint_weights(tmp_path, {**old, "head": torch.zeros(2, 2)})
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    torch.testing.assert_close(weights["b"], new["b"], atol=1e-6, rtol=0)
    torch.testing.assert_close(weights["head"], new["head"], atol=1e-3, rtol=0)


@settings(deadline=None, max_examples=60)
@given(
    values=arrays.arrays("float32", (3, 4), elements=st.floats(-2, 2, width=32)),
    moves=arrays.arrays("float32", (3, 4), elements=st.floats(-0.125, 0.125, width=32)),
)
def test_a_difference_keeps_its_digits(tmp_path_factory: pytest.TempPathFactory, values, moves) -> None:
    """The error of a weight that comes back is a 2048th of its move, not of its value, or the rounding of the sum."""
    folder = tmp_path_factory.getbasetemp() / "round-trip"
    old, new = {"w": torch.from_numpy(values)}, {"w": torch.from_numpy(values + moves)}
    save_checkpoint(folder, META, new=new, base=old)
    back = checkpoint_weights(folder, old).get("w", old["w"])
    moved = (new["w"] - old["w"]).abs()
    allowed = moved / 2048 + 2.0**-24 + new["w"].abs() * 2.0**-22
    assert bool(((back - new["w"]).abs() <= allowed).all())


def test_the_description_is_readable_beside_the_tensors(tmp_path: Path) -> None:
    """meta.json names step, epoch, mean learning rate, accuracy and the tensors kept whole, and is read back."""
    save_checkpoint(tmp_path, META, new={"head": torch.ones(1)}, base={})
    assert json.loads((tmp_path / "meta.json").read_text()) == {
        "step": 7,
        "epoch": 0.5,
        "learning_rate": 3e-4,
        "test_accuracy": 0.75,
        "whole": ["head"],
    }
    assert read_checkpoint(tmp_path) == META
    assert {path.name for path in tmp_path.iterdir()} == {"meta.json", "delta.safetensors"}


def test_checkpoints_are_in_the_order_of_their_steps(tmp_path: Path) -> None:
    """10 comes after 9, other folders are no checkpoints, and the digest follows the tensors only."""
    assert checkpoint_folders(tmp_path) == []
    digests = [checkpoints_digest(tmp_path)]
    for step in (10, 9, 100):
        save_checkpoint(tmp_path / "checkpoints" / str(step), META, new={"w": torch.ones(1) * step}, base={})
        digests.append(checkpoints_digest(tmp_path))
    (tmp_path / "checkpoints" / "best").mkdir()
    assert [folder.name for folder in checkpoint_folders(tmp_path)] == ["9", "10", "100"]
    assert len(set(digests)) == 4
    (tmp_path / "checkpoints" / "9" / "meta.json").write_text("{}")
    assert checkpoints_digest(tmp_path) == digests[-1]


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    """A tensor without a place in the base, or of another shape, is named."""
    save_checkpoint(tmp_path, META, new={"w": torch.ones(2, 2)}, base={})
    for other in ({"v": torch.ones(2, 2)}, {"w": torch.ones(3)}):
        message = refusal(lambda other=other: checkpoint_weights(tmp_path, other))
        assert "w has no place" in message and str(tmp_path) in message


@pytest.mark.parametrize(
    "meta", ["", "[]", "{}", '{"step": 1}', '{"whole": []}', '{"whole": [], "steps": 1}', "\udcff"]
)
def test_a_damaged_description_is_one_line(meta: str, tmp_path: Path) -> None:
    """Whatever meta.json holds instead of a checkpoint's description, the folder is named."""
    save_checkpoint(tmp_path, META, new={"w": torch.ones(1)}, base={})
    (tmp_path / "meta.json").write_bytes(meta.encode(errors="surrogateescape"))
    message = refusal(lambda: read_checkpoint(tmp_path))
    assert str(tmp_path) in message and "damaged" in message


def test_damaged_tensors_are_one_line(tmp_path: Path) -> None:
    """Every way to cut the file short is noticed."""
    old = {"w": torch.zeros(50)}
    save_checkpoint(tmp_path, META, new={"w": torch.ones(50)}, base=old)
    path = tmp_path / "delta.safetensors"
    whole = path.read_bytes()
    for length in (0, 4, 30, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert "damaged" in refusal(lambda: checkpoint_weights(tmp_path, old))


def test_a_value_that_fp16_cannot_hold_is_not_stored_as_infinite(tmp_path: Path) -> None:
    """A weight that training blew up is an error when it is saved, not a silent infinity later."""
    for value in (float("nan"), 1e6):
        message = refusal(
            lambda value=value: save_checkpoint(tmp_path, META, new={"w": torch.tensor([value])}, base={})
        )
        assert "w" in message and "learning rate" in message
        assert list(tmp_path.iterdir()) == []


def test_tensors_may_share_memory(tmp_path: Path) -> None:
    """Tied weights, and slices of one tensor, are stored like any other."""
    tied = torch.randn(4, 4)
    save_checkpoint(tmp_path, META, new={"a": tied, "b": tied, "c": tied[:2].T}, base={})
    weights = checkpoint_weights(tmp_path, {"a": tied, "b": tied, "c": tied[:2].T})
    torch.testing.assert_close(weights["c"], tied[:2].T, atol=2e-3, rtol=0)
    save_file({"a": torch.zeros(1)}, tmp_path / "delta.safetensors")
    assert "a has no place" in refusal(lambda: checkpoint_weights(tmp_path, {"a": tied}))
