"""The comparison of a file's answers with the network's."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from torchmg.errors import ExportError
from torchmg.exporting.checks import TOLERANCE, Check, compare, samples

EXPECTED = torch.tensor([[1.0, -8.0, 2.0], [4.0, 3.0, 0.0]])


def check(answer: Tensor, expected: Tensor = EXPECTED) -> Check:
    (found,) = compare(lambda _: answer, [torch.zeros(len(expected), 1)], [expected])
    return found


def test_differences_are_the_largest_ones_and_argmax_is_counted() -> None:
    moved = EXPECTED + torch.tensor([[0.0, 0.0, 2.0**-12], [-(2.0**-11), 0.0, 0.0]])
    found = check(moved)
    assert (found.batch, found.absolute, found.relative) == (2, 2.0**-11, 2.0**-14)
    assert found.same_argmax == 100
    tie = torch.tensor([[8.0, 0.0], [1.0, 1.0 + 1e-6], [0.0, 1.0], [0.0, 2.0]])
    assert check(tie + torch.tensor([2e-6, 0.0]), tie).same_argmax == 75


def test_argmax_is_over_channels_and_needs_them() -> None:
    places = torch.arange(24.0).reshape(2, 3, 4)
    assert check(places, places).same_argmax == 100
    assert check(torch.ones(5), torch.ones(5)).same_argmax is None


@pytest.mark.parametrize("dtype", list(TOLERANCE))
def test_the_tolerance_is_a_part_of_the_largest_output(dtype: torch.dtype) -> None:
    expected = torch.tensor([[1.0, -8.0]], dtype=dtype)
    for factor in (0.75, 1.25):
        moved = expected.double() + torch.tensor([[0.0, 8 * factor * TOLERANCE[dtype]]])
        if factor < 1:
            check(moved.to(dtype), expected)
        else:
            with pytest.raises(ExportError, match="at batch size 1 they differ by"):
                check(moved.to(dtype), expected)


def test_zeros_must_be_zeros() -> None:
    zeros = torch.zeros(2, 3)
    assert check(zeros, zeros).relative == 0
    with pytest.raises(ExportError, match="largest output is 0;"):
        check(zeros + 1e-30, zeros)


def broken(x: Tensor) -> Tensor:
    raise RuntimeError("no\nkernel")


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda _: EXPECTED * torch.nan, "differ by nan"),
        (lambda _: EXPECTED[:1], r"answers a batch of 2 with \(1, 3\) torch.float32, the network with \(2, 3\)"),
        (lambda _: EXPECTED.double(), "torch.float64"),
        (broken, "fails at batch size 2: no kernel"),
    ],
)
def test_what_is_no_answer_is_refused(run: Callable[[Tensor], Tensor], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        compare(run, [torch.zeros(2, 1)], [EXPECTED])


def test_samples_are_the_same_each_time_and_of_the_right_kind() -> None:
    first, again = samples((3, 4), torch.float64), samples((3, 4), torch.float64)
    assert [tuple(x.shape) for x in first] == [(1, 3, 4), (2, 3, 4), (5, 3, 4)]
    assert all(torch.equal(x, y) and x.dtype is torch.float64 for x, y in zip(first, again, strict=True))
    assert not torch.equal(first[2][0], first[2][1])
