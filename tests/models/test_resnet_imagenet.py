"""The ImageNet networks: published counts, torchvision's own models as the oracle, hierarchies stage by stage."""

import pytest
import torch
from torch import nn

import torchmg
from torchmg.errors import UnknownNameError, UsageError
from torchmg.models.resnet_imagenet import mgic_resnet, resnet
from torchmg.nn import LightShortcut, MGICBlock

IMAGE = (3, 224, 224)


def counted(name: str, **options: object) -> tuple[int, int]:
    with torch.device("meta"):
        total = torchmg.count(torchmg.create(name, **options), IMAGE)
    assert total.unknown == ()
    return total.parameters, total.macs


# Whole-net counts ----------------------------------------------------------------------------------------------------


def test_the_reference_code_preset_counts_to_the_last_parameter_and_mac() -> None:
    """The authors' published code at their s_c = 64, s_g = 32, which are the defaults."""
    assert counted("mgic_resnet50", preset="reference_code") == (9_409_576, 2_352_040_960)


AUDIT = [  # Table 5's group sizes, then millions of parameters and thousand millions of MACs for lt1, le1, le
    (16, (5.96, 1.36), (6.19, 1.45), (6.24, 1.62)),
    (32, (9.41, 2.35), (9.20, 2.28), (9.15, 2.14)),
    (64, (16.30, 4.33), (15.21, 3.96), (14.96, 3.18)),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("group_size", "preset", "expected"),
    [
        (size, preset, row)
        for size, *rows in AUDIT
        for preset, row in zip(("reference_code", "table5", "paper"), rows, strict=True)
    ],
)
def test_every_preset_counts_as_audited(group_size: int, preset: str, expected: tuple[float, float]) -> None:
    parameters, macs = counted("mgic_resnet50", preset=preset, group_size=group_size)
    assert (round(parameters / 1e6, 2), round(macs / 1e9, 2)) == expected


def bottlenecks(stages: list[int], shortcuts: list[tuple[int, int]]) -> int:
    """Parameters of a network by its parts: the stages' blocks times their number, and everything around them."""
    stem, head = 7 * 7 * 3 * 64 + 128, 2048 * 1000 + 1000
    return stem + head + sum(stages) + sum(9 * wide + 2 * wide for _, wide in shortcuts)


def test_a_whole_net_is_the_sum_of_stem_blocks_shortcuts_and_head() -> None:
    """ResNet-50, s_c = 64, s_g = 32, from known parameters of one bottleneck block with middles of 64 to 512."""
    shortcuts = [(64, 256), (256, 512), (512, 1024), (1024, 2048)]
    le1 = [3 * 86_656, 4 * 208_128, 6 * 483_584, 3 * 1_034_496]
    lt1 = [3 * 86_656, 4 * 224_384, 6 * 499_840, 3 * 1_050_752]
    assert counted("mgic_resnet50", preset="table5")[0] == bottlenecks(le1, shortcuts)
    assert counted("mgic_resnet50", preset="reference_code")[0] == bottlenecks(lt1, shortcuts)


# torchvision ---------------------------------------------------------------------------------------------------------

TWINS = {"wide_resnet50": "wide_resnet50_2", "resnext50": "resnext50_32x4d"}
DENSE = [
    "resnet18",
    *(pytest.param(n, marks=pytest.mark.slow) for n in ("resnet34", "resnet50", "resnet101", *TWINS)),
]


@pytest.mark.parametrize("name", DENSE)
@torch.no_grad()
def test_dense_networks_are_torchvisions(name: str) -> None:
    """The same tensors in the same order, drawn from the same distributions, the same features and logits."""
    from torchvision import models

    theirs, ours = models.get_model(TWINS.get(name, name), num_classes=10), torchmg.create(name, num_classes=10)
    pairs = list(zip(theirs.parameters(), ours.parameters(), strict=True))
    assert all(a.shape == b.shape for a, b in pairs)
    large = [(a.std(), b.std()) for a, b in pairs if a.dim() == 4 and a.numel() > 30_000]
    assert large
    assert all(torch.isclose(a, b, rtol=0.03) for a, b in large)

    theirs.double()(torch.randn(4, 3, 64, 64, dtype=torch.float64))  # running statistics that are not 0 and 1
    state = zip(ours.double().state_dict(), theirs.state_dict().values(), strict=True)
    ours.load_state_dict(dict(state))
    ours.eval()
    theirs.eval()
    x = torch.randn(2, 3, 75, 64, dtype=torch.float64)
    maps: list[torch.Tensor] = []
    for layer in (theirs.layer1, theirs.layer2, theirs.layer3, theirs.layer4):
        layer.register_forward_hook(lambda module, args, out: maps.append(out))
    logits = theirs(x)
    assert torch.allclose(ours(x), logits, rtol=1e-9)
    assert all(torch.allclose(a, b, rtol=1e-9) for a, b in zip(ours.forward_features(x), maps, strict=True))


# Stages --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "blocks", "widths", "first"),
    [
        ("mgic_resnet18", (2, 2, 2, 2), (64, 128, 256, 512), False),
        ("mgic_resnet34", (3, 4, 6, 3), (64, 128, 256, 512), False),
        ("mgic_resnet50", (3, 4, 6, 3), (256, 512, 1024, 2048), True),
        ("mgic_resnet101", (3, 4, 23, 3), (256, 512, 1024, 2048), True),
        ("mgic_wide_resnet50", (3, 4, 6, 3), (256, 512, 1024, 2048), True),
    ],
)
def test_stages_have_light_shortcuts_where_width_or_resolution_changes(
    name: str, blocks: tuple[int, ...], widths: tuple[int, ...], first: bool
) -> None:
    with torch.device("meta"):
        model = torchmg.create(name)
    assert [level["num_chs"] for level in model.feature_info] == list(widths)
    assert [level["reduction"] for level in model.feature_info] == [4, 8, 16, 32]
    for index, (stage, count, width) in enumerate(zip(model.stages, blocks, widths, strict=True)):
        has = first or index > 0
        assert [type(layer) for layer in stage] == [LightShortcut] * has + [MGICBlock] * count
        assert {layer.hierarchy.channels for layer in stage if isinstance(layer, MGICBlock)} == {width}
        if has:
            assert stage[0].conv.stride == ((1, 1) if index == 0 else (2, 2))
            assert stage[0].conv.groups == stage[0].conv.in_channels


def hierarchies(name: str, **options: object) -> list[list[tuple[int, int, int]]]:
    """(tensor, middle, groups) of each level of the last block of every stage."""
    with torch.device("meta"):
        model = torchmg.create(name, **options)
    return [[(lv.channels, lv.hidden, lv.groups) for lv in stage[-1].hierarchy.levels] for stage in model.stages]


def test_sizes_are_measured_on_the_middle_of_a_bottleneck() -> None:
    plain = hierarchies("mgic_resnet50")
    assert plain[0] == [(256, 64, 1)]
    assert plain[2] == [(1024, 256, 8), (512, 128, 4), (256, 64, 1)]
    assert [len(levels) for levels in plain] == [1, 2, 3, 4]
    assert hierarchies("mgic_resnet50", group_by="outer")[0] == [(256, 64, 8), (128, 32, 4), (64, 16, 1)]
    wide = hierarchies("mgic_wide_resnet50")
    assert wide[0] == [(256, 128, 4), (128, 64, 1)]
    assert wide == hierarchies("mgic_resnext50")
    assert {len(levels) for levels in hierarchies("mgic_resnet50", preset="two_level")} == {2}


def test_every_middle_of_the_resnext_form_is_grouped() -> None:
    with torch.device("meta"):
        model = torchmg.create("mgic_resnext50", group_size=8)
    found = [[relax.conv2.groups for relax in stage[-1].relax] for stage in model.stages]
    assert found == [[32, 32], [32, 32, 32], [64, 32, 32, 32], [128, 64, 32, 32, 32]]
    outer = [[relax.conv1.groups for relax in stage[-1].relax] for stage in model.stages]
    assert outer == [[16, 1], [32, 16, 1], [64, 32, 16, 1], [128, 64, 32, 16, 1]]


@pytest.mark.parametrize("builder", [resnet, mgic_resnet])
@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"depth": 20}, UsageError, ["18, 34, 50, 101", "20"]),
        ({"depth": 18, "variant": "wide"}, UsageError, ["'wide'", "depth 18", "50 or 101"]),
        ({"depth": 50, "variant": "wider"}, UnknownNameError, ["variant", "Did you mean wide"]),
        ({"depth": 50, "width": 0.001}, UsageError, ["width=0.001", "0 of 64 channels"]),
        ({"depth": 18, "num_classes": 0}, UsageError, ["num_classes", "at least 1"]),
    ],
)
def test_impossible_networks(
    builder: object, options: dict[str, object], error: type[Exception], words: list[str]
) -> None:
    with pytest.raises(error) as caught:
        builder(**options)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_resnext_too_narrow_for_its_groups_names_the_least_width() -> None:
    with pytest.raises(UsageError, match=r"each of 32 groups; use at least 0\.25"):
        resnet(50, variant="resnext", width=0.2)
    with torch.device("meta"):
        resnet(50, variant="resnext", width=0.25)
        assert isinstance(mgic_resnet(50, variant="resnext", width=0.2), nn.Module)
