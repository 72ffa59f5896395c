"""The picture of a hierarchy: widths, cuts and numbers are those of the closed form."""

from pathlib import Path

import pytest
from drawn_runs import capture, texts
from matplotlib.collections import LineCollection
from matplotlib.patches import Rectangle

import torchmg
from torchmg.errors import UnknownNameError, UsageError
from torchmg.nn import MGICBlock
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


def test_a_block_by_name_and_a_block_itself(tmp_path: Path) -> None:
    model = torchmg.create("mgic_resnet20")
    assert hierarchy(model, tmp_path / "a", "stages.1.1").rows.title.startswith(
        "SmallImageResNet, stages.1.1: 2 levels"
    )
    assert hierarchy(MGICBlock(16), tmp_path / "b").rows.title.startswith("MGICBlock: 1 level, ")
    wide = MGICBlock(1024, relax="bottleneck", transfer_weights="transpose")
    assert len(hierarchy(wide, tmp_path / "c").rows.rows) == 5  # middles of 256, 128, 64, 32, 16


def test_what_cannot_be_drawn(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"net has no block 'stages\.2\.9'\. Did you mean stages\.2\.\d"):
        hierarchy(torchmg.create("mgic_resnet20"), tmp_path / "h", "stages.2.9", "net")
    with pytest.raises(UsageError, match=r"resnet20 has no hierarchy.*Models that have: mgic_resnet20, mgic_resnet32"):
        hierarchy(torchmg.create("resnet20"), tmp_path / "h", name="resnet20")


def test_the_same_picture_twice(tmp_path: Path) -> None:
    block = MGICBlock(64)
    one, other = (hierarchy(block, tmp_path / name).files[1].read_bytes() for name in ("a", "b"))
    assert one == other
