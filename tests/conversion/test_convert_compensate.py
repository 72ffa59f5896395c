"""Kernels for changed inputs: regression's own solution, and the trained kernel where nothing changed."""

import pytest
import torch

from torchmg.conversion.compensate import compensated
from torchmg.errors import ShapeError, UsageError


def test_it_is_the_regression_on_the_new_inputs() -> None:
    torch.manual_seed(0)
    x = torch.randn(500, 12).double()
    z = x @ torch.randn(12, 12).double() + 0.5 * torch.randn(500, 12).double()
    weight = torch.randn(7, 12).double()
    found = compensated(weight, x.T @ z / 500, z.T @ z / 500, ridge=1e-12)
    best = torch.linalg.lstsq(z, x @ weight.T).solution.T
    torch.testing.assert_close(found, best, rtol=1e-7, atol=1e-7)
    # Tap by tap, and in the kernel's own precision.
    kernel = torch.stack([weight, 2 * weight], 2).float()[..., None]
    wide = compensated(kernel, x.T @ z / 500, z.T @ z / 500, ridge=1e-12)
    assert wide.dtype == torch.float32
    torch.testing.assert_close(wide, torch.stack([best, 2 * best], 2).float()[..., None], rtol=1e-4, atol=1e-4)


def test_the_trained_kernel_stays_where_inputs_do() -> None:
    torch.manual_seed(1)
    x = torch.randn(50, 8).double()
    x[:, 3] = 0  # silent
    weight = torch.randn(4, 8, 3).double()
    moment = x.T @ x / 50
    torch.testing.assert_close(compensated(weight, moment, moment), weight)
    assert torch.equal(compensated(weight, moment * 0, moment * 0), weight)
    # What is silent after the conversion only gets nothing from data, and keeps its weight.
    z = x.clone()
    z[:, 5] = 0
    found = compensated(weight, x.T @ z / 50, z.T @ z / 50)
    torch.testing.assert_close(found[:, [3, 5]], weight[:, [3, 5]])


def test_bad_requests_are_named() -> None:
    weight, eye = torch.randn(4, 8), torch.eye(8)
    with pytest.raises(ShapeError, match=r"\(8, 8\)"):
        compensated(weight, torch.eye(4), eye)
    with pytest.raises(UsageError, match="finite"):
        compensated(weight, eye, eye * float("nan"))
    with pytest.raises(UsageError, match="ridge"):
        compensated(weight, eye, eye, ridge=0)
