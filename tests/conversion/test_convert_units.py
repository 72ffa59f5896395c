"""Costs of units in closed form against the units themselves, and estimates against projections."""

from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from torchmg.conversion.factor import estimated_loss, factorise
from torchmg.conversion.observe import Seen
from torchmg.conversion.schemes import MGIC, Circulant, Lean, Scheme
from torchmg.conversion.sites import find_sites
from torchmg.conversion.units import build, cost, ghost, refusal, width_of
from torchmg.counting.report import count
from torchmg.nn.additive import MultigridLayer
from torchmg.nn.layer_shape import LayerShape

BLOCKS: dict[str, Any] = {
    "basic": lambda: torchvision.models.resnet18(weights=None).layer2,
    "bottleneck": lambda: torchvision.models.resnet50(weights=None).layer1,
    "inverted": lambda: torchvision.models.mobilenet_v2(weights=None).features[3:7],
    "squeezed": lambda: torchvision.models.mobilenet_v3_small(weights=None).features[4:8],
}


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("sizes", [(4, 8), (8, 16), (2, 32)])
@pytest.mark.filterwarnings("ignore::torchmg.errors.HierarchyWarning")
def test_parameters_of_blocks_and_layers_are_those_of_what_is_built(name: str, sizes: tuple[int, int]) -> None:
    model, scheme = BLOCKS[name](), MGIC(*sizes)
    sites, _ = find_sites(model, stem=True, head=True)
    assert any(site.shape is None for site in sites)
    for site in sites:
        module = model.get_submodule(site.path)
        if not refusal(site, scheme):
            unit = ghost(site, module, scheme)
            assert cost(site, module, scheme, None).params == sum(p.numel() for p in unit.parameters()), site


@pytest.mark.parametrize("scheme", [MGIC(2, 8), Lean("5", 2), Circulant(4)], ids=str)
def test_macs_of_layers_are_those_that_are_counted(scheme: Scheme) -> None:
    layers = [nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.Conv2d(32, 32, 3, padding=1, bias=False)]
    for layer in layers:
        ((site,), _) = find_sites(layer)
        x = torch.zeros(1, layer.in_channels, 8, 8)
        seen = Seen(64, layer(x)[0, 0].numel())
        seen.samples[tuple(x.shape[1:])] += 1
        unit = build(site, layer, scheme)
        assert cost(site, layer, scheme, seen).macs == count(unit, tuple(x.shape[1:])).macs
        assert unit(x).shape == layer(x).shape


@pytest.mark.parametrize("groups", [(4, 1), (8, 4, 1), (8, 4, 2, 1)])
def test_the_estimate_is_near_the_start_of_the_projection_and_not_below_it(groups: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    noise = torch.randn(48, 32, 9)
    low = torch.einsum("or,rit->oit", torch.randn(48, 3), torch.randn(3, 32, 9))
    for weight in (noise, low + 0.1 * noise):
        start = factorise(weight, groups, sweeps=0)[1] ** 2
        assert start - 1e-4 <= estimated_loss(weight, groups) <= 1.1 * start + 1e-3


def test_the_estimate_of_a_hierarchy_is_nothing() -> None:
    layer = MultigridLayer(LayerShape.of(nn.Conv2d(32, 32, 3)), group_size=4, coarsest=8)
    weight = layer.dense_weight().detach().flatten(2)
    assert estimated_loss(weight, layer.hierarchy.groups) < 1e-4
    assert estimated_loss(torch.zeros(8, 8, 1), (2, 1)) == 0


def test_widths_that_are_halved() -> None:
    sites, _ = find_sites(nn.ModuleList([nn.Linear(96, 64), nn.Conv1d(24, 36, 3)]), stem=True, head=True)
    assert [width_of(site) for site in sites] == [32, 12]
