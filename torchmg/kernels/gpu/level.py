"""One level of a block in one pass, for inference: the correction from the coarser level and the relaxation.

    z = x + P (y_c - x_c) + bias                               (or z = x: a relaxation by itself)
    m = act(K1 z + b1)                                         (MGiaD: act(scale (K1 z + f) + b1), f the data)
    y = relu?(K2 m + b2 + z)                                   (MGiaD: relu?(K2 m + b2) + z)

K1 and K2 are 3x3 of padding 1 in groups, P is 1x1 in groups; batch normalisations are part of weights and biases.

A program owns a pack of channels of some images on a strip of rows and columns, and walks down the rows. Row h of z is
computed once; its two shifts along the row come from registers (`tl.gather`), and its nine products with K1 go to the
sums of rows h-1, h, h+1, of which row h-1 is then complete; this row of m goes the same way through K2. So no value of
z or m leaves the multiprocessor.

Bytes: x (C channels), x_c and y_c (C/2 each) are read once and y (C) is written once: 3 |x|, which is the floor of any
kernel that handles one level; operation by operation it is 12 |x| (difference 1.5, P 2.5, K1 2, ReLU 2, K2 with the sum
3, ReLU 2, less one where two are fused). A strip of rows or columns reads its halo of 2 on either side again.
"""

from math import lcm
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from torchmg.kernels.gpu import tiles
from torchmg.kernels.gpu.level_kernel import level_kernel
from torchmg.kernels.gpu.tune import Config, tuned

REACH = 2
"""Rows and columns that two 3x3 convolutions read beyond the ones they write."""

WIDEST_PACK = 64
"""Channels of a pack at most."""

LAUNCHES = {32: ((64, 4), (128, 8), (64, 8), (32, 4)), 64: ((64, 4), (64, 8), (32, 4)), 128: ((32, 8), (16, 8))}
"""Pixels of a program's row, over all its images, and warps, the default first, by the bytes of a pixel's pack at most:
sums and weights of these fit registers and shared memory, without spills."""

PROGRAMS = 264
"""As many programs should run at the least: two for each multiprocessor of an H200."""


class Pack(NamedTuple):
    """How channels are cut: runs of whole groups of all the operations of a level."""

    size: int
    """Channels of a pack."""
    block: int
    """The same with a masked tail: a power of 2, 16 or more."""
    number: int
    """How many there are."""


class Relaxation(NamedTuple):
    """Two 3x3 convolutions as `pack_taps` has them; vectors are float32, one number a channel.

    Attributes:
        first, second: (packs, 9, block, block), of the type of the activations.
        first_bias, second_bias: of `channels`.
        pack: of K1 and K2.
        scale: what K1 z + f is multiplied with, or None.
        relu_inside: after K1.
        relu: after K2.
        sum_last: z is added after that ReLU, not before.
    """

    first: Tensor
    first_bias: Tensor
    second: Tensor
    second_bias: Tensor
    pack: Pack
    scale: Tensor | None = None
    relu_inside: bool = True
    relu: bool = True
    sum_last: bool = False


class Correction(NamedTuple):
    """P as `pack_taps` has it: (packs, 1, coarse block, block), its bias (channels,), and the coarse packs."""

    weight: Tensor
    bias: Tensor
    coarse: Pack


def pack_of(channels: int, *sizes: int) -> Pack | None:
    """The narrowest packs that hold whole groups of all `sizes` (channels of a group); None if beyond 64 channels."""
    size = lcm(*sizes)
    size *= min(-(-tiles.NARROWEST // size), max(1, channels // size))
    if size > WIDEST_PACK:
        return None
    return Pack(size, max(tiles.NARROWEST, triton.next_power_of_2(size)), -(-channels // size))


def pack_taps(weight: Tensor, groups: int, read: Pack, written: Pack, dtype: torch.dtype) -> Tensor:
    """Weights (out, in/groups, kh, kw) as tiles (packs, taps, in block, out block), zero outside of groups and packs.

    Args:
        weight: of any type; rounded once.
        groups: of the convolution.
        read: packs of its input.
        written: as many packs of its output.
        dtype: of the activations.
    """
    out, inner, high, wide = weight.shape
    outs = torch.arange(out, device=weight.device)[:, None]
    ins = outs // (out // groups) * inner + torch.arange(inner, device=weight.device)
    pack = outs // written.size
    packed = weight.new_zeros(written.number, high * wide, read.block, written.block)
    packed[pack, :, ins - pack * read.size, outs % written.size] = weight.flatten(2)
    return packed.to(dtype)


def level(
    x: Tensor,
    relaxation: Relaxation,
    correction: Correction | None = None,
    coarse: tuple[Tensor, Tensor] | None = None,
    data: Tensor | None = None,
    precision: str = "ieee",
) -> Tensor:
    """The way up of one level.

    Args:
        x: (images, channels, height, width), channels-last, bfloat16, float16 or float32: what was restricted to this
            level, or the block's input.
        relaxation: K1 and K2.
        correction: P; None for a relaxation alone.
        coarse: the coarser level's state before and after, (images, coarse channels, height, width), as x.
        data: f, as x, or None.
        precision: of float32 products, see `support.float32_precision`.

    Returns:
        y, as x.
    """
    images, channels, height, width = x.shape
    y = tiles.empty(tuple(x.shape), x.dtype, x.device)
    pack = relaxation.pack
    before, after = coarse or (x, x)
    p_weight, p_bias, coarse_pack = correction or (relaxation.first, relaxation.first_bias, pack)
    launches = next(found for size, found in LAUNCHES.items() if pack.block * x.dtype.itemsize <= size)
    widest = launches[0][0]
    columns, halo = (triton.next_power_of_2(width), 0) if width <= widest else (widest, REACH)
    step = columns - 2 * halo
    strips = -(-width // step)

    kernel: Any = level_kernel

    def run(config: Config) -> None:
        share = config.block_m // columns
        rows = -(-height // config.splits)
        grid = (pack.number * strips, -(-images // share), -(-height // rows))
        kernel[grid](
            x,
            before,
            after,
            x if data is None else data,
            p_weight,
            p_bias,
            relaxation.first,
            relaxation.first_bias if relaxation.scale is None else relaxation.scale,
            relaxation.first_bias,
            relaxation.second,
            relaxation.second_bias,
            y,
            images,
            height,
            width,
            channels,
            before.shape[1],
            rows,
            strips,
            UP=correction is not None,
            DATA=data is not None,
            SCALED=relaxation.scale is not None,
            RELU_INSIDE=relaxation.relu_inside,
            RELU=relaxation.relu,
            SUM_LAST=relaxation.sum_last,
            PACK=pack.size,
            BLOCK=pack.block,
            FULL=pack.size == pack.block and channels % pack.size == 0,
            COARSE_PACK=coarse_pack.size,
            COARSE_BLOCK=coarse_pack.block,
            COLUMNS=columns,
            HALO=halo,
            IMAGES=share,
            PRECISION=precision,
            num_warps=config.warps,
            num_stages=config.stages,
        )

    key = (*x.shape, str(x.dtype), precision, pack.size, correction is not None, data is not None)
    run(tuned("level", key, _configs(launches, columns, images, height, pack.number * strips), run))
    return y


def _configs(
    launches: tuple[tuple[int, int], ...], columns: int, images: int, height: int, programs: int
) -> list[Config]:
    """Pixels, warps, and strips of rows (`splits`), the default first, where one image takes `programs` programs."""
    most = columns * triton.next_power_of_2(images)
    found: list[Config] = []
    for pixels, warps in launches:
        block = max(columns, min(pixels, most), 16)
        split, wanted = 1, PROGRAMS / (programs * -(-images * columns // block))
        # A small batch is spread over the multiprocessors, as long as a strip has twice the rows it reads again.
        while split < wanted and height // (2 * split) >= 2 * REACH:
            split *= 2
        found += [Config(block, 1, warps, 2, split), Config(block, 1, warps, 2, 2 * split)]
    return list(dict.fromkeys(found))
