"""Plans for GPUs: in Triton's interpreter, without kernels, and on a GPU where asked for."""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import torchmg
from torchmg.inference.gpu_plan import gpu_plan
from torchmg.inference.plan import fold
from torchmg.nn import MGICBlock

KERNELS = Path(__file__).parents[1] / "kernels"
CASES = "../inference/gpu_cases_optimize"
NETWORKS = "../inference/gpu_cases_networks"


def run_cases(name: str, *, interpret: bool = True, slow: bool = False) -> None:
    sys.path.insert(0, str(KERNELS))
    from interpreted import run_cases  # pyright: ignore[reportMissingImports]

    run_cases(name, interpret=interpret, slow=slow)


def test_plans_in_the_interpreter() -> None:
    run_cases(CASES)


@pytest.mark.slow
def test_more_plans_in_the_interpreter() -> None:
    run_cases(CASES, slow=True)
    run_cases(NETWORKS)


@pytest.mark.gpu
def test_plans_on_a_gpu() -> None:
    run_cases(CASES, interpret=False)
    run_cases(NETWORKS, interpret=False)


@torch.no_grad()
def test_without_kernels_a_plan_is_the_folded_network() -> None:
    model = torchmg.create("mgiad20").eval()
    plan = gpu_plan(fold(model, (3, 8, 8)), "cpu", torch.float32, kernels=False)
    x = torch.randn(2, 3, 8, 8)
    assert plan.kinds == {"torch": len(plan.network.steps)}
    assert "switched off" in repr(plan)
    assert torch.allclose(plan(x), model(x), atol=1e-4)


def test_optimize_needs_no_triton() -> None:
    code = "import sys; sys.modules['triton'] = None; import torchmg.inference.optimized, torchmg.inference.gpu_plans"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


@pytest.mark.gpu
@torch.no_grad()
def test_optimized_networks_on_a_gpu() -> None:
    model = torchmg.create("mgic_resnet20").eval()
    for dtype, tolerance in ((torch.float32, 1e-3), (torch.bfloat16, 0.1), (torch.float16, 0.02)):
        fast = torchmg.optimize(model).to("cuda", dtype)
        for images in (1, 3, 2, 3, 4, 5, 6, 1):
            x = torch.randn(images, 3, 32, 32, device="cuda", dtype=dtype)
            wanted = copy.deepcopy(model).cuda().double()(x.double())
            got = fast(x)
            assert (got.double() - wanted).abs().max() <= tolerance * wanted.abs().max()
            again = fast(torch.randn_like(x))
            assert not torch.equal(got, again)
        assert "level" in repr(fast)
        assert "failed" not in repr(fast)


@pytest.mark.gpu
@torch.no_grad()
def test_what_a_gpu_cannot_plan_still_runs() -> None:
    block: nn.Module = MGICBlock(32).eval()
    fast = torchmg.optimize(block).cuda()
    x = torch.randn(2, 32, 4, 4, device="cuda")
    with torch.autocast("cuda", torch.bfloat16):
        assert fast(x).shape == x.shape
    with torch.enable_grad():
        y = fast(x.requires_grad_())
    assert y.requires_grad
