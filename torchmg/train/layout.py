"""The memory layout that a run uses: asked for, or the faster one by measurement."""

import time
from copy import deepcopy

import torch
from torch import nn

from torchmg.train.capture import WARM_UP, Captured
from torchmg.train.evaluate import autocast
from torchmg.train.recipe import Recipe

REPEATS = 20
"""Passes that are timed in each layout."""

FORMATS = {"channels_last": torch.channels_last, "channels_first": torch.contiguous_format}
"""By the name that a recipe gives them."""


def pick_layout(recipe: Recipe, model: nn.Module, shape: tuple[int, ...], device: torch.device) -> str:
    """`channels_last` or `channels_first`: what the recipe says, else the faster one on `device`.

    On a CPU that is always channels-last, so that a result does not hang on a stopwatch. On a GPU it depends on widths
    and groups: forward and backward of a copy of the model are timed in both layouts on random images, from a CUDA
    graph as in training, and the numbers that torch draws afterwards are as if nothing had happened.

    Args:
        recipe: batch size, precision and the wish.
        model: left as it is.
        shape: (channels, ...) of one input; only images have layouts to choose from.
        device: where the run will train.
    """
    if recipe.layout != "auto":
        return recipe.layout
    if len(shape) != 3:
        return "channels_first"
    if device.type == "cpu":
        return "channels_last"
    with torch.random.fork_rng([device]):
        seconds = {name: _seconds(recipe, deepcopy(model).to(device), shape, name) for name in FORMATS}
    return min(seconds, key=lambda name: seconds[name])


def _seconds(recipe: Recipe, model: nn.Module, shape: tuple[int, ...], layout: str) -> float:
    """Time of one forward and backward."""
    model = model.to(memory_format=FORMATS[layout]).train()  # pyright: ignore[reportCallIssue]
    device = next(model.parameters()).device
    images = torch.randn(recipe.batch_size, *shape, device=device).to(memory_format=FORMATS[layout])

    def work(x: torch.Tensor) -> None:
        with autocast(recipe.precision, device):
            loss = model(x).float().square().mean()
        loss.backward()
        model.zero_grad()

    run = Captured(work)
    for _ in range(WARM_UP + 1):
        run(images)
    torch.cuda.synchronize(device)
    start = time.perf_counter()
    for _ in range(REPEATS):
        run(images)
    torch.cuda.synchronize(device)
    return (time.perf_counter() - start) / REPEATS
