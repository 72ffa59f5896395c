"""Hierarchies of channels as values: levels, cycles, costs, and how they print. No torch."""

from torchmg.hierarchy.cost import Cost, Level, LevelCost, relaxation_cost
from torchmg.hierarchy.cycle import Cycle
from torchmg.hierarchy.levels import Hierarchy
from torchmg.hierarchy.rules import (
    CycleKind,
    Dims,
    GroupBy,
    GroupRule,
    RelaxationKind,
    ShortcutKind,
    StopRule,
    TransferGroups,
    TransferInit,
    TransferNorm,
    TransferWeights,
    check_choice,
    check_dims,
    check_groups,
    divisors,
)
from torchmg.hierarchy.table import cycle_complexity, format_table, operator_complexity

__all__ = [
    "Cost",
    "Cycle",
    "CycleKind",
    "Dims",
    "GroupBy",
    "GroupRule",
    "Hierarchy",
    "Level",
    "LevelCost",
    "RelaxationKind",
    "ShortcutKind",
    "StopRule",
    "TransferGroups",
    "TransferInit",
    "TransferNorm",
    "TransferWeights",
    "check_choice",
    "check_dims",
    "check_groups",
    "cycle_complexity",
    "divisors",
    "format_table",
    "operator_complexity",
    "relaxation_cost",
]
