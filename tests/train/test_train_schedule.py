"""Learning rates against closed forms, and which parameters decay."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from torchmg import create
from torchmg.nn import Transfer
from torchmg.train.recipe import Recipe
from torchmg.train.schedule import learning_rate, sgd

STEPS = 10


def rates(**changes: Any) -> list[float]:
    recipe = Recipe(**{"epochs": 4, "lr": 0.8, **changes})
    return [learning_rate(recipe, step, STEPS) for step in range(recipe.epochs * STEPS)]


def test_cosine_starts_at_the_peak_and_ends_just_above_zero() -> None:
    found = rates()
    assert found == pytest.approx([0.8 * math.cos(math.pi * step / 80) ** 2 for step in range(40)])
    assert found[0] == 0.8
    assert found[20] == pytest.approx(0.4)
    assert 0 < found[39] < 0.002
    assert learning_rate(Recipe(epochs=4, lr=0.8), 40, STEPS) == pytest.approx(0, abs=1e-15)


def test_warm_up_is_linear_and_the_cosine_fills_what_is_left() -> None:
    found = rates(warmup_epochs=1.5)
    assert found[:15] == pytest.approx([0.8 * (step + 1) / 15 for step in range(15)])
    assert found[14] == found[15] == 0.8
    assert found[15:] == pytest.approx([0.8 * math.cos(math.pi * step / 50) ** 2 for step in range(25)])


def test_steps_fall_at_the_start_of_each_milestone() -> None:
    found = rates(schedule="step", milestones=(1, 3), gamma=0.5)
    assert found == pytest.approx([0.8] * 10 + [0.4] * 20 + [0.2] * 10)
    assert rates(schedule="step", milestones=(3, 1), gamma=0.5) == found
    assert rates(schedule="step", milestones=()) == [0.8] * 40
    assert rates(schedule="step", milestones=(1,), gamma=0.0)[10:] == [0.0] * 30


def test_steps_with_warm_up() -> None:
    found = rates(schedule="step", milestones=(2,), gamma=0.1, warmup_epochs=1)
    assert found == pytest.approx([0.08 * (step + 1) for step in range(10)] + [0.8] * 10 + [0.08] * 20)


@pytest.mark.parametrize("power", [0.0, 0.5, 0.9, 1.0, 3.0])
def test_poly_is_a_power_of_what_is_left(power: float) -> None:
    found = rates(schedule="poly", power=power)
    assert found == pytest.approx([0.8 * (1 - step / 40) ** power for step in range(40)])
    assert found[0] == 0.8
    found = rates(schedule="poly", power=power, warmup_epochs=1)
    assert found[:10] == pytest.approx([0.08 * (step + 1) for step in range(10)])
    assert found[10:] == pytest.approx([0.8 * (1 - step / 30) ** power for step in range(30)])


def test_poly_is_deeplabs_unless_told() -> None:
    assert rates(schedule="poly") == rates(schedule="poly", power=0.9)
    assert 0 < rates(schedule="poly")[-1] < 0.8 / 40**0.9 * 1.001


def test_constant_stays_after_the_warm_up() -> None:
    assert rates(schedule="constant") == [0.8] * 40
    assert rates(schedule="constant", warmup_epochs=2)[20:] == [0.8] * 20
    assert rates(schedule="constant", warmup_epochs=2)[:20] == pytest.approx([0.04 * (step + 1) for step in range(20)])


def test_a_warm_up_that_is_as_long_as_the_run() -> None:
    assert rates(warmup_epochs=4) == pytest.approx([0.02 * (step + 1) for step in range(40)])


def test_a_warm_up_of_less_than_a_step() -> None:
    assert rates(warmup_epochs=0.01) == rates()


# ---- parameter groups


class Everything(nn.Module):
    """One of every kind of parameter that has a rule."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 1)
        self.batch, self.group, self.layer = nn.BatchNorm2d(2), nn.GroupNorm(1, 2), nn.LayerNorm(2)
        self.linear = nn.Linear(2, 2)
        self.scale = nn.Parameter(torch.ones(()))
        self.tied = nn.Linear(2, 2, bias=False)
        self.tied.weight = self.linear.weight


def split(model: nn.Module, **changes: Any) -> dict[str, float]:
    """The decay of each parameter by name; every parameter must be in exactly one group."""
    optimizer = sgd(model, Recipe(weight_decay=0.25, **changes))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = [(names[id(p)], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(name for name, _ in found) == sorted(names.values())
    return dict(found)


def test_norms_and_biases_and_nothing_else_are_exempt() -> None:
    exempt = {name for name, decay in split(Everything(), decay="weights").items() if decay == 0}
    norms = {f"{norm}.{part}" for norm in ("batch", "group", "layer") for part in ("weight", "bias")}
    assert exempt == norms | {"conv.bias", "linear.bias"}
    assert set(split(Everything(), decay="all").values()) == {0.25}


@pytest.mark.parametrize("share", ["own", "transpose"])
def test_in_a_multigrid_network_the_rows_of_transfers_decay(share: str) -> None:
    model = create("mgic_resnet20", width=0.25, group_size=2, coarsest=4, transfer_weights=share, transfer_norm="both")
    decay = split(model, decay="weights")
    exempt = {name for name, value in decay.items() if value == 0}
    norms = {
        f"{path}.{name}"
        for path, module in model.named_modules()
        if isinstance(module, nn.BatchNorm2d)
        for name, _ in module.named_parameters()
    }
    assert exempt == norms | {"head.bias"}
    rows = [f"{path}.rows" for path, module in model.named_modules() if isinstance(module, Transfer)]
    assert len(rows) > 4
    assert all(decay[name] == 0.25 for name in rows if name in decay)
    assert any(name in decay for name in rows)


def test_a_model_that_is_only_norms_or_has_none() -> None:
    assert set(split(nn.BatchNorm2d(2), decay="weights").values()) == {0.0}
    assert set(split(nn.Conv2d(2, 2, 1, bias=False), decay="weights").values()) == {0.25}


# ---- the optimiser against the formula


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.5, 0.9])
def test_sgd_follows_its_formula(momentum: float, nesterov: bool) -> None:
    layer = nn.Linear(3, 1).double()
    recipe = Recipe(lr=0.1, momentum=momentum, nesterov=nesterov, weight_decay=0.25, decay="weights")
    optimizer = sgd(layer, recipe)
    weight, bias = layer.weight.detach().clone(), layer.bias.detach().clone()
    speed = {"weight": torch.zeros_like(weight), "bias": torch.zeros_like(bias)}
    for step in range(5):
        x = torch.randn(4, 3, dtype=torch.float64)
        optimizer.zero_grad()
        layer(x).square().mean().backward()
        optimizer.step()
        error = x @ weight.T + bias  # of mean((x w + b)^2) the derivative is 2 (x w + b) x / n
        gradient = {"weight": (error * x).mean(0, keepdim=True) * 2 + 0.25 * weight, "bias": error.mean(0) * 2}
        for name, value in (("weight", weight), ("bias", bias)):
            speed[name] = momentum * speed[name] + gradient[name]
            value -= 0.1 * (gradient[name] + momentum * speed[name] if nesterov else speed[name])
        torch.testing.assert_close(layer.weight.detach(), weight, msg=f"step {step}")
        torch.testing.assert_close(layer.bias.detach(), bias)
