# ruff: noqa: N803 (constants of a kernel are in capitals, as Triton has them)
"""What `edges` says, on one tile [pixels, channels] inside a kernel.

A ReLU is written with `where`, which passes NaN on as torch's does: a diverged training must show.
"""

import triton
import triton.language as tl


@triton.jit
def load_vectors(first, second, channel, there):
    """A tile's two vectors of numbers a channel, each [1, channels]; zeros where there are none."""
    if first is None:
        one = tl.zeros(channel.shape, tl.float32)
        two = one
    else:
        one = tl.load(first + channel, mask=there, other=0.0)
        two = tl.load(second + channel, mask=there, other=0.0)
    return one[None, :], two[None, :]


@triton.jit
def change(value, mask, other, offset, first, second, BEFORE: tl.constexpr):
    """What a loaded tile becomes: BEFORE is "none", "affine", "affine_relu" or "reach"; zero where masked."""
    if BEFORE == "none":
        result = value
    else:
        result = value.to(tl.float32)
        if BEFORE == "reach":
            result += first + second * tl.load(other + offset, mask=mask, other=0.0).to(tl.float32)
        else:
            result = result * first + second
        if BEFORE == "affine_relu":
            result = tl.where(result < 0.0, 0.0, result)
        result = tl.where(mask, result, 0.0).to(value.dtype)
    return result


@triton.jit
def finish(acc, y, offset, mask, bias, add, gate, first, second, RELU: tl.constexpr, SUMS: tl.constexpr):
    """Store a finished tile; return its two sums over pixels, [channels] each.

    first, second: [1, channels], of a gate scale and shift. bias: [1, channels] or None.
    """
    if gate is not None:
        x = tl.load(gate + offset, mask=mask, other=0.0).to(tl.float32)
        if RELU:
            acc = tl.where(x * first + second <= 0.0, 0.0, acc)  # in this form NaN stays
        acc = tl.where(mask, acc, 0.0)
        tl.store(y + offset, (acc * first).to(y.dtype.element_ty), mask=mask)
        one = tl.sum(acc * x, 0)
        two = tl.sum(acc, 0)
    else:
        if bias is not None:
            acc += bias
        if add is not None:
            acc += tl.load(add + offset, mask=mask, other=0.0).to(tl.float32)
        if RELU:
            acc = tl.where(acc < 0.0, 0.0, acc)
        rounded = acc.to(y.dtype.element_ty)
        tl.store(y + offset, rounded, mask=mask)
        one = tl.zeros((acc.shape[1],), tl.float32)
        two = one
        if SUMS:
            kept = tl.where(mask, rounded.to(tl.float32), 0.0)
            one = tl.sum(kept, 0)
            two = tl.sum(kept * kept, 0)
    return one, two


@triton.jit
def store_sums(sums, program, channels, channel, there, one, two):
    """A program's partial sums, of (programs, 2, channels)."""
    place = sums + program.to(tl.int64) * 2 * channels + channel
    tl.store(place, one, mask=there)
    tl.store(place + channels, two, mask=there)
