"""Modules in training by the Triton kernels against the same modules by torch: outputs, gradients, statistics."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any
from unittest import mock

import pytest
import torch
from interpreted import device
from torch import Tensor, nn

from torchmg.kernels import fused, on_gpu
from torchmg.kernels.choice import pinned
from torchmg.nn import conv_norm
from torchmg.nn.conv import GroupedConv2d
from torchmg.nn.grid import GridRestriction
from torchmg.nn.mgic import MGICBlock
from torchmg.nn.mgnet import DataFeature
from torchmg.nn.sic import SiC

MODULES: dict[str, Callable[[], nn.Module]] = {
    "MGIC block": lambda: MGICBlock(16, group_size=8, coarsest=8),
    "smoothing steps": lambda: _OfZero(DataFeature(8, groups=2, steps=2)),
    "smoothing in channels": lambda: _OfZero(SiC(8, group_size=2, coarsest=4)),
    "grid transfer": lambda: GridRestriction(8, 16, norm=True),
}


class _OfZero(nn.Module):
    """A smoother from u = 0, the input being the data."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, f: Tensor) -> Tensor:
        return self.inner(None, f)


def _ran(module: nn.Module, x: Tensor, lowering: Any, lowered: bool = False) -> tuple[Tensor, Tensor | None, int]:
    x, calls = x.detach().clone(memory_format=torch.channels_last).requires_grad_(), []
    counted = fused.norm_conv_forward

    def count(*args: Any) -> fused.Normed:
        calls.append(args)
        return counted(*args)

    with pinned(lowering), mock.patch.object(fused, "norm_conv_forward", count):
        with torch.autocast(x.device.type, torch.bfloat16, enabled=lowered):
            y = module(x)
        (y.float() ** 2).sum().backward()
    return y, x.grad, len(calls)


def _near(found: Tensor | None, wanted: Tensor | None, tolerance: float) -> None:
    assert found is not None
    assert wanted is not None
    assert found.dtype == wanted.dtype
    assert float((found - wanted).abs().max()) <= tolerance * max(0.1, float(wanted.abs().max()))


@pytest.mark.parametrize("name", MODULES)
def case_a_module_trains_as_by_torch(name: str) -> None:
    torch.manual_seed(0)
    module = MODULES[name]().to(device(), memory_format=torch.channels_last).train()  # pyright: ignore
    other = deepcopy(module).double()
    channels = next(p for p in module.parameters() if p.dim() == 4).shape[0]
    x = torch.randn(2, 8 if name == "grid transfer" else channels, 5, 4, device=device())
    y, gx, calls = _ran(module, x, "triton")
    assert calls > 0 or name == "grid transfer"
    wanted, wanted_gx, none = _ran(other, x.double(), "aten")
    assert none == 0
    _near(y.double(), wanted, 1e-4)
    _near(None if gx is None else gx.double(), wanted_gx, 2e-3)
    for one, two in zip(module.parameters(), other.parameters(), strict=True):
        _near(None if one.grad is None else one.grad.double(), two.grad, 2e-3)
    for one, two in zip(module.buffers(), other.buffers(), strict=True):
        _near(one.double(), two.double(), 1e-4)


@pytest.mark.parametrize("momentum", [0.3, None])
def case_running_statistics_are_those_of_torch(momentum: float | None) -> None:
    torch.manual_seed(0)
    conv, norm = GroupedConv2d(16, 16, 3, groups=2), nn.BatchNorm2d(16, momentum=momentum)
    conv, norm = conv.to(device()), norm.to(device())
    other, buffers = deepcopy(norm).double(), [norm.running_mean, norm.running_var]
    assert None not in buffers
    versions = [b._version for b in buffers if b is not None]
    for _ in range(2):
        x = torch.randn(2, 16, 5, 3, device=device()).contiguous(memory_format=torch.channels_last) + 3
        with pinned("triton"), mock.patch.object(conv_norm, "_track", side_effect=conv_norm._track) as apart:
            conv_norm.conv_norm(conv, norm, x, act=True).sum().backward()
        assert apart.called == (momentum is None)
        other(conv.double()(x.double()))
        conv.float()
        _near(norm.running_mean.double(), other.running_mean, 1e-5)  # pyright: ignore[reportOptionalMemberAccess]
        _near(norm.running_var.double(), other.running_var, 1e-5)  # pyright: ignore[reportOptionalMemberAccess]
        assert norm.num_batches_tracked == other.num_batches_tracked
    assert versions == [b._version for b in buffers if b is not None]


def case_autocast_lowers_maps_and_keeps_parameters() -> None:
    torch.manual_seed(0)
    module = MGICBlock(16, group_size=8, coarsest=8).to(device(), memory_format=torch.channels_last).train()  # pyright: ignore
    other = deepcopy(module)
    x = torch.randn(2, 16, 6, 5, device=device())
    y, _, calls = _ran(module, x.bfloat16(), "triton", lowered=True)
    assert calls > 0
    assert y.dtype == torch.bfloat16
    wanted, _, _ = _ran(other, x, "aten")
    assert float((y.float() - wanted).norm() / wanted.norm()) < 0.02
    for one, two in zip(module.parameters(), other.parameters(), strict=True):
        assert one.grad is not None
        assert two.grad is not None
        assert one.grad.dtype == torch.float32
        assert float((one.grad - two.grad).norm()) <= 0.1 * float(two.grad.norm()) + 1e-3


@pytest.mark.parametrize("bias", [True, False])
def case_a_convolution_by_itself_and_its_gradients(bias: bool) -> None:
    torch.manual_seed(0)
    conv = GroupedConv2d(16, 32, 3, stride=2, groups=4).to(device())
    conv.bias = nn.Parameter(torch.randn(32, device=device())) if bias else None
    other = deepcopy(conv).double()
    x = torch.randn(2, 16, 7, 5, device=device()).contiguous(memory_format=torch.channels_last)
    with pinned("triton"), mock.patch.object(on_gpu._Triton, "apply", side_effect=on_gpu._Triton.apply) as applied:
        y = conv(x.requires_grad_())
        assert applied.call_count == 1
    wanted = other(x.detach().double().requires_grad_())
    _near(y.double(), wanted, 1e-5)
    one = torch.autograd.grad((y**2).sum(), list(conv.parameters()), create_graph=True)
    two = torch.autograd.grad((wanted**2).sum(), list(other.parameters()), create_graph=True)
    for found, right in zip(one, two, strict=True):
        _near(found.double(), right, 1e-4)
    again = torch.autograd.grad(sum((g**2).sum() for g in one), conv.weight)[0]  # pyright: ignore
    right = torch.autograd.grad(sum((g**2).sum() for g in two), other.weight)[0]  # pyright: ignore
    _near(again.double(), right, 1e-4)


def case_what_the_kernels_leave_alone() -> None:
    weight, x = torch.randn(8, 4, 3, 3, device=device()), torch.randn(2, 8, 5, 5, device=device())
    last = x.contiguous(memory_format=torch.channels_last)
    with pinned("triton"):
        assert on_gpu.type_of(last, weight) is torch.float32
        assert on_gpu.type_of(x, weight) is None
        assert on_gpu.type_of(last, weight.half()) is None
        assert on_gpu.type_of(last.double(), weight.double()) is None
        assert on_gpu.type_of(last, weight, weight.half()) is None
        with torch.autocast(x.device.type, torch.bfloat16):
            assert on_gpu.type_of(last, weight) is torch.bfloat16
    with pinned("aten"):
        assert on_gpu.type_of(last, weight) is None


@pytest.mark.gpu
def case_two_hundred_steps_train_alike() -> None:
    """On a GPU: the loss over 200 steps is the plain path's, as near as two plain runs with other rounding are."""
    x, label = torch.randn(256, 32, 14, 14, device=device()), torch.randint(0, 10, (256,), device=device())
    x = x.contiguous(memory_format=torch.channels_last)

    def losses(lowering: Any, shaken: float = 0.0) -> Tensor:
        torch.manual_seed(0)
        block = MGICBlock(32, group_size=8, coarsest=8)
        net = nn.Sequential(block, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))
        net = net.to(device(), memory_format=torch.channels_last).train()  # pyright: ignore
        optimizer, found = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9), []
        with pinned(lowering):
            for step in range(200):
                part = slice(step * 32 % 256, step * 32 % 256 + 32)
                loss = nn.functional.cross_entropy(net(x[part] * (1 + shaken)), label[part])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                found.append(loss.detach())
        return torch.stack(found)

    plain, noise = losses("aten"), (losses("aten", 1e-6) - losses("aten")).abs().mean()
    ours = losses("triton")
    assert (ours - plain).abs().mean() <= 3 * noise + 0.01 * plain.mean()
