"""What the presets of MGIC models stand for."""

from collections.abc import Sequence
from typing import get_args

from torchmg.hierarchy import check_choice
from torchmg.models.options import Preset
from torchmg.nn.mgic import MGICOptions


def preset_options(preset: Preset, widths: Sequence[int]) -> MGICOptions:
    """The block options of a preset, in a network whose stages have these widths.

    Raises:
        UnknownNameError: no such preset; the message names the nearest.
    """
    check_choice("preset", preset, get_args(Preset))
    presets: dict[str, MGICOptions] = {
        "paper": MGICOptions(stop="le", group_rule="ceil"),
        "table5": MGICOptions(stop="le1", group_rule="ceil", group_by="mid"),
        "reference_code": MGICOptions(stop="lt1", group_rule="floor"),
        "two_level": MGICOptions(stop="le1", group_rule="ceil", coarsest=max(widths)),
    }
    return presets[preset]
