"""What is a multigrid operator already is found again, and what a trained network computes is nearly kept."""

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchmg import MGIC
from torchmg.conversion.convert import convert
from torchmg.conversion.report import Report
from torchmg.data.digits import load_digits
from torchmg.nn.additive import MultigridLayer
from torchmg.nn.layer_shape import Dense, LayerShape, dense_kernel

CASES: dict[str, tuple[Any, tuple[int, ...]]] = {
    "linear": (lambda i, o: nn.Linear(i, o), ()),
    "conv1d": (lambda i, o: nn.Conv1d(i, o, 3, padding=1), (6,)),
    "conv2d": (lambda i, o: nn.Conv2d(i, o, 3, padding=1), (5, 5)),
    "transposed": (lambda i, o: nn.ConvTranspose2d(i, o, 2, stride=2), (3, 3)),
}


@torch.no_grad()
def multigrid_as_dense(layer: Dense, levels: int, permuted: bool) -> Dense:
    """Give a dense layer the kernel of a multigrid one of so many levels, in groups of 4."""
    shape = LayerShape.of(layer)
    width = min(shape.in_channels, shape.out_channels)
    source = MultigridLayer(shape, group_size=4, coarsest=width >> (levels - 1)).double()
    assert len(source.levels) == levels
    for transfer in (*source.restrict, *source.prolong):
        nn.init.normal_(transfer.get_parameter("rows"))
    if permuted:
        for level, part in enumerate(source.levels):  # the finer the stronger, or no order is better than another
            part.get_parameter("weight").mul_(100.0**-level)
    weight = source.dense_weight()
    weight /= weight.norm() / shape.out_channels**0.5
    if permuted:
        weight = weight[torch.randperm(shape.out_channels)][:, torch.randperm(shape.in_channels)]
    dense_kernel(layer).copy_(weight)
    return layer


@pytest.mark.parametrize("permuted", [False, True])
@pytest.mark.parametrize("levels", [2, 3, 4])
@pytest.mark.parametrize("kind", sorted(CASES))
def test_a_network_of_multigrid_operators_is_recovered(kind: str, levels: int, permuted: bool) -> None:
    make, size = CASES[kind]
    widths = [(32, 32), (32, 64), (64, 32)]
    parts: list[nn.Module] = []
    for inn, out in widths:
        parts += [multigrid_as_dense(make(inn, out), levels, permuted), nn.Tanh()]
    dense = nn.Sequential(*parts).eval()
    scheme = MGIC(group_size=4, coarsest=32 >> (levels - 1), permute=permuted)
    net, report = convert(dense, scheme, stem=True, head=True)
    assert len(report.replaced) == 3
    assert max(change.fit_error for change in report.replaced) < 1e-5
    x = torch.randn(4, 32, *size)
    with torch.no_grad():
        assert torch.allclose(net(x), dense(x), rtol=0, atol=1e-4)


@cache
def trained() -> tuple[nn.Module, Tensor]:
    """A small network that reads digits, and pictures that it has not seen."""
    torch.manual_seed(0)
    digits = load_digits()
    images, labels = F.avg_pool2d(digits.train.images.float() / 255, 2), digits.train.labels
    net = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(2)),
        *(nn.Conv2d(64, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        *(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)),
    )
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3, weight_decay=1e-4)
    for step in range(100):
        at = torch.arange(step * 32, step * 32 + 32) % len(images)
        optimizer.zero_grad()
        F.cross_entropy(net(images[at]), labels[at]).backward()
        optimizer.step()
    return net.eval(), F.avg_pool2d(digits.test.images.float()[:320] / 255, 2)


@cache
def at_a_quarter(warm_start: Any) -> tuple[Report, float]:
    """The conversion to a quarter of the parameters, and the error of its output on pictures not fitted to."""
    dense, images = trained()
    net, report = convert(dense, MGIC(blocks=True), ratio=4, warm_start=warm_start, data=list(images[:192].split(32)))
    with torch.no_grad():
        return report, ((net.eval()(images[192:]) - dense(images[192:])).norm() / dense(images[192:]).norm()).item()


def errors(warm_start: str) -> list[float]:
    found = [change.output_error for change in at_a_quarter(warm_start)[0].replaced]
    assert all(error is not None for error in found)
    return [error for error in found if error is not None]


def test_warm_starts_at_least_halve_the_errors_of_a_random_one() -> None:
    assert at_a_quarter("project")[0].plan() == at_a_quarter("none")[0].plan() == at_a_quarter("match")[0].plan()
    none, project, match = (errors(name) for name in ("none", "project", "match"))
    assert len(none) >= 3
    assert 2 * sum(project) < sum(none)  # on the whole: a layer makes good for those before it, at its own expense
    assert all(2 * warm < cold for warm, cold in zip(match, none, strict=True))


def test_matching_betters_projections() -> None:
    project, match = errors("project"), errors("match")
    assert sum(match) < 0.9 * sum(project)
    assert at_a_quarter("match")[1] < at_a_quarter("project")[1] < at_a_quarter("none")[1]
