"""Small random networks on small and odd maps, and every model of the catalogue, all with statistics of their own."""

import copy
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import torchmg
from tests.inference.norm_statistics import randomised
from torchmg.inference.plan import Plan, fold
from torchmg.inference.torch_run import run_network
from torchmg.kernels import native
from torchmg.models.catalog import MODELS
from torchmg.nn import MGICBlock
from torchmg.nn.inverted_residual import InvertedResidual
from torchmg.nn.sic import SiC

CHANNELS = 16


class Correct(nn.Module):
    """u of SiC for f = x and a start at zero."""

    def __init__(self, **options: str) -> None:
        super().__init__()
        self.sic = SiC(CHANNELS, group_size=4, coarsest=8, **options)  # pyright: ignore[reportArgumentType]

    def forward(self, x: Tensor) -> Tensor:
        return self.sic(torch.zeros_like(x), x)


class Shared(nn.Module):
    """A norm that a 1x1 map, a slice and an activation read, in any order."""

    def __init__(self, order: tuple[int, ...]) -> None:
        super().__init__()
        self.order = order
        self.first, self.norm = nn.Conv2d(CHANNELS, CHANNELS, 1, groups=2), nn.BatchNorm2d(CHANNELS)
        self.map = nn.Conv2d(CHANNELS, CHANNELS, 1, bias=False, groups=4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.first(x))
        readers = (lambda: self.map(y.flip(1)), lambda: torch.cat([y[:, 4:], y[:, :4]], 1), y.relu, lambda: self.map(y))
        made = [readers[place]() for place in self.order]
        return torch.cat(made, 1).unflatten(1, (len(made), -1)).sum(1)


def strided(kernel: int, groups: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(CHANNELS, CHANNELS, kernel, 2, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(CHANNELS)
    )


PIECES: st.SearchStrategy[Callable[[], nn.Module]] = st.one_of(
    st.builds(
        lambda **options: lambda: MGICBlock(CHANNELS, coarsest=4, **options),
        relax=st.sampled_from(["residual", "bottleneck", "wide_bottleneck"]),
        transfer_norm=st.sampled_from(["prolong", "both", "none"]),
        group_size=st.sampled_from([2, 4]),
        transfer_groups=st.sampled_from(["neighbour", "interleaved"]),
        transfer_weights=st.sampled_from(["own", "transpose", "fixed"]),
        transfer_init=st.sampled_from(["random", "gaussian"]),
        correction=st.sampled_from(["fas", "plain"]),
        coupling=st.sampled_from(["grouped", "shuffle", "separable"]),
        coarsest_coupling=st.sampled_from(["full", "grouped", "shuffle"]),
    ),
    st.builds(
        lambda **options: lambda: InvertedResidual(CHANNELS, **options),
        hidden=st.sampled_from([CHANNELS, 40]),
        kernel_size=st.sampled_from([3, 5]),
        act=st.sampled_from([nn.ReLU, nn.Hardswish]),
        squeezed=st.sampled_from([None, 4]),
    ),
    st.builds(
        lambda **options: lambda: Correct(**options),
        transfer_norm=st.sampled_from(["prolong", "both", "none"]),
        norms=st.sampled_from(["use", "level"]),
    ),
    st.builds(lambda order: lambda: Shared(tuple(order)), st.permutations(range(4))),
    st.builds(
        lambda kernel, groups: lambda: strided(kernel, groups), st.sampled_from([1, 3, 5]), st.sampled_from([1, 4, 16])
    ),
)


def error(got: Tensor, wanted: Tensor) -> float:
    """Largest error over the largest entry."""
    assert got.shape == wanted.shape
    return float((got.double() - wanted.double()).abs().max() / wanted.abs().max().clamp_min(1e-30))


@torch.no_grad()
def check(model: nn.Module, shape: tuple[int, ...]) -> None:
    """The folded network in torch, and the executor twice, whose memory is not fresh then."""
    randomised(model)
    network = fold(model, shape)
    x = torch.randn(2, *shape)
    wanted = copy.deepcopy(model).double()(x.double())
    assert error(run_network(network, x), wanted) < 1e-4
    library = native.loaded()
    if library is not None:
        plan = Plan(network, library)
        for _ in range(2):
            assert error(plan(x), wanted) < 1e-4


@settings(max_examples=6)
@given(st.lists(PIECES, min_size=1, max_size=2), st.integers(1, 9), st.integers(1, 9), st.integers(0, 10**6))
def test_random_networks(pieces: list[Callable[[], nn.Module]], height: int, width: int, seed: int) -> None:
    torch.manual_seed(seed)
    layers = [piece() for piece in pieces]
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(CHANNELS, 5))
    check(nn.Sequential(nn.Conv2d(3, CHANNELS, 3, padding=1), *layers, head), (3, height, width))


def test_maps_through_a_norm_that_several_read() -> None:
    check(MGICBlock(64, transfer_norm="both"), (64, 5, 5))
    for order in ((0, 1, 2, 3), (1, 0, 3, 2), (3, 2, 0, 1)):
        check(Shared(order), (CHANNELS, 3, 4))


@pytest.mark.parametrize(
    "options",
    [
        {"correction": "plain"},
        {"correction": "plain", "transfer_norm": "none", "transfer_init": "gaussian", "cycle": "W"},
        {"transfer_weights": "fixed", "transfer_init": "gaussian", "transfer_groups": "interleaved"},
        {"coarsest_coupling": "grouped"},
        {"coupling": "shuffle"},
        {"coupling": "separable", "coarsest_coupling": "shuffle"},
    ],
    ids=str,
)
def test_blocks_with_other_corrections_transfers_and_couplings(options: dict) -> None:
    check(MGICBlock(32, group_size=4, coarsest=8, **options), (32, 5, 4))


def test_a_split_does_not_change_with_what_is_left_to_torch() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(4, 8, 1), nn.BatchNorm2d(8)

        def forward(self, x: Tensor) -> Tensor:
            y = self.norm(self.conv(x)).unflatten(1, (2, 4))
            return torch.softmax(y.transpose(1, 2), 1).flatten(1, 2) * y.flatten(1, 2)[:, [1, 0, *range(2, 8)]]

    check(Odd(), (4, 3, 3))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 2), (2, 1), (2, 2), (3, 8), (8, 8), (5, 7)])
@pytest.mark.parametrize("kernel", [3, 5])
def test_means_and_depthwise_maps_see_zero_padding(height: int, width: int, kernel: int) -> None:
    def depthwise() -> nn.Module:
        return nn.Sequential(nn.Conv2d(16, 16, kernel, padding=kernel // 2, groups=16), nn.Sigmoid())

    # Everything is positive, so that what is left in padding of earlier tensors does not cancel.
    first = nn.Conv2d(3, 16, 1)
    check(nn.Sequential(first, *(depthwise() for _ in range(5)), nn.AdaptiveAvgPool2d(1)), (3, height, width))


def test_a_padded_map_of_one_pixel_grows() -> None:
    check(nn.Sequential(nn.Conv2d(3, 8, 1, padding=1), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, padding=2)), (3, 1, 1))


TINY = {"classify": (32, 33), "segment": (32, 48)}
SIZES = [
    (entry.name, size, (entry.input[0], *where))
    for entry in MODELS.values()
    if len(entry.input) == 3
    for size, where in (("own", entry.input[1:]), ("tiny", TINY.get(entry.task, (3, 2))))
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "shape"), [pytest.param(n, s, id=f"{n}-{size}") for n, size, s in SIZES])
@torch.no_grad()
def test_catalogue(name: str, shape: tuple[int, ...]) -> None:
    model = randomised(torchmg.create(name))
    x = torch.randn(1, *shape)
    wanted = model(x)
    fast = torchmg.optimize(model, input=shape)
    assert not fast.reasons
    assert error(fast(x), wanted) < 1e-3
    planned = fast.plan(shape)
    if planned is not None and x[0].numel() < 3 * 64 * 64:
        assert error(run_network(planned.network, x), wanted) < 1e-3
