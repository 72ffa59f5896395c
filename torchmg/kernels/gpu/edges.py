"""What a convolution kernel does to its input while it loads it, and to its output before it stores it.

All vectors are float32, one number a channel. All tensors are channels-last.
"""

from typing import NamedTuple

from torch import Tensor


class Affine(NamedTuple):
    """x -> relu?(scale[c] x + shift[c]): a batch normalisation whose statistics are known. Zero padding comes after."""

    scale: Tensor
    shift: Tensor
    relu: bool = False


class Reach(NamedTuple):
    """x -> x + constant[c] + slope[c] other: a gradient with what reaches it through a batch's statistics."""

    other: Tensor
    constant: Tensor
    slope: Tensor


class End(NamedTuple):
    """y = relu?(conv + bias[c] + add); `sums`: also the sums of y and y^2 over pixels, of y as rounded."""

    bias: Tensor | None = None
    add: Tensor | None = None
    relu: bool = False
    sums: bool = False


class Gate(NamedTuple):
    """A data gradient through relu?(scale[c] x + shift[c]).

    With t = gradient * (scale x + shift > 0 if relu): y = t scale, and the sums are of t x and t, over pixels.
    Without a scale y is the gradient as it is, and there are no sums.
    """

    x: Tensor
    scale: Tensor | None = None
    shift: Tensor | None = None
    relu: bool = False


Before = Affine | Reach | None
After = End | Gate | None
