"""Cases of plans for GPUs: whole folded networks against the model in float64; see `tests/kernels/interpreted.py`."""

import copy
import sys
from pathlib import Path
from unittest import mock

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1] / "kernels"))

from interpreted import device, poisoned

from torchmg.inference import gpu_parts
from torchmg.inference.gpu_plan import GpuPlan, gpu_plan
from torchmg.inference.plan import fold
from torchmg.nn import MGICBlock

FLOAT, HALF, BF16 = torch.float32, torch.float16, torch.bfloat16
TOLERANCE = {FLOAT: 1e-4, HALF: 0.02, BF16: 0.15}
"""Of a result's largest number: roundings of one type's values, level after level."""


def settled(model: nn.Module) -> nn.Module:
    """In evaluation mode, with norms that do something."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    return model.eval()


@torch.no_grad()
def check(model: nn.Module, shape: tuple[int, ...], images: int = 2, dtype: torch.dtype = FLOAT) -> GpuPlan:
    """The plan's output is the model's."""
    torch.manual_seed(0)
    model = settled(model)
    plan = gpu_plan(fold(model, shape), device(), dtype)
    x = torch.randn(images, *shape).to(dtype)
    with poisoned():
        got = plan(x.to(device()))
    wanted = copy.deepcopy(model).double()(x.double())
    assert got.dtype == dtype
    assert got.shape == wanted.shape
    error = (got.cpu().double() - wanted).abs().max() / wanted.abs().max()
    assert error <= TOLERANCE[dtype], (error, plan)
    return plan


@pytest.mark.slow
def case_blocks_of_other_group_sizes() -> None:
    whole = {"block": 1}
    assert check(MGICBlock(64, group_size=4), (64, 2, 3), 3, HALF).kinds == whole
    assert check(MGICBlock(128, group_size=32, coarsest=32), (128, 3, 3), 1, HALF).kinds == whole


def case_blocks() -> None:
    whole = {"block": 1}
    assert check(MGICBlock(32, group_size=8), (32, 5, 7)).kinds == whole
    assert check(MGICBlock(64, group_size=8), (64, 2, 3)).kinds == whole
    assert check(MGICBlock(64, group_size=16), (64, 3, 4), 1, BF16).kinds == whole
    apart = {"level": 2, "relaxation": 1, "restriction": 1}
    assert check(MGICBlock(64, group_size=8), (64, 2, 15), 1).kinds == apart


def case_blocks_in_one_launch() -> None:
    with mock.patch.object(gpu_parts, "tuned", lambda _name, _key, configs, _run: configs[-1]):
        assert check(MGICBlock(64, group_size=16), (64, 8, 7)).kinds == {"block": 1}
        assert check(MGICBlock(32, group_size=8, transfer_norm="both"), (32, 3, 3), 3, HALF).kinds == {"block": 1}


def case_transposed_transfers() -> None:
    check(MGICBlock(48, group_size=8, transfer_weights="transpose", transfer_norm="none"), (48, 3, 3))


@pytest.mark.slow
def case_other_transfers() -> None:
    check(MGICBlock(32, group_size=8, transfer_norm="both"), (32, 4, 4))
    check(MGICBlock(32, group_size=8, transfer_groups="interleaved"), (32, 3, 3))
    check(MGICBlock(32, group_size=8, transfer_init="gaussian", transfer_weights="fixed"), (32, 3, 3))


def case_plain_correction_and_no_full_coupling() -> None:
    check(MGICBlock(64, group_size=8, correction="plain"), (64, 3, 3))
    check(MGICBlock(64, group_size=8, coarsest_coupling="grouped"), (64, 3, 3))
    check(MGICBlock(32, group_size=8, coupling="shuffle"), (32, 3, 3))


@pytest.mark.slow
def case_other_cycles() -> None:
    check(MGICBlock(32, group_size=8, cycle="W", pre=1), (32, 2, 3), 1)


def case_bottleneck() -> None:
    check(MGICBlock(64, relax="bottleneck", group_size=4, coarsest=8), (64, 4, 4))
