"""The inverted residual against torchvision's, closed counts, and as a relaxation of an MGIC block."""

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchvision.models.mobilenetv3 import InvertedResidual as Theirs
from torchvision.models.mobilenetv3 import InvertedResidualConfig

from torchmg.errors import TorchmgError, UsageError
from torchmg.nn import MGICBlock
from torchmg.nn.inverted_residual import InvertedResidual, SqueezeExcite


def randomise(model: nn.Module) -> nn.Module:
    """Norms as after training, in eval mode."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for tensor in (module.weight, module.running_var):
                assert tensor is not None
                nn.init.uniform_(tensor, 0.5, 2.0)
            for tensor in (module.bias, module.running_mean):
                assert tensor is not None
                nn.init.normal_(tensor)
    return model.eval()


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("excite", [False, True])
@pytest.mark.parametrize("act", ["RE", "HS"])
@pytest.mark.parametrize(("hidden", "kernel_size"), [(16, 3), (48, 5), (72, 3)])
def test_without_groups_it_is_torchvisions(hidden: int, kernel_size: int, act: str, excite: bool) -> None:
    config = InvertedResidualConfig(16, kernel_size, hidden, 16, excite, act, stride=1, dilation=1, width_mult=1.0)
    theirs = randomise(Theirs(config, nn.BatchNorm2d)).double()
    squeezed = {16: 8, 48: 16, 72: 24}[hidden] if excite else None  # a quarter, to a multiple of 8 (72: 18 -> 24)
    kind = nn.Hardswish if act == "HS" else nn.ReLU
    ours = InvertedResidual(16, hidden=hidden, kernel_size=kernel_size, act=kind, squeezed=squeezed).double().eval()
    state = zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True)
    ours.load_state_dict({key: value.view_as(mine) for (key, mine), value in state})
    x = torch.randn(2, 16, 7, 6, dtype=torch.float64)
    assert torch.allclose(ours(x), theirs(x), atol=1e-12)


@given(
    groups=st.integers(1, 6),
    quotient=st.integers(1, 4),
    expansion=st.integers(1, 4),
    kernel_size=st.sampled_from([1, 3, 5]),
    squeezed=st.none() | st.integers(1, 9),
    dims=st.sampled_from([1, 2, 3]),
)
def test_parameters_are_the_closed_form(
    groups: int, quotient: int, expansion: int, kernel_size: int, squeezed: int | None, dims: int
) -> None:
    channels = groups * quotient
    hidden = channels * expansion
    block = InvertedResidual(
        channels,
        groups,
        hidden=hidden,
        kernel_size=kernel_size,
        squeezed=squeezed,
        dims=dims,  # pyright: ignore
    )
    one = channels * hidden // groups
    expand = one + 2 * hidden if expansion > 1 else 0
    excite = 0 if squeezed is None else 2 * hidden * squeezed + hidden + squeezed
    depthwise = hidden * kernel_size**dims + 2 * hidden
    assert parameters(block) == expand + depthwise + excite + one + 2 * channels
    x = torch.randn(2, channels, *[5, 4, 3][:dims])
    assert block(x).shape == x.shape


def test_groups_do_not_see_each_other_but_through_squeeze_and_excitation() -> None:
    for squeezed, others in ((None, False), (4, True)):
        block = InvertedResidual(8, 4, hidden=16, act=nn.Hardswish, squeezed=squeezed).double().eval()
        if block.excite is not None:
            nn.init.ones_(block.excite.squeeze.bias)  # its ReLU would hide a negative sum
        x = torch.randn(1, 8, 4, 4, dtype=torch.float64, requires_grad=True)
        (gradient,) = torch.autograd.grad(block(x)[0, 2].sum(), x)
        seen = gradient[0].abs().sum((1, 2)) > 0
        assert seen[2:4].all()
        assert seen[[0, 1, 4, 5, 6, 7]].any() == others


def test_squeeze_and_excitation_weighs_channels_by_their_means() -> None:
    module, x = SqueezeExcite(6, 3).double(), torch.randn(2, 6, 5, dtype=torch.float64)
    means = x.mean(2)
    inner = (means @ module.squeeze.weight.T + module.squeeze.bias).clamp(min=0)
    weights = ((inner @ module.excite.weight.T + module.excite.bias + 3) / 6).clamp(0, 1)
    assert torch.allclose(module(x), x * weights[..., None], atol=1e-12)
    assert parameters(module) == 2 * 6 * 3 + 6 + 3


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"hidden": 16, "dims": 0}, UsageError, "mlp"),
        ({"hidden": 16, "groups": 3}, TorchmgError, "3"),
        ({"hidden": 10, "groups": 4}, TorchmgError, "4"),
    ],
)
def test_what_it_cannot_do(options: dict[str, int], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        InvertedResidual(8, **options)  # pyright: ignore


# ---- as the relaxation of a block


def mgic(
    channels: int, hidden: int, kernel_size: int = 3, *, excite: bool = False, group_size: int = 64, coarsest: int = 64
) -> MGICBlock:
    """A block of MobileNetV3's bottlenecks: squeeze and excitation, to a quarter in eights, on the finest level."""

    def relax(width: int, groups: int) -> nn.Module:
        squeezed = -(-hidden // 32) * 8 if excite and width == channels else None
        middle = hidden * width // channels
        return InvertedResidual(
            width, groups, hidden=middle, kernel_size=kernel_size, act=nn.Hardswish, squeezed=squeezed
        )

    return MGICBlock(
        channels,
        relax=relax,
        hidden=hidden,
        group_size=group_size,
        coarsest=coarsest,
        group_by="outer",
        transfer_norm="both",
    )


VECTORS = [
    (40, 120, 5, True, 20_992),
    (80, 240, 3, False, 37_160),
    (80, 200, 3, False, 31_580),
    (80, 184, 3, False, 29_348),
    (112, 480, 3, True, 212_744),
    (112, 672, 3, True, 359_576),
    (160, 672, 5, True, 365_696),
    (160, 960, 5, True, 656_000),
]
"""Counts that were worked out without this code: channels, hidden, kernel, squeeze-excite, parameters."""


@pytest.mark.parametrize(("channels", "hidden", "kernel_size", "excite", "expected"), VECTORS)
def test_blocks_of_mobilenetv3_have_the_published_parameters(
    channels: int, hidden: int, kernel_size: int, excite: bool, expected: int
) -> None:
    with torch.device("meta"):
        block = mgic(channels, hidden, kernel_size, excite=excite)
    assert parameters(block) == expected
    assert len(block.relax) == 1 + max(0, math.ceil(math.log2(channels / 64)))


@settings(max_examples=15)
@given(
    channels=st.sampled_from([8, 16, 24, 32, 40]),
    expansion=st.integers(1, 4),
    group_size=st.sampled_from([2, 4, 8]),
    negative=st.booleans(),
)
@pytest.mark.filterwarnings("ignore::torchmg.errors.HierarchyWarning")
def test_without_a_residual_a_block_is_the_identity(
    channels: int, expansion: int, group_size: int, negative: bool
) -> None:
    block = mgic(channels, expansion * channels, excite=True, group_size=group_size, coarsest=4)
    for module in block.modules():
        if isinstance(module, InvertedResidual):
            nn.init.zeros_(module.project.norm.weight)  # pyright: ignore
    x = torch.rand(3, channels, 4, 5) * (-1 if negative else 1)
    assert torch.equal(block.train()(x), x)
    assert torch.equal(block.eval()(x), x)


@pytest.mark.parametrize("make", [partial(mgic, 16, 48), partial(mgic, 24, 72, kernel_size=5), partial(mgic, 12, 12)])
@pytest.mark.filterwarnings("ignore::torchmg.errors.HierarchyWarning")
def test_every_channel_of_a_block_sees_every_other(make: Callable[..., MGICBlock]) -> None:
    block = make(group_size=4, coarsest=4).double().eval()
    x = torch.randn(1, block.hierarchy.channels, 3, 3, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda x: block(x).sum((0, 2, 3)), x)
    assert isinstance(jacobian, torch.Tensor)
    assert jacobian[:, 0].abs().sum((2, 3)).gt(0).all()
    assert block.relax[0].project.conv.weight.shape[1] != block.hierarchy.channels  # pyright: ignore


def test_a_coarser_level_halves_the_hidden_width() -> None:
    block = mgic(32, 96, group_size=8, coarsest=8)
    widths = [(r.depthwise.conv.in_channels, r.project.conv.groups) for r in block.relax]  # pyright: ignore
    assert widths == [(96, 4), (48, 2), (24, 1)]
