"""Dropout with masks of its own: the rate, the scale, the gradient, the seed, and what it leaves behind."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from attribution.dropout import quick_dropout


@pytest.fixture
def model() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.1), nn.Dropout(0.0))


def dropped(model: nn.Sequential, states: Tensor, seed: int = 0) -> list[Tensor]:
    """What the first dropout makes of some states, twice."""
    layer: Callable[[Tensor], Tensor] = model[1]
    with quick_dropout(model, seed):
        return [layer(states), layer(states)]


def test_an_entry_is_dropped_at_the_rate_and_the_others_scaled(model: nn.Sequential) -> None:
    """A tenth of the entries is 0, within four standard errors; the others are 1 / 0.9 times what they were."""
    states = torch.randn(500, 401, generator=torch.Generator().manual_seed(1), requires_grad=True)
    found = dropped(model, states)[0]
    gone = found == 0
    error = (0.1 * 0.9 / states.numel()) ** 0.5
    assert abs(gone.float().mean().item() - 0.1) < 4 * error
    assert (gone.float().mean(dim=0).std() / (0.09 / 500) ** 0.5).item() == pytest.approx(1, abs=0.15), "not by entry"
    torch.testing.assert_close(found[~gone], states[~gone] / 0.9)
    (slope,) = torch.autograd.grad(found.sum(), states)
    torch.testing.assert_close(slope, (~gone).float() / 0.9)


def test_a_seed_is_a_row_of_masks(model: nn.Sequential) -> None:
    """The same seed draws the same masks, each call another; another seed draws others; the type of states stays."""
    states = torch.ones(40, 7, dtype=torch.bfloat16)
    first, second = dropped(model, states)
    again, other = dropped(model, states)[0], dropped(model, states, seed=1)[0]
    assert first.dtype == torch.bfloat16 and torch.equal(first, again)
    assert not torch.equal(first, second) and not torch.equal(first, other)


def test_evaluation_and_rate_zero_change_nothing(model: nn.Sequential) -> None:
    """In evaluation mode, and where nothing is to be dropped; afterwards the modules are torch's again."""
    states = torch.randn(5, 3)
    with quick_dropout(model, 0):
        assert torch.equal(model[2](states), states)
        assert torch.equal(model.eval()[1](states), states)
    assert all("forward" not in vars(module) for module in model.modules())
