"""The CIFAR networks: published counts, presets, and an independent functional ResNet-20."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import torchmg
from torchmg.errors import UnknownNameError, UsageError
from torchmg.models.resnet_cifar import mgic_resnet, resnet, stage_plan
from torchmg.nn import LightShortcut, MGICBlock


def counted(model: nn.Module) -> tuple[int, int]:
    total = torchmg.count(model)
    assert total.parameters == sum(p.numel() for p in model.parameters())
    return total.parameters, total.macs


# Whole-net counts ----------------------------------------------------------------------------------------------------


def test_the_dense_resnet56_has_the_published_counts() -> None:
    assert counted(torchmg.create("resnet56")) == (853_018, 125_485_696)


@pytest.mark.parametrize(
    ("coarsest", "group_size", "parameters", "macs"),
    [
        (64, 16, 534_394, 110_850_688),
        (32, 16, 498_682, 108_491_392),
        (16, 16, 525_178, 112_546_432),
        (16, 4, 164_026, 39_002_752),
    ],
)
def test_the_reference_code_preset_counts_to_the_last_parameter_and_mac(
    coarsest: int, group_size: int, parameters: int, macs: int
) -> None:
    model = torchmg.create("mgic_resnet56", preset="reference_code", coarsest=coarsest, group_size=group_size)
    assert counted(model) == (parameters, macs)


AUDIT = [  # the settings of the paper's Table 12: (s_c, s_g), then millions of parameters and MACs for lt1, le1, le
    ((64, 16), (0.534, 110.9), (0.534, 110.9), (0.877, 128.0)),
    ((32, 16), (0.499, 108.5), (0.534, 110.9), (0.557, 107.3)),
    ((16, 16), (0.525, 112.5), (0.499, 108.5), (0.485, 95.5)),
    ((16, 32), (0.875, 151.8), (0.849, 147.7), (0.836, 134.7)),
    ((16, 8), (0.284, 63.5), (0.302, 66.5), (0.310, 75.9)),
    ((16, 4), (0.164, 39.0), (0.203, 45.5), (0.223, 66.1)),
]


@pytest.mark.parametrize(
    ("sizes", "stop", "expected"),
    [(sizes, stop, row) for sizes, *rows in AUDIT for stop, row in zip(("lt1", "le1", "le"), rows, strict=True)],
)
def test_every_stop_rule_counts_as_audited(sizes: tuple[int, int], stop: str, expected: tuple[float, float]) -> None:
    model = torchmg.create("mgic_resnet56", stop=stop, coarsest=sizes[0], group_size=sizes[1])
    parameters, macs = counted(model)
    assert (round(parameters / 1e6, 3), round(macs / 1e6, 1)) == expected


@pytest.mark.parametrize(
    ("group_size", "millions"), [(32, (0.797, 144.5)), (16, (0.534, 110.9)), (8, (0.381, 71.6)), (4, (0.305, 52.0))]
)
def test_the_two_level_preset_is_the_audits_two_level_family(group_size: int, millions: tuple[float, float]) -> None:
    model = torchmg.create("mgic_resnet56", preset="two_level", group_size=group_size)
    assert all(len(block.relax) == 2 for block in model.modules() if isinstance(block, MGICBlock))
    parameters, macs = counted(model)
    assert (round(parameters / 1e6, 3), round(macs / 1e6, 1)) == millions
    if group_size == 8:
        assert parameters == 381_178


def test_a_whole_net_is_the_sum_of_stem_blocks_shortcuts_and_head() -> None:
    """ResNet-56, le, s_c = 16, s_g = 8, from the block's closed form written out."""
    block = {16: 2 * 9 * 16 * 16 + 64, 64: 19_840}
    block[32] = (2 * 9 * 32 * 8 + 128) + 2 * 32 * 4 + 64 + block[16]
    stem, head = 3 * 16 * 9 + 32, 64 * 10 + 10
    shortcuts = (32 * 9 + 64) + (64 * 9 + 128)
    expected = stem + 9 * sum(block.values()) + shortcuts + head
    assert counted(torchmg.create("mgic_resnet56"))[0] == expected


@pytest.mark.parametrize("width", [1, 2, 4])
def test_mgic_parameters_grow_linearly_and_dense_ones_with_the_square(width: int) -> None:
    def weights(name: str, factor: int) -> int:
        return sum(p.numel() for p in torchmg.create(name, width=float(factor)).parameters())

    mgic, dense = ([weights(name, f * width) for f in (1, 2)] for name in ("mgic_resnet20", "resnet20"))
    assert mgic[1] < 2.2 * mgic[0]
    assert dense[1] > 3.9 * dense[0]


# Presets and options -------------------------------------------------------------------------------------------------


def rules(model: nn.Module) -> tuple[str, str, int, int]:
    block = next(block for block in model.modules() if isinstance(block, MGICBlock))
    hierarchy = block.hierarchy
    return hierarchy.stop, hierarchy.group_rule, hierarchy.group_size, hierarchy.coarsest


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ("le", "ceil", 8, 16)),
        ({"preset": "paper"}, ("le", "ceil", 8, 16)),
        ({"preset": "table5"}, ("le1", "ceil", 8, 16)),
        ({"preset": "reference_code"}, ("lt1", "floor", 8, 16)),
        ({"preset": "two_level"}, ("le1", "ceil", 8, 64)),
        ({"preset": "two_level", "width": 2.0}, ("le1", "ceil", 8, 128)),
        ({"preset": "reference_code", "stop": "le", "coarsest": 32}, ("le", "floor", 8, 32)),
        ({"preset": "two_level", "coarsest": 8}, ("le1", "ceil", 8, 8)),
    ],
)
def test_presets_set_the_rules_and_named_options_win(
    options: dict[str, object], expected: tuple[str, str, int, int]
) -> None:
    assert rules(torchmg.create("mgic_resnet20", **options)) == expected


def test_block_options_reach_every_block() -> None:
    model = torchmg.create("mgic_resnet20", transfer_weights="transpose", transfer_norm="none", group_size=4)
    blocks = [block for block in model.modules() if isinstance(block, MGICBlock)]
    assert len(blocks) == 9
    for block in blocks:
        assert block.hierarchy.group_size == 4
        assert all(up.rows is down.rows for up, down in zip(block.prolong, block.restrict, strict=True))
        assert all(isinstance(transfer.norm, nn.Identity) for transfer in [*block.prolong, *block.restrict])


def test_only_changes_of_width_or_resolution_have_a_light_shortcut() -> None:
    model = torchmg.create("mgic_resnet56")
    for index, stage in enumerate(model.stages):
        kinds = [type(layer) for layer in stage]
        assert kinds == [LightShortcut] * (index > 0) + [MGICBlock] * 9
    pointwise = torchmg.create("mgic_resnet20", shortcut="pointwise")
    assert [tuple(stage[0].conv.kernel_size) for stage in list(pointwise.stages)[1:]] == [(1, 1), (1, 1)]


@pytest.mark.parametrize(
    ("depth", "width", "plan"),
    [
        (20, 1.0, ([16, 32, 64], 3)),
        (56, 1.0, ([16, 32, 64], 9)),
        (110, 0.5, ([8, 16, 32], 18)),
        (8, 2.0, ([32, 64, 128], 1)),
        (18, 1.0, ([64, 128, 256, 512], 2)),
        (20, 0.1, ([2, 3, 6], 3)),
    ],
)
def test_stage_plan(depth: int, width: float, plan: tuple[list[int], int]) -> None:
    assert stage_plan(depth, width) == plan


@pytest.mark.parametrize("builder", [resnet, mgic_resnet])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"depth": 21}, ["6n + 2", "21", "20, 26"]),
        ({"depth": 2}, ["6n + 2", "8, 14"]),
        ({"depth": -5}, ["6n + 2", "8, 14"]),
        ({"depth": 20, "width": 0.01}, ["width=0.01", "0 of 16 channels", "0.0625"]),
        ({"depth": 20, "width": -1.0}, ["width=-1.0", "16 channels"]),
        ({"depth": 20, "width": float("nan")}, ["width", "finite", "nan"]),
        ({"depth": 20, "width": float("inf")}, ["width", "finite", "inf"]),
        ({"depth": 20, "num_classes": 0}, ["num_classes", "at least 1", "0"]),
        ({"depth": 20, "num_classes": 2.5}, ["num_classes", "2.5"]),
        ({"depth": 20, "in_channels": 0}, ["in_channels", "at least 1"]),
    ],
)
def test_impossible_networks(builder: object, options: dict[str, object], words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        builder(**options)
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"preset": "papr"}, ["preset", "Did you mean paper", "reference_code"]),
        ({"shortcut": "depthwize"}, ["shortcut", "Did you mean depthwise", "pointwise"]),
        ({"stop": "never"}, ["stop", "le, le1, lt1"]),
        ({"transfer_norm": "prolongation"}, ["transfer_norm", "Did you mean prolong"]),
    ],
)
def test_unknown_choices(options: dict[str, str], words: list[str]) -> None:
    with pytest.raises(UnknownNameError) as caught:
        mgic_resnet(20, **options)
    assert all(word in str(caught.value) for word in words), str(caught.value)


# Forward -------------------------------------------------------------------------------------------------------------


def functional_resnet(model: nn.Module, x: Tensor) -> Tensor:
    """ResNet-20 of He et al. 2016, section 4.2, in evaluation mode, over the state dict in order."""
    state = iter(value for key, value in model.state_dict().items() if "num_batches" not in key)

    def conv_norm(x: Tensor, stride: int = 1) -> Tensor:
        weight, scale, shift, mean, variance = (next(state) for _ in range(5))
        y = F.conv2d(x, weight, stride=stride, padding=1)
        return F.batch_norm(y, mean, variance, scale, shift)

    x = conv_norm(x).relu()
    for stage in range(3):
        for block in range(3):
            stride = 2 if stage > 0 and block == 0 else 1
            skip = x[:, :, ::stride, ::stride]
            if stride == 2:
                skip = torch.cat([skip, torch.zeros_like(skip)], 1)
            y = conv_norm(conv_norm(x, stride).relu())
            x = (skip + y).relu()
    weight, bias = next(state), next(state)
    assert next(state, None) is None
    return x.mean((2, 3)) @ weight.T + bias


@pytest.mark.parametrize("pixels", [32, 17])
def test_resnet20_is_the_published_network(pixels: int) -> None:
    model = torchmg.create("resnet20").double()
    model(torch.randn(4, 3, pixels, pixels, dtype=torch.float64))
    model.eval()
    x = torch.randn(2, 3, pixels, pixels, dtype=torch.float64)
    assert torch.allclose(model(x), functional_resnet(model, x), atol=1e-10)


def test_resnet18_has_projection_shortcuts() -> None:
    convolutions = [m for m in torchmg.create("resnet18_cifar", width=0.125).modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 1 + 16 + 3
    assert sum(conv.kernel_size == (1, 1) for conv in convolutions) == 3


@pytest.mark.parametrize("name", ["resnet20", "mgic_resnet20"])
def test_evaluation_does_not_depend_on_the_batch(name: str) -> None:
    model = torchmg.create(name)
    x = torch.randn(5, 3, 16, 16)
    model(x)
    model.eval()
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
        model.to(dtype)
        rows = x.to(dtype)
        together = model(rows)
        alone = torch.cat([model(row[None]) for row in rows])
        assert torch.allclose(together, alone, atol=tolerance, rtol=tolerance)


def test_a_seed_gives_the_weights_of_the_records() -> None:
    """Blocks are drawn in the order in which they were when the records in results/ were made."""
    torch.manual_seed(0)
    first = torchmg.create("resnet20").get_parameter("stages.1.0.conv1.weight").detach()[0, 0, 0]
    torch.testing.assert_close(first, torch.tensor([-0.0578039, 0.1096349, -0.0997479]), rtol=0, atol=1e-6)
