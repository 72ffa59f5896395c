"""Transfers between resolutions: stencils on linear functions, adjoints, sizes, layers in the published order."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from torchmg.errors import ShapeError, UnknownNameError
from torchmg.nn.grid import GridProlongation, GridRestriction


def plane(height: int, width: int, a: float = 2.0, b: float = -3.0) -> Tensor:
    """a x + b y + 1 at the points inside the unit square, of any channel and batch."""
    sides = (torch.arange(1, n + 1, dtype=torch.float64) / (n + 1) for n in (height, width))
    y, x = torch.meshgrid(*sides, indexing="ij")
    return (a * x + b * y + 1)[None, None]


@given(m=st.integers(1, 6), n=st.integers(1, 6))
def test_full_weighting_keeps_planes_at_interior_points(m: int, n: int) -> None:
    restriction = GridRestriction(1, 1, init="full_weighting", boundary="interior").double()
    assert torch.allclose(restriction(plane(2 * m + 1, 2 * n + 1)), plane(m, n), atol=1e-12)


@given(m=st.integers(2, 6))
def test_interpolation_keeps_planes_between_its_points(m: int) -> None:
    """At the outermost fine points the boundary value zero takes part."""
    fine = GridProlongation(1).double()(plane(m, m))
    assert fine.shape[2:] == (2 * m + 1, 2 * m + 1)
    assert torch.allclose(fine[..., 1:-1, 1:-1], plane(2 * m + 1, 2 * m + 1)[..., 1:-1, 1:-1], atol=1e-12)


@given(channels=st.integers(1, 3), m=st.integers(1, 5), n=st.integers(1, 5))
def test_interpolation_is_four_times_the_adjoint(channels: int, m: int, n: int) -> None:
    restriction = GridRestriction(channels, channels, init="full_weighting", boundary="interior").double()
    prolongation = GridProlongation(channels).double()
    fine = torch.randn(2, channels, 2 * m + 1, 2 * n + 1, dtype=torch.float64)
    coarse = torch.randn(2, channels, m, n, dtype=torch.float64)
    assert torch.allclose((restriction(fine) * coarse).sum() * 4, (fine * prolongation(coarse)).sum(), atol=1e-10)


@given(n=st.integers(1, 20), m=st.integers(1, 20))
def test_networks_halve_rounding_up(n: int, m: int) -> None:
    y = GridRestriction(2, 4)(torch.randn(1, 2, n, m))
    assert y.shape == (1, 4, -(-n // 2), -(-m // 2))


def test_each_channel_feeds_its_own_when_the_width_doubles() -> None:
    restriction = GridRestriction(3, 6)
    assert sum(p.numel() for p in restriction.parameters()) == 9 * 6
    x = torch.zeros(1, 3, 4, 4)
    x[:, 1] = 1
    assert restriction(x).abs().sum((0, 2, 3)).bool().tolist() == [False, False, True, True, False, False]


@pytest.mark.parametrize("kind", ["depthwise", "dense"])
def test_layers_stand_in_the_published_order(kind: Any) -> None:
    x = torch.randn(4, 2, 6, 6)
    plain = GridRestriction(2, 4, kind=kind)
    groups = 2 if kind == "depthwise" else 1
    y = F.conv2d(x, plain.conv.weight, stride=2, padding=1, groups=groups)
    assert torch.equal(plain(x), y)
    full = GridRestriction(2, 4, kind=kind, norm=True, rectify=True)
    y = F.conv2d(x.relu(), full.conv.weight, stride=2, padding=1, groups=groups)
    assert torch.allclose(full(x), F.batch_norm(y, None, None, training=True).relu(), atol=1e-6)


@pytest.mark.parametrize("kind", ["depthwise", "dense"])
@pytest.mark.parametrize("init", ["full_weighting", "frozen"])
def test_stencils_keep_constants_and_frozen_ones_are_not_trained(kind: Any, init: Any) -> None:
    restriction = GridRestriction(4, 8, kind=kind, init=init)
    assert torch.allclose(restriction(torch.ones(1, 4, 9, 9))[..., 1:-1, 1:-1], torch.ones(()))
    assert restriction.conv.weight.requires_grad == (init != "frozen")


def test_random_transfers_keep_the_variance() -> None:
    torch.manual_seed(0)
    x = torch.randn(8, 64, 32, 32)
    for kind in ("depthwise", "dense"):
        y = GridRestriction(64, 128, kind=kind)(x)
        assert y[..., 1:-1, 1:-1].var().item() == pytest.approx(1, abs=0.15)


def test_wrong_grids_and_choices_are_explained() -> None:
    with pytest.raises(ShapeError, match=r"2m \+ 1 points.*\(4, 5\)"):
        GridRestriction(1, 1, boundary="interior")(torch.zeros(1, 1, 4, 5))
    options: list[dict[str, Any]] = [{"kind": "deep"}, {"init": "full"}, {"boundary": "inside"}]
    for wrong in options:
        with pytest.raises(UnknownNameError, match="is not a choice"):
            GridRestriction(1, 1, **wrong)
    assert isinstance(GridProlongation(2), nn.Module)
