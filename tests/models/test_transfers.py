"""Transfers alone: the published counts, one dense matrix, and nothing that mixes pixels."""

from typing import Any

import pytest
import torch
from helpers import matrix
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import torchmg
from torchmg.errors import ShapeError, UnknownNameError, UsageError
from torchmg.models.transfers import TransferAutoencoder, transfer_autoencoder
from torchmg.nn import Transfer


def dense(model: TransferAutoencoder) -> tuple[Tensor, Tensor]:
    """(coding matrix, decoding matrix), float64, from the flat rows alone."""
    code = torch.eye(model.hierarchy.channels, dtype=torch.float64)
    back = torch.eye(model.hierarchy.channels, dtype=torch.float64)
    for restrict, prolong in zip(model.restrict, model.prolong, strict=True):
        assert isinstance(restrict, Transfer)
        assert isinstance(prolong, Transfer)
        code, back = matrix(restrict) @ code, back @ matrix(prolong)
    return code, back


@pytest.mark.parametrize(("group_size", "parameters"), [(32, 3328), (16, 1792), (8, 896), (4, 448)])
def test_table_1(group_size: int, parameters: int) -> None:
    model = transfer_autoencoder(group_size=group_size)
    assert [level.channels for level in model.hierarchy.levels] == [64, 32, 16, 8]
    assert sum(p.numel() for p in model.parameters()) == parameters
    counted = torchmg.count(model, input=(64, 5, 7))
    assert counted.parameters == parameters
    assert counted.macs == 35 * parameters
    assert counted.by("role") == [(role, parameters // 2, 35 * parameters // 2) for role in ("restrict", "prolong")]
    assert [level for level, *_ in counted.by("level")] == [0, 1, 2]


@given(st.integers(1, 4), st.integers(1, 20), st.integers(1, 8), st.sampled_from(["random", "uniform"]))
def test_it_is_one_matrix_on_every_pixel(halvings: int, group_size: int, coarsest: int, init: Any) -> None:
    channels = coarsest * 2**halvings
    model = transfer_autoencoder(
        channels=channels, coarsest=coarsest, group_size=group_size, transfer_init=init, in_channels=channels
    ).double()
    code, back = dense(model)
    assert tuple(code.shape) == (coarsest, channels)
    x = torch.randn(2, channels, 3, 2, dtype=torch.float64)
    torch.testing.assert_close(model.encode(x), torch.einsum("ij,bjhw->bihw", code, x))
    torch.testing.assert_close(model(x), torch.einsum("ij,bjhw->bihw", back @ code, x))
    constant = torch.full((1, channels, 1, 1), 3.0, dtype=torch.float64)
    torch.testing.assert_close(model(constant), constant, atol=1e-5, rtol=0)


def test_training_comes_near_the_best_code() -> None:
    """With one group the bound is that of principal components; channels here have three of them."""
    model = transfer_autoencoder(channels=8, coarsest=4, group_size=8)
    x = torch.einsum("ij,bjhw->bihw", torch.randn(8, 3), torch.randn(16, 3, 4, 4))
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    loss = torch.tensor(torch.inf)
    for _ in range(400):
        loss = (model(x) - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 1e-3 * x.square().mean().item()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"in_channels": 3}, UsageError, "in_channels=3 needs channels=3"),
        ({"num_classes": 10}, UsageError, "num_classes=10 needs channels=10"),
        ({"coarsest": 64}, UsageError, "use coarsest=32 or less"),
        ({"channels": 7, "coarsest": 4}, UsageError, "use an even width such as 8"),
        ({"group_size": 0}, UsageError, "group_size"),
        ({"transfer_init": "randon"}, UnknownNameError, "random"),
    ],
)
def test_impossible_options(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        transfer_autoencoder(**options)


def test_wrong_shapes() -> None:
    model = transfer_autoencoder()
    with pytest.raises(ShapeError, match="64, H, W"):
        model(torch.randn(1, 32, 4, 4))
    with pytest.raises(ShapeError, match="8, H, W"):
        model.decode(torch.randn(1, 64, 4, 4))
