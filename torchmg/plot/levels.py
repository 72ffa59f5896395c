"""A multigrid block as a picture: boxes as wide as the channels, cut into groups, and the way of the cycle."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from torchmg.errors import UnknownNameError, UsageError, did_you_mean
from torchmg.models.catalog import MODELS
from torchmg.nn.mgic import MGICBlock
from torchmg.plot.picture import COLOURS, INK, Picture, check_stem, drawing, save
from torchmg.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = ("level", "channels", "groups", "group_size", "relax", "restrict", "prolong")
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
    """Draw the levels of one MGIC block of a model, with the parameters that each really has.

    Args:
        model: any module with an `MGICBlock` in it, or the block itself.
        stem: file name without ending; `.png`, `.svg` and `.csv` are written, those of an earlier picture replaced.
        block: path of the block inside the model, such as `stages.2.1`; default: the first of the widest ones.
        name: the model's, for the title; default: its class.

    Raises:
        UnknownNameError: the model has no such block; the message names those it has.
        UsageError: the model has no hierarchy at all; or the files cannot be written or would replace another table.
        MissingExtraError: matplotlib is not installed.
    """
    stem = check_stem(stem, COLUMNS)
    path, chosen = _block(model, block, name or type(model).__name__)
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
                _transfers(axes, box, boxes[box.level + 1], cost.restrict.parameters, cost.prolong.parameters)
        _in_and_out(axes, boxes[0])
        return save(figure, stem, table)


def _block(model: nn.Module, wanted: str | None, name: str) -> tuple[str, MGICBlock]:
    """Path and module of the block to draw."""
    blocks = {path: module for path, module in model.named_modules() if isinstance(module, MGICBlock)}
    if not blocks:
        having = ", ".join([entry.name for entry in MODELS.values() if entry.dense is not None][:4])
        raise UsageError(f"{name} has no hierarchy: every level is the finest one. Models that have: {having}, ...")
    if wanted is not None and wanted not in blocks:
        raise UnknownNameError(f"{name} has no block '{wanted}'.{did_you_mean(wanted, blocks)}")
    path = wanted if wanted is not None else max(blocks, key=lambda p: blocks[p].hierarchy.channels)
    return path, blocks[path]


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


def _transfers(axes: "Axes", fine: Box, coarse: Box, restrict: int, prolong: int) -> None:
    """Down on the left, up on the right; a prolongation that shares its restriction's weights has none of its own."""
    apart = max(coarse.width / 4, 0.12)
    bottom, top = fine.top - BOX, coarse.top
    look = {"arrowstyle": "-|>", "color": INK, "linewidth": 1.2, "shrinkA": 2, "shrinkB": 2}
    axes.annotate("", (-apart, top), xytext=(-apart, bottom), arrowprops=look)
    axes.annotate("", (apart, bottom), xytext=(apart, top), arrowprops=look)
    middle = (bottom + top) / 2
    axes.text(-apart - 0.08, middle, f"restrict {restrict:,}", ha="right", va="center", fontsize=9, color=INK)
    axes.text(apart + 0.08, middle, f"prolong {prolong:,}", ha="left", va="center", fontsize=9, color=INK)


def _in_and_out(axes: "Axes", finest: Box) -> None:
    look = {"arrowstyle": "-|>", "color": INK, "linewidth": 1.2}
    edge = finest.width / 2
    axes.annotate("x", (-edge, finest.middle), xytext=(-edge - 0.5, finest.middle), va="center", arrowprops=look)
    axes.annotate("y", (edge + 0.5, finest.middle), va="center")
    axes.annotate("", (edge + 0.48, finest.middle), xytext=(edge, finest.middle), arrowprops=look)


def _table(block: MGICBlock, name: str) -> Table:
    costs = block.costs()
    rows = [
        (
            *(index, level.channels, level.groups, level.group_size, cost.relax.parameters),
            *((cost.restrict.parameters, cost.prolong.parameters) if index + 1 < len(costs) else (None, None)),
        )
        for index, (level, cost) in enumerate(zip(block.hierarchy.levels, costs, strict=True))
    ]
    total = sum(cost.total.parameters for cost in costs)
    levels = f"{len(rows)} level{'s' if len(rows) > 1 else ''}"
    return Table(COLUMNS, rows, f"{name}: {levels}, {total:,} parameters, {block.cycle} cycle")
