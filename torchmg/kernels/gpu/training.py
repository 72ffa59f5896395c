"""Training's two computations on channels-last maps: what `torchmg.kernels.fused` has for the CPU, name for name.

With |x| and |y| the bytes of a convolution's input and output, forward moves |x| + |y|, an addend |y| more, and in
float32 |y| once more: there the statistics are taken around a mean near theirs, so that they survive |mean| >> std,
where sums of half-precision maps lose no more than those maps have lost.
Backward moves 3 |x| + 4 |y| (both gradients read gradient, output and input; one of them x twice over, to gate and to
write), without an affine map before 2 |x| + 4 |y|; with an addend's gradient |y| more, which both then read in place of
two maps. Affine ends: see `torchmg.kernels.gpu.affine`. Everything else is numbers a channel.
"""

import torch
from torch import Tensor

from torchmg.kernels.gpu import norms
from torchmg.kernels.gpu.affine import affine, affine_gradients, moments, reached
from torchmg.kernels.gpu.conv import conv
from torchmg.kernels.gpu.edges import Affine, End, Gate, Reach
from torchmg.kernels.gpu.weights import weight_gradient
from torchmg.kernels.shape import Shape, Track


def norm_conv_forward(
    x: Tensor,
    weight: Tensor,
    gamma: Tensor,
    beta: Tensor,
    scale: Tensor | None,
    shift: Tensor | None,
    add: Tensor | None,
    eps: float,
    relu: bool,
    shape: Shape,
    track: Track | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Y, scale, shift, mean and variance of `fused.norm_conv`, without autograd.

    Args:
        x: of `shape.inputs`, channels-last, of a type that `support.serves`; y is of this type.
        weight: of `shape.weights`, contiguous, of any floating type.
        gamma: float32 (out_channels,), as are all vectors.
        beta: the same.
        scale: (in_channels,), what normalises x; None: nothing does.
        shift: the same.
        add: of `shape.outputs`, channels-last; None: nothing is added.
        eps: what the normalisation adds to the variance.
        relu: of what was normalised.
        shape: the convolution's sizes.
        track: running statistics to update.
    """
    whole = x.dtype == torch.float32
    y, sums = conv(x, weight, shape, before=_affine(scale, shift, relu), after=End(add=add, sums=not whole))
    partials = moments(y) if whole or sums is None else sums
    return y, *norms.coefficients(partials, y.numel() // shape.out_channels, gamma, beta, eps, track)


def norm_conv_backward(
    gy: Tensor,
    gscale: Tensor,
    gshift: Tensor,
    x: Tensor,
    weight: Tensor,
    gamma: Tensor,
    scale: Tensor | None,
    shift: Tensor | None,
    y: Tensor,
    mean: Tensor,
    variance: Tensor,
    eps: float,
    relu: bool,
    shape: Shape,
    wants_x: bool,
    wants_add: bool,
) -> tuple[Tensor | None, Tensor, Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of x, weight (in its type), gamma, beta, scale, shift, add; those of maps are channels-last."""
    gy, gscale, gshift = _like(gy, y), gscale.contiguous(), gshift.contiguous()
    count = y.numel() // shape.out_channels
    ggamma, gbeta, constant, slope = norms.coefficients_backward(count, mean, variance, gamma, eps, gscale, gshift)
    gadd = reached(gy, y, constant, slope) if wants_add else None
    gradient, reach = (gy, Reach(y, constant, slope)) if gadd is None else (gadd, None)

    before = _affine(scale, shift, relu)
    gweight = weight_gradient(x, gradient, shape, before_x=before, before_grad=reach).to(weight.dtype)
    gx = of_scale = of_shift = None
    if wants_x or before is not None:
        gate = None if before is None else Gate(x, *before)
        gx, sums = conv(gradient, weight, shape, transposed=True, before=reach, after=gate)
        of_scale, of_shift = (None, None) if sums is None else norms.reduced(sums)
    return gx, gweight, ggamma, gbeta, of_scale, of_shift, gadd


def affine_forward(y: Tensor, scale: Tensor, shift: Tensor, add: Tensor | None, relu: int) -> Tensor:
    """`fused.affine_act` without autograd, of channels-last y and add, in y's type."""
    return affine(y, scale, shift, add, relu)


def affine_backward(
    gout: Tensor, y: Tensor, scale: Tensor, shift: Tensor, out: Tensor | None, relu: int, wants_add: bool
) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
    """Gradients of y, add, scale, shift; `out` where the ReLU is over all."""
    gout = _like(gout, y)
    gy, gadd, partials = affine_gradients(gout, y, scale, shift, out, relu, wants_add)
    return gy, (gout if out is None else gadd) if wants_add else None, *norms.reduced(partials)


def _affine(scale: Tensor | None, shift: Tensor | None, relu: bool) -> Affine | None:
    return None if scale is None or shift is None else Affine(scale, shift, relu)


def _like(gradient: Tensor, y: Tensor) -> Tensor:
    """Autograd hands over gradients in any layout, also expanded ones."""
    return gradient.to(y.dtype).contiguous(memory_format=torch.channels_last)
