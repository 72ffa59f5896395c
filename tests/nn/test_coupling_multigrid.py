"""The additive multigrid coupling against matrices put together in numpy, level by level."""

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from torchmg.counting import count
from torchmg.errors import HierarchyWarning, UnknownNameError
from torchmg.nn.coupling import Grouped, Multigrid, correlate

ORDERS = ["neighbour", "interleaved", "pair", "linear", "lattice"]
Array = NDArray[np.float64]


def matrix_of(transfer: nn.Module, width: int) -> Array:
    """A transfer's matrix, by applying it to every unit vector."""
    columns = [transfer(row[None, :, None, None]).flatten() for row in torch.eye(width, dtype=torch.float64)]
    return torch.stack(columns, 1).detach().numpy()


def blocks_of(weight: Tensor, size: int) -> Array:
    """A grouped kernel with zeros between its groups; output i is of the group of input i, widths being equal."""
    out = weight.shape[0]
    dense = np.zeros((out, out, *weight.shape[2:]))
    for o in range(out):
        for i in range(size):
            dense[o, o // size * size + i] = weight[o, i].detach().numpy()
    return dense


def oracle(coupling: Multigrid) -> Array:
    """K_0 + sum over l of (P_1 ... P_l) K_l (R_l ... R_1), each product formed in full."""
    width = coupling.in_channels
    down, up, total = np.eye(width), np.eye(width), 0
    for index, level in enumerate(coupling.levels):
        assert isinstance(level, Grouped)
        if index:
            down = matrix_of(coupling.restrict[index - 1], width) @ down
            up = up @ matrix_of(coupling.prolong[index - 1], width // 2)
            width //= 2
        total = total + np.einsum("oi,ij...,jm->om...", up, blocks_of(level.weight, level.group_size), down)
    return np.asarray(total)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("channels", "group_size", "coarsest"), [(16, 4, 4), (24, 3, 4), (12, 2, 3), (8, 8, 8)])
@pytest.mark.parametrize(("stride", "padding"), [(1, "circular"), (2, "zeros")])
def test_the_map_and_its_transpose_are_those_of_the_sum_over_levels(
    order: Any, channels: int, group_size: int, coarsest: int, stride: int, padding: Any
) -> None:
    coupling = Multigrid(
        channels,
        channels,
        group_size=group_size,
        coarsest=coarsest,
        transfer_groups=order,
        stride=stride,
        padding=padding,
        bias=True,
    ).double()
    dense = torch.from_numpy(oracle(coupling))
    assert torch.allclose(coupling.dense_weight(), dense, atol=1e-12)
    x = torch.randn(2, channels, 7, 4, dtype=torch.float64, requires_grad=True)
    padded = F.pad(x, (1, 1, 1, 1), mode="circular") if padding == "circular" else F.pad(x, (1, 1, 1, 1))
    y, expected = coupling(x), F.conv2d(padded, dense, stride=stride)
    assert torch.allclose(y, expected, atol=1e-12)
    z = torch.randn_like(y)
    (transposed,) = torch.autograd.grad((expected * z).sum(), x)
    assert torch.allclose(coupling.adjoint(z, (7, 4)), transposed, atol=1e-12)
    counted = count(coupling, (channels, 7, 4))
    assert counted.parameters == coupling.num_params()
    assert counted.macs == coupling.macs(7, 4)
    assert coupling.adjacency().all()
    assert coupling.reach() == 1
    assert coupling.norm_bound() >= torch.linalg.matrix_norm(dense.flatten(2).sum(2), ord=2)


def test_weights_are_affine_in_the_width() -> None:
    """(k^2 + 1) s (2 c - 2 c_L) + k^2 c_L^2 of MGIC's Eq. 8, for widths that are powers of two times the coarsest."""
    for channels in (16, 32, 64, 128, 256):
        coupling = Multigrid(channels, channels, group_size=8, coarsest=16)
        assert coupling.num_params() == 10 * 8 * (2 * channels - 32) + 9 * 16**2
        assert coupling.num_params() == sum(p.numel() for p in coupling.parameters())


@given(channels=st.integers(1, 60), group_size=st.integers(1, 8), order=st.sampled_from(ORDERS))
def test_counts_and_coupling_of_any_width(channels: int, group_size: int, order: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HierarchyWarning)
        coupling = Multigrid(channels, channels, 1, group_size=group_size, coarsest=8, transfer_groups=order)
    assert coupling.num_params() == sum(p.numel() for p in coupling.parameters())
    assert coupling.reach() == 1
    coupling.double()
    x = torch.randn(1, channels, 2, 2, dtype=torch.float64)
    assert torch.allclose(coupling(x), correlate(x, coupling.dense_weight()), atol=1e-10)


@pytest.mark.parametrize("order", ORDERS)
def test_levels_share_the_variance_evenly(order: Any) -> None:
    coupling = Multigrid(64, 64, transfer_groups=order, transfer_init="uniform", padding="circular")
    mean = [0.0] * len(coupling.levels)
    for _ in range(30):
        coupling.reset_parameters()
        x = torch.randn(4, 64, 6, 6)
        for index in range(len(mean)):
            alone = [level.weight * (i == index) for i, level in enumerate(coupling.levels)]
            named = {f"levels.{i}.weight": weight for i, weight in enumerate(alone)}
            y = torch.func.functional_call(coupling, named, (x,))
            mean[index] += y.square().mean().item() / 30
    assert mean == pytest.approx([2 / len(mean)] * len(mean), rel=0.15)


@pytest.mark.parametrize("scheme", ["he", "meganet"])
def test_drawing_anew_keeps_the_rows_of_transfers_positive_with_sum_1(scheme: Any) -> None:
    coupling = Multigrid(32, 32, coarsest=8)
    before = coupling.restrict[0].dense_weight().detach().clone()
    coupling.reset_parameters(scheme)
    assert not torch.equal(before, coupling.restrict[0].dense_weight())
    for transfer in (*coupling.restrict, *coupling.prolong):
        matrix = transfer.dense_weight()
        assert (matrix >= 0).all()
        assert torch.allclose(matrix.sum(1), torch.ones(len(matrix)))


def test_a_weight_that_became_zero_stays_in_the_adjacency() -> None:
    coupling = Multigrid(16, 16, group_size=4, coarsest=4)
    for parameter in coupling.parameters():
        nn.init.zeros_(parameter)
    assert coupling.adjacency().all()


def test_it_needs_no_memory_to_be_counted() -> None:
    with torch.device("meta"):
        coupling = Multigrid(64, 64)
    assert coupling.num_params() == sum(p.numel() for p in coupling.parameters())


def test_unknown_choices() -> None:
    with pytest.raises(UnknownNameError, match="interleaved"):
        Multigrid(32, 32, transfer_groups="interleave")  # pyright: ignore[reportArgumentType]
