"""MobileNetV3: the dense ones are torchvision's; the multigrid ones have the counts that were worked out for Tables."""

from typing import Any

import pytest
import torch
import torchvision.models
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import torchmg
from torchmg.errors import UnknownNameError, UsageError
from torchmg.models.mobilenetv3 import LARGE, Size, halved_tail, mgic_mobilenetv3, mobilenetv3, multiple_of_8
from torchmg.nn import MGICBlock
from torchmg.nn.inverted_residual import InvertedResidual, SqueezeExcite

SIZES: tuple[Size, ...] = ("small", "large")


def millions(**options: Any) -> str:
    """Parameters of MGIC-MobileNetV3-Large, as tables print them."""
    return f"{sum(p.numel() for p in mgic_mobilenetv3('large', **options).parameters()) / 1e6:.2f}"


# ---- dense


@pytest.mark.parametrize("size", SIZES)
def test_a_dense_network_is_torchvisions(size: Size) -> None:
    theirs = getattr(torchvision.models, f"mobilenet_v3_{size}")(weights=None, num_classes=7).eval()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
    ours = mobilenetv3(size, num_classes=7).eval()
    state = zip(ours.state_dict(), theirs.state_dict().values(), strict=True)
    ours.load_state_dict(dict(state), strict=True)
    x = torch.randn(2, 3, 64, 96)
    expected = theirs(x)
    assert torch.allclose(ours(x), expected, atol=1e-5 * expected.abs().max().item(), rtol=0)
    norms = {(m.eps, m.momentum) for m in theirs.modules() if isinstance(m, nn.BatchNorm2d)}
    assert {(m.eps, m.momentum) for m in ours.modules() if isinstance(m, nn.BatchNorm2d)} == norms


@pytest.mark.parametrize("size", SIZES)
def test_a_dense_network_starts_as_torchvisions(size: Size) -> None:
    theirs, ours = getattr(torchvision.models, f"mobilenet_v3_{size}")(weights=None), mobilenetv3(size)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert a.shape == b.shape
        if a.numel() > 1000:
            assert a.std().item() == pytest.approx(b.std().item(), rel=0.2)
        assert a.any() == b.any(), "biases are zero in both"


@pytest.mark.parametrize(
    ("size", "parameters", "macs"), [("large", 5_483_032, 216_589_760), ("small", 2_542_856, 56_510_400)]
)
def test_published_counts(size: Size, parameters: int, macs: int) -> None:
    counted = torchmg.count(mobilenetv3(size), (3, 224, 224))
    assert (counted.parameters, counted.macs) == (parameters, macs)


# ---- the tables of the MGIC paper

TABLE_13 = [
    (64, 2, "5.22", "4.26"),
    (64, 4, "5.25", "4.29"),
    (64, 8, "5.31", "4.35"),
    (64, 16, "5.43", "4.51"),
    (64, 32, "5.64", "4.85"),
    (64, 64, "5.95", "5.38"),
    (2, 2, "5.17", "4.18"),
    (4, 4, "5.21", "4.23"),
    (8, 8, "5.28", "4.32"),
    (16, 16, "5.42", "4.52"),
    (32, 32, "5.68", "4.87"),
]
"""Coarsest width, group size, and millions of parameters with the presets `paper` and `table13`."""


@pytest.mark.filterwarnings("ignore::torchmg.errors.HierarchyWarning")
@pytest.mark.parametrize(("coarsest", "group_size", "paper", "fitted"), TABLE_13)
def test_parameters_of_table_13(coarsest: int, group_size: int, paper: str, fitted: str) -> None:
    sizes = {"coarsest": coarsest, "group_size": group_size}
    assert millions(preset="paper", **sizes) == paper
    assert millions(preset="table13", **sizes) == fitted


@pytest.mark.filterwarnings("ignore::torchmg.errors.HierarchyWarning")
@pytest.mark.parametrize(
    ("width", "preset", "parameters", "macs"),
    [
        (0.6, "paper", "3.43", 86),
        (1.0, "paper", "5.95", 174),
        (1.2, "paper", "8.27", 238),
        (0.6, "table13", "2.30", 85),
        (1.0, "table13", "5.38", 192),
        (1.2, "table13", "7.07", 261),
    ],
)
def test_counts_of_table_7(width: float, preset: Any, parameters: str, macs: int) -> None:
    assert millions(width=width, preset=preset) == parameters
    counted = torchmg.count(mgic_mobilenetv3("large", width=width, preset=preset), (3, 224, 224))
    assert round(counted.macs / 1e6) == macs


def test_counts_of_the_budget() -> None:
    counted = torchmg.count(mgic_mobilenetv3("large", preset="budget_140m"), (3, 224, 224))
    assert (counted.parameters, counted.macs) == (5_175_714, 139_375_524)


@pytest.mark.filterwarnings("ignore::torchmg.errors.HierarchyWarning")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("width", [0.6, 1.0, 1.2])
def test_every_width_and_group_size_can_be_built(width: float, size: Size) -> None:
    for group_size in (2, 4, 8, 16, 32, 64):
        for coarsest in {group_size, 64}:
            mgic_mobilenetv3(size, width=width, group_size=group_size, coarsest=coarsest)


# ---- what options change


def small(**options: Any) -> nn.Module:
    return mgic_mobilenetv3("small", width=0.5, group_size=4, coarsest=8, **options)


def excited(model: nn.Module) -> list[list[bool]]:
    """Which levels of every block have squeeze and excitation."""
    blocks = [module for module in model.modules() if isinstance(module, MGICBlock)]
    relaxed = [[level for level in block.relax if isinstance(level, InvertedResidual)] for block in blocks]
    return [[level.excite is not None for level in levels] for levels in relaxed]


def test_levels_of_squeeze_and_excitation() -> None:
    every, finest = excited(small(se_levels="all")), excited(small(se_levels="finest"))
    assert len(every) == 11
    assert any(len(levels) > 1 for levels in every)
    marked = [True, False, False, *[True] * 8]  # the rows of Small
    assert every == [[mark] * len(levels) for mark, levels in zip(marked, every, strict=True)]
    assert finest == [[mark, *[False] * (len(levels) - 1)] for mark, levels in zip(marked, every, strict=True)]


def test_the_ratio_of_squeeze_and_excitation() -> None:
    for ratio in (0.125, 0.25, 1.0):
        for module in small(se_ratio=ratio).modules():
            if isinstance(module, SqueezeExcite):
                squeezed, hidden = module.squeeze.weight.shape
                assert squeezed == multiple_of_8(ratio * hidden)


@pytest.mark.parametrize("size", SIZES)
def test_relu_leaves_no_hardswish(size: Size) -> None:
    kinds = {type(module) for module in mgic_mobilenetv3(size, act="relu").modules()}
    assert nn.ReLU in kinds
    assert nn.Hardswish not in kinds
    assert nn.Hardswish in {type(module) for module in mgic_mobilenetv3(size).modules()}


@pytest.mark.parametrize("size", SIZES)
def test_the_inner_layer_of_the_head_follows_width(size: Size) -> None:
    inner = {"small": 1024, "large": 1280}[size]
    for width, scale, expected in [
        (0.5, "wide", inner),
        (0.5, "always", inner // 2),
        (1.5, "wide", inner * 3 // 2),
        (1.5, "always", inner * 3 // 2),
    ]:
        head = mgic_mobilenetv3(size, width=width, head_scale=scale).head  # pyright: ignore
        assert isinstance(head[0], nn.Linear)
        assert head[0].out_features == expected


def test_the_reduced_tail_halves_what_follows_the_last_stride() -> None:
    rows = halved_tail(list(LARGE))
    assert rows[:-3] == list(LARGE[:-3])
    assert [(row.hidden, row.channels) for row in rows[-3:]] == [(336, 80), (480, 80), (480, 80)]
    model = mobilenetv3("large", reduced_tail=True)
    assert model.feature_info[-1]["num_chs"] == 480


@given(st.floats(0.1, 5000, allow_nan=False))
def test_widths_are_the_nearest_multiples_of_8(width: float) -> None:
    rounded = multiple_of_8(width)
    assert rounded % 8 == 0
    assert rounded >= max(8, 0.9 * width)
    assert abs(rounded - width) <= 4 or rounded == 8 or (rounded - 8 < 0.9 * width and rounded - width < 8)


@settings(max_examples=10)
@given(width=st.floats(0.1, 1), group_size=st.integers(2, 64), coarsest=st.integers(2, 64), size=st.sampled_from(SIZES))
@pytest.mark.filterwarnings("ignore::torchmg.errors.HierarchyWarning")
def test_any_sizes_keep_shapes(width: float, group_size: int, coarsest: int, size: Size) -> None:
    model = mgic_mobilenetv3(size, width=width, group_size=group_size, coarsest=coarsest, num_classes=3)
    features = model.forward_features(torch.randn(2, 3, 40, 33))
    for feature, info in zip(features, model.feature_info, strict=True):
        expected = (-(-40 // info["reduction"]), -(-33 // info["reduction"]))
        assert feature.shape == (2, info["num_chs"], *expected)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"size": "smal"}, UnknownNameError, ["size='smal'", "small"]),
        ({"size": "small", "rows": "table6"}, UsageError, ["Table 6", 'rows="mobilenetv3"']),
        ({"size": "large", "rows": "table7"}, UnknownNameError, ["rows='table7'", "table6"]),
        ({"size": "large", "width": 0.0}, UsageError, ["width", "above 0", "0.0"]),
        ({"size": "large", "width": float("nan")}, UsageError, ["width", "nan"]),
        ({"size": "large", "num_classes": 0}, UsageError, ["num_classes", "got 0"]),
        ({"size": "large", "in_channels": 0}, UsageError, ["in_channels", "got 0"]),
        ({"size": "large", "preset": "tabel13"}, UnknownNameError, ["preset='tabel13'", "table13"]),
        ({"size": "large", "act": "relu6"}, UnknownNameError, ["act='relu6'", "relu"]),
        ({"size": "large", "se_levels": "fine"}, UnknownNameError, ["se_levels='fine'", "finest"]),
        ({"size": "large", "se_ratio": 0.0}, UsageError, ["se_ratio", "above 0", "0.25"]),
        ({"size": "large", "head_scale": "width"}, UnknownNameError, ["head_scale='width'", "wide"]),
        ({"size": "large", "group_size": 0}, UsageError, ["group_size"]),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], error: type[Exception], words: list[str]) -> None:
    with pytest.raises(error) as caught:
        mgic_mobilenetv3(**options)
    assert all(word in str(caught.value) for word in words), str(caught.value)
