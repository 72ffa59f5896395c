"""A multigrid block as a picture: boxes as wide as the channels, cut into groups, and the way of the cycle."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from torchmg.errors import UnknownNameError, UsageError, did_you_mean
from torchmg.hierarchy.cost import Cost, LevelCost
from torchmg.models.catalog import MODELS
from torchmg.models.mgnet import MgNet
from torchmg.nn.mgic import MGICBlock
from torchmg.nn.sic import SiC
from torchmg.plot.picture import COLOURS, INK, Picture, check_stem, drawing, save
from torchmg.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Block = MGICBlock | SiC
"""What has a hierarchy of widths."""
LEVEL = ("level", "channels", "groups", "group_size", "relax")
"""Columns of the table, followed by the block's transfers."""
WIDTH, BOX, BETWEEN = 6.0, 0.5, 0.55
"""Inches: of the finest box, of every box from top to bottom, between two boxes."""
CHARACTER = 0.085
"""Inches that a character of the text takes, roughly."""


@dataclass(frozen=True)
class Box:
    """One level's rectangle, in inches; the finest level is centred at x = 0 with its top at y = 0."""

    level: int
    channels: int
    width: float

    @property
    def top(self) -> float:
        """Of the rectangle; levels go down."""
        return -self.level * (BOX + BETWEEN)

    @property
    def middle(self) -> float:
        """Its height's."""
        return self.top - BOX / 2


def hierarchy(model: nn.Module, stem: str | Path = "hierarchy", block: str | None = None, name: str = "") -> Picture:
    """Draw the levels of one block of a model, MGIC or smoothing in channels, with the parameters that each has.

    Args:
        model: any module with an `MGICBlock` or `SiC` in it, or the block itself.
        stem: file name without ending; `.png`, `.svg` and `.csv` are written, those of an earlier picture replaced.
        block: path of the block inside the model, such as `stages.2.1`; default: the first of the widest ones.
        name: the model's, for the title; default: its class.

    Raises:
        UnknownNameError: the model has no such block; the message names those it has.
        UsageError: the model has no hierarchy at all; or the files cannot be written or would replace another table.
        MissingExtraError: matplotlib is not installed.
    """
    path, chosen = _block(model, block, name or type(model).__name__)
    stem = check_stem(stem, _columns(chosen))
    table = _table(chosen, ", ".join(part for part in (name or type(model).__name__, path) if part))
    levels = chosen.hierarchy.levels
    boxes = [Box(i, level.channels, WIDTH * level.channels / levels[0].channels) for i, level in enumerate(levels)]
    height = len(boxes) * (BOX + BETWEEN) - BETWEEN
    with drawing(WIDTH + 1.8, height + 1.0) as figure:
        axes = figure.add_subplot()
        axes.set_axis_off()
        axes.set_aspect("equal")
        axes.set_xlim(-WIDTH / 2 - 0.7, WIDTH / 2 + 0.7)
        axes.set_ylim(-height - 0.15, 0.15)
        axes.set_title(table.title, parse_math=False, fontsize=11)
        for box, (level, cost) in zip(boxes, zip(levels, chosen.costs(), strict=True), strict=True):
            _rectangle(axes, box, level.groups)
            coupling = f"{level.groups} groups of {level.group_size}" if level.groups > 1 else "fully coupled"
            _write(axes, box, f"{level.channels} channels, {coupling}\n{cost.relax.parameters:,} parameters")
            if box.level + 1 < len(boxes):
                _arrows(axes, box, boxes[box.level + 1], _transfers(chosen, cost))
        _in_and_out(axes, boxes[0], *(("u, f", "u") if isinstance(chosen, SiC) else ("x", "y")))
        return save(figure, stem, table)


def _block(model: nn.Module, wanted: str | None, name: str) -> tuple[str, Block]:
    """Path and module of the block to draw."""
    blocks = {path: module for path, module in model.named_modules() if isinstance(module, Block)}
    if not blocks:
        having = ", ".join([entry.name for entry in MODELS.values() if entry.family in ("mgic", "mgiad")][:4])
        if isinstance(model, MgNet):
            why = "no hierarchy of widths, only of resolutions (torchmg info prints it)"
        else:
            why = "no hierarchy: every level is the finest one"
        raise UsageError(f"{name} has {why}. Models that have: {having}, ...")
    if wanted is not None and wanted not in blocks:
        raise UnknownNameError(f"{name} has no block '{wanted}'.{did_you_mean(wanted, blocks)}")
    path = wanted if wanted is not None else max(blocks, key=lambda p: blocks[p].hierarchy.channels)
    return path, blocks[path]


def _columns(block: Block) -> tuple[str, ...]:
    return (*LEVEL, *_transfers(block, LevelCost(Cost(0))))


def _transfers(block: Block, cost: LevelCost) -> dict[str, int]:
    """Parameters of each transfer between a level and the next, by name, the way up last."""
    down, up = cost.restrict.parameters, cost.prolong.parameters
    if isinstance(block, SiC) and block.channel_fas:
        return {"restrict": down // 2, "project": down // 2, "prolong": up}  # R and Pi are made alike
    return {"restrict": down, "prolong": up}


def _rectangle(axes: "Axes", box: Box, groups: int) -> None:
    """The box of a level: filled where it is fully coupled, cut where it is not."""
    from matplotlib.patches import Rectangle

    colour, strength = (COLOURS[1], 0.35) if groups == 1 else (COLOURS[0], 0.18)
    corner = (-box.width / 2, box.top - BOX)
    axes.add_patch(Rectangle(corner, box.width, BOX, facecolor=colour, alpha=strength, linewidth=0))
    axes.add_patch(Rectangle(corner, box.width, BOX, fill=False, edgecolor=INK, linewidth=1.0))
    cuts = [corner[0] + box.width * n / groups for n in range(1, groups)]
    axes.vlines(cuts, box.top - BOX, box.top, colors=INK, linewidth=min(0.8, 20 * box.width / groups))


def _write(axes: "Axes", box: Box, text: str) -> None:
    """A level's numbers, in its box if they fit, else to the right of it."""
    fits = max(map(len, text.splitlines())) * CHARACTER < box.width
    axes.text(
        0 if fits else box.width / 2 + 0.12,
        box.middle,
        text,
        ha="center" if fits else "left",
        va="center",
        ma="center" if fits else "left",
        fontsize=9,
        color=INK,
        parse_math=False,
        bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none"} if fits else None,
    )


def _arrows(axes: "Axes", fine: Box, coarse: Box, transfers: dict[str, int]) -> None:
    """Down on the left, up on the right; a prolongation that shares its restriction's weights has none of its own."""
    apart = max(coarse.width / 4, 0.12)
    bottom, top = fine.top - BOX, coarse.top
    look = {"arrowstyle": "-|>", "color": INK, "linewidth": 1.2, "shrinkA": 2, "shrinkB": 2}
    axes.annotate("", (-apart, top), xytext=(-apart, bottom), arrowprops=look)
    axes.annotate("", (apart, bottom), xytext=(apart, top), arrowprops=look)
    *down, up = (f"{name} {parameters:,}" for name, parameters in transfers.items())
    text = {"y": (bottom + top) / 2, "va": "center", "fontsize": 9, "color": INK}
    axes.text(-apart - 0.08, s="\n".join(down), ha="right", **text)
    axes.text(apart + 0.08, s=up, ha="left", **text)


def _in_and_out(axes: "Axes", finest: Box, into: str, out: str) -> None:
    look = {"arrowstyle": "-|>", "color": INK, "linewidth": 1.2}
    edge = finest.width / 2
    axes.annotate(into, (-edge, finest.middle), xytext=(-edge - 0.5, finest.middle), va="center", arrowprops=look)
    axes.annotate(out, (edge + 0.5, finest.middle), va="center")
    axes.annotate("", (edge + 0.48, finest.middle), xytext=(edge, finest.middle), arrowprops=look)


def _table(block: Block, name: str) -> Table:
    costs = block.costs()
    columns, rows = _columns(block), []
    for index, (level, cost) in enumerate(zip(block.hierarchy.levels, costs, strict=True)):
        transfers = [None if index + 1 == len(costs) else n for n in _transfers(block, cost).values()]
        rows.append((index, level.channels, level.groups, level.group_size, cost.relax.parameters, *transfers))
    total = sum(cost.total.parameters for cost in costs)
    levels = f"{len(rows)} level{'s' if len(rows) > 1 else ''}"
    return Table(columns, rows, f"{name}: {levels}, {total:,} parameters, {block.cycle} cycle")
