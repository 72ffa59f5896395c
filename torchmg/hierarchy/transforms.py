"""What a fast Fourier transform costs, in closed form. No torch."""

from collections.abc import Sequence
from math import log2, prod


def fft_macs(lengths: Sequence[int], batch: int, real: bool) -> int:
    """Multiply-accumulates of `batch` transforms over axes of these lengths.

    A complex transform of n numbers is taken as 2.5 n log2 n (radix 2: 5 n log2 n real operations, half of them
    multiplications), one of real numbers as half of that, whatever the factors of n.
    """
    n = prod(lengths)
    return round(batch * (1.25 if real else 2.5) * n * log2(n))
