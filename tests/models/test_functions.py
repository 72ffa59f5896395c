"""The networks that approximate functions: audited counts, the block hierarchy, shapes, export, and that they fit."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import torchmg
from torchmg.errors import ShapeError, UnknownNameError, UsageError
from torchmg.models.functions import FunctionNet, function_ghost, function_mgic, function_mobilenetv3
from torchmg.nn import MGICBlock

BUILDERS = [function_mobilenetv3, function_ghost, function_mgic]
every_builder = pytest.mark.parametrize("builder", BUILDERS)


@pytest.mark.parametrize(
    ("channels", "plain", "multigrid"),
    [
        (64, 97_857, 64_321),
        (128, 386_305, 165_057),
        (256, 1_528_449, 413_441),
        (512, 6_073_729, 1_080_001),
        (1024, 24_208_257, 3_074_433),
    ],
)
def test_counts_are_those_of_the_audit(channels: int, plain: int, multigrid: int) -> None:
    with torch.device("meta"):
        models = function_mobilenetv3(channels=channels), function_mgic(channels=channels)
    assert [sum(p.numel() for p in model.parameters()) for model in models] == [plain, multigrid]


def test_ghost_counts_are_their_sum() -> None:
    """Two blocks of a width c: 4c^2 weights in two modules, then 2c + c / 2 cheap ones and two numbers a channel."""
    with torch.device("meta"):
        total = sum(p.numel() for p in function_ghost().parameters())
    blocks = sum(2 * (2 * c * c + 2 * c + 8 * c + 2 * c * c + c // 2 + 2 * c) for c in (16, 32, 64))
    around = (2 * 16 + 32) + (16 * 32 + 32 * 64) + (64 * 64 + 128) + 65
    assert total == blocks + around


@every_builder
def test_every_weight_has_a_role_and_macs_are_the_weights(builder: Callable[..., FunctionNet]) -> None:
    """At a single pixel every weight is used once."""
    model = builder(channels=32)
    counted = torchmg.count(model, (2, 1, 1))
    assert all(row.role != "other" for row in counted.rows)
    norms = sum(p.numel() for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d) for p in m.parameters())
    assert counted.macs == counted.parameters - norms - 1  # the head's bias
    assert counted.unknown == ()


def test_blocks_are_hierarchies_down_to_the_coarsest_width() -> None:
    blocks = [block for block in function_mgic(channels=128).modules() if isinstance(block, MGICBlock)]
    widths = [[level.channels for level in block.hierarchy.levels] for block in blocks]
    assert widths[::2] == widths[1::2] == [[16], [32, 16], [64, 32, 16], [128, 64, 32, 16]]
    narrow = function_mgic(group_size=8, coarsest=8, transfer_norm="none")
    assert narrow.get_submodule("stages.0.0.relax.1") is not None


@every_builder
def test_values_have_one_row_a_point_and_features_agree_with_their_info(builder: Callable[..., FunctionNet]) -> None:
    model = builder(channels=32, num_classes=3, in_channels=5).eval()
    x = torch.randn(7, 5, 1, 1)
    assert model(x).shape == (7, 3)
    features = model.forward_features(x)
    assert [f.shape[1:] for f in features] == [(info["num_chs"], 1, 1) for info in model.feature_info]
    assert torch.allclose(model.get_submodule(model.feature_info[0]["module"])(model.stem(x)), features[0])
    assert torch.allclose(model(x[:1]), model(x)[:1], atol=1e-6)


@every_builder
def test_a_function_is_fitted(builder: Callable[..., FunctionNet]) -> None:
    model = builder(channels=32)
    x = 2 * torch.rand(64, 2, 1, 1) - 1
    y = (x[:, 0] * x[:, 1]).flatten(1)
    y = y / y.std()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.005)
    loss = torch.tensor(torch.inf)
    for _ in range(60):
        loss = (model(x) - y).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert loss < 0.1


@pytest.mark.parametrize("ending", ["onnx", "pt2"])
def test_it_is_exported_with_a_dynamic_batch(ending: str, tmp_path: Path) -> None:
    for builder in BUILDERS if ending == "pt2" else [function_mgic]:
        model = builder(channels=32)
        model(torch.randn(8, 2, 1, 1))
        exported = torchmg.export(model, tmp_path / f"{builder.__name__}.{ending}", input=(2, 1, 1))
        assert [check.batch for check in exported.checks] == [1, 2, 5]


@pytest.mark.parametrize(
    ("channels", "words"),
    [(48, "got 48. Nearest: 32, 64"), (8, "got 8. Nearest: 16"), (0, "channels must be a whole number")],
)
def test_widths_that_no_doubling_gives_are_explained(channels: int, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        function_mgic(channels=channels)


def test_other_wrong_things_are_explained() -> None:
    with pytest.raises(ShapeError, match=r"points \(batch, 2, 1, 1\); got \(3, 2, 4, 4\).*as a batch"):
        function_mgic()(torch.zeros(3, 2, 4, 4))
    with pytest.raises(ShapeError, match=r"\(batch, 2, H, W\)"):
        function_ghost()(torch.zeros(3, 2))
    with pytest.raises(UsageError, match="num_classes"):
        function_mobilenetv3(num_classes=0)
    with pytest.raises(UnknownNameError, match="le1"):
        function_mgic(stop="le2")  # pyright: ignore[reportArgumentType]
