"""TracIn over slightly changed copies of the final model: loops over models that plain SGD has moved by one step."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from attribution import attribute
from attribution.ekfac import sample
from attribution.scoring import Choices, plan
from attribution.variants import BATCH, Copy, weights_of
from attribution.workspace import Workspace
from tests.dense import LAST
from tests.oracles import assert_close, encoded, flat_gradient, log_probability, own_model, reopened
from tests.tiny import refusal

TEST, LABEL = 3, 1


def stepped(space: Workspace, copy: Copy) -> torch.nn.Module:
    """The final model after one step of torch's own SGD on the copy's mini-batch, one example at a time."""
    model = own_model(space).requires_grad_()
    rows = sample(space, BATCH, draw=f"{copy.seed} {copy.number}")[0]
    loss = torch.zeros(())
    for row in rows:
        example = space.train.iloc[int(row)]
        loss = loss - log_probability(model, encoded(space, example), space.labels.index(example["label"])) / len(rows)
    moving = [p for name, p in model.named_parameters() if name in space.trained]
    loss.backward()
    torch.optim.SGD(moving, lr=copy.step).step()
    return model


def summed(space: Workspace, names: tuple[str, ...], *, copies: int, step: float, seed: int) -> np.ndarray:
    """Σ_k ⟨∇F, −∇ℓ_i⟩ over the copies, every gradient by autograd on one example: (train,)."""
    total = np.zeros(len(space.train))
    for number in range(copies):
        model = stepped(space, Copy(number=number, step=step, seed=seed))

        def gradient(row: Any, label: int, model: torch.nn.Module = model) -> np.ndarray:
            return flat_gradient(model, log_probability(model, encoded(space, row), label), names)

        query = gradient(space.test.loc[TEST], LABEL)
        total += [gradient(row, space.labels.index(row["label"])) @ query for _, row in space.train.iterrows()]
    return total


@pytest.mark.oracle("tracinf")
@pytest.mark.parametrize("scorer", ["sweep", "index"])
@pytest.mark.parametrize("name", ["workspace", "moving"])
def test_copies_are_the_loop(request: pytest.FixtureRequest, tmp_path: Path, name: str, scorer: str) -> None:
    """A step so large that the copies differ, where the last block or everything was trained; exact rows are theirs."""
    source = request.getfixturevalue(name)
    shutil.copytree(source.directory, tmp_path / "own", ignore=shutil.ignore_patterns("index", "results"))
    space = reopened(source, tmp_path / "own")
    options = {"copies": 2, "step": 0.3, "seed": 4}
    expected = summed(space, LAST["last:2"], **options)
    table = attribute(space, "tracinf", test=TEST, label=space.labels[LABEL], scorer=scorer, **options)
    rows = np.arange(len(expected)) if table.scored.exact else table.scored.exact_rows
    assert rows is not None and table.scored.scorer == scorer
    assert_close(table.scores[rows], expected[rows], relative=5e-3)
    still = attribute(space, "gd", test=TEST, label=space.labels[LABEL], scope="last:2", scorer="sweep").scores
    assert np.abs(expected - 2 * still).max() > 0.05 * np.abs(expected).max(), "the copies are the model itself"


@pytest.mark.oracle("tracinf")
def test_small_steps_give_copies_times_gd(workspace: Workspace) -> None:
    """As the step goes to 0, three copies are three times the product of gradients at the model itself."""
    asked = {"test": TEST, "scope": "last:1", "scorer": "sweep"}
    gd = attribute(workspace, "gd", **asked).scores
    found = [attribute(workspace, "tracinf", step=step, **asked).scores for step in (1e-1, 1e-3)]
    far, near = (float(np.abs(scores - 3 * gd).max() / np.abs(3 * gd).max()) for scores in found)
    assert near < 2e-3 and near < far / 10


def test_copies_differ_by_seed_and_number_and_not_by_the_order_of_the_data(workspace: Workspace) -> None:
    """Every copy draws its own mini-batch, by a hash of the examples; the training set's order plays no part."""
    draws = [set(sample(workspace, 8, draw=draw)[0].tolist()) for draw in ("0 0", "0 1", "1 0")]
    assert len({frozenset(draw) for draw in draws}) == 3
    copy = Copy(number=0, step=0.1, seed=0)
    moved = weights_of(workspace, copy)
    parameters = dict(workspace.model.named_parameters())
    assert set(moved) == workspace.trained < set(parameters)
    assert all((moved[name] != parameters[name]).any() for name in moved if name.endswith("dense.weight"))


def test_a_head_moves_with_what_is_below_it(workspace: Workspace) -> None:
    """The closed form stays away from copies: their features are not those that are kept."""
    assert plan(workspace, Choices(checkpoints="copies")).scorer == "index"
    message = refusal(lambda: attribute(workspace, "tracinf", test=TEST, scope="head", scorer="head"))
    assert "scorer=head" in message and "copies" in message


def test_a_step_below_the_scope_is_seen(moving: Workspace) -> None:
    """Where all of the model was trained, the states kept for the final model are not taken for the copies'."""
    attribute(moving, "gd", test=TEST, scope="last:1")  # an index, which keeps such states
    options = {"copies": 1, "step": 0.3, "seed": 0}
    table = attribute(
        moving, "tracinf", test=TEST, label=moving.labels[LABEL], scope="last:1", scorer="sweep", **options
    )
    assert_close(table.scores, summed(moving, LAST["last:1"], **options), relative=2e-3)
