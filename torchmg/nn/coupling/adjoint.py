"""The exact transpose of whatever a block's convolutions are."""

from torch import Tensor, nn

from torchmg.errors import UsageError
from torchmg.nn.conv import GroupedConv1d, GroupedConv2d, GroupedConv3d, GroupedLinear, pointwise
from torchmg.nn.coupling.base import ChannelCoupling
from torchmg.nn.coupling.stencil import correlate_adjoint


def adjoint(module: nn.Module, z: Tensor) -> Tensor:
    """K^T z of a coupling or of one of `grouped_conv`'s convolutions K of stride 1, without its bias.

    Raises:
        UsageError: a module whose transpose is not known.
    """
    if isinstance(module, ChannelCoupling):
        return module.adjoint(z)
    if isinstance(module, GroupedLinear):
        blocks = module.weight.unflatten(0, (module.groups, -1)).transpose(1, 2)
        return pointwise(z, blocks.flatten(0, 1), module.groups)
    if isinstance(module, GroupedConv1d | GroupedConv2d | GroupedConv3d) and module.stride[0] == 1:
        return correlate_adjoint(z, module.weight, z.shape[2:], groups=module.groups)
    raise UsageError(f"{type(module).__name__} has no known transpose; use a channel coupling of stride 1.")
