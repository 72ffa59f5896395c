"""What a model is made of, in words."""

from typing import Any

import pytest
import torch
from torch import nn

import torchmg
from torchmg.hierarchy import Cycle, Level
from torchmg.hierarchy.data_feature import grid_transfer_weights, relation_cost, sic_costs
from torchmg.models.mgnet import MgNet, hexu
from torchmg.models.resolutions import resolutions


def test_runs_of_equal_blocks_are_shown_once_in_the_order_of_the_network() -> None:
    text = torchmg.info(torchmg.create("mgic_resnet20"))
    tables = text.split("\n\n")
    assert [table.splitlines()[0] for table in tables] == [
        "stages.0.0 to stages.0.2",
        "stages.1.1 to stages.1.3",
        "stages.2.1 to stages.2.3",
    ]
    for table, channels in zip(tables, (16, 32, 64), strict=True):
        assert table.split("\n", 1)[1] == str(torchmg.Hierarchy(channels))


def test_a_single_block_names_itself_and_a_dense_model_says_so() -> None:
    model = nn.Sequential(nn.Conv2d(3, 32, 1), torchmg.nn.MGICBlock(32))
    assert torchmg.info(model).splitlines()[0] == "1"
    assert "no multigrid blocks" in torchmg.info(torchmg.create("resnet20"))
    assert torch.is_grad_enabled()


def rows_of(model: nn.Module) -> list[dict[str, Any]]:
    assert isinstance(model, MgNet)
    table = resolutions(model)
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


@pytest.mark.parametrize(
    ("options", "steps", "groups"),
    [
        ({}, 3, (1, 1, 1)),
        ({"steps": 2, "share": "A", "group_size": 8}, 2, (2, 4, 8)),
        ({"share": "none", "norms": "level", "grid_transfer": "dense"}, 3, (1, 1, 1)),
    ],
)
def test_resolutions_of_mgnet_are_the_closed_form_s(options: dict, steps: int, groups: tuple[int, ...]) -> None:
    rows = rows_of(torchmg.create("mgnet20", **options))
    known = {name: options[name] for name in ("share", "norms") if name in options}
    for row, channels, cut in zip(rows, (16, 32, 64), groups, strict=True):
        cost = relation_cost(Level(channels, channels, cut), steps, **known)
        assert (row["channels"], row["groups"], row["steps"]) == (channels, cut, steps)
        assert (row["A and B"], row["norms"]) == (cost.weights, cost.norms)
    depthwise = options.get("grid_transfer") != "dense"
    grid = [grid_transfer_weights(16, 32, depthwise), grid_transfer_weights(32, 64, depthwise), None]
    assert [row["R"] for row in rows] == [row["Pi"] for row in rows] == grid
    assert [row["size"] for row in rows] == ["1/1", "1/2", "1/4"]


@pytest.mark.parametrize("options", [{}, {"cycle": "W", "group_size": 4, "coarsest": 8, "fas": False}])
def test_resolutions_of_mgiad_sum_over_its_widths(options: dict) -> None:
    model = torchmg.create("mgiad20", **options)
    rows = rows_of(model)
    cycle = Cycle(options.get("cycle", "V"), 1, 1, solve=2)
    for row, channels in zip(rows, (16, 32, 64), strict=True):
        sizes = (options.get("group_size", 8), options.get("coarsest", 16))
        hierarchy = torchmg.Hierarchy(channels, *sizes, stop="ge", transfer_groups="pair")
        costs = sic_costs(hierarchy, cycle)
        assert (row["widths"], row["groups"]) == (len(costs), hierarchy.levels[0].groups)
        assert row["A and B"] == sum(cost.relax.weights for cost in costs)
        assert row["norms"] == sum(cost.relax.norms for cost in costs)
        assert row["channel transfers"] == sum((c.restrict + c.prolong).parameters for c in costs)
    assert [row["Pi"] for row in rows] == ([None] * 3 if "fas" in options else [288, 576, None])


@pytest.mark.parametrize("name", ["mgnet20", "mgnet18", "mgnet_hexu", "mgiad20", "mgiad18"])
def test_resolutions_stem_and_head_are_the_whole(name: str) -> None:
    with torch.device("meta"):
        model = torchmg.create(name)
    assert isinstance(model, MgNet)
    held = ("A and B", "norms", "channel transfers", "R", "Pi")
    inside = sum(row.get(key) or 0 for row in rows_of(model) for key in held)
    ends = [sum(p.numel() for p in part.parameters()) for part in (model.stem, model.head)]
    assert inside + sum(ends) == torchmg.count(model).parameters
    whole = f"parameters {inside + sum(ends):,}, of which stem {ends[0]:,}, head {ends[1]:,}"
    assert resolutions(model).note == whole


def test_info_shows_resolutions_first_and_then_the_widths_of_each() -> None:
    text = torchmg.info(torchmg.create("mgiad20"))
    first, *rest = text.split("\n\n")
    assert first.startswith("MGiaD hierarchy: 3 resolutions, full approximation scheme\n")
    assert [part.splitlines()[0] for part in rest] == ["smoothers.0", "smoothers.1", "smoothers.2"]
    assert all(part.splitlines()[1].startswith("SiC hierarchy") for part in rest)
    inside = torchmg.info(nn.Sequential(nn.Identity(), hexu(width=0.05))).splitlines()
    assert inside[:2] == ["1", "MgNet hierarchy: 4 resolutions, full approximation scheme"]
    plain = torchmg.info(torchmg.create("mgnet20", fas=False))
    assert plain.startswith("MgNet hierarchy: 3 resolutions, features of each resolution start from 0\n")
