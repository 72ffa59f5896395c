"""Fused training as compilers see it."""

from copy import deepcopy

import pytest
import torch
from torch import Tensor, library, nn

from torchmg.kernels import fused
from torchmg.kernels.choice import pinned
from torchmg.kernels.fused import End
from torchmg.nn.conv import GroupedConv2d
from torchmg.nn.conv_norm import conv_norm, conv_norm_later

pytestmark = pytest.mark.skipif(not fused.available(), reason="needs the native library")


@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_operators_for_compilers() -> None:
    x, w = torch.randn(2, 8, 5, 6, requires_grad=True), torch.randn(8, 2, 3, 3, requires_grad=True)
    gamma, beta, scale, shift = (torch.rand(8).requires_grad_() for _ in range(4))
    tests = ("test_schema", "test_faketensor", "test_aot_dispatch_dynamic", "test_autograd_registration")
    addend = torch.randn(2, 8, 5, 6, requires_grad=True)
    for affine, add in [((None, None), addend), ((scale, shift), None), ((scale, shift), addend)]:
        how = (x, w, gamma, beta, *affine, add, 1e-3, affine[0] is not None, 1, (1, 1), 4)
        library.opcheck(torch.ops.torchmg.norm_conv.default, how, test_utils=tests, atol=1e-4, rtol=1e-4)
    for add, relu in [(None, End.LAST), (x, End.LAST), (x, End.BEFORE_ADD), (x, End.NONE)]:
        how = (torch.randn(2, 8, 5, 6, requires_grad=True), scale, shift, add, int(relu))
        library.opcheck(torch.ops.torchmg.affine_act.default, how, test_utils=tests)


def test_compiled_block_is_the_eager_one() -> None:
    torch.manual_seed(0)
    convs = [GroupedConv2d(16, 16, 3, groups=4) for _ in range(2)]
    m = nn.ModuleList([convs[0], nn.BatchNorm2d(16), convs[1], nn.BatchNorm2d(16)])
    x = torch.randn(2, 16, 5, 6)

    def run(m: nn.ModuleList) -> Tensor:
        y = conv_norm(m[2], m[3], conv_norm_later(m[0], m[1], x, act=True), act=True, add=x)
        r = conv_norm_later(m[0], m[1], y, act=True, minuend=x)
        return conv_norm(m[2], m[3], r, act=True, after=y)

    found = []
    with pinned("native"):
        for how in (run, torch.compile(run, backend="aot_eager", fullgraph=True)):
            parts = deepcopy(m)
            out = how(parts)
            out.square().sum().backward()
            found.append([out, *(p.grad for p in parts.parameters()), *parts.buffers()])
    for one, other in zip(*found, strict=True):
        assert one is not None
        assert other is not None
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
