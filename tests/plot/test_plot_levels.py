"""The picture of a hierarchy: widths, cuts and numbers are those of the closed form."""

from pathlib import Path

import pytest
from drawn_runs import capture, texts
from matplotlib.collections import LineCollection
from matplotlib.patches import Rectangle

import torchmg
from torchmg.errors import UnknownNameError, UsageError
from torchmg.hierarchy import Cycle
from torchmg.hierarchy.data_feature import sic_costs
from torchmg.nn import MGICBlock
from torchmg.nn.sic import SiC
from torchmg.plot import hierarchy


def test_widths_and_cuts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = capture(monkeypatch, "levels")
    hierarchy(torchmg.create("mgic_resnet20"), tmp_path / "h")
    axes = figures[0].axes[0]
    outlines = [p for p in axes.patches if isinstance(p, Rectangle) and not p.get_fill()]
    widths = [outline.get_width() for outline in outlines]
    assert [width / widths[0] for width in widths] == [1, 1 / 2, 1 / 4]  # 64, 32, 16 channels
    cuts = [len(lines.get_segments()) for lines in axes.collections if isinstance(lines, LineCollection)]
    assert cuts == [7, 3, 0]  # 8 and 4 groups of 8, and full coupling


@pytest.mark.parametrize("options", [{}, {"group_size": 4, "coarsest": 8}, {"width": 4.0}])
def test_numbers_are_the_closed_form_s(options: dict, tmp_path: Path) -> None:
    picture = hierarchy(torchmg.create("mgic_resnet20", **options), tmp_path / "h", name="net")
    sizes = {key: value for key, value in options.items() if key != "width"}
    expected = torchmg.Hierarchy(int(64 * options.get("width", 1)), **sizes)
    costs = expected.costs()
    assert [row[1:4] for row in picture.rows.rows] == [(v.channels, v.groups, v.group_size) for v in expected.levels]
    assert [row[4] for row in picture.rows.rows] == [cost.relax.parameters for cost in costs]
    assert [row[5:] for row in picture.rows.rows[:-1]] == [
        (cost.restrict.parameters, cost.prolong.parameters) for cost in costs[:-1]
    ]
    assert picture.rows.rows[-1][5:] == (None, None)
    text = texts(picture.files[1])
    for cost in costs:
        assert f"{cost.relax.parameters:,} parameters" in text
    total = sum(cost.total.parameters for cost in costs)
    assert f"net, stages.2.1: {len(costs)} levels, {total:,} parameters" in text


@pytest.mark.parametrize("fas", [True, False])
def test_smoothing_in_channels_has_a_projection_where_it_has_one(fas: bool, tmp_path: Path) -> None:
    model = torchmg.create("mgiad20", channel_fas=fas, cycle="W", transfer_norm="both")
    picture = hierarchy(model, tmp_path / "h", name="net")
    levels = torchmg.Hierarchy(64, 8, 16, stop="ge", transfer_groups="pair")
    costs = sic_costs(levels, Cycle("W", 1, 1, solve=2), fas=fas, transfer_norm="both")
    sic = model.get_submodule("smoothers.2")
    assert isinstance(sic, SiC)
    counted = {
        name: [
            sum(
                p.numel() for key, p in sic.named_parameters() if key.startswith((f"{name}.{i}.", f"{name}_again.{i}."))
            )
            for i in range(2)
        ]
        for name in ("restrict", "project", "prolong")
        if fas or name != "project"
    }
    assert list(picture.rows.columns[5:]) == list(counted)
    read = [dict(zip(picture.rows.columns, row, strict=True)) for row in picture.rows.rows]
    assert [row["relax"] for row in read] == [cost.relax.parameters for cost in costs]
    for name, expected in counted.items():
        assert [row[name] for row in read] == [*expected, None]
    text = texts(picture.files[1])
    total = sum(p.numel() for p in sic.parameters())
    assert f"net, smoothers.2: 3 levels, {total:,} parameters, W(1,1) cycle" in text
    assert all(f"{name} {n:,}" in text for name, numbers in counted.items() for n in numbers)
    assert "u, f" in text


def test_a_block_by_name_and_a_block_itself(tmp_path: Path) -> None:
    model = torchmg.create("mgic_resnet20")
    assert hierarchy(model, tmp_path / "a", "stages.1.1").rows.title.startswith("ResNet, stages.1.1: 2 levels")
    assert hierarchy(MGICBlock(16), tmp_path / "b").rows.title.startswith("MGICBlock: 1 level, ")
    wide = MGICBlock(1024, relax="bottleneck", transfer_weights="transpose")
    assert len(hierarchy(wide, tmp_path / "c").rows.rows) == 5  # middles of 256, 128, 64, 32, 16


def test_what_cannot_be_drawn(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"net has no block 'stages\.2\.9'\. Did you mean stages\.2\.\d"):
        hierarchy(torchmg.create("mgic_resnet20"), tmp_path / "h", "stages.2.9", "net")
    with pytest.raises(UsageError, match=r"resnet20 has no hierarchy.*Models that have: mgic_resnet8, mgic_resnet20"):
        hierarchy(torchmg.create("resnet20"), tmp_path / "h", name="resnet20")
    with pytest.raises(UsageError, match=r"mgnet20 has no hierarchy of widths, only of resolutions \(torchmg info"):
        hierarchy(torchmg.create("mgnet20"), tmp_path / "h", name="mgnet20")


def test_the_same_picture_twice(tmp_path: Path) -> None:
    block = MGICBlock(64)
    one, other = (hierarchy(block, tmp_path / name).files[1].read_bytes() for name in ("a", "b"))
    assert one == other
