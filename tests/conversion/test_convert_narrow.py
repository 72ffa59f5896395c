"""Narrow copies of blocks of torchvision and timm: counts, widths, and the block-diagonal block as oracle."""

import copy
from collections.abc import Callable
from functools import partial

import pytest
import torch
from timm.layers import BatchNormAct2d, LayerScale2d
from timm.layers import LayerNorm2d as TimmLayerNorm2d
from timm.models._efficientnet_blocks import InvertedResidual as TimmInvertedResidual
from timm.models._efficientnet_blocks import SqueezeExcite
from timm.models.convnext import ConvNeXtBlock
from timm.models.resnet import BasicBlock as TimmBasicBlock
from timm.models.resnet import Bottleneck as TimmBottleneck
from torch import Tensor, nn
from torchvision.models.convnext import CNBlock
from torchvision.models.efficientnet import MBConv, MBConvConfig
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.ops import FrozenBatchNorm2d

from torchmg.conversion.narrow import copy_part, narrowed
from torchmg.conversion.narrow_layers import LastAxisLinear
from torchmg.errors import GroupError, UsageError

C = 32
squeeze = partial(SqueezeExcite, rd_ratio=0.25)
BLOCKS: dict[str, Callable[[], nn.Module]] = {
    "basic": lambda: BasicBlock(C, C),
    "bottleneck": lambda: Bottleneck(C, C // 4),
    "resnext": lambda: Bottleneck(C, C // 4, groups=4, base_width=32),
    "inverted": lambda: InvertedResidual(C, C, 1, 4),
    "mbconv": lambda: MBConv(MBConvConfig(4, 3, 1, C, C, 1, 1.0, 1.0), 0.0, nn.BatchNorm2d),
    "convnext": lambda: CNBlock(C, 0.5, 0.0),
    "timm_basic": lambda: TimmBasicBlock(C, C),
    "timm_bottleneck_se": lambda: TimmBottleneck(C, C // 4, attn_layer=partial(squeeze)),
    "timm_inverted_se": lambda: TimmInvertedResidual(C, C, exp_ratio=4, se_layer=squeeze),
    "timm_convnext": lambda: ConvNeXtBlock(C, conv_mlp=True, norm_layer=TimmLayerNorm2d, ls_init_value=0.5),
    "downsampling": lambda: BasicBlock(
        C, 2 * C, 2, nn.Sequential(nn.Conv2d(C, 2 * C, 1, 2, bias=False), nn.BatchNorm2d(2 * C))
    ),
}


@pytest.fixture(params=BLOCKS)
def block(request: pytest.FixtureRequest) -> nn.Module:
    return random(BLOCKS[request.param]())


@torch.no_grad()
def random(module: nn.Module) -> nn.Module:
    """Any values in every tensor, in float64, in eval mode."""
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5) if "running_var" in name else tensor.normal_(0, 0.3)
    return module.double().eval()


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def dense_layers(module: nn.Module) -> dict[str, nn.Module]:
    """Convolutions and linear maps that are cut: not grouped, and not in a squeeze-and-excitation part."""
    kinds = nn.Conv2d | nn.Linear | LastAxisLinear
    squeezers = [part for part in module.modules() if "Squeeze" in type(part).__name__]
    inside = {layer for squeezer in squeezers for layer in squeezer.modules()}
    return {name: part for name, part in module.named_modules() if isinstance(part, kinds) and part not in inside}


@torch.no_grad()
def block_diagonal(block: nn.Module, groups: int, order: Tensor | None = None) -> nn.Module:
    """The same dense block, with zeros wherever `groups` groups of (re-ordered) channels do not meet."""
    cut = copy.deepcopy(block)
    for part in dense_layers(cut).values():
        if getattr(part, "groups", 1) > 1:
            continue
        places = []
        for size in part.weight.shape[:2]:
            place = torch.arange(size)
            places.append(order.argsort() if order is not None and size == len(order) else place)
        rows, columns = (place * groups // len(place) for place in places)
        together = rows[:, None] == columns[None, :]
        part.weight *= together.view(*together.shape, *[1] * (part.weight.dim() - 2))
    return cut


def test_full_width_and_one_group_is_the_block(block: nn.Module) -> None:
    narrow = narrowed(block, C, C, 1)
    assert count(narrow) == count(block)
    assert str(narrow) == str(block)
    copy_part(block, narrow)
    x = torch.randn(2, C, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(narrow(x), block(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("groups", [2, 4])
@pytest.mark.parametrize("ordered", [False, True])
def test_part_of_a_block_is_the_block_with_block_diagonal_weights(block: nn.Module, groups: int, ordered: bool) -> None:
    order = torch.randperm(C) if ordered else None
    narrow, before = narrowed(block, C, C, groups), copy.deepcopy(block.state_dict())
    copy_part(block, narrow, order)
    assert all(torch.equal(value, before[key]) for key, value in block.state_dict().items())
    assert {layer.groups for layer in dense_layers(narrow).values()} >= {groups}
    x = torch.randn(2, C, 8, 8, dtype=torch.float64)
    wanted = block_diagonal(block, groups, order)(x)
    got = narrow(x if order is None else x[:, order])
    if order is not None and got.shape[1] == C:
        got = got[:, order.argsort()]
    torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)


def test_every_width_is_scaled(block: nn.Module) -> None:
    for to, groups in [(C // 2, 2), (C // 2, 4), (2 * C, 4)]:
        narrow = narrowed(block, C, to, groups)
        x = torch.randn(2, to, 8, 8, dtype=torch.float64)
        wide = block(torch.randn(2, C, 8, 8, dtype=torch.float64))
        assert narrow(x).shape == (2, wide.shape[1] * to // C, *wide.shape[2:])
        assert not narrow.training
        for name, part in dense_layers(narrow).items():
            full = block.get_submodule(name)
            depthwise = getattr(full, "groups", 1) == full.weight.shape[0]
            if getattr(full, "groups", 1) == 1 or depthwise:
                expected = full.weight.numel() * to / C * (1 if depthwise else to / C / groups)
                assert part.weight.numel() == expected
            assert part.weight.dtype == torch.float64
        for part in narrow.modules():
            if isinstance(part, nn.BatchNorm2d):
                assert part.running_var.eq(1).all()
                assert part.weight.eq(1).all()


def test_settings_of_norms_and_layer_scales_are_kept() -> None:
    act = BatchNormAct2d(8, eps=0.25, momentum=0.3, act_layer=nn.PReLU)
    scale = LayerScale2d(8, 0.5)
    gain = nn.Parameter(torch.tensor([1.0]), requires_grad=False)
    block = nn.Sequential(
        nn.Conv2d(8, 8, 3, padding=2, dilation=2, padding_mode="reflect"),
        act,
        nn.GroupNorm(8, 8),
        nn.GroupNorm(2, 8, affine=False),
        nn.InstanceNorm2d(8, affine=True, track_running_stats=True),
        nn.SyncBatchNorm(8),
        FrozenBatchNorm2d(8),
        nn.PReLU(8),
        scale,
        nn.ConvTranspose2d(8, 16, 3, 2, 1, 1),
    ).requires_grad_(False)
    block.gain = gain
    narrow = narrowed(block, 8, 4, 2)
    assert (narrow[0].dilation, narrow[0].padding_mode, narrow[0].groups) == ((2, 2), "reflect", 2)
    assert type(narrow[1]) is BatchNormAct2d
    assert (narrow[1].eps, narrow[1].momentum, narrow[1].num_features) == (0.25, 0.3, 4)
    assert [m.num_groups for m in (narrow[2], narrow[3])] == [4, 2]
    assert torch.equal(narrow[7].weight, torch.full((4,), 0.25))
    assert torch.equal(narrow[8].gamma, torch.full((4,), 0.5))
    assert narrow[9].weight.shape == (4, 4, 3, 3)
    assert torch.equal(narrow.gain, gain)
    assert not any(p.requires_grad for p in narrow.parameters())
    assert narrow.train()(torch.randn(2, 4, 8, 8)).shape == (2, 8, 16, 16)


def test_transposed_convolutions_are_cut_like_others() -> None:
    block = random(nn.Sequential(nn.ConvTranspose2d(8, 16, 3, 2, 1, 1), nn.ConvTranspose2d(16, 8, 3, groups=4)))
    narrow, order = narrowed(block, 8, 8, 2), torch.randperm(8)
    copy_part(block, narrow)
    whole = copy.deepcopy(block)
    together = torch.arange(8)[:, None] // 4 == torch.arange(16)[None, :] // 8
    whole[0].weight.data *= together[..., None, None]
    x = torch.randn(2, 8, 5, 5, dtype=torch.float64)
    torch.testing.assert_close(narrow(x), whole(x))

    narrow = narrowed(block[:1], 8, 8, 1)
    copy_part(block[:1], narrow, order)
    torch.testing.assert_close(narrow(x[:, order]), block[0](x))


def test_weights_keep_the_variance_that_relu_asks_for() -> None:
    narrow = narrowed(nn.Sequential(nn.Conv2d(64, 64, 3, padding=1), nn.Conv2d(64, 64, 3, groups=64)), 64, 256, 4)
    assert narrow[0].weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)
    assert narrow[1].weight.std().item() == pytest.approx((2 / 9) ** 0.5, rel=0.1)


def test_linear_blocks_of_tokens() -> None:
    block = random(nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 32), nn.GELU(), nn.Linear(32, 8)))
    narrow = narrowed(block, 8, 8, 4)
    assert isinstance(narrow[1], LastAxisLinear)
    copy_part(block, narrow)
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    torch.testing.assert_close(narrow(x), block_diagonal(block, 4)(x))


def test_squeezed_width_is_rounded_up_and_stays_dense() -> None:
    narrow = narrowed(
        TimmInvertedResidual(16, 16, exp_ratio=1, se_layer=partial(SqueezeExcite, rd_channels=1)), 16, 8, 4
    )
    assert narrow.se.conv_reduce.weight.shape == (1, 8, 1, 1)
    assert narrow.conv_pw.groups == 4


def test_a_convolution_along_channels_is_copied() -> None:
    block = TimmBasicBlock(16, 16, attn_layer="eca").eval()
    narrow = narrowed(block, 16, 8, 2)
    assert torch.equal(narrow.se.conv.weight, block.se.conv.weight)
    assert narrow.conv1.groups == 2


def test_shared_parts_stay_shared_and_hooks_are_dropped() -> None:
    conv, seen = nn.Conv2d(8, 8, 3, padding=1), []
    block = nn.Sequential(conv, nn.ReLU(), conv)
    grown = torch.ones(1, requires_grad=True) * 2  # cannot be copied
    conv.register_forward_hook(lambda *_, kept=grown: seen.append(kept))
    block.also = [conv]
    narrow = narrowed(block, 8, 4, 2)
    assert narrow[0] is narrow[2] is narrow.also[0]
    narrow(torch.randn(1, 4, 8, 8))
    assert not seen
    assert conv._forward_hooks


class HardWired(nn.Module):
    """A block that knows its own width."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x).view(-1, 8, 8, 8)


class Table(nn.Module):
    """A parameter that is no weight of a layer."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.ones(shape))


def test_what_cannot_be_narrowed() -> None:
    hidden = nn.Sequential(nn.Conv2d(8, 12, 1), nn.Conv2d(12, 8, 1))
    normed = nn.utils.parametrizations.weight_norm(nn.Conv2d(8, 8, 1))
    for module, to, groups, words in [
        (hidden, 2, 2, r"0, Conv2d.*cannot be cut|12 channels|3 channels cannot be cut into 2"),
        (hidden, 1, 1, r"0, Conv2d: 12 channels times 1 / 8 is no whole number\. Nearest.*: 2"),
        (HardWired(), 4, 1, "HardWired narrowed from 8 to 4 channels does not run|instead of"),
        (nn.Sequential(Table(5, 5), nn.Conv2d(8, 8, 1)), 4, 1, r"0, Table has a parameter 'table' of shape \(5, 5\)"),
        (nn.Sequential(Table(5), nn.Conv2d(8, 8, 1)), 4, 1, r"'table' of shape \(5,\)"),
        (nn.Sequential(nn.Conv2d(8, 8, 1), nn.LayerNorm((8, 8, 8))), 4, 1, "1, LayerNorm normalises over"),
        (nn.Sequential(normed), 4, 1, "parametrization"),
        (nn.MultiheadAttention(8, 2), 4, 1, "in_proj_weight"),
        (nn.Sequential(nn.Conv2d(8, 8, 1), nn.Linear(9, 9)), 4, 1, "1, Linear: 9 channels"),
        (hidden, 0, 1, "at least 1"),
    ]:
        with pytest.raises(UsageError, match=words):
            narrowed(module, 8, to, groups)
    with pytest.raises(GroupError, match=r"Nearest group counts"):
        narrowed(hidden, 8, 4, 4)
    with pytest.raises(UsageError, match="no copy of this block"):
        copy_part(hidden, nn.Identity())
    with pytest.raises(UsageError, match=r"^0: .*Narrow the block to its own width"):
        copy_part(hidden, narrowed(hidden, 8, 4, 1))
    with pytest.raises(UsageError, match="permutation"):
        copy_part(hidden, hidden, torch.zeros(8, dtype=torch.int64))
