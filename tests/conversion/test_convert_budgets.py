"""Budgets of whole networks: kept, used up, and better spent than by one setting everywhere."""

import re
from functools import cache
from itertools import pairwise
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from torchmg import MGIC
from torchmg.conversion.budget import best_uniform
from torchmg.conversion.convert import convert
from torchmg.conversion.menu import Losses, lost, menu
from torchmg.conversion.observe import macs_of, observe
from torchmg.conversion.report import Change, Report
from torchmg.conversion.schemes import Circulant, Scheme
from torchmg.conversion.units import cost, dense_cost, width_of
from torchmg.conversion.warm_start import estimated_errors
from torchmg.counting.report import count
from torchmg.errors import BudgetError, UsageError

pytestmark = pytest.mark.filterwarnings("ignore::torchmg.errors.HierarchyWarning")
By = Literal["params", "macs"]


@torch.no_grad()
def trained(layer: nn.Linear | nn.Conv2d, draws: torch.Generator) -> nn.Module:
    """A layer whose kernel is nearly of low rank, as trained ones are; how nearly is drawn."""
    out, inn = layer.weight.shape[0], layer.weight[0].numel()
    rank = int(torch.randint(1, 6, (), generator=draws))
    noise = 10 ** float(-2.5 * torch.rand((), generator=draws))
    low = torch.randn(out, rank, generator=draws) @ torch.randn(rank, inn, generator=draws) / rank**0.5
    layer.weight.copy_((low + noise * torch.randn(out, inn, generator=draws)).view_as(layer.weight) / inn**0.5)
    return layer


def network(seed: int) -> tuple[nn.Module, Tensor]:
    """A small CNN or MLP and its input."""
    draws = torch.Generator().manual_seed(seed)
    step = 16 if seed % 2 else 8
    widths = [step * int(torch.randint(2, 7, (), generator=draws)) for _ in range(5)]
    parts: list[nn.Module] = []
    if seed % 2:
        parts.append(nn.Linear(12, widths[0]))
        for before, after in pairwise(widths):
            parts += [nn.ReLU(), trained(nn.Linear(before, after), draws)]
        return nn.Sequential(*parts, nn.ReLU(), nn.Linear(widths[-1], 5)).eval(), torch.randn(2, 12, generator=draws)
    parts.append(nn.Conv2d(3, widths[0], 3, padding=1))
    for place, (before, after) in enumerate(pairwise(widths[:4])):
        kernel, stride = (3, 1 + place % 2) if place != 1 else (1, 1)
        layer = nn.Conv2d(before, after, kernel, stride, padding=kernel // 2, bias=False)
        parts += [nn.BatchNorm2d(before), nn.ReLU(), trained(layer, draws)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[3], 5)]
    return nn.Sequential(*parts, *head).eval(), torch.randn(2, 3, 6, 6, generator=draws)


def uniform_loss(net: nn.Module, report: Report, scheme: Scheme, limit: int, by: By, x: Tensor) -> float:
    """The least estimated loss within the limit of one setting for all sites that it makes smaller, from the bottom."""
    sites = [change.site for change in report.changes]
    seen = observe(net, {site.path: -1 if site.shape and site.shape.dims == 0 else 1 for site in sites}, x)
    whole = sum(p.numel() for p in net.parameters()) if by == "params" else macs_of(net, x)
    losses = []
    for setting in dict.fromkeys(setting for site in sites for setting in scheme.settings(width_of(site))):
        spent, loss = whole, 0.0
        for site in sites:
            module = net.get_submodule(site.path)
            dense, own = (f(site, module, *s, seen[site.path]) for f, s in ((dense_cost, ()), (cost, (setting,))))
            if own.params < dense.params and setting in scheme.settings(width_of(site)):
                spent += getattr(own, by) - getattr(dense, by)
                loss += lost(estimated_errors(site, module, setting))
        losses += [loss] if spent <= limit else []
    return min(losses, default=float("inf"))


@cache
def beaten(seed: int) -> bool:
    """Check one pair of a network and a budget, and tell whether the budget is strictly better than uniform sizes."""
    net, x = network(seed)
    by: By = "macs" if seed % 4 >= 2 else "params"
    scheme: Scheme = Circulant() if seed % 5 == 0 and by == "params" else MGIC(blocks=True)
    whole = sum(p.numel() for p in net.parameters()) if by == "params" else macs_of(net, x)
    with pytest.raises(BudgetError) as error:
        convert(net, scheme, **{f"max_{by}": 1}, example_input=x)
    share = float(torch.empty(()).uniform_(0.1, 0.7, generator=torch.Generator().manual_seed(seed)))
    limit = int(least_in(error.value) + share * (whole - least_in(error.value)))
    new, report = convert(net, scheme, **{f"max_{by}": limit}, example_input=x, warm_start="none")

    counted = count(new, tuple(x.shape[1:]))
    assert counted.parameters == report.after.params == sum(p.numel() for p in new.parameters())
    assert counted.macs == report.after.macs
    spent = counted.parameters if by == "params" else counted.macs
    assert spent <= limit

    axes = {c.site.path: -1 if c.site.shape and c.site.shape.dims == 0 else 1 for c in report.changes}
    seen = observe(net, axes, x)

    def choices(change: Change) -> list:
        module, met = net.get_submodule(change.site.path), seen[change.site.path] if by == "macs" else None
        return menu(change.site, module, scheme, met, Losses(net, None))

    menus = [choices(change) for change in report.changes]
    for change, own in zip(report.changes, menus, strict=True):
        mine = next(choice for choice in own if choice.label == change.scheme)
        assert mine.cost(by) == getattr(change.after, by)
        assert mine.loss == pytest.approx(change.loss)
        for other in own:
            assert other.loss >= mine.loss or spent - mine.cost(by) + other.cost(by) > limit

    fixed = whole - sum(getattr(change.before, by) for change in report.changes)
    picks = best_uniform(menus, limit, by, fixed)
    listed = float("inf") if picks is None else sum(own[pick].loss for own, pick in zip(menus, picks, strict=True))
    uniform = uniform_loss(net, report, scheme, limit, by, x)
    assert report.estimated_loss <= min(listed, uniform) + 1e-9
    return report.estimated_loss < min(listed, uniform) - 1e-9


def least_in(error: BudgetError) -> int:
    """The least cost that an error's message says can be reached."""
    found = re.search(r"least that can be reached is ([\d,]+)\.", str(error))
    assert found is not None
    return int(found[1].replace(",", ""))


@pytest.mark.parametrize("seed", range(20))
def test_a_budget_is_kept_used_up_and_never_worse_than_uniform_settings(seed: int) -> None:
    beaten(seed)


def test_budgets_beat_uniform_settings_almost_always() -> None:
    assert sum(map(beaten, range(20))) >= 18


@pytest.mark.parametrize("by", ["params", "macs"])
def test_a_budget_out_of_reach_names_modules_and_the_least_there_is(by: By) -> None:
    net, x = network(2)
    with pytest.raises(BudgetError, match=r"most at '\d+'") as error:
        convert(net, **{f"max_{by}": 1000}, example_input=x)
    least = least_in(error.value)
    _, report = convert(net, **{f"max_{by}": least}, example_input=x, warm_start="none")
    assert getattr(report.after, by) == least
    with pytest.raises(BudgetError):
        convert(net, **{f"max_{by}": least - 1}, example_input=x)


def test_a_ratio_out_of_reach_says_which_can_be_reached() -> None:
    net, _ = network(2)
    with pytest.raises(BudgetError, match=r"ratio=([\d.]+)") as error:
        convert(net, ratio=1000)
    found = re.search(r"ratio=([\d.]+)", str(error.value))
    assert found is not None
    _, report = convert(net, ratio=float(found[1].rstrip(".")), warm_start="none")
    assert report.before.params / report.after.params >= float(found[1].rstrip("."))


def test_a_budget_above_the_network_says_that_nothing_is_to_do() -> None:
    net, x = network(0)
    for limits in ({"max_params": 10**8}, {"max_macs": 10**10}):
        with pytest.raises(UsageError, match="within the budget as it is"):
            convert(net, **limits, example_input=x)
