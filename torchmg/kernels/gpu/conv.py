"""Grouped convolutions of channels-last tensors and their data gradients, with what comes before and after them.

Two kernels: `rows` for 3x3 at stride 1, `generic` for all else and for 3x3 where it is the faster one. Both are bound
by the bytes they move, so whatever is affine or a sum over pixels is done on the way.
"""

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from torchmg.errors import ShapeError
from torchmg.kernels.gpu import support, tiles
from torchmg.kernels.gpu.edges import Affine, After, Before, End, Gate, Reach
from torchmg.kernels.gpu.generic import generic_kernel
from torchmg.kernels.gpu.rows import rows_kernel
from torchmg.kernels.gpu.tune import Config, tuned
from torchmg.kernels.shape import Shape

PROGRAMS = 1024
"""As many programs should walk down rows at the least, to keep all of a large GPU busy."""
SHORTEST = 4
"""Rows of a segment at the least: two more are read than written."""


def conv(
    x: Tensor,
    weight: Tensor,
    shape: Shape,
    *,
    transposed: bool = False,
    before: Before = None,
    after: After = None,
    out_dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor | None]:
    """A convolution, or its data gradient, and partial sums over its result.

    Args:
        x: (images, in_channels, height, width), of a type that `support.serves`; transposed: the gradient of outputs.
        weight: (out_channels, in_channels / groups, kernel_h, kernel_w), contiguous, of any floating type.
        shape: the convolution's sizes, also for the data gradient.
        transposed: the data gradient, default not.
        before: what to do to x first; zero padding comes after it. Default nothing.
        after: what to do to the result, default nothing.
        out_dtype: of the result, default x's.

    Returns:
        The result, `shape.outputs` or transposed `shape.inputs`, channels-last; and float32 (programs, 2, channels)
        whose sum over programs is what `after` asks for, None when it asks for no sums.

    Raises:
        ShapeError: x or weight is not of the sizes that `shape` has.
    """
    expected = shape.outputs if transposed else shape.inputs
    if x.shape != expected or weight.shape != shape.weights:
        raise ShapeError(
            f"x {tuple(x.shape)} and weight {tuple(weight.shape)} should be {expected} and {shape.weights}."
        )
    task = _task(x, weight, shape, transposed, before, after, out_dtype or x.dtype)
    sums: list[Tensor | None] = [None]

    def run(config: Config) -> None:
        sums[0] = launch(task, config)

    found = tuned("conv", _key(task), candidates(shape, x.dtype, task.how["PRECISION"]), run)
    run(found)
    return task.y, sums[0]


WIDE = 64
"""Channels of a pack whose tiles need twice the threads."""
LARGEST = 5
"""Pixels along a kernel's side at the most."""
GATHERED = 32
"""Channels of a group from which on weights are put in order first."""


class Task(NamedTuple):
    """All that a launch needs, whichever kernel and however cut."""

    shape: Shape
    transposed: bool
    x: Tensor
    weight: Tensor
    y: Tensor
    tensors: tuple[Tensor | None, ...]
    """other, its two vectors, bias, add, gate and its two vectors, as both kernels take them."""
    how: dict[str, Any]
    """Constants that do not depend on how the work is cut."""


def launch(task: Task, config: Config) -> Tensor | None:
    """Run one kernel; gives the partial sums. A config without splits is for the generic kernel.

    Args:
        task: what to do.
        config: block_m pixels; packs as wide as this many of the narrowest; splits: segments of an image's height;
            more than one stage lets the row kernel shift tiles between threads in place of reading them again.
    """
    shape, packs = task.shape, tiles.packs_of(task.shape, config.packs)
    cut = {
        "IN_SIZE": packs.in_size, "OUT_SIZE": packs.out_size, "GROUPS": packs.groups, "IN_PACK": packs.in_pack,
        "OUT_PACK": packs.out_pack, "BLOCK": config.block_m, "num_warps": config.warps, "num_stages": config.stages,
        **task.how,
    }  # fmt: skip
    if config.splits:
        return _launch_rows(task, config, packs.packs, cut)
    images, y_channels, y_height, y_width = task.y.shape
    _, x_channels, x_height, x_width = task.x.shape
    phases = shape.stride if task.transposed else 1
    cut_h, cut_w = -(-y_height // phases), -(-y_width // phases)
    pixels = images * cut_h * cut_w
    programs = -(-pixels // config.block_m) * phases**2
    sums = _sums(task, programs)
    kernel: Any = generic_kernel
    kernel[(programs * packs.packs,)](
        task.x, task.weight, task.y, *task.tensors, sums, pixels, cut_h, cut_w, x_height, x_width, x_channels,
        y_height, y_width, y_channels, shape.out_channels, shape.pad_h, shape.pad_w, packs.packs,
        KERNEL_H=shape.kernel_h, KERNEL_W=shape.kernel_w, STRIDE=shape.stride, POINTWISE=shape.pointwise, **cut,
    )  # fmt: skip
    return sums


def _launch_rows(task: Task, config: Config, packs: int, cut: dict[str, Any]) -> Tensor | None:
    images, y_channels, height, width = task.y.shape
    gather = config.stages > 1
    columns = images * width
    blocks = -(-columns // (config.block_m - 2 * gather))
    rows = -(-height // config.splits)
    segments = -(-height // rows)
    sums = _sums(task, blocks * segments)
    kernel: Any = rows_kernel
    kernel[(blocks * segments * packs,)](
        task.x, task.weight, task.y, *task.tensors, sums, columns, height, width, task.x.shape[1], y_channels,
        task.shape.out_channels, packs, segments, rows, SHIFTS="gather" if gather else "load", **cut,
    )  # fmt: skip
    return sums


def candidates(shape: Shape, dtype: torch.dtype, precision: str) -> Sequence[Config]:
    """Launches worth timing, the default first; none of them spills registers when compiled for an H100 or H200.

    Args:
        shape: the convolution's sizes.
        dtype: of x.
        precision: of products of float32; "ieee" ones are not for tensor cores, so a wider pack costs time there.
    """
    narrow = tiles.packs_of(shape)
    pack = max(narrow.in_pack, narrow.out_pack)
    short = dtype != torch.float32
    if shape.pointwise:
        block, widest = (128, 64) if short else (64, 32)
        widths = dict.fromkeys(max(1, width // pack) for width in (widest, 16, 32))
        return [Config(block, width, warps, 2, 0) for width in widths for warps in (4, 8)]
    block, warps = (128, 4) if short and pack < WIDE else (64, 4 if pack < WIDE else 8)
    tiled = [Config(block, 1, warps, stages, 0) for stages in (2, 3)]
    if not follows_rows(shape) or not (short or pack <= (16 if precision == "ieee" else 32)):
        return tiled
    if short:
        cuts = {16: ((128, 4), (64, 4)), 32: ((64, 4), (128, 8))}.get(pack, ((64, 8),))
    else:
        cuts = ((64, 4 if pack <= 16 else 8),)
    rows = [Config(block, 1, warps, stages, _segments(shape, block)) for block, warps in cuts for stages in (1, 2)]
    return [*rows, *tiled]


def _segments(shape: Shape, block: int) -> int:
    programs = -(-shape.images * shape.width // block) * tiles.packs_of(shape).packs
    return max(1, min(-(-PROGRAMS // programs), shape.height // SHORTEST))


def suits(shape: Shape) -> bool:
    """Whether the kernels are meant for it: groups of up to 64 channels, kernels up to 5x5, neither depthwise.

    An image has less than 2^30 numbers on either side, as offsets are of 32 bits; there are less than 2^31 pixels.
    """
    sizes = shape.in_channels // shape.groups, shape.out_channels // shape.groups
    small = max(sizes) <= tiles.WIDEST and max(sizes) > 1 and max(shape.kernel_h, shape.kernel_w) <= LARGEST
    ends = shape.inputs, shape.outputs
    return shape.regular and small and all(prod(end[1:]) < 2**30 and end[0] * prod(end[2:]) < 2**31 for end in ends)


def follows_rows(shape: Shape) -> bool:
    """Whether the row kernel computes this convolution: 3x3, stride 1, padding 1."""
    return shape[-5:] == (3, 3, 1, 1, 1)


def ordered(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """Weights in an order that kernels load well: one copy where a program would gather too many single numbers.

    Those of large groups and several taps become channels-last, which they are already in a channels-last model.
    """
    if support.channels_last(weight):
        return weight
    if weight.shape[1] >= GATHERED and weight[0, 0].numel() > 1:
        return weight.to(dtype, memory_format=torch.channels_last)
    return weight.contiguous()


def _task(
    x: Tensor, weight: Tensor, shape: Shape, transposed: bool, before: Before, after: After, dtype: torch.dtype
) -> Task:
    if isinstance(before, Affine):
        name, first = "affine_relu" if before.relu else "affine", (None, before.scale, before.shift)
    elif isinstance(before, Reach):
        name, first = "reach", (before.other, before.constant, before.slope)
    else:
        name, first = "none", (None, None, None)
    last: tuple[Tensor | None, ...] = (None,) * 5
    relu = sums = False
    if isinstance(after, End):
        last, relu, sums = (after.bias, after.add, None, None, None), after.relu, after.sums
    elif isinstance(after, Gate) and after.scale is not None:
        last, relu, sums = (None, None, after.x, after.scale, after.shift), after.relu, True
    y = tiles.empty(shape.inputs if transposed else shape.outputs, dtype, x.device)
    precision = support.float32_precision() if x.dtype == torch.float32 else "ieee"
    weight = ordered(weight, x.dtype)
    last_order = support.channels_last(weight)
    how = {
        "TRANSPOSED": transposed,
        "LAST": last_order,
        "BEFORE": name,
        "RELU": relu,
        "SUMS": sums,
        "PRECISION": precision,
    }
    return Task(shape, transposed, x, weight, y, (*first, *last), how)


def _sums(task: Task, programs: int) -> Tensor | None:
    if not task.how["SUMS"]:
        return None
    return tiles.empty((programs, 2, task.y.shape[1]), torch.float32, task.x.device)


def _key(task: Task) -> tuple[int | str | bool, ...]:
    """What decides which launch is the fastest."""
    there = "".join("-" if tensor is None else "+" for tensor in task.tensors)
    return *task.shape, *task.how.values(), there, str(task.x.dtype), str(task.y.dtype), str(task.weight.dtype)
