"""Channel couplings inside MGIC's cycle and MgNet's data-feature relations."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import torchmg
from torchmg.errors import UnknownNameError, UsageError
from torchmg.nn import DataFeature, MGICBlock, SiC
from torchmg.nn.conv import grouped_conv
from torchmg.nn.coupling import COUPLINGS, ChannelCoupling, adjoint, conv_builder

LOCAL = [name for name in COUPLINGS if name not in ("full", "grouped")]


def test_the_default_is_the_papers_block() -> None:
    torch.manual_seed(0)
    plain = MGICBlock(32, group_size=4, coarsest=8)
    torch.manual_seed(0)
    named = MGICBlock(32, group_size=4, coarsest=8, coupling="grouped", coarsest_coupling="full")
    assert [name for name, _ in plain.named_parameters()] == [name for name, _ in named.named_parameters()]
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), named.parameters(), strict=True))


@pytest.mark.parametrize("name", LOCAL)
def test_a_coupling_relaxes_all_levels_but_the_coarsest(name: Any) -> None:
    block = MGICBlock(32, coarsest=16, coupling=name)
    fine, coarse = block.relax
    assert block.hierarchy.levels[0].groups == 4
    kinds = [m.name for m in (fine.conv1, fine.conv2) if isinstance(m, ChannelCoupling)]
    assert kinds == [name, name]
    assert not any(isinstance(m, ChannelCoupling) for m in coarse.modules())
    x = torch.randn(2, 32, 8, 8, requires_grad=True)
    y = block(x)
    y.square().sum().backward()
    assert y.shape == x.shape
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in block.parameters())
    assert sum(cost.relax.parameters for cost in block.costs()) == sum(p.numel() for p in block.relax.parameters())
    assert "relax" in repr(block)


@pytest.mark.parametrize("name", ["pointwise", "depthwise"])
def test_the_coarsest_level_takes_another_coupling(name: Any) -> None:
    block = MGICBlock(32, coarsest=16, coarsest_coupling=name)
    assert [m.name for m in block.relax[1].modules() if isinstance(m, ChannelCoupling)] == [name, name]


def test_full_on_every_level_is_dense() -> None:
    block = MGICBlock(32, coarsest=16, coupling="full")
    assert block.relax[0].get_parameter("conv1.weight").shape == (32, 32, 3, 3)


def test_what_does_not_fit_says_so() -> None:
    with pytest.raises(UnknownNameError, match="grouped"):
        MGICBlock(32, coupling="grouepd")  # pyright: ignore[reportArgumentType]
    with pytest.raises(UsageError, match="no option radios"):
        conv_builder("grouped", radios=2)
    with pytest.raises(UsageError, match="factory"):
        MGICBlock(32, relax=lambda c, g: nn.Identity(), coupling="depthwise")


@pytest.mark.parametrize("name", LOCAL)
@pytest.mark.parametrize("smoother", ["conv", "adjoint", "jacobi"])
def test_relations_take_couplings_and_their_costs_are_closed_forms(name: Any, smoother: Any) -> None:
    sic = SiC(32, group_size=8, coarsest=16, coupling=name, smoother=smoother)
    assert sum(c.total.parameters for c in sic.costs()) == sum(p.numel() for p in sic.parameters())
    counted = torchmg.count(_Sole(sic), input=(32, 6, 6)).macs
    if "circulant" not in name:
        assert sum(c.total.macs(36) for c in sic.costs()) == counted
    u = sic(torch.zeros(2, 32, 6, 6), torch.randn(2, 32, 6, 6))
    assert torch.isfinite(u).all()


class _Sole(nn.Module):
    def __init__(self, sic: SiC) -> None:
        super().__init__()
        self.sic = sic

    def forward(self, f: torch.Tensor) -> torch.Tensor:
        return self.sic(torch.zeros_like(f), f)


@settings(max_examples=25, deadline=None)
@given(dims=st.integers(0, 3), groups=st.sampled_from([1, 2, 4]), padding=st.integers(1, 5))
def test_the_transpose_of_a_convolution_is_exact(dims: Any, groups: int, padding: int) -> None:
    conv = grouped_conv(8, 8, 3 if dims else 1, groups=groups, dims=dims).double()
    x = torch.randn(2, 8, *(padding,) * dims, dtype=torch.float64)
    y = conv(x)
    z = torch.randn_like(y)
    assert torch.allclose((y * z).sum(), (x * adjoint(conv, z)).sum(), atol=1e-10)


def test_the_adjoint_smoother_is_its_formula() -> None:
    torch.manual_seed(0)
    relation = DataFeature(6, steps=1, smoother="adjoint").double().eval()
    u, f = torch.randn(2, 6, 5, 4, dtype=torch.float64), torch.randn(2, 6, 5, 4, dtype=torch.float64)
    a = relation.data_maps[0].get_parameter("weight")
    eps = (1 + 1e-5) ** -0.5  # norms are new: they divide by this alone
    r = ((f - nn.functional.conv2d(u, a, padding=1)) * eps).relu()
    h = relation.feature_maps[0].get_parameter("log_step").exp()
    assert torch.allclose(h, torch.tensor(1 / 8, dtype=torch.float64))
    expected = u + (h * nn.functional.conv_transpose2d(r, a, padding=1) * eps).relu()
    assert torch.allclose(relation(u, f), expected, atol=1e-12)
