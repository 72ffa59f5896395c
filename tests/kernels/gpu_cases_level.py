"""Cases of `torchmg.kernels.gpu.level` and `restrict` against float64; see `interpreted.py`."""

from itertools import pairwise

import torch
from interpreted import device, guarded, poisoned, spacing
from torch import Tensor
from torch.nn import functional as F

from torchmg.kernels.gpu.level import Correction, Pack, Relaxation, level, pack_of, pack_taps
from torchmg.kernels.gpu.restrict import restrict, runs

BF16, HALF, FLOAT = torch.bfloat16, torch.float16, torch.float32


def random(*shape: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(shape).to(dtype)


def conv(x: Tensor, weight: Tensor, groups: int, bias: Tensor | None = None) -> Tensor:
    pad = weight.shape[-1] // 2
    return F.conv2d(x.double(), weight.double(), None if bias is None else bias.double(), padding=pad, groups=groups)


def close(got: Tensor, wanted: Tensor, roundings: float) -> None:
    assert got.is_contiguous(memory_format=torch.channels_last)
    error = (got.cpu().double() - wanted).abs().max() / wanted.abs().max()
    assert error <= roundings * spacing(got.dtype), error  # NaN is not


def check_level(
    shape: tuple[int, int, int, int],
    size: int,
    dtype: torch.dtype,
    *,
    transfer: int | None = None,
    data: bool = False,
    last: bool = False,
) -> None:
    """One level with groups of `size` channels; `transfer`: output channels of a group of P, None without P."""
    torch.manual_seed(0)
    images, channels, height, width = shape
    groups, vectors = channels // size, [torch.randn(channels) for _ in range(4)]
    first, second = (random(channels, size, 3, 3, dtype=dtype) / (9 * size) ** 0.5 for _ in range(2))
    move = random(channels, 0 if transfer is None else transfer // 2, 1, 1, dtype=dtype)
    x, f = random(*shape, dtype=dtype), random(*shape, dtype=dtype)
    before, after = (random(images, channels // 2, height, width, dtype=dtype) for _ in range(2))
    pack = pack_of(channels, size, *([] if transfer is None else [transfer]))
    assert pack is not None
    coarse = Pack(pack.size // 2, max(16, pack.block // 2), pack.number)

    def taps(weight: Tensor, groups: int, read: Pack) -> Tensor:
        return pack_taps(weight, groups, read, pack, dtype).to(device())

    b_move, b_first, b_second, scale = (guarded(vector) for vector in vectors)
    relaxation = Relaxation(
        taps(first, groups, pack), b_first, taps(second, groups, pack), b_second, pack,
        scale if data else None, relu_inside=not last or data, sum_last=last,
    )  # fmt: skip
    correction = None if transfer is None else Correction(taps(move, channels // transfer, coarse), b_move, coarse)
    states = None if transfer is None else (guarded(before), guarded(after))
    with poisoned():
        got = level(guarded(x), relaxation, correction, states, guarded(f) if data else None)

    z = x.double()
    if transfer is not None:
        z = z + conv(after.double() - before.double(), move, channels // transfer, vectors[0])
    m = conv(z, first, groups) + (f.double() if data else 0)
    m = m * (vectors[3].double().view(1, -1, 1, 1) if data else 1) + vectors[1].double().view(1, -1, 1, 1)
    y = conv(m.relu() if relaxation.relu_inside else m, second, groups, vectors[2])
    close(got, y.relu() + z if last else (y + z).relu(), 8)


def case_group_sizes() -> None:
    check_level((2, 32, 5, 7), 4, FLOAT, transfer=4)
    check_level((3, 64, 4, 4), 8, HALF, transfer=8)
    check_level((1, 64, 7, 3), 16, BF16, transfer=16)
    check_level((2, 64, 3, 5), 32, HALF, transfer=32)


def case_widest_pack() -> None:
    check_level((1, 64, 4, 40), 64, HALF)


def case_transfers_of_other_groups() -> None:
    check_level((1, 64, 3, 4), 4, FLOAT, transfer=2)
    check_level((2, 64, 3, 4), 8, FLOAT, transfer=32)


def case_tails() -> None:
    check_level((2, 40, 6, 6), 8, FLOAT, transfer=8)  # the last pack is half empty
    check_level((1, 48, 3, 3), 24, FLOAT, transfer=24)  # a pack of no power of 2
    check_level((5, 16, 1, 1), 16, FLOAT)


def case_strips_of_columns() -> None:
    check_level((1, 16, 5, 70), 16, FLOAT)
    check_level((1, 32, 4, 121), 8, BF16, transfer=8)


def case_strips_of_rows() -> None:
    check_level((1, 16, 37, 5), 16, FLOAT, transfer=16)


def case_data_and_sum_last() -> None:
    check_level((2, 32, 5, 6), 8, FLOAT, data=True, last=True)
    check_level((1, 32, 5, 6), 16, BF16, data=True, transfer=16, last=True)
    check_level((1, 32, 4, 4), 16, HALF, last=True)


def check_chain(shape: tuple[int, int, int, int], sizes: list[int], dtype: torch.dtype, biased: bool) -> None:
    """Restrictions whose groups have `sizes` input channels."""
    torch.manual_seed(1)
    widths = [shape[1] >> k for k in range(len(sizes) + 1)]
    groups = [width // size for width, size in zip(widths, sizes, strict=False)]
    weights = [
        random(after, before // count, 1, 1, dtype=dtype) / (before // count) ** 0.5
        for (before, after), count in zip(pairwise(widths), groups, strict=True)
    ]
    biases = [torch.randn(len(weight)) if biased else None for weight in weights]
    x = random(*shape, dtype=dtype)
    chain = runs([w.to(device()) for w in weights], biases, groups, dtype)
    chain = [run._replace(biases=[None if b is None else guarded(b) for b in run.biases]) for run in chain]
    with poisoned():
        made = restrict(guarded(x), chain)
    wanted = x.double()
    assert len(made) == len(weights)
    for got, weight, bias, count in zip(made, weights, biases, groups, strict=True):
        wanted = conv(wanted, weight, count, bias)
        close(got, wanted, 6)


def case_restrictions() -> None:
    check_chain((2, 64, 3, 5), [8, 8], FLOAT, biased=False)
    check_chain((1, 128, 5, 3), [16, 16, 16], BF16, biased=True)
    check_chain((3, 48, 2, 2), [4, 4, 4], HALF, biased=True)
    check_chain((1, 64, 4, 4), [2, 2], FLOAT, biased=False)
    check_chain((1, 64, 3, 3), [32, 32], FLOAT, biased=True)
    check_chain((2, 40, 9, 9), [8], FLOAT, biased=True)


def case_long_chain() -> None:
    check_chain((1, 512, 2, 3), [16, 16, 16, 16, 16], HALF, biased=False)
    check_chain((1, 256, 2, 3), [64, 64], FLOAT, biased=True)
