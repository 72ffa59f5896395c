"""Residual blocks of convolutions that keep width and resolution, recognised by what they are made of."""

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn

from torchmg.conversion.hooks import computes_by_hooks
from torchmg.conversion.module_tree import Conv, ModuleTree
from torchmg.conversion.refusals import has_hooks
from torchmg.conversion.skip_probe import adds_to_its_input
from torchmg.nn.layer_shape import Dense

BlockKind = Literal["residual", "bottleneck", "inverted_residual"]

NORMS = (
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm),
    *(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d),
    *(nn.GroupNorm, nn.LayerNorm, nn.RMSNorm),
)
SQUEEZE = re.compile(r"squeeze|^SE([A-Z_]|$)|SELayer|SEBlock|SEModule", re.IGNORECASE)
"""Class names of squeeze-excitation in torchvision, timm, transformers and most code of users."""

SKIPS: dict[str, Callable[[object], bool]] = {
    # torchvision's and timm's BasicBlock and Bottleneck.
    "downsample": lambda value: value is None or _is_identity(value),
    # Inverted residuals of torchvision, timm, torchvision's MNASNet and transformers.
    "use_res_connect": lambda value: value is True,
    "has_skip": lambda value: value is True,
    "apply_residual": lambda value: value is True,
    "use_residual": lambda value: value is True,
    # transformers' ResNet.
    "shortcut": lambda value: _is_identity(value),
}
"""Attribute of a block -> whether its value says that the block adds its input, unchanged, to its result."""


CHAINS: dict[tuple[str, ...], BlockKind] = {
    ("wide", "wide"): "residual",
    ("point", "wide", "point"): "bottleneck",
    ("deep", "point"): "inverted_residual",
    ("point", "deep", "point"): "inverted_residual",
}
"""What the convolutions of a block are, in order."""
CONTAINERS = (nn.Module.forward, nn.Sequential.forward)
"""A module that only holds others, or only sends its input through them, is no block: it adds nothing."""


@dataclass(frozen=True)
class Block:
    """What a block is made of.

    Attributes:
        kind: `residual`: two convolutions; `bottleneck`: 1x1, kxk, 1x1; `inverted_residual`: [1x1,] depthwise, 1x1.
        channels: its width at both ends.
        hidden: its width between its layers.
        layers: names of its convolutions within it, in order.
        squeeze: names of the layers of its squeeze-excitations.
    """

    kind: BlockKind
    channels: int
    hidden: int
    layers: tuple[str, ...]
    squeeze: tuple[str, ...]


def find_blocks(tree: ModuleTree, free: Callable[[Dense], bool]) -> dict[str, Block]:
    """First name -> block, for the smallest modules that are one, in registration order.

    Args:
        tree: the network.
        free: whether nothing but groups keeps a layer from being replaced.
    """
    found: dict[str, Block] = {}
    # Children come after their parents in registration order: the smallest are met first.
    for path, module in reversed(tree.modules.items()):
        prefix = f"{path}." if path else ""
        if not any(inner.startswith(prefix) for inner in found) and (block := match_block(tree, module, free)):
            found[path] = block
    return dict(reversed(found.items()))


def match_block(tree: ModuleTree, module: nn.Module, free: Callable[[Dense], bool]) -> Block | None:
    """The block that a module is, or None; arguments as in `find_blocks`.

    Recognised by structure: the convolutions form one of the three chains, keep the resolution (odd kernels of one
    size, stride 1, no dilation, zeros as padding), and nothing else has parameters but norms, squeeze-excitation and
    a scale for each channel. Its forward takes one argument: a second, as in DLA, may be a shortcut that replaces the
    one from the input. Whether the input is added is tried out on a tiny copy, see `adds_to_its_input`; on the
    meta device it is read from the attributes in `SKIPS`, and blocks without any of those are not recognised.
    """
    if isinstance(module, Dense) or type(module).forward in CONTAINERS or not _takes_one_tensor(module):
        return None
    gates = list(_squeezes(module))
    gated = {id(inner) for gate in gates for inner in gate.modules()}
    layers = {name: inner for name, inner in module.named_modules() if isinstance(inner, Dense)}
    chain = {name: layer for name, layer in layers.items() if id(layer) not in gated}
    squeeze = tuple(name for name in layers if name not in chain)
    convs = [layer for layer in chain.values() if isinstance(layer, Conv)]
    if len(convs) < len(chain) or (form := _chain(convs)) is None:
        return None
    kind, channels, hidden = form
    if not (_plain(module, channels, gated) and _apart(tree, module) and all(map(free, layers.values()))):
        return None
    return Block(kind, channels, hidden, tuple(chain), squeeze) if _has_skip(module, tuple(chain), squeeze) else None


def _takes_one_tensor(module: nn.Module) -> bool:
    """Whether nothing but one tensor can be handed to it, by its forward's signature."""
    try:
        return len(inspect.signature(module.forward).parameters) == 1
    except (TypeError, ValueError):  # a compiled forward may have no signature
        return False


def _chain(convs: Sequence[Conv]) -> tuple[BlockKind, int, int] | None:
    """Kind, outer and inner width of the block whose convolutions these are."""
    ins, outs = [conv.in_channels for conv in convs], [conv.out_channels for conv in convs]
    if len(convs) not in (2, 3) or ins != [outs[-1], *outs[:-1]] or len(set(outs[:-1])) > 1:
        return None
    if len({len(conv.kernel_size) for conv in convs}) > 1 or not all(map(_keeps_resolution, convs)):
        return None
    kind = CHAINS.get(tuple(map(_form, convs)))
    return None if kind is None else (kind, ins[0], outs[0])


def _form(conv: Conv) -> str:
    """`point`, `wide` or `deep` (depthwise): what a convolution is in a chain; `other` where it has no place."""
    if max(conv.kernel_size) == 1:
        return "point" if conv.groups == 1 else "other"
    return {1: "wide", conv.in_channels: "deep"}.get(conv.groups, "other")


def _keeps_resolution(conv: Conv) -> bool:
    """Whether it has an odd kernel of one size, stride 1, no dilation and zeros around."""
    kernel, once = conv.kernel_size, (1,) * len(conv.kernel_size)
    padded = conv.padding == "same" or conv.padding == tuple(size // 2 for size in kernel)
    plain = conv.padding_mode == "zeros" and conv.stride == once and conv.dilation == once
    return plain and padded and len(set(kernel)) == 1 and kernel[0] % 2 == 1


def _squeezes(module: nn.Module) -> Iterator[nn.Module]:
    """The squeeze-excitations under a module: named like one, two layers of single taps, c -> fewer -> c."""
    for inner in module.modules():
        layers = [layer for layer in inner.modules() if isinstance(layer, Dense)]
        if inner is module or not SQUEEZE.search(type(inner).__name__) or len(layers) != 2:
            continue
        (squeezed, wide), (back, narrow) = ((layer.weight.shape[0], layer.weight.shape[1]) for layer in layers)
        single = all(layer.weight.numel() == wide * narrow for layer in layers)
        if single and wide == back and squeezed == narrow < wide:
            yield inner


def _plain(module: nn.Module, channels: int, gated: set[int]) -> bool:
    """Whether nothing but layers, norms and scales of channels holds numbers, and nothing is hooked on."""
    for inner in module.modules():
        if (inner is not module and has_hooks(inner)) or computes_by_hooks(inner):
            return False
        if isinstance(inner, (Dense, *NORMS)) or id(inner) in gated:
            continue
        numbers = list(inner.parameters(recurse=False))
        scales = all(number.numel() == channels == max(number.shape) for number in numbers)
        if not scales or (numbers and isinstance(inner, nn.PReLU)) or any(True for _ in inner.buffers(recurse=False)):
            return False
    return True


def _apart(tree: ModuleTree, module: nn.Module) -> bool:
    """Whether whatever holds numbers in the block is used once in it and nowhere else."""
    times = len(tree.paths(module))
    for inner in module.modules():
        if inner is module or next(inner.parameters(recurse=False), None) is None:
            continue
        if len(tree.paths(inner)) != times or tree.tie(inner):
            return False
    return tree.tie(module) is None


def _has_skip(module: nn.Module, chain: tuple[str, ...], squeeze: tuple[str, ...]) -> bool:
    """Whether the block adds its input: tried out, or by its attributes where there are no numbers to try."""
    if not any(parameter.is_meta for parameter in module.parameters()):
        return adds_to_its_input(module, chain, squeeze)
    known = [holds(getattr(module, name)) for name, holds in SKIPS.items() if hasattr(module, name)]
    return bool(known) and all(known)


def _is_identity(value: object) -> bool:
    """Whether it is `nn.Identity` or an empty sequence of modules."""
    return isinstance(value, nn.Identity) or (isinstance(value, nn.Sequential) and len(value) == 0)
