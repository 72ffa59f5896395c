"""What every channel coupling must satisfy, one function for a property; not collected by itself."""

from itertools import product

import torch
from torch import Tensor
from torch.nn import functional as F

from torchmg.nn.coupling import ChannelCoupling, folded


def stencil_sum(coupling: ChannelCoupling, x: Tensor) -> Tensor:
    """The definition: one shifted copy of the padded input for each tap of the dense kernel, by no convolution."""
    weight, margin = coupling.dense_weight(), coupling.kernel_size // 2
    mode = "constant" if coupling.padding == "zeros" else "circular"
    padded = F.pad(x, (margin,) * (2 * coupling.dims), mode=mode)
    outputs = [-(-n // coupling.stride) for n in x.shape[2:]]
    y = torch.zeros(len(x), coupling.out_channels, *outputs, dtype=x.dtype)
    for tap in product(range(coupling.kernel_size), repeat=coupling.dims):
        window = padded
        for axis, (start, n) in enumerate(zip(tap, x.shape[2:], strict=True), start=2):
            window = window.narrow(axis, start, n)
        kept = window[(..., *[slice(None, None, coupling.stride)] * coupling.dims)]
        y = y + torch.einsum("oi,bi...->bo...", weight[(..., *tap)], kept)
    return y if coupling.bias is None else y + coupling.bias.view(-1, *[1] * coupling.dims)


def operator_matrix(coupling: ChannelCoupling, size: tuple[int, ...]) -> Tensor:
    """The map on `size` without its bias as a matrix, column by column."""
    width = coupling.in_channels * torch.Size(size).numel()
    basis = torch.eye(width, dtype=next(coupling.parameters()).dtype).view(width, coupling.in_channels, *size)
    origin = coupling(torch.zeros_like(basis[:1]))
    return (coupling(basis) - origin).flatten(1).T


def images(coupling: ChannelCoupling, size: tuple[int, ...]) -> Tensor:
    """Two random ones in the coupling's type."""
    return torch.randn(2, coupling.in_channels, *size, dtype=next(coupling.parameters()).dtype)


def check_forward(coupling: ChannelCoupling, size: tuple[int, ...]) -> None:
    """The map is that of its dense kernel, and so is what it is folded into."""
    x = images(coupling, size)
    y, expected = coupling(x), stencil_sum(coupling, x)
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5}[x.dtype] * (1 + expected.abs().max())
    assert y.shape == expected.shape
    assert y.dtype == x.dtype
    assert (y - expected).abs().max() <= tolerance
    convolution = folded(coupling)
    assert (convolution(x) - expected).abs().max() <= tolerance
    assert convolution.training == coupling.training
    shared = {p.data_ptr() for p in coupling.parameters()} & {p.data_ptr() for p in convolution.parameters()}
    assert not shared


def check_adjoint(coupling: ChannelCoupling, size: tuple[int, ...]) -> None:
    """<K x, z> = <x, K^T z>, and without a size the adjoint goes to stride times that of z."""
    x = images(coupling, size)
    y = coupling(x) - coupling(torch.zeros_like(x))
    z = torch.randn_like(y)
    back = coupling.adjoint(z, size)
    assert back.shape == x.shape
    torch.testing.assert_close((y * z).sum(), (x * back).sum(), rtol=0, atol=1e-10)
    if all(n % coupling.stride == 0 for n in size):
        assert torch.equal(coupling.adjoint(z), back)


def check_counts(coupling: ChannelCoupling) -> None:
    """Closed forms are what is there, and weights are few enough: Q has no idle columns."""
    assert coupling.num_params() == sum(p.numel() for p in coupling.parameters())
    weights = [weight for name, weight in coupling.named_parameters() if name != "bias"]
    assert coupling.num_weights() == sum(w.numel() for w in weights)
    gradients = torch.autograd.grad(coupling.dense_weight().square().sum(), weights)
    assert all(bool((g != 0).all()) for g in gradients)


def check_macs(coupling: ChannelCoupling, size: tuple[int, ...]) -> None:
    """One for each entry of the dense kernel that is not zero, at each output pixel."""
    entries = int((coupling.dense_weight() != 0).sum())
    assert coupling.macs_per_pixel() == entries
    assert coupling.macs(*size) == entries * torch.Size([-(-n // coupling.stride) for n in size]).numel()


def check_adjacency(coupling: ChannelCoupling) -> None:
    """The channels that are coupled are those whose stencils are not zero."""
    pattern = (coupling.dense_weight() != 0).flatten(2).any(2)
    assert torch.equal(coupling.adjacency(), pattern)
    reach = coupling.reach()
    power, layers = pattern.double(), 1
    while coupling.in_channels == coupling.out_channels and not power.all() and layers < coupling.in_channels:
        power, layers = (power @ pattern.double() > 0).double(), layers + 1
    assert reach == (layers if power.all() else None)


def check_gradients(coupling: ChannelCoupling, size: tuple[int, ...]) -> None:
    """Of the map, its adjoint and both bounds, against finite differences."""
    names = [name for name, _ in coupling.named_parameters()]
    values = [p.detach().clone().requires_grad_() for p in coupling.parameters()]
    x = images(coupling, size)[:1].requires_grad_()
    z = torch.randn_like(coupling(x)).requires_grad_()

    def forward(x: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(coupling, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(forward, (x, *values))
    assert torch.autograd.gradcheck(lambda z: coupling.adjoint(z, size), (z,))


def check_bounds(coupling: ChannelCoupling, size: tuple[int, ...]) -> None:
    """norm_bound() >= norm_bound(size) >= ||K||_2, where the latter are equal on a torus at stride 1."""
    with torch.no_grad():
        norm = torch.linalg.matrix_norm(operator_matrix(coupling, size), ord=2)
    here, anywhere = coupling.norm_bound(size), coupling.norm_bound()
    assert here.dim() == anywhere.dim() == 0
    assert norm <= here * (1 + 1e-12)
    assert here <= anywhere * (1 + 1e-12)
    if coupling.padding == "circular" and coupling.stride == 1:
        torch.testing.assert_close(here, norm, rtol=1e-10, atol=0)


def check_bound_gradients(coupling: ChannelCoupling, size: tuple[int, ...]) -> None:
    """Norms of W = Q(theta) are homogeneous in theta, so by Euler <theta, gradient> is the norm times the degree.

    And no gradient is NaN at 0.
    """
    weights = [weight for weight, _ in coupling.variances()]
    for bound in (coupling.norm_bound(), coupling.norm_bound(size)):
        gradients = torch.autograd.grad(bound, weights)
        inner = sum((w * g).sum() for w, g in zip(weights, gradients, strict=True))
        torch.testing.assert_close(inner, coupling.degree * bound, rtol=1e-9, atol=0)
    with torch.no_grad():
        for weight in weights:
            weight.zero_()
    for bound in (coupling.norm_bound(), coupling.norm_bound(size)):
        assert 0 <= bound < 1e-12
        assert all(bool(g.isfinite().all()) for g in torch.autograd.grad(bound, weights))
