"""Cases of `torchmg.kernels.gpu.cycle` against float64; see `interpreted.py`."""

from itertools import pairwise
from unittest import mock

import pytest
import torch
from gpu_cases_level import close, conv, random
from interpreted import device, guarded, poisoned
from torch import Tensor

from torchmg.kernels.gpu import cycle as module
from torchmg.kernels.gpu.cycle import Block, configs, cycle, joined
from torchmg.kernels.gpu.level import Correction, Pack, Relaxation, pack_of, pack_taps
from torchmg.kernels.gpu.restrict import runs

BF16, HALF, FLOAT = torch.bfloat16, torch.float16, torch.float32


def flat(x: Tensor) -> Tensor:
    """`guarded`, in the order in which it is."""
    return guarded(x.flatten()).view(x.shape)


class Weights:
    """Random constants of a block whose groups have `size` channels, on the coarsest level all of them."""

    def __init__(self, channels: int, size: int, coarsest: int, dtype: torch.dtype) -> None:
        self.dtype, self.widths = dtype, [channels]
        while self.widths[-1] > coarsest:
            self.widths.append(self.widths[-1] // 2)
        sizes = [size] * (len(self.widths) - 1) + [coarsest]
        self.groups = [c // s for c, s in zip(self.widths, sizes, strict=True)]
        self.taps = [
            [random(c, s, 3, 3, dtype=dtype) / (9 * s) ** 0.5 for _ in range(2)]
            for c, s in zip(self.widths, sizes, strict=True)
        ]
        self.biases = [[torch.randn(c), torch.randn(c)] for c in self.widths]
        self.down = [random(c // 2, size, 1, 1, dtype=dtype) / size**0.5 for c in self.widths[:-1]]
        self.up = [random(c, size // 2, 1, 1, dtype=dtype) / size**0.5 for c in self.widths[:-1]]
        self.up_biases = [torch.randn(c) for c in self.widths[:-1]]
        self.down_biases = [torch.randn(len(weight)) for weight in self.down]
        self.size = size

    def relaxation(self, level: int) -> Relaxation:
        pack = pack_of(self.widths[level], self.widths[level] // self.groups[level])
        assert pack is not None
        first, second = (pack_taps(w, self.groups[level], pack, pack, self.dtype) for w in self.taps[level])
        return Relaxation(first, self.biases[level][0], second, self.biases[level][1], pack)

    def correction(self, level: int) -> Correction:
        pack = pack_of(self.widths[level], self.size)
        assert pack is not None
        coarse = Pack(pack.size // 2, max(16, pack.block // 2), pack.number)
        weight = pack_taps(self.up[level], self.groups[level], coarse, pack, self.dtype)
        return Correction(weight, self.up_biases[level], coarse)

    def block(self, biased: bool) -> Block:
        local = range(len(self.widths) - 1)
        biases = self.down_biases if biased else [None] * len(self.down)
        chain = runs(self.down, biases, self.groups[:-1], self.dtype)
        made = joined(
            chain, self.relaxation(len(local)), [self.relaxation(k) for k in local], [self.correction(k) for k in local]
        )
        assert made is not None
        return Block(
            made.chain._replace(
                weights=[flat(w) for w in made.chain.weights],
                biases=[None if b is None else flat(b) for b in made.chain.biases],
            ),
            *(
                part._replace(**{k: flat(v) for k, v in part._asdict().items() if isinstance(v, Tensor)})
                for part in made[1:]
            ),  # pyright: ignore[reportArgumentType]
        )

    def wanted(self, x: Tensor, biased: bool) -> Tensor:
        xs = [x.double()]
        for weight, groups, bias in zip(self.down, self.groups, self.down_biases, strict=False):
            xs.append(conv(xs[-1], weight, groups, bias if biased else None))
        y = self.relax(xs[-1], len(xs) - 1)
        for level in reversed(range(len(xs) - 1)):
            change = conv(y - xs[level + 1], self.up[level], self.groups[level], self.up_biases[level])
            y = self.relax(xs[level] + change, level)
        return y

    def relax(self, z: Tensor, level: int) -> Tensor:
        (first, second), (bias, other), groups = self.taps[level], self.biases[level], self.groups[level]
        return (conv(conv(z, first, groups, bias).relu(), second, groups, other) + z).relu()


def check(
    shape: tuple[int, int, int, int], size: int, coarsest: int, dtype: torch.dtype, *, biased: bool = False,
    scratch: int = module.SCRATCH, number: int = 0,
) -> None:  # fmt: skip
    """A block's output with the launch `number`; apart, and on a GPU in one launch with the same bits, twice."""
    torch.manual_seed(0)
    weights = Weights(shape[1], size, coarsest, dtype)
    block, x = weights.block(biased), random(*shape, dtype=dtype)
    config = configs(x, block)[number]
    with mock.patch.object(module, "SCRATCH", scratch), poisoned():
        got = cycle(guarded(x), block, config, apart=True)
        close(got, weights.wanted(x, biased), 40)
        if device().type == "cuda":
            for _ in range(2):
                assert torch.equal(cycle(guarded(x), block, config, apart=False), got)


def case_blocks() -> None:
    check((2, 64, 5, 7), 16, 16, FLOAT)
    check((1, 64, 7, 7), 16, 32, BF16, biased=True)
    check((3, 128, 3, 4), 32, 64, HALF)


@pytest.mark.slow
def case_five_levels() -> None:
    check((1, 256, 2, 3), 16, 16, FLOAT, biased=True)


def case_narrow_groups() -> None:
    check((2, 64, 4, 3), 8, 16, FLOAT)
    check((1, 64, 3, 3), 4, 32, HALF)


def case_rounds() -> None:
    check((5, 32, 8, 14), 16, 16, FLOAT, scratch=1)  # of one image of 8 rows, or of one tile
    check((21, 32, 2, 2), 16, 16, FLOAT, scratch=2 * 2 * 2 * 16 * 4 * 16)


def case_strips_of_rows() -> None:
    check((2, 32, 9, 5), 16, 16, FLOAT, number=-1)


def case_what_does_not_fit_one_kernel() -> None:
    weights = Weights(64, 16, 16, FLOAT)
    chain = runs(weights.down, [None, None], weights.groups[:-1], FLOAT)
    coarsest, levels = weights.relaxation(2), [weights.relaxation(0), weights.relaxation(1)]
    moves = [weights.correction(0), weights.correction(1)]
    assert joined(chain, coarsest, levels, moves) is not None
    assert joined(chain, coarsest, [levels[0], levels[1]._replace(relu=False)], moves) is None
    assert joined(chain, coarsest._replace(scale=torch.ones(16)), levels, moves) is None
    assert joined(chain, coarsest, levels[:1], moves[:1]) is None
    assert joined([*chain, *chain], coarsest, levels, moves) is None
    assert all(2 * after == before for before, after in pairwise(chain[0].widths))
