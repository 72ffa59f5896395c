"""Rounding to few bits against torch's own, closed forms and its bounds."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torchmg.errors import UnknownNameError, UsageError
from torchmg.study.rounding import Grid, Quantiser

ends = st.floats(-50, 50, width=32)


@settings(max_examples=50)
@given(ends, ends, st.integers(2, 12), st.sampled_from(["affine", "symmetric"]), st.integers(0, 2**31))
def test_it_is_torchs_fake_quantisation_and_moves_nothing_by_more_than_half_a_step(
    one: float, other: float, bits: int, grid: Grid, seed: int
) -> None:
    low, high = sorted((one, other))
    quantiser = Quantiser(low, high, bits, grid)
    x = low + (high - low) * torch.rand(64, generator=torch.Generator().manual_seed(seed))
    rounded = quantiser(x)
    if quantiser.step < 1e-6:
        return
    assert (rounded - x).abs().max() <= quantiser.step * (0.5 + 1e-3)
    assert quantiser(torch.zeros(1)).item() == 0
    torch.testing.assert_close(quantiser(rounded), rounded)
    if grid == "affine":
        zero, first, last = round(-min(low, 0.0) / quantiser.step), 0, 2**bits - 1
    else:
        zero, last = 0, 2 ** (bits - 1) - 1
        first = -last
    torchs = torch.fake_quantize_per_tensor_affine(x, quantiser.step, zero, first, last)
    # a value halfway between two neighbours may go to either
    assert ((rounded - torchs).abs() <= 1e-3 * quantiser.step).float().mean() > 0.95


def test_two_bits_by_hand() -> None:
    x = torch.tensor([-9.0, -1.0, -0.5, 0.0, 0.7, 3.0, 9.0])
    step = 4 / 3  # three steps from -1 to 3, zero is the second number
    expected = step * torch.tensor([-1.0, -1.0, 0.0, 0.0, 1.0, 2.0, 2.0])
    torch.testing.assert_close(Quantiser(-1, 3, 2)(x), expected)
    torch.testing.assert_close(Quantiser(-1, 3, 2, "symmetric")(x), torch.tensor([-3.0, 0.0, 0.0, 0.0, 0.0, 3.0, 3.0]))


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize(("low", "grid"), [(0.0, "affine"), (-1.0, "affine"), (-1.0, "symmetric")])
def test_the_error_of_evenly_spread_values_is_a_twelfth_of_the_step_squared(bits: int, low: float, grid: Grid) -> None:
    x = torch.linspace(low, 1, 1_000_001, dtype=torch.float64)
    quantiser = Quantiser(low, 1, bits, grid)
    count = 2**bits - 1 if grid == "affine" else 2 ** (bits - 1) - 1
    assert quantiser.step == pytest.approx(((1 - low) if grid == "affine" else 1) / count)
    found = (quantiser(x) - x).square().mean().item()
    assert found == pytest.approx(quantiser.step**2 / 12, rel=2e-2)


def test_a_constant_zero_stays_and_what_is_wrong_is_named() -> None:
    assert Quantiser(0, 0)(torch.ones(3)).tolist() == [0, 0, 0]
    for bits in (1, 17, 8.0):
        with pytest.raises(UsageError, match="2 to 16 bits"):
            Quantiser(0, 1, bits)  # pyright: ignore[reportArgumentType]
    with pytest.raises(UsageError, match="finite"):
        Quantiser(0, float("inf"))
    with pytest.raises(UnknownNameError, match="affine"):
        Quantiser(0, 1, 8, "afine")  # pyright: ignore[reportArgumentType]
