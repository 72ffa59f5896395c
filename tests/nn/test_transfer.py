"""Restrictions and prolongations against dense matrices built from their rows alone."""

import copy
from pathlib import Path

import pytest
import torch
from helpers import FINE_GROUP, matrix, neighbour_group, pixel_jacobian, same_group
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_model, save_model
from torch import Tensor, nn

from torchmg.errors import GroupError, UnknownNameError
from torchmg.nn import MGICBlock, Prolongation, Restriction, Transfer

ORDERS = ("neighbour", "interleaved")
INITS = ("random", "uniform")
SHAPES = [(8, 1), (8, 2), (8, 4), (12, 3), (12, 6), (24, 4), (64, 8)]


def pair(
    channels: int, groups: int, order: str, weights: str = "own", init: str = "random"
) -> tuple[Restriction, Prolongation]:
    shared = weights == "transpose"
    restriction = Restriction(channels, groups, order=order, init=init, balanced=shared)
    if shared:
        return restriction, Prolongation.transpose_of(restriction, norm=False)
    return restriction, Prolongation(channels, groups, order=order, init=init, norm=False)


@pytest.mark.parametrize(("channels", "groups"), SHAPES)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("weights", ["own", "transpose"])
@pytest.mark.parametrize("init", INITS)
def test_rows_are_positive_with_sum_1_and_maps_equal_dense_matrices(
    channels: int, groups: int, order: str, weights: str, init: str
) -> None:
    for transfer in pair(channels, groups, order, weights, init):
        dense = matrix(transfer)
        shape = (transfer.out_channels, transfer.in_channels)
        assert torch.equal(transfer.dense_weight().double(), dense)
        assert torch.allclose(dense.sum(1), torch.ones(shape[0], dtype=torch.float64), atol=1e-6)
        assert (dense >= 0).all()
        assert transfer.rows.numel() == shape[0] * shape[1] // groups == (dense > 0).sum()
        if init == "uniform":
            assert torch.allclose(dense[dense > 0], torch.tensor(groups / shape[1], dtype=torch.float64))
        elif channels // groups > 2:  # smaller groups leave rows of one entry, or balanced ones of 1/2, no choice
            assert len(torch.unique(dense, dim=0)) == shape[0], "the rows of a group start out different"
        x = torch.randn(2, shape[1], 3, 4, dtype=torch.float64)
        y = transfer.double()(x)
        assert torch.allclose(y, torch.einsum("oi,bihw->bohw", dense, x), atol=1e-12)
        constant = torch.full((1, shape[1], 2, 2), 3.0, dtype=torch.float64)
        assert torch.allclose(transfer(constant), torch.tensor(3.0, dtype=torch.float64), atol=1e-5)


@given(half=st.integers(1, 12), groups=st.integers(1, 6), order=st.sampled_from(ORDERS), shared=st.booleans())
def test_transfers_equal_dense_matrices_for_any_widths(half: int, groups: int, order: str, shared: bool) -> None:
    channels = 2 * half * groups
    restriction, prolongation = pair(channels, groups, order, "transpose" if shared else "own")
    x = torch.randn(1, channels, 1, 2, dtype=torch.float64)
    y = torch.randn(1, channels // 2, 1, 2, dtype=torch.float64)
    down, up = matrix(restriction), matrix(prolongation)
    assert torch.allclose(restriction.double()(x), torch.einsum("oi,bihw->bohw", down, x), atol=1e-12)
    assert torch.allclose(prolongation.double()(y), torch.einsum("oi,bihw->bohw", up, y), atol=1e-12)


@pytest.mark.parametrize(("channels", "groups"), SHAPES)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("weights", ["own", "transpose"])
def test_transfers_couple_exactly_the_predicted_groups(channels: int, groups: int, order: str, weights: str) -> None:
    restriction, prolongation = pair(channels, groups, order, weights)
    fine, coarse = FINE_GROUP[order](channels, groups), neighbour_group(channels // 2, groups)
    assert torch.equal(pixel_jacobian(restriction.double(), channels) > 0, same_group(coarse, fine))
    assert torch.equal(pixel_jacobian(prolongation.double(), channels // 2) > 0, same_group(fine, coarse))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("init", INITS)
def test_a_transposed_prolongation_is_the_adjoint_up_to_2(order: str, init: str) -> None:
    restriction, prolongation = pair(24, 3, order, "transpose", init)
    assert prolongation.rows is restriction.rows
    restriction.double(), prolongation.double()
    assert prolongation.rows is restriction.rows
    nn.init.normal_(restriction.rows)
    assert torch.allclose(matrix(prolongation), 2 * matrix(restriction).T, atol=1e-12)
    for _ in range(5):
        x, y = torch.randn(24, 2, 2, dtype=torch.float64), torch.randn(12, 2, 2, dtype=torch.float64)
        up, down = prolongation(y[None])[0], restriction(x[None])[0]
        assert (up * x).sum().item() == pytest.approx(2 * (y * down).sum().item(), rel=1e-10)


def tied(block: nn.Module) -> bool:
    return all(
        up.rows is down.rows and torch.equal(matrix(up), 2 * matrix(down).T)
        for up, down in zip(block.prolong, block.restrict, strict=True)
    )


def transposed_block() -> MGICBlock:
    return MGICBlock(32, group_size=4, coarsest=8, transfer_weights="transpose")


def test_transposed_weights_are_counted_once_and_get_both_gradients() -> None:
    own, shared = MGICBlock(32, group_size=4, coarsest=8), transposed_block()
    assert tied(shared)
    saved = 32 * 16 // 8 + 16 * 8 // 4
    counts = [sum(p.numel() for p in block.parameters()) for block in (own, shared)]
    assert counts[0] - counts[1] == saved
    assert sum(cost.total.parameters for cost in shared.costs()) == counts[1]
    restriction, prolongation = pair(8, 2, "neighbour", "transpose")
    x, y = torch.randn(1, 8, 1, 1), torch.randn(1, 4, 1, 1)
    (down,) = torch.autograd.grad(restriction(x).sum(), restriction.rows)
    (up,) = torch.autograd.grad(prolongation(y).sum(), restriction.rows)
    (both,) = torch.autograd.grad(restriction(x).sum() + prolongation(y).sum(), restriction.rows)
    assert torch.allclose(both, down + up)
    assert not torch.allclose(both, down)


def test_the_tie_survives_a_deep_copy() -> None:
    block = transposed_block()
    twin = copy.deepcopy(block)
    assert tied(twin)
    assert twin.restrict[0].rows is not block.restrict[0].rows
    with torch.no_grad():
        twin.restrict[0].rows.mul_(2)
    assert tied(twin)
    assert not torch.equal(matrix(block.restrict[0]), matrix(twin.restrict[0]))


@pytest.mark.parametrize("through", ["state dict", "torch.save", "safetensors"])
def test_the_tie_survives_saving(through: str, tmp_path: Path) -> None:
    block, other = transposed_block(), transposed_block()
    file = tmp_path / "weights"
    if through == "state dict":
        other.load_state_dict(block.state_dict(), strict=True)
    elif through == "torch.save":
        torch.save(block.state_dict(), file)
        other.load_state_dict(torch.load(file, weights_only=True), strict=True)
    else:
        save_model(block, str(file))
        missing, unexpected = load_model(other, file, strict=True)
        assert not missing
        assert not unexpected
    assert tied(other)
    x = torch.randn(2, 32, 3, 3)
    assert torch.equal(block.eval()(x), other.eval()(x))


@pytest.mark.parametrize("weights", ["own", "transpose"])
def test_resetting_draws_new_rows_that_still_sum_to_1(weights: str) -> None:
    restriction, prolongation = pair(16, 2, "neighbour", weights)
    before = [matrix(restriction), matrix(prolongation)]
    for transfer in (prolongation, restriction, prolongation):
        transfer.reset_parameters()
    for old, transfer in zip(before, (restriction, prolongation), strict=True):
        dense = matrix(transfer)
        assert not torch.allclose(old, dense)
        assert torch.allclose(dense.sum(1), torch.ones(len(dense), dtype=torch.float64), atol=1e-6)


def test_a_norm_follows_the_map_with_zero_shift() -> None:
    transfer = Restriction(8, 2, norm=True)
    assert isinstance(transfer.norm, nn.BatchNorm2d)
    assert not transfer.norm.bias.any()
    y = transfer(torch.randn(16, 8, 4, 4) * 7 + 3)
    assert torch.allclose(y.mean((0, 2, 3)), torch.zeros(4), atol=1e-5)
    assert torch.allclose(y.var((0, 2, 3), correction=0), torch.ones(4), atol=1e-3)


def forbidden() -> list[tuple[object, type[Exception], list[str]]]:
    return [
        (lambda: Transfer(12, 6, 4), GroupError, ["6 channels", "4 equal groups", "12 -> 6", "3", "6"]),
        (lambda: Transfer(10, 6, 3), GroupError, ["10 channels", "3 equal groups", "2", "5"]),
        (lambda: Transfer(8, 4, 0), GroupError, ["8 channels", "0 equal groups"]),
        (lambda: Restriction(7, 1), GroupError, ["7 channels", "halves"]),
        (lambda: Prolongation(7, 1), GroupError, ["7 channels", "doubles"]),
        (lambda: Restriction(8, 8), GroupError, ["4 channels", "8 equal groups"]),
        (
            lambda: Transfer(8, 4, 2, init="unifrm"),
            UnknownNameError,
            ["transfer_init", "Did you mean uniform", "random"],
        ),
        (lambda: Restriction(8, 2, order="interleave"), UnknownNameError, ["transfer_groups", "interleaved"]),
        (lambda: Prolongation(8, 2, order="x"), UnknownNameError, ["transfer_groups", "neighbour", "interleaved"]),
    ]


@pytest.mark.parametrize("index", range(len(forbidden())))
def test_impossible_transfers(index: int) -> None:
    build, error, words = forbidden()[index]
    with pytest.raises(error) as caught:
        build()
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_the_helper_matrix_is_the_textbook_one() -> None:
    """The oracle of this file, checked once by hand: 4 -> 2 channels in 2 interleaved groups."""
    restriction = Restriction(4, 2, order="interleaved")
    restriction.rows.data = torch.tensor([1.0, 2.0, 3.0, 4.0])
    expected: Tensor = torch.tensor([[1.0, 0.0, 2.0, 0.0], [0.0, 3.0, 0.0, 4.0]], dtype=torch.float64)
    assert torch.equal(matrix(restriction), expected)
    assert torch.equal(restriction.dense_weight().double(), expected)
