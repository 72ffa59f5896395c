"""Why a layer stays as it is, in words for the user."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.utils import parametrize

from torchmg.conversion.attribute_reads import reads_of
from torchmg.conversion.hooks import computes_by_hooks
from torchmg.conversion.module_tree import ModuleTree, groups_of
from torchmg.nn.additive import MultigridLayer
from torchmg.nn.conv import GroupedConv2d
from torchmg.nn.coupling import ChannelCoupling
from torchmg.nn.layer_shape import CONVOLUTIONS, TRANSPOSED, Dense
from torchmg.nn.mgic import MGICBlock
from torchmg.nn.sic import SiC
from torchmg.nn.transfer import Transfer

MULTIGRID = (MultigridLayer, MGICBlock, ChannelCoupling, SiC, Transfer)
"""Modules of torchmg that are what a conversion makes, or as light; nothing within them is converted again."""
BASES: tuple[type[nn.Module], ...] = (nn.Linear, GroupedConv2d, *CONVOLUTIONS.values(), *TRANSPOSED.values())
MATRICES = (nn.MultiheadAttention, nn.RNNBase, nn.RNNCellBase, nn.Bilinear)
"""Modules of torch that hold dense matrices of their own beside, or without, layers."""
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True)
class Skip:
    """A layer that stays as it is.

    Attributes:
        path: its first name in the network.
        kind: its class.
        parameters: its numbers, weight and bias.
        reason: what speaks against it, as the end of the sentence "it stays, because ...".
        eligible: it is a dense layer that one could want converted; False where there is nothing to gain (it is
            grouped or multigrid already) or where one rarely wants it (the stem, the head).
    """

    path: str
    kind: str
    parameters: int
    reason: str
    eligible: bool


class Refusal(NamedTuple):
    """A reason and whether the layer is one that could be wanted, as in `Skip`."""

    reason: str
    eligible: bool = True


def bare_matrices(path: str, module: nn.Module) -> Skip | None:
    """The matrices that a module of torch keeps as bare parameters, where it does.

    Nothing can stand in for these, and yet they mix channels like any dense layer: they count as what could be wanted.
    """
    own = sum(parameter.numel() for parameter in module.parameters(recurse=False))
    if not isinstance(module, MATRICES) or not own:
        return None
    kind = type(module).__name__
    return Skip(path, kind, own, f"{kind} keeps its matrices as bare parameters, not as layers", True)


def within_multigrid(tree: ModuleTree) -> frozenset[int]:
    """Identities of all modules in or under one of `MULTIGRID`."""
    ours = [module for module in tree.modules.values() if isinstance(module, MULTIGRID)]
    return frozenset(id(inner) for module in ours for inner in module.modules())


def grouping(layer: Dense) -> Refusal | None:
    """That the layer has groups."""
    groups = groups_of(layer)
    if groups == 1:
        return None
    if not isinstance(layer, nn.Linear) and groups == layer.in_channels:
        return Refusal("it is depthwise: it does not mix channels", eligible=False)
    return Refusal(f"it is grouped already ({groups} groups)", eligible=False)


def refusal(tree: ModuleTree, layer: Dense) -> Refusal | None:
    """What forbids to put another module in a layer's place, groups aside; None when nothing does."""
    if any(isinstance(parameter, nn.UninitializedParameter) for parameter in layer.parameters(recurse=False)):
        return Refusal("it has no widths yet: send one batch through the network first")
    if own := _own_computation(layer):
        return Refusal(own)
    if parametrize.is_parametrized(layer):
        return Refusal("its weight is parametrised (torch.nn.utils.parametrize)")
    if computes_by_hooks(layer):
        return Refusal("it computes by hooks, as weight_norm, spectral_norm and pruning leave them")
    weight = layer._parameters.get("weight")
    if weight is None:
        return Refusal("its weight is no parameter")
    if type(weight) is not nn.Parameter or weight.dtype not in DTYPES:
        return Refusal(f"its weight is a {type(weight).__name__} of {str(weight.dtype).removeprefix('torch.')}")
    if tie := tree.tie(layer):
        return Refusal(f"its {tie[0]} is tied to {tie[1]}")
    for parent, below in tree.parents(layer):
        read = reads_of(type(parent))
        # Items of a container go by its name.
        names = [part for part in below.split(".") if not part.isdigit()][-1:]
        if found := sorted(attribute for child, attribute in read if [child] == names):
            return Refusal(f"{type(parent).__name__} above it reads its {found[-1]} itself")
    return None


def has_hooks(module: nn.Module) -> bool:
    """Whether something is called before or after the module."""
    return bool(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    )


def _own_computation(layer: nn.Module) -> str:
    """That a subclass, or this very object, computes otherwise than torch's layer; empty when it does not."""
    base = next(base for base in BASES if isinstance(layer, base))
    kind = type(layer)
    for method in ("forward", "_conv_forward", "_output_padding", "__call__"):
        if getattr(kind, method, None) is not getattr(base, method, None):
            return f"its class {kind.__name__} computes its own {method.strip('_')}"
    return "its forward was replaced on the object" if "forward" in vars(layer) else ""
