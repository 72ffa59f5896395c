"""Vectors, sequences and volumes: what images do, on other numbers of axes."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import torchmg
from torchmg.errors import GroupError, ShapeError, UsageError
from torchmg.nn import (
    ConvNormAct,
    GroupedConv1d,
    GroupedConv2d,
    GroupedConv3d,
    GroupedLinear,
    LightShortcut,
    MGICBlock,
    Prolongation,
    Restriction,
    grouped_conv,
)

SIDE = 5
DIMS = st.sampled_from([0, 1, 3])


def on_images(x: Tensor, dims: int) -> Tensor:
    """A tensor of `dims` axes as images: those that are missing have one pixel, of three the first two are one."""
    if dims == 3:
        return x.flatten(2, 3)
    return x[(...,) + (None,) * (2 - dims)]


def image_weight(weight: Tensor, dims: int) -> Tensor:
    """The weight of the 2-D convolution that does the same on such images: the other taps meet zeros only."""
    taps = weight.shape[-1] if dims else 1
    wide = weight.new_zeros(*weight.shape[:2], taps, taps)
    if dims == 1:
        wide[:, :, :, taps // 2] = weight
    elif dims == 3:
        wide[:] = weight[:, :, taps // 2]
    else:
        wide[:, :, taps // 2, taps // 2] = weight if weight.dim() == 2 else weight[..., 0, 0]
    return wide


def twin(block: nn.Module, image: nn.Module, dims: int) -> None:
    """Give the 2-D module the weights of the other."""
    state = image.state_dict()
    for key, value in block.state_dict().items():
        if value.dim() > 1:
            wide = image_weight(value, dims)
            target = state[key]
            middle = target.shape[-1] // 2
            state[key] = torch.zeros_like(target)
            inner = slice(middle - wide.shape[-1] // 2, middle + wide.shape[-1] // 2 + 1)
            state[key][:, :, inner, inner] = wide
        else:
            state[key] = value
    image.load_state_dict(state)


def input_of(channels: int, dims: int) -> Tensor:
    spatial = {0: (), 1: (SIDE,), 3: (1, SIDE, SIDE)}[dims]
    return torch.randn(6, channels, *spatial, dtype=torch.float64)


@settings(max_examples=25)
@given(
    dims=DIMS,
    relax=st.sampled_from(["residual", "bottleneck"]),
    order=st.sampled_from(["neighbour", "interleaved"]),
    weights=st.sampled_from(["own", "transpose"]),
    kind=st.sampled_from(["V", "F"]),
    training=st.booleans(),
)
def test_a_block_is_the_image_block_on_degenerate_images(
    dims: Any, relax: Any, order: Any, weights: Any, kind: Any, training: bool
) -> None:
    options: dict[str, Any] = {"relax": relax, "group_size": 4, "coarsest": 4, "cycle": kind, "pre": 1}
    options |= {"transfer_groups": order, "transfer_weights": weights, "transfer_norm": "both"}
    block = MGICBlock(32, dims=dims, **options).double().train(training)
    image = MGICBlock(32, **options).double().train(training)
    twin(block, image, dims)
    x = input_of(32, dims).requires_grad_()
    y = block(x)
    expected = image(on_images(x, dims))
    torch.testing.assert_close(on_images(y, dims), expected, rtol=1e-9, atol=1e-9)
    (mine,) = torch.autograd.grad(y.square().sum(), x)
    (other,) = torch.autograd.grad(expected.square().sum(), x)
    torch.testing.assert_close(mine, other, rtol=1e-8, atol=1e-8)


@settings(max_examples=40)
@given(
    dims=DIMS,
    ins=st.sampled_from([6, 12]),
    outs=st.sampled_from([6, 18]),
    groups=st.sampled_from([1, 2, 3, 6]),
    kernel=st.sampled_from([1, 3]),
)
def test_a_convolution_is_the_image_convolution(dims: Any, ins: int, outs: int, groups: int, kernel: int) -> None:
    conv = grouped_conv(ins, outs, kernel, groups=groups, dims=dims).double()
    image = GroupedConv2d(ins, outs, kernel, groups=groups).double()
    twin(conv, image, dims)
    x = input_of(ins, dims)
    torch.testing.assert_close(on_images(conv(x), dims), image(on_images(x, dims)), rtol=1e-10, atol=1e-10)


def test_types_are_those_that_tools_look_for() -> None:
    for dims, ours, theirs in (
        (1, GroupedConv1d, nn.Conv1d),
        (2, GroupedConv2d, nn.Conv2d),
        (3, GroupedConv3d, nn.Conv3d),
    ):
        conv = grouped_conv(4, 4, 3, dims=dims)  # pyright: ignore
        assert type(conv) is ours
        assert isinstance(conv, theirs)
    assert type(grouped_conv(4, 4, 3, dims=0)) is GroupedLinear
    assert isinstance(ConvNormAct(4, 4, dims=3).norm, nn.BatchNorm3d)


@pytest.mark.parametrize("dims", [0, 1, 2, 3])
def test_first_values_know_the_fan_in_of_a_group(dims: Any) -> None:
    torch.manual_seed(0)
    conv = grouped_conv(256, 256, 3, groups=4, dims=dims)
    fan_in = 64 * (3**dims if dims else 1)
    assert float(conv.weight.detach().std()) == pytest.approx((2 / fan_in) ** 0.5, rel=0.02)


@given(dims=st.integers(0, 3), groups=st.sampled_from([1, 2, 4]), order=st.sampled_from(["neighbour", "interleaved"]))
def test_transfers_are_their_dense_matrices_on_every_number_of_axes(dims: Any, groups: int, order: Any) -> None:
    down = Restriction(16, groups, order=order, dims=dims).double()
    up = Prolongation(16, groups, order=order, norm=False, dims=dims).double()
    x = torch.randn(2, 16, *(4, 3, 2)[:dims], dtype=torch.float64)
    expected = torch.einsum("oi,bi...->bo...", down.dense_weight(), x)
    torch.testing.assert_close(down(x), expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(
        up(expected), torch.einsum("oi,bi...->bo...", up.dense_weight(), expected), rtol=1e-10, atol=1e-10
    )


def test_linear_maps_are_counted_by_kind() -> None:
    counted = torchmg.count(MGICBlock(16, group_size=4, coarsest=4, dims=0), (16,)).by("kind")
    kinds = {kind: macs for kind, _, macs in counted}
    assert kinds == {
        "grouped linear": 2 * 16 * 4 + 2 * 8 * 4,
        "linear": 2 * 4 * 4,
        "transfer": 2 * 8 * 4 + 2 * 4 * 4,
        "norm": 0,
    }


def test_leading_axes_of_vectors_are_one_batch() -> None:
    block = MGICBlock(16, group_size=4, coarsest=4, dims=0)
    x = torch.randn(2, 7, 16)
    fresh = MGICBlock(16, group_size=4, coarsest=4, dims=0)
    fresh.load_state_dict(block.state_dict())
    assert block(x).equal(fresh(x.reshape(14, 16)).reshape(2, 7, 16))


@pytest.mark.parametrize(("dims", "shape"), [(0, (2, 12)), (1, (2, 12, 6)), (2, (2, 12, 6, 6)), (3, (2, 12, 6, 6, 6))])
def test_shortcuts(dims: Any, shape: tuple[int, ...]) -> None:
    stride = 2 if dims else 1
    shortcut = LightShortcut(12, 18, stride, dims=dims)
    assert shortcut(torch.randn(shape)).shape == (2, 18, *(3,) * dims)
    assert shortcut.conv.groups == 6  # the greatest common divisor
    assert shortcut.conv.weight.numel() == 18 * 2 * 3**dims
    pixels = 3**dims
    assert torchmg.count(shortcut, shape[1:]).macs == 18 * 2 * 3**dims * pixels


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: LightShortcut(4, 4, 2, dims=0), UsageError, "no resolution to stride over; got stride=2"),
        (lambda: GroupedLinear(6, 6, groups=4), GroupError, "Nearest group counts that divide 6"),
        (lambda: MGICBlock(16, dims=4), UsageError, r"dims=4 is not possible: use 2 for images, 1 for sequences"),  # pyright: ignore
        (lambda: MGICBlock(16, dims=1)(torch.randn(2, 9, 16)), ShapeError, r"sequences .*permute to \(0, 2, 1\)"),
        (lambda: MGICBlock(16, dims=1)(torch.randn(16, 9)), ShapeError, r"A single sequence needs a batch axis"),
        (lambda: MGICBlock(16, dims=3)(torch.randn(2, 16, 4, 4)), ShapeError, r"volumes \(batch, 16, D, H, W\)"),
        (lambda: MGICBlock(16, dims=0)(torch.randn(16)), ShapeError, r"A single vector needs a batch axis"),
        (lambda: MGICBlock(16, dims=0)(torch.randn(3, 8)), ShapeError, r"vectors \(batch, 16\).*got \(3, 8\)"),
    ],
)  # fmt: skip
def test_errors(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make()
