# ruff: noqa: N803 (constants of a kernel are in capitals, as Triton has them)
"""The gradient of a grouped convolution's weights.

For a pack of channels and some taps it is a product over pixels: (columns of x at the taps)^T (gradient at the pixel).
A program forms it for its share of the pixels, in float32; the shares are then summed in a fixed order. So a program's
accumulator is [taps * in_pack, out_pack], as high as tensor cores like it, of which the groups' own blocks are stored.

Bytes, with |x| and |g| those of input and gradient: |x| + |g|, and |g| again for the map that a `Reach` adds, where all
taps are of one program (packs of up to 32 channels; those of 64 read two or three times, mostly from the L2 cache);
taps read x again from the L1 cache. The shares add at most 20 MB in all, written and read.
"""

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from torchmg.kernels.gpu import tiles
from torchmg.kernels.gpu.edge_tiles import load_vectors
from torchmg.kernels.gpu.edges import Affine, Reach
from torchmg.kernels.gpu.support import float32_precision
from torchmg.kernels.gpu.tiles import dot, pack_channels, packs_of
from torchmg.kernels.shape import Shape

PROGRAMS = 1024
"""Most programs: some on each multiprocessor, and not so many that their shares cost as much as the maps."""

LARGEST = 16384
"""Numbers of an accumulator: 64 registers a thread of 8 warps."""


class Plan(NamedTuple):
    """How a weight gradient is cut."""

    taps: int
    """Taps of a program, a power of 2."""
    pixels: int
    """Pixels of a step."""
    warps: int
    stages: int


def plan_of(shape: Shape, half: bool) -> Plan:
    """As many taps as fit a program's registers, and steps of about 16 KB."""
    packs, taps = packs_of(shape), shape.kernel_h * shape.kernel_w
    most = max(1, LARGEST // (packs.in_pack * packs.out_pack))
    most = 1 << (most.bit_length() - 1)
    here = min(most, triton.next_power_of_2(taps))
    size = here * packs.in_pack * packs.out_pack
    pixels = max(16, min(128, (8192 if half else 4096) // (here * packs.in_pack)))
    return Plan(here, pixels, 8 if size > 8192 else 4, 2)


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
    packs, half = packs_of(shape), x.dtype != torch.float32
    plan = plan_of(shape, half)
    _, _, out_h, out_w = shape.outputs
    rows, taps = shape.images * out_h * out_w, shape.kernel_h * shape.kernel_w
    parts = packs.packs * triton.cdiv(taps, plan.taps)
    splits = min(triton.cdiv(rows, plan.pixels), max(1, PROGRAMS // parts))
    shares = tiles.empty((splits, shape.weights[0] * shape.weights[1] * taps), torch.float32, x.device)
    scale, shift = (None, None) if before_x is None else before_x[:2]
    other, constant, slope = (None, None, None) if before_grad is None else before_grad
    affine = 0 if before_x is None else 1 + before_x.relu
    kernel: Any = _weight_gradient
    kernel[(parts * splits,)](
        x, grad, shares, scale, shift, other, constant, slope, rows, splits, packs.packs, shape.in_channels,
        shape.out_channels, shape.height, shape.width, out_h, out_w, affine, before_grad is not None,
        packs.in_size, packs.out_size, packs.groups, packs.in_pack, packs.out_pack, shape.kernel_h, shape.kernel_w,
        shape.stride, shape.pad_h, shape.pad_w, plan.taps, plan.pixels, "ieee" if half else float32_precision(),
        num_warps=plan.warps, num_stages=plan.stages,
    )  # fmt: skip
    return (shares[0] if splits == 1 else shares.sum(0)).view(shape.weights)


@triton.jit
def _weight_gradient(
    x,
    grad,
    shares,
    scale,
    shift,
    other,
    constant,
    slope,
    rows,
    splits,
    packs,
    in_channels,
    out_channels,
    height,
    width,
    out_h,
    out_w,
    AFFINE: tl.constexpr,
    REACH: tl.constexpr,
    IN_SIZE: tl.constexpr,
    OUT_SIZE: tl.constexpr,
    GROUPS: tl.constexpr,
    IN_PACK: tl.constexpr,
    OUT_PACK: tl.constexpr,
    KERNEL_H: tl.constexpr,
    KERNEL_W: tl.constexpr,
    STRIDE: tl.constexpr,
    PAD_H: tl.constexpr,
    PAD_W: tl.constexpr,
    TAPS: tl.constexpr,
    BLOCK: tl.constexpr,
    PRECISION: tl.constexpr,
):
    # Packs go fastest: neighbours in time share the lines of memory that hold several packs of a pixel.
    pack = tl.program_id(0) % packs
    split = tl.program_id(0) // packs % splits
    first_tap = tl.program_id(0) // (packs * splits) * TAPS

    in_channel, in_there = pack_channels(pack, in_channels, IN_SIZE, GROUPS, IN_PACK)
    out_channel, out_there = pack_channels(pack, out_channels, OUT_SIZE, GROUPS, OUT_PACK)
    tap = first_tap + tl.arange(0, TAPS)
    down, right = tap // KERNEL_W - PAD_H, tap % KERNEL_W - PAD_W
    # [pixel, tap, channel]: what depends on pixel and tap only is found once for all channels.
    into = ((down * width + right) * in_channels)[None, :, None] + in_channel[None, None, :]
    a, b = load_vectors(scale, shift, in_channel, in_there)
    c, s = load_vectors(constant, slope, out_channel, out_there)

    found = tl.zeros((TAPS * IN_PACK, OUT_PACK), tl.float32)
    for block in range(split, tl.cdiv(rows, BLOCK), splits):
        row = block * BLOCK + tl.arange(0, BLOCK)
        inside = row < rows
        image, place = row // (out_h * out_w), row % (out_h * out_w)
        top, left = place // out_w * STRIDE, place % out_w * STRIDE

        g_at = row.to(tl.int64)[:, None] * out_channels + out_channel[None, :]
        g_there = inside[:, None] & out_there[None, :]
        g = tl.load(grad + g_at, mask=g_there, other=0.0)
        if REACH:
            y = tl.load(other + g_at, mask=g_there, other=0.0)
            g = tl.where(g_there, g.to(tl.float32) + c + s * y.to(tl.float32), 0.0).to(grad.dtype.element_ty)

        h, w = top[:, None] + down[None, :], left[:, None] + right[None, :]
        tap_there = inside[:, None] & (h >= 0) & (h < height) & (w >= 0) & (w < width)
        tap_there = tap_there & (tap < KERNEL_H * KERNEL_W)[None, :]
        x_there = tap_there[:, :, None] & in_there[None, None, :]
        pixel = ((image * height + top).to(tl.int64) * width + left) * in_channels
        v = tl.load(x + pixel[:, None, None] + into, mask=x_there, other=0.0)
        if AFFINE:
            v = v.to(tl.float32) * a[None, :, :] + b[None, :, :]
            if AFFINE == 2:
                v = tl.where(v < 0.0, 0.0, v)
            v = tl.where(x_there, v, 0.0).to(x.dtype.element_ty)
        v = tl.reshape(v, (BLOCK, TAPS * IN_PACK))
        found = dot(tl.trans(v), g, found, PRECISION)

    line = tl.arange(0, TAPS * IN_PACK)
    of_tap, i = first_tap + line // IN_PACK, (line % IN_PACK)[:, None]
    o = tl.arange(0, OUT_PACK)[None, :]
    own = (i // IN_SIZE == o // OUT_SIZE) & (i < GROUPS * IN_SIZE) & (o < GROUPS * OUT_SIZE)
    own = own & (of_tap < KERNEL_H * KERNEL_W)[:, None] & out_there[None, :]
    at = (out_channel[None, :] * IN_SIZE + i % IN_SIZE) * (KERNEL_H * KERNEL_W) + of_tap[:, None]
    share = split.to(tl.int64) * (out_channels * IN_SIZE * KERNEL_H * KERNEL_W)
    tl.store(shares + share + at, found, mask=own)
