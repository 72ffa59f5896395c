"""What a model is made of, in words."""

from typing import Any

import pytest
import torch
from torch import nn

import torchmg
from torchmg.hierarchy import Cycle, Level
from torchmg.hierarchy.data_feature import grid_transfer_weights, relation_cost, sic_costs
from torchmg.models.catalog import MODELS
from torchmg.models.info import couplings, hierarchies
from torchmg.models.mgnet import MgNet, hexu
from torchmg.models.resolutions import resolutions
from torchmg.nn.certified import Bounded
from torchmg.nn.coupling import COUPLINGS, ChannelCoupling, Circulant, Grouped, channel_coupling


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


def coupling_rows(model: nn.Module) -> list[dict[str, Any]]:
    table = couplings(model)
    return [] if table is None else [dict(zip(table.columns, row, strict=True)) for row in table.rows]


QUADRATIC = ("full", "pointwise", "separable", "union", "lean")
REACH: dict[str, int | str] = {
    "grouped": "never",
    "shuffle": 2,
    "depthwise": "never",
    "chain": 31,
    "block_chain": 3,
    "lattice": 4 + 8 - 2,
}


@pytest.mark.parametrize("name", COUPLINGS)
def test_a_coupling_says_how_it_grows_reaches_and_what_bounds_it(name: str) -> None:
    coupling = channel_coupling(name, 32, 32)
    (row,) = coupling_rows(nn.Sequential(nn.Conv2d(3, 32, 1), coupling, nn.ReLU()))
    assert (row["where"], row["coupling"], row["channels"], row["number"]) == ("1", name, "32 -> 32", 1)
    assert row["kernel"] == ("1x1" if name == "pointwise" else "3x3")
    assert row["parameters"] == sum(p.numel() for p in coupling.parameters())
    assert row["MACs per pixel"] == torchmg.count(coupling, (32, 8, 8)).macs / 64
    assert (row["grows"], row["reach"]) == ("quadratic" if name in QUADRATIC else "linear", REACH.get(name, 1))
    assert row["norm bound"] == pytest.approx(coupling.norm_bound().item(), rel=0.005)
    assert str(couplings(coupling)).splitlines()[3].startswith("the model")


def test_equal_couplings_share_a_row_with_their_largest_bound_and_others_do_not() -> None:
    wide, narrow = (channel_coupling("lean", 16, 16, stencil="5") for _ in range(2))
    with torch.no_grad():
        for weight in wide.parameters():
            weight.mul_(100)
    other, strided = channel_coupling("lean", 16, 16, stencil="3h"), channel_coupling("multigrid", 32, 32, stride=2)
    rows = coupling_rows(nn.Sequential(wide, other, narrow, wide, strided))
    assert [(row["where"], row["number"], row["coupling"]) for row in rows] == [
        ("0 to 2", 2, "lean, stencil=5"),
        ("1", 1, "lean, stencil=3h"),
        ("4", 1, "multigrid, stride=2"),  # with the grouped couplings that it is made of
    ]
    assert rows[0]["norm bound"] == pytest.approx(wide.norm_bound().item(), rel=0.005)
    assert rows[2]["MACs per pixel"] == torchmg.count(strided, (32, 8, 8)).macs / 16


def test_options_that_leave_the_weights_shapes_alone_are_told_apart() -> None:
    orders = (
        channel_coupling("multigrid", 32, 32, group_size=4, transfer_groups=o) for o in ("neighbour", "interleaved")
    )
    rows = coupling_rows(nn.Sequential(*orders, Circulant(8, 8), Circulant(8, 8, evaluate="channel_fft")))
    assert [row["coupling"] for row in rows] == [
        "multigrid, group_size=4",
        "multigrid, group_size=4, transfer_groups=interleaved",
        "circulant",
        "circulant, evaluate=channel_fft",
    ]
    assert rows[2]["MACs per pixel"] == 9 * 64


def test_certified_couplings_are_shown_once_and_widths_that_change_have_no_reach() -> None:
    inner = channel_coupling("full", 8, 8)
    rows = coupling_rows(nn.Sequential(Bounded(inner, 0.5), Bounded(channel_coupling("full", 8, 8), 0.5)))
    assert [(row["coupling"], row["number"], row["where"]) for row in rows] == [("full, bounded", 2, "0 to 1")]
    assert rows[0]["norm bound"] == pytest.approx(0.5)
    assert rows[0]["parameters"] == 9 * 64
    assert [row["reach"] for row in coupling_rows(nn.Sequential(Grouped(16, 32), Grouped(16, 16)))] == [None, "never"]
    with torch.device("meta"):
        (row,) = coupling_rows(channel_coupling("lean", 8, 8))
    assert (row["reach"], row["norm bound"], row["grows"]) == (None, None, "quadratic")


def test_couplings_of_a_network_come_after_its_hierarchies() -> None:
    model = torchmg.create("lean_resnet20")
    assert torchmg.info(model) == f"{hierarchies(model)}\n\n{couplings(model)}"
    rows = coupling_rows(model)
    assert sum(row["number"] for row in rows) == sum(isinstance(m, ChannelCoupling) for m in model.modules()) == 18
    assert [row["where"] for row in rows[:2]] == ["stages.0.0.conv1 to stages.0.2.conv2", "stages.1.0.conv1"]
    inside = sum(row["number"] * row["parameters"] for row in rows)
    assert inside == sum(p.numel() for m in model.modules() if isinstance(m, ChannelCoupling) for p in m.parameters())
    assert couplings(torchmg.create("mgic_resnet20")) is None


def test_every_catalogued_pde_network_says_how_its_couplings_scale() -> None:
    names = [name for name, entry in MODELS.items() if entry.family in ("pde", "drnet", "imexnet")]
    assert len(names) >= 9
    for name in names:
        rows = coupling_rows(torchmg.create(name))
        assert {row["grows"] for row in rows} == {"linear" if name == "drnet_circulant" else "quadratic"}
        assert {row["reach"] for row in rows} == {1}
