"""A linear layer of any geometry as an additive multigrid operator in channels."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from torchmg.errors import ShapeError
from torchmg.hierarchy import GroupRule, StopRule
from torchmg.hierarchy.layer_levels import LayerHierarchy
from torchmg.nn.conv import GroupedLinear
from torchmg.nn.cycle import additive_cycle
from torchmg.nn.layer_shape import LayerShape
from torchmg.nn.mgic import Part
from torchmg.nn.transfer import Transfer


class MultigridLayer(nn.Module):
    """W = K_0 + P_1 (K_1 + P_2 (K_2 + ...) R_2) R_1 in the place of a dense W: same inputs, same outputs.

    The operator of `torchmg.nn.coupling.Multigrid`, but between any two widths and in any geometry that torch's layers
    have: strides, dilation, padding and its modes, transposed convolutions, linear maps of the last axis. Every K_l is
    a layer of that geometry, grouped, and full on the coarsest level; restrictions come first and prolongations last
    and touch channels only, so they commute with padding and strides. Weights: `LayerHierarchy.weights`, linear in the
    width for fixed sizes.

    Args:
        shape: of the dense layer.
        group_size, coarsest, stop, group_rule: see `LayerHierarchy`.
        permuted: sort the channels before they are cut into groups, and back: two index lists, kept in the state
            dictionary, `in_order` and `out_order`. They start as the identity.

    Raises:
        UsageError: sizes below 1.
        UnknownNameError: an unknown rule.
    """

    in_order: Tensor | None
    out_order: Tensor | None

    def __init__(
        self,
        shape: LayerShape,
        *,
        group_size: int = 8,
        coarsest: int = 16,
        permuted: bool = False,
        stop: StopRule = "le",
        group_rule: GroupRule = "ceil",
    ) -> None:
        super().__init__()
        self.shape = shape
        self.hierarchy = LayerHierarchy(shape.in_channels, shape.out_channels, group_size, coarsest, stop, group_rule)
        inputs, outputs, groups = self.hierarchy.inputs, self.hierarchy.outputs, self.hierarchy.groups
        self.levels = nn.ModuleList(shape.build(*sizes) for sizes in zip(inputs, outputs, groups, strict=True))
        # Kernels of all levels reach the same outputs: variances add up to those of one dense layer.
        with torch.no_grad():
            for level in self.levels:
                level.get_parameter("weight").mul_(len(self.levels) ** -0.5)
        fine = range(len(groups) - 1)
        dims = shape.dims
        self.restrict = nn.ModuleList(Transfer(inputs[i], inputs[i + 1], groups[i], dims=dims) for i in fine)
        self.prolong = nn.ModuleList(Transfer(outputs[i + 1], outputs[i], groups[i], dims=dims) for i in fine)
        self.bias = nn.Parameter(torch.zeros(shape.out_channels)) if shape.bias else None
        for name, width in (("in_order", shape.in_channels), ("out_order", shape.out_channels)):
            self.register_buffer(name, torch.arange(width) if permuted else None)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (torch's name, by which callers may pass it)
        """Apply the layer, to (batch, in_channels, *spatial), a single map without batch, or (..., in_channels)."""
        if self.shape.dims == 0:
            self._check(input.shape[-1], input)
            y = self._map(input.reshape(-1, input.shape[-1]))
            return y if input.dim() == 2 else y.reshape(*input.shape[:-1], y.shape[1])
        if input.dim() == self.shape.dims + 1:
            return self(input[None])[0]
        self._check(input.shape[1], input)
        return self._map(input)

    def _map(self, x: Tensor) -> Tensor:
        x = x if self.in_order is None else x[:, self.in_order]
        y = additive_cycle(x, list(self.restrict), list(self.levels), list(self.prolong))
        if self.out_order is not None:
            y = y[:, self.out_order.argsort()]
        return y if self.bias is None else y + self.bias[(...,) + (None,) * self.shape.dims]

    def _check(self, width: int, x: Tensor) -> None:
        if width != self.shape.in_channels:
            axis = "last" if self.shape.dims == 0 else "second"
            raise ShapeError(f"Expected {self.shape.in_channels} channels in the {axis} axis; got {tuple(x.shape)}.")

    @property
    def in_channels(self) -> int:
        """Width of what comes in, under the name that convolutions have for it."""
        return self.shape.in_channels

    @property
    def out_channels(self) -> int:
        """Width of what goes out."""
        return self.shape.out_channels

    @property
    def in_features(self) -> int:
        """Width of what comes in, under the name that linear layers have for it."""
        return self.shape.in_channels

    @property
    def out_features(self) -> int:
        """Width of what goes out."""
        return self.shape.out_channels

    def dense_weight(self) -> Tensor:
        """The dense kernel (out_channels, in_channels, *kernel) of the same map, differentiable."""
        *fine, coarsest = self._kernels()
        dense = coarsest
        for level in reversed(range(len(fine))):
            down, up = self.transfers(level)
            dense = fine[level] + torch.einsum("oi,ijt,jm->omt", up.dense_weight(), dense, down.dense_weight())
        if self.in_order is not None and self.out_order is not None:
            dense = dense[self.out_order.argsort()][:, self.in_order.argsort()]
        return dense.unflatten(2, self.shape.kernel) if self.shape.dims else dense[..., 0]

    def num_params(self) -> int:
        """Trainable numbers, in closed form."""
        return self.hierarchy.weights(self.shape.taps) + (self.shape.out_channels if self.shape.bias else 0)

    def parts(self) -> Iterator[Part]:
        """Where each operator stands in the hierarchy, for counting and reports."""
        coarsest = len(self.levels) - 1
        for level in range(len(self.levels)):
            yield Part(f"levels.{level}", "coarsest" if level == coarsest else "relax", level)
        for level in range(coarsest):
            yield Part(f"restrict.{level}", "restrict", level)
            yield Part(f"prolong.{level}", "prolong", level)

    def extra_repr(self) -> str:
        """Widths of the levels and their groups."""
        sizes = zip(self.hierarchy.inputs, self.hierarchy.outputs, self.hierarchy.groups, strict=True)
        return ", ".join(f"{a} -> {b} in {g}" for a, b, g in sizes)

    def _kernels(self) -> list[Tensor]:
        """Dense (out, in, taps) kernels of all levels."""
        return [_dense(self.kernel(level), g) for level, g in enumerate(self.hierarchy.groups)]

    def transfers(self, level: int) -> tuple[Transfer, Transfer]:
        """Restriction and prolongation between `level` and the next coarser one."""
        down, up = self.restrict[level], self.prolong[level]
        assert isinstance(down, Transfer)
        assert isinstance(up, Transfer)
        return down, up

    def kernel(self, level: int) -> Tensor:
        """The kernel of one level, (out, in / groups, taps): a view, whichever way round torch keeps it."""
        layer = self.levels[level]
        assert isinstance(layer, nn.modules.conv._ConvNd | GroupedLinear)
        weight = layer.weight
        if self.shape.transposed:
            groups = self.hierarchy.groups[level]
            weight = weight.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)
        return weight.flatten(2) if self.shape.dims else weight[..., None]


def _dense(kernel: Tensor, groups: int) -> Tensor:
    """A grouped kernel (out, in / groups, taps) with its zeros, (out, in, taps)."""
    blocks = kernel.unflatten(0, (groups, -1))
    eye = torch.eye(groups, dtype=kernel.dtype, device=kernel.device)
    return torch.einsum("goit,gh->gohit", blocks, eye).flatten(2, 3).flatten(0, 1)
