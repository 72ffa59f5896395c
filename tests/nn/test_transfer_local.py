"""Transfers along chains and lattices of channels: textbook matrices, neighbours that stay so, counts of blocks."""

import re
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from torchmg.counting import count
from torchmg.errors import GroupError, UsageError
from torchmg.hierarchy import Hierarchy, coarse_lattice, lattice_shape
from torchmg.nn import MGICBlock, Prolongation, Restriction
from torchmg.nn.coupling import channel_coupling

ORDERS = ["neighbour", "interleaved", "pair", "linear", "lattice"]


def transfers(channels: int, order: Any, init: Any = "random") -> tuple[Restriction, Prolongation]:
    """Both in float64, without norms."""
    groups = channels // 2
    down = Restriction(channels, groups, order=order, init=init)
    return down.double(), Prolongation(channels, groups, order=order, init=init, norm=False).double()


def columns_of(transfer: Restriction | Prolongation) -> Tensor:
    """The matrix of a transfer, by applying it to every unit vector as an image of one pixel."""
    eye = torch.eye(transfer.in_channels, dtype=torch.float64)
    return transfer(eye[:, :, None, None])[:, :, 0, 0].T.detach()


def test_linear_transfers_are_full_weighting_and_linear_interpolation() -> None:
    """[1, 2, 1] / 4 and its interpolation on six channels, with ends whose rows sum to 1 as well."""
    down, up = transfers(6, "linear", "uniform")
    third = 1 / 3
    weighting = [[2 * third, third, 0, 0, 0, 0], [0, 0.25, 0.5, 0.25, 0, 0], [0, 0, 0, 0.25, 0.5, 0.25]]
    interpolation = [[1, 0, 0], [0.5, 0.5, 0], [0, 1, 0], [0, 0.5, 0.5], [0, 0, 1], [0, 0, 1]]
    assert torch.allclose(columns_of(down), torch.tensor(weighting, dtype=torch.float64))
    assert torch.allclose(columns_of(up), torch.tensor(interpolation, dtype=torch.float64))


@given(coarse=st.integers(1, 20), order=st.sampled_from(ORDERS), init=st.sampled_from(["random", "uniform"]))
def test_rows_sum_to_1_and_transposes_are_exact(coarse: int, order: Any, init: Any) -> None:
    channels = 2 * coarse
    down, up = transfers(channels, order, init)
    for transfer in (down, up):
        matrix = columns_of(transfer)
        assert torch.allclose(transfer.dense_weight(), matrix)
        assert (matrix >= 0).all()
        assert torch.allclose(matrix.sum(1), torch.ones(len(matrix), dtype=torch.float64), atol=1e-6)
        taps = 3 * coarse - 1 if order == "linear" else channels
        assert (matrix > 0).sum() == transfer.rows.numel() == taps
        y = torch.randn(2, transfer.out_channels, 3, 2, dtype=torch.float64)
        assert torch.allclose(transfer.group_adjoint(y), torch.einsum("oi,bohw->bihw", matrix, y), atol=1e-12)
    assert torch.equal(columns_of(down) > 0, columns_of(up).T > 0), "P has the transposed sparsity of R"


def nearness(channels: int, name: str, **options: Any) -> Tensor:
    """Which channels are neighbours of a local coupling, bool (channels, channels)."""
    return channel_coupling(name, channels, channels, **options).adjacency()


@pytest.mark.parametrize("channels", [c for c in range(4, 129, 2) if c != 72])
def test_lattice_transfers_join_pairs_and_keep_neighbours_near(channels: int) -> None:
    down, _ = transfers(channels, "lattice")
    joins = columns_of(down) > 0
    assert torch.equal(joins.sum(1), torch.full((channels // 2,), 2))
    assert torch.equal(joins.sum(0), torch.ones(channels, dtype=torch.long))
    (a, b), (rows, columns) = lattice_shape(channels), lattice_shape(channels // 2)
    assert coarse_lattice((a, b)) == (rows, columns)
    parent = joins.long().argmax(0)
    fine = list(product(range(a), range(b)))
    coarse = list(product(range(rows), range(columns)))
    for (i, p), (j, q) in product(enumerate(fine), repeat=2):
        if abs(p[0] - q[0]) + abs(p[1] - q[1]) == 1:
            s, t = coarse[int(parent[i])], coarse[int(parent[j])]
            assert abs(s[0] - t[0]) + abs(s[1] - t[1]) <= 1, "neighbours have the same parent or neighbouring ones"


@pytest.mark.parametrize(("order", "name"), [("pair", "chain"), ("linear", "chain"), ("lattice", "lattice")])
def test_coarse_neighbours_are_those_that_fine_neighbours_make(order: str, name: str) -> None:
    """Galerkin: R A P of a local A couples no channels but neighbours, or linear transfers' second neighbours."""
    for channels in (16, 24, 48, 64):
        down, up = transfers(channels, order)
        coarse = (columns_of(down) @ nearness(channels, name).double() @ columns_of(up)) > 0
        options = {"radius": 2} if order == "linear" else {}
        assert not (coarse & ~nearness(channels // 2, name, **options)).any()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dims", [0, 1, 2, 3])
@pytest.mark.parametrize("norm", ["prolong", "both", "none"])
def test_blocks_cost_what_the_closed_forms_say(order: Any, dims: Any, norm: Any) -> None:
    relax: Any = "residual" if dims else "mlp"
    block = MGICBlock(48, relax=relax, group_size=4, coarsest=8, transfer_groups=order, transfer_norm=norm, dims=dims)
    closed = block.hierarchy.costs(relax, transfer_norm=norm, dims=dims)
    assert closed == block.costs()
    total = sum(cost.total.parameters for cost in closed)
    assert total == sum(p.numel() for p in block.parameters())
    size = (5, 4, 3)[:dims]
    counted = count(block, (48, *size))
    assert counted.parameters == total
    pixels = int(torch.tensor(size).prod()) if dims else 1
    assert counted.macs == sum(cost.total.macs(pixels) for cost in closed)
    printed = re.search(r"parameters ([\d,]+)", repr(block))
    assert printed
    assert int(printed[1].replace(",", "")) == total
    x = torch.randn(2, 48, *size)
    assert block(x).shape == x.shape


def test_transfer_parameters_for_each_fine_channel() -> None:
    """p_T of the specification, section 4.3: 2 for pairs and semi-coarsening, 3 for three taps (less its ends)."""
    expected: dict[Any, int] = {"pair": 2 * 64, "lattice": 2 * 64, "linear": 3 * 64 - 2, "neighbour": 8 * 64}
    for order, both in expected.items():
        hierarchy = Hierarchy(64, 8, 32, transfer_groups=order)
        assert 2 * hierarchy.transfer_weights(0) == both


def test_sharing_weights_works_on_a_lattice_and_is_refused_on_a_chain() -> None:
    block = MGICBlock(32, group_size=4, coarsest=8, transfer_groups="lattice", transfer_weights="transpose").double()
    for down, up in zip(block.restrict, block.prolong, strict=True):
        assert isinstance(down, Restriction)
        assert isinstance(up, Prolongation)
        assert up.rows is down.rows
        torch.nn.init.normal_(down.rows)
        assert torch.allclose(up.dense_weight(), 2 * down.dense_weight().T)
    with pytest.raises(UsageError, match="transfer_weights='own'"):
        MGICBlock(32, group_size=4, coarsest=8, transfer_groups="linear", transfer_weights="transpose")
    with pytest.raises(UsageError, match="transfer_weights='own'"):
        Prolongation.transpose_of(Restriction(8, 4, order="linear"))


@pytest.mark.parametrize(
    ("build", "error", "words"),
    [
        (lambda: Restriction(8, 2, order="lattice"), UsageError, ["lattice", "groups=4"]),
        (lambda: Prolongation(8, 2, order="linear"), UsageError, ["linear", "groups=4"]),
        (lambda: Restriction(9, 3, order="lattice"), GroupError, ["9 channels"]),
        (lambda: lattice_shape(0), UsageError, ["0"]),
        (lambda: coarse_lattice((3, 3)), UsageError, ["3 x 3"]),
    ],
)
def test_impossible_transfers_of_neighbours(build: Any, error: type[Exception], words: list[str]) -> None:
    with pytest.raises(error) as caught:
        build()
    assert all(word in str(caught.value) for word in words), str(caught.value)
