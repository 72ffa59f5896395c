"""Dense kernels written into multigrid layers and channel couplings: the nearest one that these can be."""

from copy import deepcopy

import torch
from torch import Tensor, nn

from torchmg.conversion.factor import Factors, factorise
from torchmg.conversion.order import group_orders
from torchmg.errors import ShapeError, UsageError
from torchmg.nn.additive import MultigridLayer
from torchmg.nn.coupling import ChannelCoupling, Multigrid

_TRIAL = 3
"""Sweeps after which orders are compared."""


@torch.no_grad()
def project_layer(
    weight: Tensor,
    layer: MultigridLayer,
    *,
    input_moment: Tensor | None = None,
    sweeps: int = 30,
) -> float:
    """Write into a layer the additive hierarchy nearest to a dense kernel; its bias stays as it is.

    A permuted layer gets the orders of `group_orders` too, if they bring it nearer than those it has and the identity.
    Rows of R_l and of P_l are scaled to a root mean square of 1 on each level, the kernels of its coarser levels to
    match: all of a level's operators then see and make features of one size.

    Args:
        weight: (out, in, *kernel), or (out, in) for linear maps, also for transposed convolutions.
        layer: of these widths and this kernel.
        input_moment: (in_channels, in_channels) in the order of the weight's channels, see `factorise`.
        sweeps: see `factorise`.

    Returns:
        The relative error, as `factorise` says.

    Raises:
        ShapeError: a kernel or moment of other sizes.
        UsageError: entries that are not finite.
    """
    shape, groups = layer.shape, layer.hierarchy.groups
    expected = (shape.out_channels, shape.in_channels, *shape.kernel)
    if tuple(weight.shape) != expected:
        raise ShapeError(f"The layer's kernel is (out, in, *kernel) = {expected}; got {tuple(weight.shape)}.")
    kernel = weight.detach().flatten(2) if shape.dims else weight.detach()[..., None]
    if input_moment is not None and input_moment.shape != (shape.in_channels,) * 2:
        width = shape.in_channels
        raise ShapeError(f"The moment of {width} inputs is ({width}, {width}); got {tuple(input_moment.shape)}.")
    orders = [(torch.arange(shape.out_channels), torch.arange(shape.in_channels))]
    if layer.in_order is not None and layer.out_order is not None and len(groups) > 1:
        seen = kernel.double() if input_moment is None else _as_seen(kernel.double(), input_moment)
        orders += [(layer.out_order.cpu(), layer.in_order.cpu()), group_orders(seen.norm(dim=2), groups[0])]
        orders = [o for i, o in enumerate(orders) if not any(_same(o, earlier) for earlier in orders[:i])]

    def factorised(order: tuple[Tensor, Tensor], sweeps: int) -> tuple[Factors, float]:
        rows, columns = (part.to(kernel.device) for part in order)
        moment = None if input_moment is None else input_moment.to(kernel.device)[columns][:, columns]
        return factorise(kernel[rows][:, columns], groups, sweeps=sweeps, input_moment=moment)

    order = orders[0] if len(orders) == 1 else min(orders, key=lambda order: factorised(order, _TRIAL)[1])
    factors, error = factorised(order, sweeps)
    if layer.in_order is not None and layer.out_order is not None:
        layer.out_order.copy_(order[0])
        layer.in_order.copy_(order[1])
    _write(balanced(factors), layer)
    return error


def balanced(factors: Factors) -> Factors:
    """The same operator, with a root mean square of 1 over the norms of the rows of each R_l and P_l."""
    levels, restrict, prolong, scale = [factors.levels[0]], [], [], 1.0
    for level, down, up in zip(factors.levels[1:], factors.restrict, factors.prolong, strict=True):
        sizes = [(matrix.norm() / len(matrix) ** 0.5).item() or 1.0 for matrix in (down, up)]
        restrict.append(down / sizes[0])
        prolong.append(up / sizes[1])
        scale *= sizes[0] * sizes[1]
        levels.append(level * scale)
    return Factors(levels, restrict, prolong)


@torch.no_grad()
def project_coupling(weight: Tensor, coupling: ChannelCoupling) -> float:
    """Write into a coupling the weights whose dense kernel is nearest to a given one; its bias stays as it is.

    The coupling is W = Q theta; the nearest is theta = (Q^T Q)^-1 Q^T w. Where each entry of the kernel is one weight,
    as in all couplings but sums of overlapping parts, Q^T Q is diagonal and this is one step, a mean over the entries
    that share a weight; else it is solved by conjugate gradients.

    Args:
        weight: (out, in, *kernel), or (out, in) for a kernel of one tap. A coupling with a smaller kernel, as
            `pointwise`, gets the middle of it.
        coupling: of these widths.

    Returns:
        The Frobenius error relative to the norm of `weight`, 0 for a kernel of zeros.

    Raises:
        ShapeError: a kernel of other widths, or smaller than the coupling's.
        UsageError: entries that are not finite; the multigrid coupling, which is no linear image of its weights.
    """
    if isinstance(coupling, Multigrid):
        raise UsageError("A multigrid coupling is no linear image of its weights. Use project_layer on MultigridLayer.")
    if not bool(torch.isfinite(weight).all()):
        raise UsageError("A kernel to project has entries that are not finite numbers.")
    twin = deepcopy(coupling).double()
    theta = [weight for name, weight in twin.named_parameters() if name != "bias"]
    goal = _middle(weight.detach().to(theta[0]), twin)

    def gather(kernel: Tensor) -> list[Tensor]:
        """Q^T: each weight's sum over its entries."""
        with torch.enable_grad():
            image = twin.dense_weight()
        return list(torch.autograd.grad(image, theta, kernel))

    def place(values: list[Tensor]) -> Tensor:
        """Q."""
        for parameter, value in zip(theta, values, strict=True):
            parameter.copy_(value)
        return twin.dense_weight()

    # The row sums of Q^T Q, which are its diagonal if it has nothing else; then the first step is exact.
    shares = gather(place([torch.ones_like(t) for t in theta]))
    found = [torch.zeros_like(t) for t in theta]
    residual = gather(goal)
    solved = [r / s for r, s in zip(residual, shares, strict=True)]
    direction, slope = solved, _inner(residual, solved)
    enough = 1e-28 * slope
    for _ in range(sum(t.numel() for t in theta)):
        if slope <= enough:
            break
        image = place(direction)
        length = slope / image.square().sum().item()
        change = gather(image)
        found = [f + length * d for f, d in zip(found, direction, strict=True)]
        residual = [r - length * c for r, c in zip(residual, change, strict=True)]
        solved = [r / s for r, s in zip(residual, shares, strict=True)]
        before, slope = slope, _inner(residual, solved)
        direction = [s + slope / before * d for s, d in zip(solved, direction, strict=True)]
    made = place(found)
    for (_, parameter), value in zip(_weights(coupling), found, strict=True):
        parameter.copy_(value)
    missed = weight.detach().to(made, memory_format=torch.contiguous_format, copy=True)
    size = missed.norm().item() or 1.0
    _middle(missed, twin).sub_(made)
    return missed.norm().item() / size


def _same(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> bool:
    return torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])


def _weights(coupling: ChannelCoupling) -> list[tuple[str, nn.Parameter]]:
    return [(name, weight) for name, weight in coupling.named_parameters() if name != "bias"]


def _inner(one: list[Tensor], other: list[Tensor]) -> float:
    return sum((a * b).sum().item() for a, b in zip(one, other, strict=True))


def _middle(weight: Tensor, coupling: ChannelCoupling) -> Tensor:
    """The part of a kernel that a coupling has entries for."""
    shape = coupling.dense_weight().shape
    spatial = weight.shape[2:] if weight.dim() > 2 else (1,) * coupling.dims
    fits = len(spatial) == coupling.dims and weight.shape[:2] == shape[:2]
    if not fits or any(n < k or (n - k) % 2 for n, k in zip(spatial, shape[2:], strict=True)):
        raise ShapeError(f"The coupling's kernel is (out, in, *kernel) = {tuple(shape)}; got {tuple(weight.shape)}.")
    weight = weight.reshape(*shape[:2], *spatial)
    for axis, (n, k) in enumerate(zip(spatial, shape[2:], strict=True), start=2):
        weight = weight.narrow(axis, (n - k) // 2, k)
    return weight


def _as_seen(kernel: Tensor, moment: Tensor) -> Tensor:
    """The kernel with each input's standard deviation on it."""
    return kernel * moment.to(kernel).diagonal().clamp_min(0).sqrt()[:, None]


def _write(factors: Factors, layer: MultigridLayer) -> None:
    shape, sizes = layer.shape, layer.hierarchy
    for level, kernel in enumerate(factors.levels):
        groups = sizes.groups[level]
        stored = layer.levels[level].get_parameter("weight")
        if shape.transposed:
            kernel = kernel.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)
        stored.copy_(kernel.reshape(stored.shape))
    for level, (down, up) in enumerate(zip(factors.restrict, factors.prolong, strict=True)):
        restrict, prolong = layer.transfers(level)
        restrict.rows.copy_(down.flatten())
        prolong.rows.copy_(up.flatten())
