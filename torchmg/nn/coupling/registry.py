"""Couplings by name, and as what builds the convolutions of a block."""

from collections.abc import Mapping
from inspect import signature
from types import MappingProxyType
from typing import Any, Final

from torch import nn

from torchmg.errors import UsageError
from torchmg.hierarchy import Dims, check_choice, check_groups
from torchmg.nn.conv import ConvBuilder, grouped_conv
from torchmg.nn.coupling.base import ChannelCoupling
from torchmg.nn.coupling.block_chain import BlockChain
from torchmg.nn.coupling.chain import Chain
from torchmg.nn.coupling.circulant import Circulant
from torchmg.nn.coupling.grouped import Depthwise, Full, Grouped, Pointwise
from torchmg.nn.coupling.lattice import Lattice
from torchmg.nn.coupling.lean import Lean, Union
from torchmg.nn.coupling.multigrid import Multigrid
from torchmg.nn.coupling.separable import Separable
from torchmg.nn.coupling.shuffle import Shuffle
from torchmg.nn.coupling.stencil import Padding

_MEMBERS: tuple[type[ChannelCoupling], ...] = (
    *(Full, Grouped, Shuffle, Depthwise, Pointwise, Separable, Union, Lean),
    *(Circulant, Chain, BlockChain, Lattice, Multigrid),
)

COUPLINGS: Final[Mapping[str, type[ChannelCoupling]]] = MappingProxyType({member.name: member for member in _MEMBERS})
"""Every member by its name."""
IN_GROUPS: Final = ("grouped", "shuffle")
"""Members that `conv_builder` cuts into as many groups as a block asks for."""


def channel_coupling(
    name: str,
    in_channels: int,
    out_channels: int,
    kernel_size: int = 3,
    *,
    stride: int = 1,
    padding: Padding = "zeros",
    bias: bool = False,
    dims: Dims = 2,
    **options: Any,
) -> ChannelCoupling:
    """The coupling of that name; `options` are the member's own (`group_size`, `radius`, `block`, ...).

    Raises:
        UnknownNameError: an unknown name.
        UsageError: an option that the member does not have, or sizes it cannot take.
    """
    check_choice("coupling", name, tuple(COUPLINGS))
    member = COUPLINGS[name]
    check_options(name, options)
    return member(
        in_channels, out_channels, kernel_size, stride=stride, padding=padding, bias=bias, dims=dims, **options
    )


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Raise `UsageError` for options that the member called `name` does not have."""
    own = own_options(name)
    if unknown := sorted(set(options) - set(own)):
        has = f"it has {', '.join(own)}" if own else "it has none of its own"
        raise UsageError(f"The coupling {name!r} has no option {', '.join(unknown)}; {has}.")


def own_options(name: str) -> tuple[str, ...]:
    """The options that only this member has."""
    parameters = signature(COUPLINGS[name].__init__).parameters.values()
    common = set(signature(ChannelCoupling.__init__).parameters)
    return tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in common)


def conv_builder(name: str = "grouped", **options: Any) -> ConvBuilder:
    """What builds a block's convolutions from the coupling of that name, called as `grouped_conv` is.

    With `grouped` that is `grouped_conv` itself, cut into as many groups as the block asks for, and with `shuffle` the
    same and a shuffle of channels after it. The other members have sparsity of their own and do not look at the number
    of groups, nor do these two when an option says it.

    Raises:
        UnknownNameError: an unknown name.
        UsageError: an option that the member does not have.
    """
    check_choice("coupling", name, tuple(COUPLINGS))
    check_options(name, options)
    if name == "grouped" and not options:
        return grouped_conv
    if name == "shuffle" and not options:
        return shuffled_conv
    if name == "full":
        return full_conv

    def build(
        in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, groups: int = 1, dims: Dims = 2
    ) -> ChannelCoupling:
        del groups
        return channel_coupling(name, in_channels, out_channels, kernel_size, stride=stride, dims=dims, **options)

    return build


def full_conv(
    in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, groups: int = 1, dims: Dims = 2
) -> nn.Module:
    """`grouped_conv` of one group, however many a block asks for."""
    del groups
    return grouped_conv(in_channels, out_channels, kernel_size, stride=stride, dims=dims)


def shuffled_conv(
    in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, groups: int = 1, dims: Dims = 2
) -> Shuffle:
    """`Shuffle` of as many groups as a block asks for.

    Raises:
        GroupError: `groups` does not divide both widths.
    """
    check_groups(in_channels, groups, f"a shuffle coupling {in_channels} -> {out_channels}")
    return Shuffle(in_channels, out_channels, kernel_size, group_size=in_channels // groups, stride=stride, dims=dims)


def as_builder(coupling: str | ConvBuilder) -> ConvBuilder:
    """A builder as it is, or the one of a coupling's name with its own defaults.

    Raises:
        UnknownNameError: an unknown name.
    """
    return conv_builder(coupling) if isinstance(coupling, str) else coupling
