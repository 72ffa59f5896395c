"""What fast Fourier transforms cost, in closed form. No torch."""

from collections.abc import Sequence
from math import log2, prod

FFT_CONVENTION = "Fourier transforms: 2.5 n log2 n operations for n real numbers, 5 n log2 n for n complex ones"
"""How transforms are counted, in words; two operations are one MAC."""


def fft_macs(lengths: Sequence[int], batch: int = 1, real: bool = True) -> int:
    """Multiply-accumulates of `batch` fast Fourier transforms over axes of these lengths, n numbers in all.

    1.25 n log2 n each for real numbers (either direction), 2.5 n log2 n for complex ones: half of the customary
    2.5 and 5 n log2 n operations of FFT benchmarks (FFTW's), rounded to a whole number once for the whole batch. No
    implementation does exactly this many; it is a fair size to set beside convolutions.
    """
    n = prod(lengths)
    return round((1.25 if real else 2.5) * batch * n * log2(n)) if n else 0
