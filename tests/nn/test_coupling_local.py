"""Couplings on paths, rings and lattices: dense kernels built pair by pair, closed forms, reach and symmetries."""

from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from torchmg.counting import count
from torchmg.errors import GroupError, UsageError
from torchmg.hierarchy import coarse_lattice, lattice_shape
from torchmg.nn.coupling import BlockChain, Chain, Depthwise, Grouped, Lattice, LocalCoupling, channel_coupling

MEMBERS: list[tuple[str, int, dict[str, Any]]] = [
    ("chain", 7, {"radius": 1}),
    ("chain", 3, {"radius": 5}),
    ("chain", 7, {"radius": 3, "periodic": True}),
    ("block_chain", 12, {"group_size": 3, "radius": 2}),
    ("block_chain", 12, {"group_size": 4, "periodic": True}),
    ("lattice", 12, {"neighbours": 5}),
    ("lattice", 12, {"neighbours": 9}),
    ("lattice", 12, {"neighbours": 9, "periodic": True}),
    ("lattice", 15, {"neighbours": 5, "periodic": True, "rows": 3}),
    ("lattice", 7, {"neighbours": 5}),
    ("lattice", 8, {"neighbours": 9, "rows": 2}),
]


def pair_by_pair(coupling: LocalCoupling) -> Tensor:
    """The dense kernel, each pair's stencil looked up by the coordinates of its nodes."""
    c, s, grid = coupling.in_channels, coupling.block, coupling.grid
    kernel = coupling.weights[0].shape[2:]
    dense = torch.zeros(c, c, *kernel, dtype=torch.float64)
    number = {node: i for i, node in enumerate(product(*map(range, grid)))}
    for offset, weight in zip(coupling.offsets, coupling.weights, strict=True):
        rows = iter(weight)
        for node, o in number.items():
            other = tuple(n + d for n, d in zip(node, offset, strict=True))
            if coupling.periodic:
                other = tuple(n % size for n, size in zip(other, grid, strict=True))
            if other in number:
                for inside in range(s):
                    dense[o * s + inside, number[other] * s : number[other] * s + s] += next(rows).detach()
        assert next(rows, None) is None
    return dense


@pytest.mark.parametrize(("name", "channels", "options"), MEMBERS)
@pytest.mark.parametrize(("stride", "padding"), [(1, "zeros"), (2, "circular")])
def test_the_map_is_the_dense_convolution_pair_by_pair(
    name: str, channels: int, options: dict[str, Any], stride: int, padding: Any
) -> None:
    coupling = channel_coupling(name, channels, channels, stride=stride, padding=padding, **options).double()
    assert isinstance(coupling, LocalCoupling)
    dense = pair_by_pair(coupling)
    assert torch.equal(coupling.dense_weight(), dense)
    assert torch.equal(coupling.adjacency(), dense.flatten(2).abs().sum(2) > 0)
    x = torch.randn(2, channels, 7, 4, dtype=torch.float64, requires_grad=True)
    padded = F.pad(x, (1, 1, 1, 1), mode="circular") if padding == "circular" else F.pad(x, (1, 1, 1, 1))
    y, expected = coupling(x), F.conv2d(padded, dense, stride=stride)
    assert torch.allclose(y, expected, atol=1e-12)
    z = torch.randn_like(y)
    (transposed,) = torch.autograd.grad((expected * z).sum(), x)
    assert torch.allclose(coupling.adjoint(z, (7, 4)), transposed, atol=1e-12)
    counted = count(coupling, (channels, 7, 4))
    assert counted.parameters == coupling.num_params() == (dense != 0).sum()
    assert counted.macs == coupling.macs(7, 4)


@given(c=st.integers(1, 40), r=st.integers(0, 4), k=st.sampled_from([1, 3, 5]), dims=st.sampled_from([1, 2]))
def test_closed_forms_of_chains(c: int, r: int, k: int, dims: Any) -> None:
    if r < c:
        path = Chain(c, c, k, radius=r, dims=dims)
        assert path.num_params() == k**dims * ((2 * r + 1) * c - r * (r + 1)) == sum(p.numel() for p in path.weights)
    if c >= 2 * r + 1:
        ring = Chain(c, c, k, radius=r, dims=dims, periodic=True)
        assert ring.num_params() == k**dims * (2 * r + 1) * c == sum(p.numel() for p in ring.weights)
        blocks = BlockChain(4 * c, 4 * c, k, group_size=4, radius=r, dims=dims, periodic=True)
        assert blocks.num_params() == k**dims * 4 * (2 * r + 1) * 4 * c == sum(p.numel() for p in blocks.weights)


@given(c=st.integers(1, 200))
def test_closed_forms_of_lattices(c: int) -> None:
    a, b = lattice_shape(c)
    assert a * b == c
    assert a >= b
    assert not [d for d in range(b + 1, int(c**0.5) + 1) if c % d == 0], "as near a square as divisors allow"
    assert Lattice(c, c).num_params() == 9 * (5 * a * b - 2 * a - 2 * b)
    assert Lattice(c, c, neighbours=9).num_params() == 9 * (3 * a - 2) * (3 * b - 2)
    if b >= 3:
        assert Lattice(c, c, periodic=True).num_params() == 9 * 5 * c
        assert Lattice(c, c, neighbours=9, periodic=True).num_params() == 9 * 9 * c


REACH = [
    ("grouped", {}, None, None, 72),
    ("depthwise", {}, None, None, 9),
    ("chain", {"radius": 1}, 63, 255, None),
    ("chain", {"radius": 1, "periodic": True}, 32, 128, 27),
    ("chain", {"radius": 2}, 32, 128, None),
    ("chain", {"radius": 2, "periodic": True}, 16, 64, 45),
    ("chain", {"radius": 4, "periodic": True}, 8, 32, 81),
    ("lattice", {"neighbours": 5}, 14, 30, None),
    ("lattice", {"neighbours": 5, "periodic": True}, 8, 16, 45),
    ("lattice", {"neighbours": 9}, 7, 15, None),
    ("lattice", {"neighbours": 9, "periodic": True}, 4, 8, 81),
    ("multigrid", {}, 1, 1, None),
]


@pytest.mark.parametrize(("name", "options", "narrow", "wide", "each"), REACH)
def test_layers_until_all_channels_are_coupled(
    name: str, options: dict[str, Any], narrow: int | None, wide: int | None, each: int | None
) -> None:
    """The table of the specification, section 1.6, exactly."""
    for channels, reach in ((64, narrow), (256, wide)):
        coupling = channel_coupling(name, channels, channels, **options)
        assert coupling.reach() == reach
        if each is not None:
            assert coupling.num_params() == each * channels


SAME = [
    (Chain(6, 6, radius=0), Depthwise(6, 6)),
    (Lattice(6, 6, neighbours=1), Depthwise(6, 6)),
    (BlockChain(12, 12, group_size=4, radius=0), Grouped(12, 12, group_size=4)),
    (BlockChain(6, 6, group_size=1, radius=2), Chain(6, 6, radius=2)),
    (Lattice(7, 7), Chain(7, 7)),
    (Lattice(8, 8, neighbours=9, rows=1), Chain(8, 8)),
]


@pytest.mark.parametrize(("local", "other"), SAME)
def test_special_cases_are_the_simpler_members(local: LocalCoupling, other: torch.nn.Module) -> None:
    """Path lattices order their offsets as chains do, so weights carry over in order."""
    for mine, theirs in zip(local.parameters(), other.parameters(), strict=True):
        mine.data.copy_(theirs)
    x = torch.randn(2, local.in_channels, 5, 5)
    assert torch.allclose(local(x), other(x), atol=1e-6)
    assert torch.equal(local.dense_weight(), other.dense_weight())


@given(turn=st.integers(0, 8), radius=st.integers(0, 4))
def test_turning_a_ring_turns_what_it_does(turn: int, radius: int) -> None:
    ring, turned = (Chain(9, 9, radius=radius, periodic=True).double() for _ in range(2))
    for before, after in zip(ring.weights, turned.weights, strict=True):
        after.data.copy_(before.roll(turn, 0))
    x = torch.randn(2, 9, 4, 4, dtype=torch.float64)
    assert torch.allclose(turned(x.roll(turn, 1)), ring(x).roll(turn, 1), atol=1e-12)


@pytest.mark.parametrize(("name", "channels", "options"), MEMBERS)
def test_first_values_double_the_variance(name: str, channels: int, options: dict[str, Any]) -> None:
    coupling = channel_coupling(name, channels, channels, padding="circular", **options)
    variances = []
    for _ in range(50):
        coupling.reset_parameters()
        variances.append(coupling(torch.randn(2, channels, 8, 8)).square().mean())
    assert torch.stack(variances).mean().item() == pytest.approx(2, rel=0.1)


def test_half_a_lattice_is_the_lattice_of_half_the_channels_with_few_exceptions() -> None:
    even = range(2, 1025, 2)
    exceptions = [c for c in even if coarse_lattice(lattice_shape(c)) != lattice_shape(c // 2)]
    assert len(exceptions) == 26
    assert not [c for c in exceptions if c // (c & -c) in (1, 3, 5, 7, 11, 13)]
    assert coarse_lattice(lattice_shape(72)) == (9, 4)
    assert [lattice_shape(c) for c in (64, 112, 128)] == [(8, 8), (14, 8), (16, 8)]


@pytest.mark.parametrize(
    ("name", "sizes", "options", "error", "words"),
    [
        ("chain", (8, 16), {}, UsageError, ["8 -> 16", "pointwise"]),
        ("lattice", (8, 16), {}, UsageError, ["8 -> 16", "grouped"]),
        ("chain", (8, 8), {"radius": -1}, UsageError, ["radius", "-1"]),
        ("chain", (4, 4), {"radius": 2, "periodic": True}, UsageError, ["5 channels", "4"]),
        ("block_chain", (16, 16), {"periodic": True}, UsageError, ["3 blocks", "2"]),
        ("block_chain", (12, 12), {}, GroupError, ["12 channels", "Nearest: 6"]),
        ("lattice", (8, 8), {"periodic": True}, UsageError, ["3 channels along each axis"]),
        ("lattice", (9, 9), {"neighbours": 4}, UsageError, ["5 or 9", "4"]),
        ("lattice", (9, 9), {"rows": 4}, UsageError, ["9 channels", "Nearest: 3"]),
        ("multigrid", (32, 64), {}, UsageError, ["32 -> 64"]),
    ],
)
def test_impossible_couplings(
    name: str, sizes: tuple[int, int], options: dict[str, Any], error: type[Exception], words: list[str]
) -> None:
    with pytest.raises(error) as caught:
        channel_coupling(name, *sizes, **options)
    assert all(word in str(caught.value) for word in words), str(caught.value)
