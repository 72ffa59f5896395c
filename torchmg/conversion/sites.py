"""What of a network can be converted, found by types and shapes alone: nothing is traced, the meta device will do."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import nn

from torchmg.conversion.blocks import find_blocks
from torchmg.conversion.ends import heads, stems
from torchmg.conversion.module_tree import ModuleTree, TransposedConv, groups_of, join
from torchmg.conversion.refusals import Refusal, Skip, bare_matrices, grouping, refusal, within_multigrid
from torchmg.nn.layer_shape import Dense, LayerShape

Kind = Literal["conv", "transposed", "linear", "residual", "bottleneck", "inverted_residual"]


@dataclass(frozen=True)
class Site:
    """A dense layer or a whole residual block that a multigrid one can stand in for.

    Attributes:
        paths: all dotted names of this one module in the network, "" for the network itself.
        kind: `conv`, `transposed` and `linear` layers; blocks as in `torchmg.conversion.blocks.Block`.
        parameters: its parameters' elements, weights and biases, those of a block's norms included.
        shape: of a layer; None of a block.
        channels: a block's width at both ends; 0 of a layer.
        layers: names of a block's convolutions within it, in order; empty for a layer.
        hidden: a block's inner width; 0 of a layer.
        squeeze: names of the layers of a block's squeeze-excitations within it; mostly empty.
    """

    paths: tuple[str, ...]
    kind: Kind
    parameters: int
    shape: LayerShape | None = None
    channels: int = 0
    layers: tuple[str, ...] = ()
    hidden: int = 0
    squeeze: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """The first of its names."""
        return self.paths[0]


Where = Callable[[str, nn.Module], bool]


def find_sites(
    model: nn.Module, *, blocks: bool = True, where: Where | None = None, stem: bool = False, head: bool = False
) -> tuple[list[Site], list[Skip]]:
    """Everything that can be converted, and every layer that cannot or shall not be, both in registration order.

    Each `nn.Linear`, `nn.Conv1d/2d/3d` and `nn.ConvTranspose1d/2d/3d` of the network, subclasses included, is in
    exactly one site (as itself, or in the `layers` or `squeeze` of a block) or in one skip. Further skips are the
    matrices that torch's attention and recurrent modules keep themselves.

    A layer is a site when it is dense, computes what torch's layer computes, and nothing else looks into it or shares
    its weight; see `torchmg.conversion.refusals`. For blocks see `torchmg.conversion.blocks`.

    Args:
        model: any network, on any device; it is left as it is.
        blocks: take whole residual blocks; otherwise only their layers, one by one.
        where: (name, module) -> whether a layer or block may be converted, called with its first name. The layers of
            a block that is turned down are asked for one by one. All by default.
        stem: take the layers that read the input, too; see `torchmg.conversion.ends`.
        head: take the layers that make the answer, too. A model that is a single layer has neither stem nor head.
    """
    tree = ModuleTree(model)
    multigrid = within_multigrid(tree)
    ours = Refusal("it is multigrid already", eligible=False)
    hard = {
        id(layer): ours if id(layer) in multigrid else grouping(layer) or refusal(tree, layer)
        for _, layer in tree.layers()
    }

    def free(layer: Dense) -> bool:
        return id(layer) not in multigrid and refusal(tree, layer) is None

    found = find_blocks(tree, free) if blocks else {}
    inner = {
        id(tree.modules[join(path, name)]) for path, block in found.items() for name in (*block.layers, *block.squeeze)
    }
    dense = [(path, layer) for path, layer in tree.layers() if groups_of(layer) == 1 and id(layer) not in multigrid]
    first = frozenset[int]() if stem or isinstance(model, Dense) else stems(tree, dense, inner)
    last = frozenset[int]() if head or isinstance(model, Dense) else heads(tree, dense, inner)

    sites: list[Site] = []
    skips: list[Skip] = []
    taken: set[int] = set()
    for path, module in tree.modules.items():
        if (block := found.get(path)) and (where is None or where(path, module)):
            parts = {"channels": block.channels, "layers": block.layers, "hidden": block.hidden}
            sites.append(Site(tree.paths(module), block.kind, _numbers(module), squeeze=block.squeeze, **parts))
            taken |= {id(part) for part in module.modules()}
        elif isinstance(module, Dense) and id(module) not in taken:
            why = hard[id(module)] or _end(module, first, last)
            if why is None and where is not None and not where(path, module):
                why = Refusal("`where` leaves it out")
            if why is None:
                sites.append(Site(tree.paths(module), _kind(module), _numbers(module), LayerShape.of(module)))
            else:
                skips.append(Skip(path, type(module).__name__, _numbers(module), why.reason, why.eligible))
        elif bare := bare_matrices(path, module):
            skips.append(bare)
    return sites, skips


def _end(layer: Dense, first: frozenset[int], last: frozenset[int]) -> Refusal | None:
    """That a layer is the stem or the head."""
    if id(layer) in first:
        return Refusal("it is the stem, which reads the input (stem=True takes it)", eligible=False)
    if id(layer) in last:
        return Refusal("it is the head, which makes the answer (head=True takes it)", eligible=False)
    return None


def _kind(layer: Dense) -> Kind:
    if isinstance(layer, nn.Linear):
        return "linear"
    return "transposed" if isinstance(layer, TransposedConv) else "conv"


def _numbers(module: nn.Module) -> int:
    """Elements of a module's parameters, each once; 0 of those that have no size yet."""
    return sum(
        parameter.numel()
        for parameter in module.parameters()
        if not isinstance(parameter, nn.parameter.UninitializedParameter)
    )
