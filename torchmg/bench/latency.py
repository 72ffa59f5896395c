"""Milliseconds per image of several models, measured in turn so that a drifting machine is fair to all."""

import time
from collections.abc import Mapping
from statistics import median
from typing import NamedTuple

import torch
from torch import nn


class Latency(NamedTuple):
    """Milliseconds per image of a forward pass: median of the rounds, and their extremes."""

    median: float
    low: float
    high: float


@torch.inference_mode()
def latencies(
    models: Mapping[str, nn.Module],
    input: tuple[int, ...],  # noqa: A002
    *,
    batch_size: int = 64,
    rounds: int = 11,
    device: torch.device | str = "cpu",
    channels_last: bool = True,
) -> dict[str, Latency]:
    """Time forward passes in evaluation mode, one of each model a round, after two rounds that do not count.

    Args:
        models: by name; moved to `device` and put into evaluation mode.
        input: shape of one sample, (channels, height, width) or (channels, points).
        batch_size: images in a pass.
        rounds: passes of each model that count.
        device: where to measure.
        channels_last: memory layout of images and weights; nothing else has one to choose.
    """
    layout = torch.channels_last if channels_last and len(input) == 3 else torch.contiguous_format
    x = torch.randn(batch_size, *input, device=device).to(memory_format=layout)
    ready = {n: m.to(device).to(memory_format=layout).eval() for n, m in models.items()}  # pyright: ignore
    times: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(rounds + 2):
        for name, model in ready.items():
            times[name].append(_seconds(model, x))
    per_image = {name: [1000 * t / batch_size for t in seconds[2:]] for name, seconds in times.items()}
    return {name: Latency(median(ms), min(ms), max(ms)) for name, ms in per_image.items()}


def _seconds(model: nn.Module, x: torch.Tensor) -> float:
    if x.is_cuda:
        torch.cuda.synchronize(x.device)
    start = time.perf_counter()
    model(x)
    if x.is_cuda:
        torch.cuda.synchronize(x.device)
    return time.perf_counter() - start
