"""Cases of the convolution kernels against float64; see `interpreted`."""

from itertools import product
from typing import Any

import interpreted
import pytest
import torch
from interpreted import choose, guarded, poisoned, spacing
from torch import Tensor
from torch.nn import functional as F
from torch.nn.grad import conv2d_input

from torchmg.errors import ShapeError
from torchmg.kernels.gpu import conv as gpu
from torchmg.kernels.gpu import support, tiles
from torchmg.kernels.gpu.edges import Affine, After, Before, End, Gate, Reach
from torchmg.kernels.gpu.tune import Config
from torchmg.kernels.shape import Shape

DTYPES = [torch.bfloat16, torch.float16, torch.float32]
BEFORE = ["none", "affine", "reach", "affine_relu"]
AFTER = ["sums", "all", "gate_relu", "none", "bias", "add", "gate", "relu_sums", "ungated"]


def slow(case: Any) -> Any:
    """For the slow suite."""
    return pytest.param(case, marks=pytest.mark.slow)


def shape_of(
    groups: int, sizes: tuple[int, int], kernel: int, stride: int, images: int = 2, height: int = 7, width: int = 5
) -> Shape:
    """Sizes (input, output) are of one group; padding is half the kernel."""
    channels = groups * sizes[0], groups * sizes[1]
    return Shape(images, *channels, groups, height, width, kernel, kernel, stride, kernel // 2, kernel // 2)


def vector(channels: int) -> Tensor:
    return guarded(torch.randn(channels))


def drawn_before(kind: str, x: Tensor) -> Before:
    if kind == "none":
        return None
    one, two = vector(x.shape[1]), vector(x.shape[1])
    if kind == "reach":
        return Reach(guarded(torch.randn(x.shape).to(x.dtype)), one, two)
    return Affine(one, two, kind == "affine_relu")


def drawn_after(kind: str, shape: tuple[int, ...], dtype: torch.dtype) -> After:
    other, one, two = guarded(torch.randn(shape).to(dtype)), vector(shape[1]), vector(shape[1])
    made: dict[str, After] = {
        "none": None,
        "sums": End(sums=True),
        "bias": End(bias=one),
        "add": End(add=other),
        "relu_sums": End(relu=True, sums=True),
        "all": End(one, other, relu=True, sums=True),
        "gate": Gate(other, one, two),
        "gate_relu": Gate(other, one, two, relu=True),
        "ungated": Gate(other),
    }
    return made[kind]


def wide(x: Tensor) -> Tensor:
    return x.double().cpu()


def along(x: Tensor) -> Tensor:
    return wide(x)[:, None, None]


def check(
    shape: Shape,
    dtype: torch.dtype,
    transposed: bool,
    before_kind: str,
    after_kind: str,
    config: Config | None = None,
    weight_dtype: torch.dtype | None = None,
) -> None:
    """One call against float64, within what rounding explains.

    The interpreter rounds to bfloat16 towards zero, so weights are of that type from the start.
    """
    weight_dtype = weight_dtype or (dtype if dtype == torch.bfloat16 else torch.float32)
    x = guarded(torch.randn(shape.outputs if transposed else shape.inputs).to(dtype))
    weight = guarded(torch.randn(shape.weights).flatten().to(weight_dtype)).view(shape.weights)
    before = drawn_before(before_kind, x)
    after = drawn_after(after_kind, shape.inputs if transposed else shape.outputs, dtype)
    with poisoned(), pytest.MonkeyPatch.context() as patch:
        if config is not None:
            patch.setattr(gpu, "candidates", lambda *_: [config])
        y, sums = gpu.conv(x, weight, shape, transposed=transposed, before=before, after=after)
    assert y.dtype == dtype
    assert support.channels_last(y)
    # The reference, and the sum of absolute products, which bounds its rounding.
    changed = wide(x)
    if isinstance(before, Affine):
        changed = changed * along(before.scale) + along(before.shift)
        changed = changed.relu() if before.relu else changed
    elif isinstance(before, Reach):
        changed = changed + along(before.constant) + along(before.slope) * wide(before.other)
    taps = wide(weight.to(dtype))
    found, bound = (_plain(a, b, shape, transposed) for a, b in ((changed, taps), (changed.abs(), taps.abs())))
    slack = (spacing(dtype) if before else 0) + 2e-6
    expected: tuple[Tensor, Tensor] | None = None
    if isinstance(after, End):
        found = found if after.bias is None else found + along(after.bias)
        found = found if after.add is None else found + wide(after.add)
        found = found.relu() if after.relu else found
        expected = (wide(y), wide(y) ** 2) if after.sums else None
    elif isinstance(after, Gate) and after.scale is not None and after.shift is not None:
        if after.relu:
            found = found * (along(after.scale) * wide(after.x) + along(after.shift) > 0)
        expected = found * wide(after.x), found
        found, bound = found * along(after.scale), bound * along(after.scale).abs()
    torch.testing.assert_close(wide(y), found, rtol=0, atol=float("inf"))  # the shapes, and no NaN
    assert ((wide(y) - found).abs() <= slack * bound + spacing(dtype) * found.abs() + 1e-6).all()
    assert (sums is None) == (expected is None)
    if sums is not None and expected is not None:
        assert sums.dtype == torch.float32
        assert sums.shape[1:] == (2, y.shape[1])
        allowed = 1e-5 if isinstance(after, End) else slack + 1e-5
        for got, terms in zip(wide(sums).sum(0), expected, strict=True):
            size = terms.abs().sum((0, 2, 3)) + bound.sum((0, 2, 3)) * (4 if isinstance(after, Gate) else 0)
            assert ((got - terms.sum((0, 2, 3))).abs() <= allowed * size + 1e-5).all()


def _plain(x: Tensor, weight: Tensor, shape: Shape, transposed: bool) -> Tensor:
    padding: Any = shape.pad_h, shape.pad_w
    if transposed:
        return conv2d_input(shape.inputs, weight, x, shape.stride, padding, groups=shape.groups)
    return F.conv2d(x, weight, None, shape.stride, padding, groups=shape.groups)


KINDS = list(product([4, 8, 16, 32, 64], [(1, 1), (3, 1), (3, 2), (1, 2)], [False, True]))
NUMBERS = [number if (number + number // 2) % 2 else slow(number) for number in range(len(KINDS))]
"""In the fast suite each size and kernel in one direction."""


@pytest.mark.parametrize("number", NUMBERS)
def case_sizes_types_and_edges(number: int) -> None:
    size, (kernel, stride), transposed = KINDS[number]
    # Counts of groups that leave a pack unfilled, but for the largest ones, which cost the interpreter most.
    shape = shape_of(1 if size > 16 else 3, (size, size), kernel, stride, images=1 + number % 3)
    turn = number + number // 8 + number // 2
    check(shape, choose(DTYPES, turn), transposed, choose(BEFORE, turn // 3), choose(AFTER, number + number // 9))


@pytest.mark.parametrize("sizes", [(8, 4), (4, 8), *map(slow, [(2, 1), (1, 2), (32, 16), (3, 5), (2, 64)])])
@pytest.mark.parametrize("transposed", [False, True])
def case_in_and_out_groups_differ(sizes: tuple[int, int], transposed: bool) -> None:
    for number, kernel in enumerate((1, 3)):
        check(shape_of(5, sizes, kernel, 1, 1, 4, 3), choose(DTYPES, sizes[0] + number), transposed, "affine", "sums")


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(
    ("kernel", "stride"), [(5, 1), *(pytest.param(*k, marks=pytest.mark.slow) for k in ((5, 2), (2, 2), (1, 3)))]
)
def case_other_kernels(kernel: int, stride: int, transposed: bool) -> None:
    check(shape_of(3, (4, 4), kernel, stride), torch.float32, transposed, "reach", "all")


@pytest.mark.parametrize("transposed", [False, True])
def case_kernels_that_are_not_square(transposed: bool) -> None:
    shape = Shape(2, 12, 12, 3, 6, 9, 3, 1, 1, 1, 0)
    check(shape, torch.float32, transposed, "affine_relu", "sums")
    check(Shape(1, 12, 12, 3, 6, 4, 1, 3, 2, 0, 2), torch.float32, transposed, "none", "none")
    check(Shape(1, 12, 12, 3, 6, 4, 3, 3, 1, 0, 0), torch.float32, transposed, "affine", "none")


ROWS = [Config(16, 1, 4, 1, 1), Config(16, 1, 4, 3, 3), Config(32, 2, 4, 3, 1), Config(16, 2, 4, 2, 4)]


@pytest.mark.parametrize("further", [0, slow(1)])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("before", BEFORE)
def case_rows_however_cut(before: str, transposed: bool, further: int) -> None:
    """Blocks that begin within an image or a row, segments of rows, both ways to shift."""
    number = BEFORE.index(before) + further
    after = "gate_relu" if transposed else "all"
    check(shape_of(3, (8, 8), 3, 1, 2, 5, 11), choose(DTYPES, number), transposed, before, after, choose(ROWS, number))


@pytest.mark.parametrize("packs", [1, 2, slow(4)])
def case_wide_packs(packs: int) -> None:
    for kernel, stride in ((1, 1), (3, 2)):
        check(shape_of(7, (8, 8), kernel, stride), torch.float16, False, "affine", "sums", Config(16, packs, 4, 2, 0))


def case_images_of_one_pixel_and_one_row() -> None:
    for height, width in ((1, 1), (1, 9), (9, 1)):
        check(shape_of(2, (8, 8), 3, 1, 3, height, width), torch.float32, False, "affine", "sums")
        check(shape_of(2, (8, 8), 3, 1, 3, height, width), torch.float32, True, "reach", "gate", ROWS[1])


def case_weights_of_any_order_and_type() -> None:
    shape = shape_of(1, (32, 32), 3, 1, 1, 3, 3)
    x, weight = guarded(torch.randn(shape.inputs)), torch.randn(shape.weights, device=interpreted.device())
    first, _ = gpu.conv(x, weight, shape)
    second, _ = gpu.conv(x, weight.to(memory_format=torch.channels_last), shape)
    third, _ = gpu.conv(x, weight.permute(0, 3, 2, 1).contiguous().permute(0, 3, 2, 1), shape)
    assert torch.equal(first, second)
    assert torch.equal(first, third)
    check(shape_of(2, (8, 8), 3, 1), torch.float16, False, "none", "none", weight_dtype=torch.bfloat16)


def case_results_of_another_type() -> None:
    shape = shape_of(2, (8, 8), 3, 1, 1, 3, 3)
    x, weight = guarded(torch.randn(shape.inputs).half()), guarded(torch.randn(shape.weights))
    y, _ = gpu.conv(x, weight.contiguous(), shape, out_dtype=torch.float32)
    assert y.dtype == torch.float32
    torch.testing.assert_close(wide(y), _plain(wide(x), wide(weight.half()), shape, False), rtol=1e-5, atol=1e-4)


def case_nan_stays() -> None:
    shape = shape_of(2, (8, 8), 1, 1, 1, 2, 2)
    x = guarded(torch.full(shape.inputs, float("nan")))
    y, _ = gpu.conv(x, torch.ones(shape.weights, device=x.device), shape, after=End(relu=True))
    assert y.isnan().all()


def case_what_is_served() -> None:
    x = guarded(torch.randn(2, 8, 4, 4))
    assert support.serves(x, x.bfloat16())
    assert not support.serves(x, x.double())
    assert not support.serves(x.contiguous())
    assert gpu.suits(shape_of(3, (8, 8), 3, 1))
    for unfit in (shape_of(8, (1, 1), 3, 1), shape_of(1, (128, 128), 3, 1), shape_of(2, (8, 8), 7, 1)):
        assert not gpu.suits(unfit)
    with pytest.raises(ShapeError, match="should be"):
        gpu.conv(x, x, shape_of(2, (8, 8), 3, 1))


@pytest.mark.parametrize("size", [4, 16, 24, 64])
def case_packs_cover_every_group_once(size: int) -> None:
    for groups, width in product((1, 3, 8), (1, 2, 4)):
        packs = tiles.packs_of(shape_of(groups, (size, size), 1, 1), width)
        assert packs.groups * size <= packs.in_pack < 2 * max(16, packs.groups * size)
        assert (packs.packs - 1) * packs.groups < groups <= packs.packs * packs.groups
