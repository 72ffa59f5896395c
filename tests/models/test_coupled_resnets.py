"""Residual networks of lean, union and circulant couplings: counts, a functional oracle, orders and stencils."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import torchmg
from torchmg.errors import TorchmgError, UnknownNameError, UsageError
from torchmg.models.coupled_resnet import circulant_resnet, coupled_resnet, lean_resnet, stencil_pair, union_resnet
from torchmg.models.residual_block import basic_block
from torchmg.models.resnet import ResNet
from torchmg.nn.coupling import Lean, conv_builder


def built(make: Any, *args: Any, **options: Any) -> int:
    """Parameters of a network that is not filled."""
    with torch.device("meta"):
        return sum(p.numel() for p in make(*args, **options).parameters())


LEAN: list[dict[str, Any]] = [{"stencil": "9"}, {"stencil": "5"}, {"stencil": "3"}, {"stencil": "5", "group_size": 16}]
COMPUTED = {  # full, then those of LEAN; the full ones of ImageNet are torchvision's
    (20, "small"): (269_722, 37_530, 34_842, 33_498, 75_162),
    (56, "small"): (853_018, 115_482, 107_418, 103_386, 228_378),
    (18, "imagenet"): (11_689_512, 1_955_368, 1_940_008, 1_932_328, 2_170_408),
    (34, "imagenet"): (21_797_672, 3_114_792, 3_084_584, 3_069_480, 3_537_704),
    (50, "imagenet"): (25_557_032, 15_527_464, 15_512_360, 15_504_808, 15_738_920),
}


@pytest.mark.parametrize(("depth", "images"), COMPUTED)
def test_weights(depth: int, images: Any) -> None:
    """Computed by hand from the dense networks and the formula of lean couplings; no paper prints them."""
    full, *lean = COMPUTED[depth, images]
    assert built(coupled_resnet, depth, images, couplings=stencil_pair("full")) == full
    assert torchmg.models.catalog.MODELS[f"resnet{depth}"].parameters == full
    assert [built(lean_resnet, depth, images, **options) for options in LEAN] == lean
    assert built(union_resnet, depth, images) == lean[0], "all taps, depthwise"
    assert built(circulant_resnet, depth, images, block=1) == full


def circulant_weights(widths: list[int], blocks: int, ends: int) -> int:
    """Of the circulant network for small images: 9 max(in, out) each, as one width divides the other."""
    total, channels = ends, widths[0]
    for width in widths:
        total += 9 * max(channels, width) + (2 * blocks - 1) * 9 * width + 4 * blocks * width
        channels = width
    return total


@pytest.mark.parametrize("depth", [20, 56])
def test_circulant_weights(depth: int) -> None:
    ends = 27 * 16 + 2 * 16 + 65 * 10
    assert built(circulant_resnet, depth) == circulant_weights([16, 32, 64], (depth - 2) // 6, ends)


@pytest.mark.parametrize("act_order", ["post", "pre"])
def test_a_network_is_what_its_equations_say(act_order: Any) -> None:
    """An independent functional ResNet-8 from the couplings' dense kernels, in float64."""
    torch.manual_seed(0)
    model = lean_resnet(8, width=0.5, stencil="3", act_order=act_order).double()
    x = torch.randn(4, 3, 9, 8, dtype=torch.float64)
    p, modules = dict(model.named_parameters()), dict(model.named_modules())

    def norm(y: Tensor, name: str) -> Tensor:
        return F.batch_norm(y, None, None, p[f"{name}.weight"], p[f"{name}.bias"], training=True)

    def conv(y: Tensor, name: str, stride: int = 1) -> Tensor:
        coupling = modules[name]
        assert isinstance(coupling, Lean)
        return F.conv2d(y, coupling.dense_weight(), stride=stride, padding=1)

    y = F.relu(norm(F.conv2d(x, p["stem.conv.weight"], padding=1), "stem.norm"))
    for stage in range(3):
        block, stride = f"stages.{stage}.0", 2 if stage else 1
        skip = y[:, :, ::stride, ::stride]
        skip = torch.cat([skip, torch.zeros_like(skip)], 1) if stage else skip
        if act_order == "post":
            z = F.relu(norm(conv(y, f"{block}.conv1", stride), f"{block}.norm1"))
            y = F.relu(skip + norm(conv(z, f"{block}.conv2"), f"{block}.norm2"))
        else:
            z = conv(F.relu(norm(y, f"{block}.norm1")), f"{block}.conv1", stride)
            y = skip + conv(F.relu(norm(z, f"{block}.norm2")), f"{block}.conv2")
    if act_order == "pre":
        y = F.relu(norm(y, "stages.2.1"))
    expected = y.mean((2, 3)) @ p["head.weight"].T + p["head.bias"]
    assert torch.allclose(model(x), expected, atol=1e-12)


def stencils(model: ResNet) -> list[str]:
    return [module.stencil for module in model.modules() if isinstance(module, Lean)]


def test_three_point_stencils_take_turns() -> None:
    with torch.device("meta"):
        assert stencils(lean_resnet(20, stencil="3")) == ["3h", "3v"] * 9
        assert stencils(lean_resnet(50, "imagenet", stencil="3"))[:5] == ["3h", "3v", "3h", "3h", "3v"]
        assert set(stencils(lean_resnet(20))) == {"5"}


def test_one_block_of_two_covers_three_by_three() -> None:
    pair = stencil_pair("lean", stencil="3")
    block = basic_block(4, 4, first=pair[0], second=pair[1]).double().eval()
    x = torch.randn(1, 4, 7, 7, dtype=torch.float64, requires_grad=True)
    with torch.no_grad():
        for module in block.modules():
            if isinstance(module, Lean):
                for parameter in module.parameters():
                    parameter.abs_()
    block(x.abs())[0, :, 3, 3].sum().backward()
    assert x.grad is not None
    seen = x.grad.abs().sum((0, 1)) > 0
    assert seen[2:5, 2:5].all()
    assert seen.sum() == 9


def test_any_builders_make_a_network() -> None:
    couplings = (conv_builder("circulant"), conv_builder("lean", stencil="5", pointwise="circulant"))
    model = coupled_resnet(8, couplings=couplings, num_classes=3, in_channels=1)
    logits = model(torch.randn(4, 1, 11, 8))
    assert logits.shape == (4, 3)
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in model.parameters())


@pytest.mark.parametrize("name", ["lean_resnet18", "union_resnet50", "circulant_resnet18"])
def test_networks_for_imagenet_compute(name: str) -> None:
    for options in ({"width": 0.125}, {"width": 0.125, "act_order": "pre"}):
        model = torchmg.create(name, num_classes=5, **options)
        model(torch.randn(4, 3, 33, 40)).square().sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
        assert all(row.role != "other" for row in torchmg.count(model, (3, 64, 64)).rows)


def test_channel_transforms_compute_the_same() -> None:
    dense, transformed = (circulant_resnet(8, evaluate=how).double().eval() for how in ("dense", "channel_fft"))  # pyright: ignore
    transformed.load_state_dict(dense.state_dict())
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    assert torch.allclose(dense(x), transformed(x), atol=1e-10)


def test_dense_networks_keep_the_names_of_their_weights() -> None:
    """Checkpoints of before the blocks took builders are read."""
    with torch.device("meta"):
        block = torchmg.create("resnet18_cifar").get_submodule("stages.1.0")
        names = [name for name, _ in block.named_parameters()]
    assert names == [
        *("conv1.weight", "norm1.weight", "norm1.bias", "conv2.weight", "norm2.weight", "norm2.bias"),
        *("shortcut.conv.weight", "shortcut.norm.weight", "shortcut.norm.bias"),
    ]


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: lean_resnet(21), UsageError, ["6n + 2", "20", "26"]),
        (lambda: lean_resnet(20, "imagenet"), UsageError, ["18, 34, 50, 101"]),
        (lambda: lean_resnet(20, "large"), UnknownNameError, ["images", "small"]),  # pyright: ignore
        (lambda: lean_resnet(20, stencil="4"), UnknownNameError, ["stencil", "'4'"]),  # pyright: ignore
        (lambda: lean_resnet(20, act_order="before"), UnknownNameError, ["act_order", "pre"]),  # pyright: ignore
        (lambda: lean_resnet(20, group_size=3), UsageError, ["group_size", "16"]),
        (lambda: circulant_resnet(20, block=5), TorchmgError, ["block", "16"]),
        (lambda: coupled_resnet(20, couplings=stencil_pair("chain")), UsageError, ["16", "32"]),
        (lambda: union_resnet(20, num_classes=0), UsageError, ["num_classes"]),
    ],
)
def test_what_cannot_be_built_is_named(make: Any, error: type[Exception], words: list[str]) -> None:
    with pytest.raises(error) as caught:
        make()
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_parts_of_a_block_are_relaxations() -> None:
    model = torchmg.create("lean_resnet20")
    assert isinstance(model, ResNet)
    assert {part.role for part in model.parts()} == {"stem", "head", "relax"}
    assert isinstance(model.stages[0], nn.Sequential)
