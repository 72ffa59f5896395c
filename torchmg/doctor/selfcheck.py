"""A small multigrid block, forward and backward, on every device."""

import time
from collections.abc import Iterator

import torch
from torch import nn

from torchmg.doctor.finding import Finding
from torchmg.nn.mgic import MGICBlock


def self_checks() -> Iterator[Finding]:
    """The processor and each CUDA device that torch sees."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for name in ("cpu", *(f"cuda:{index}" for index in range(count))):
        yield check(torch.device(name))


def check(device: torch.device) -> Finding:
    """Whether a block of three levels computes what it must on `device`, and how long that takes when warm.

    With relaxations that do nothing the cycle must return its input, bit for bit, whatever the transfers hold; with
    real ones all gradients must be finite, and not all of them zero.
    """
    name = f"self-check on {device}"
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(0)
            wrong = _wrong(device)
            milliseconds = _milliseconds(device)
    except RuntimeError as error:  # also what torch raises of CUDA and memory
        return Finding("check", name, "broken", str(error).partition("\n")[0], "torch does not compute on this device.")
    if wrong:
        return Finding("check", name, "broken", wrong, "Do not trust results of this device.")
    return Finding("check", name, "ok", f"block of three levels, forward and backward {milliseconds:.1f} ms")


def _wrong(device: torch.device) -> str | None:
    x = torch.randn(2, 32, 8, 8, device=device)
    idle = MGICBlock(32, relax=lambda channels, groups: nn.Identity(), coarsest=8, transfer_norm="none").to(device)
    if not torch.equal(idle(x), x):
        return "an idle cycle changes its input"
    block = MGICBlock(32, coarsest=8).to(device)
    block(x).square().mean().backward()
    gradients = [p.grad for p in block.parameters() if p.grad is not None]
    if not all(bool(gradient.isfinite().all()) for gradient in gradients):
        return "gradients are not finite"
    return None if any(bool(gradient.any()) for gradient in gradients) else "gradients are zero"


def _milliseconds(device: torch.device) -> float:
    block, x = MGICBlock(32, coarsest=8).to(device), torch.randn(2, 32, 8, 8, device=device)
    started = 0.0
    for _ in range(2):  # the first one warms up
        started = time.perf_counter()
        block(x).square().mean().backward()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    return 1000 * (time.perf_counter() - started)
