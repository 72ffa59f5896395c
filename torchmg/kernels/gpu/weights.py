"""The gradient of a grouped convolution's weights.

Programs form it for a share of the pixels each, in float32, and the shares are summed in a fixed order.

Bytes, with |x| and |g| those of input and gradient: |x| + |g|, and |g| again for the map that a `Reach` adds. Packs of
64 channels have too many taps for one program's registers; theirs read two or three times, mostly from the L2 cache.
Taps read x again from the L1 cache: all but one where pixels come in any order, two of three where rows are walked
down. The shares add at most 20 MB, written and read.
"""

from collections.abc import Sequence
from typing import Any

import torch
import triton
from torch import Tensor

from torchmg.kernels.gpu import tiles
from torchmg.kernels.gpu.edges import Affine, Reach
from torchmg.kernels.gpu.support import float32_precision
from torchmg.kernels.gpu.tiles import packs_of
from torchmg.kernels.gpu.tune import Config, tuned
from torchmg.kernels.gpu.weight_kernels import rows_kernel, taps_kernel
from torchmg.kernels.shape import Shape

PROGRAMS = 1024
"""Most programs: some on each multiprocessor, and not so many that their shares cost as much as the maps."""

LARGEST = 16384
"""Numbers of a program's accumulators: 64 registers a thread of 8 warps."""


def weight_gradient(
    x: Tensor,
    grad: Tensor,
    shape: Shape,
    *,
    before_x: Affine | None = None,
    before_grad: Reach | None = None,
) -> Tensor:
    """Float32 (out, in / groups, kernel_h, kernel_w), from channels-last input and gradient of the output.

    Args:
        x: of `shape.inputs`; bfloat16, float16 or float32.
        grad: of `shape.outputs`, of x's type.
        shape: of the convolution.
        before_x: what the convolution did to x before its zero padding.
        before_grad: what reaches the output besides `grad`.
    """
    configs = candidates(shape, x.dtype != torch.float32)
    edges = -1 if before_x is None else int(before_x.relu), before_grad is not None
    key = (*shape, str(x.dtype), *edges, float32_precision())
    config = tuned("weights", key, configs, lambda config: launch(config, x, grad, shape, before_x, before_grad))
    return launch(config, x, grad, shape, before_x, before_grad)


def candidates(shape: Shape, half: bool) -> Sequence[Config]:
    """Launches worth timing, the default first.

    Their `packs` is 0 where rows are walked down, and `splits` then in how many segments an image's height is cut,
    and more than one stage means that rows are loaded ahead; else `packs` is how many taps a program has.

    Args:
        shape: of the convolution.
        half: whether the maps are of 16 bits.
    """
    packs, taps = packs_of(shape), shape.kernel_h * shape.kernel_w
    found: list[Config] = []
    size = packs.in_pack * packs.out_pack
    if shape[-5:] == (3, 3, 1, 1, 1) and 12 * size <= LARGEST:
        for block in (64, 32) if half else (32, 16) if size <= 512 else (16,):
            there = triton.cdiv(shape.images * shape.width, block) * packs.packs
            segments = max(1, min(PROGRAMS // there, shape.height // 4))
            most = size * block * (1 if half else 2)  # beyond this 4 warps have too few registers
            found += [
                Config(block, 0, warps, stages, segments)
                for warps in ((4, 8) if most <= 16384 else (8,))
                for stages in (2, 1)
            ]
    most = max(1, LARGEST // size)
    here = min(1 << (most.bit_length() - 1), triton.next_power_of_2(taps))
    pixels = max(16, min(128, (8192 if half else 4096) // (here * packs.in_pack)))
    warps = 8 if here * size >= LARGEST // 2 else 4
    found += [Config(pixels, here, warps, stages) for stages in (2, 3)]
    if 32 <= 2 * pixels <= 128:
        found.append(Config(2 * pixels, here, warps, 2))
    return found


def launch(
    config: Config, x: Tensor, grad: Tensor, shape: Shape, before_x: Affine | None, before_grad: Reach | None
) -> Tensor:
    """`weight_gradient`, launched so."""
    packs = packs_of(shape)
    _, _, out_h, out_w = shape.outputs
    scale, shift = (None, None) if before_x is None else before_x[:2]
    maps = (scale, shift, *((None, None, None) if before_grad is None else before_grad))
    how = {
        "AFFINE": 0 if before_x is None else 1 + before_x.relu, "REACH": before_grad is not None,
        "IN_SIZE": packs.in_size, "OUT_SIZE": packs.out_size, "GROUPS": packs.groups, "IN_PACK": packs.in_pack,
        "OUT_PACK": packs.out_pack, "BLOCK": config.block_m, "num_warps": config.warps, "num_stages": config.stages,
        "PRECISION": float32_precision() if x.dtype == torch.float32 else "ieee",
    }  # fmt: skip
    channels, taps = (shape.in_channels, shape.out_channels), shape.kernel_h * shape.kernel_w
    pixels = shape.images * (shape.width if config.packs == 0 else out_h * out_w)
    parts = packs.packs * (1 if config.packs == 0 else triton.cdiv(taps, config.packs))
    splits = min(triton.cdiv(pixels, config.block_m) * config.splits, max(1, PROGRAMS // parts))
    shares = tiles.empty((splits, shape.weights[0] * shape.weights[1] * taps), torch.float32, x.device)
    kernel: Any = rows_kernel if config.packs == 0 else taps_kernel
    if config.packs == 0:
        rows = triton.cdiv(shape.height, config.splits)
        segments = triton.cdiv(shape.height, rows)
        how["AHEAD"] = config.stages > 1
        sizes = (pixels, shape.height, shape.width, splits, packs.packs, segments, rows, *channels)
    else:
        sizes = (pixels, splits, packs.packs, *channels, shape.height, shape.width, out_h, out_w)
        how |= {"KERNEL_H": shape.kernel_h, "KERNEL_W": shape.kernel_w, "STRIDE": shape.stride, "PAD_H": shape.pad_h}
        how |= {"PAD_W": shape.pad_w, "TAPS": config.packs}
    kernel[(parts * splits,)](x, grad, shares, *maps, *sizes, **how)
    return (shares[0] if splits == 1 else shares.sum(0)).view(shape.weights)
