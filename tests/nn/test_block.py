"""The MGIC block: identity, one level, coupling, closed-form counts, gradients."""

import copy
import itertools
import warnings

import pytest
import torch
from helpers import FINE_GROUP, make_positive, matrix, neighbour_group, pixel_jacobian, same_group
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import torchmg
from torchmg.errors import HierarchyWarning, ShapeError, UnknownNameError, UsageError
from torchmg.nn import Bottleneck, MGICBlock, Residual

TRANSFERS = [
    dict(zip(("transfer_init", "transfer_weights", "transfer_groups", "transfer_norm"), values, strict=True))
    for values in itertools.product(
        ("random", "uniform"), ("own", "transpose"), ("neighbour", "interleaved"), ("prolong", "both", "none")
    )
]


def name(options: dict[str, str]) -> str:
    return "-".join(options.values())


# Identity and one level ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", TRANSFERS, ids=name)
@pytest.mark.parametrize("training", [True, False])
def test_identity_relaxations_make_an_identity_cycle(options: dict[str, str], training: bool) -> None:
    block = MGICBlock(32, relax=lambda channels, groups: nn.Identity(), group_size=4, coarsest=4, **options)
    block.train(training)
    assert len(block.relax) == 4
    x = torch.randn(3, 32, 5, 6)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize("relax", ["residual", "bottleneck"])
@pytest.mark.parametrize("training", [True, False])
def test_one_level_is_the_plain_block(relax: str, training: bool) -> None:
    block = MGICBlock(16, relax=relax, coarsest=16).train(training)
    plain = {"residual": Residual, "bottleneck": Bottleneck}[relax](16).train(training)
    assert {key.removeprefix("relax.0."): value.shape for key, value in block.state_dict().items()} == {
        key: value.shape for key, value in plain.state_dict().items()
    }
    for buffer in plain.buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 2)
    block.relax[0].load_state_dict(plain.state_dict())
    x = torch.randn(4, 16, 8, 8)
    assert torch.equal(block(x), plain(x))


def test_a_factory_receives_every_level_and_may_build_anything() -> None:
    asked: list[tuple[int, int]] = []

    def factory(channels: int, groups: int) -> nn.Module:
        asked.append((channels, groups))
        return nn.Conv2d(channels, channels, 5, padding=2, groups=groups)

    block = MGICBlock(64, relax=factory, group_size=8, coarsest=16)
    assert asked == [(64, 8), (32, 4), (16, 1)]
    assert block(torch.randn(2, 64, 7, 7)).shape == (2, 64, 7, 7)
    assert "3 levels" in repr(block)
    assert "ratio" not in repr(block), "there is no closed form to compare an arbitrary relaxation with"


# Coupling ------------------------------------------------------------------------------------------------------------

SIZES = [(16, 4, 4, "residual"), (24, 2, 6, "residual"), (32, 8, 8, "residual"), (64, 4, 4, "bottleneck")]


def positive_block(sizes: tuple[int, int, int, str], options: dict[str, str]) -> MGICBlock:
    channels, group_size, coarsest, relax = sizes
    block = MGICBlock(channels, relax=relax, group_size=group_size, coarsest=coarsest, **options)
    assert len(block.relax) >= 2
    make_positive(block)
    return block


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("options", TRANSFERS, ids=name)
def test_a_block_couples_every_pair_of_channels(sizes: tuple[int, int, int, str], options: dict[str, str]) -> None:
    jacobian = pixel_jacobian(positive_block(sizes, options), sizes[0])
    assert jacobian.shape == (sizes[0], sizes[0])
    assert (jacobian > 0).all()


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_without_the_coarse_correction_groups_stay_apart(sizes: tuple[int, int, int, str]) -> None:
    """The counterpart: zero prolongations leave the finest relaxation alone, which couples its own groups only."""
    block = positive_block(sizes, {})
    with torch.no_grad():
        for prolong in block.prolong:
            prolong.rows.zero_()
    group = neighbour_group(sizes[0], block.hierarchy.levels[0].groups)
    assert group.max() > 0
    assert torch.equal(pixel_jacobian(block, sizes[0]) != 0, same_group(group, group))


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("order", ["neighbour", "interleaved"])
@pytest.mark.parametrize("weights", ["own", "transpose"])
def test_every_operator_of_every_level_couples_its_groups(
    sizes: tuple[int, int, int, str], order: str, weights: str
) -> None:
    block = positive_block(sizes, {"transfer_groups": order, "transfer_weights": weights})
    channels, group_size, _, relax = sizes
    scale = 4 if relax == "bottleneck" else 1  # sizes are measured on the middle width
    for level, operator in enumerate(block.relax):
        c = channels // 2**level
        groups = c // scale // group_size if level < len(block.relax) - 1 else 1
        group = neighbour_group(c, groups)
        assert torch.equal(pixel_jacobian(operator, c) != 0, same_group(group, group))
        if level < len(block.relax) - 1:
            fine, coarse = FINE_GROUP[order](c, groups), neighbour_group(c // 2, groups)
            assert torch.equal(pixel_jacobian(block.restrict[level], c) != 0, same_group(coarse, fine))
            assert torch.equal(pixel_jacobian(block.prolong[level], c // 2) != 0, same_group(fine, coarse))


@pytest.mark.parametrize("correction", ["fas", "plain"])
def test_a_positive_block_is_the_product_of_its_matrices(correction: str) -> None:
    """J = B0 (I + P (B1 - I) R), plain B0 (I + P B1 R), with B = I + K2 K1 at one pixel, from the tensors alone."""
    options = {"transfer_groups": "interleaved", "transfer_norm": "none", "correction": correction}
    block = positive_block((16, 4, 8, "residual"), options)
    scale = 1 / (1 + 1e-5)  # two normalisations by running statistics (0, 1), sqrt(1 + eps) each

    def centre(conv: nn.Conv2d) -> Tensor:
        return torch.block_diag(*conv.weight[:, :, 1, 1].detach().chunk(conv.groups))

    def relaxation(module: nn.Module) -> Tensor:
        product = centre(module.conv2) @ centre(module.conv1)
        return torch.eye(len(product), dtype=torch.float64) + scale * product

    fine, coarse = map(relaxation, block.relax)
    down, up = matrix(block.restrict[0]), matrix(block.prolong[0])
    change = coarse - torch.eye(8) if correction == "fas" else coarse
    expected = fine @ (torch.eye(16) + up @ change @ down)
    assert torch.allclose(pixel_jacobian(block, 16), expected, rtol=1e-9)


# Counts --------------------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(
    c=st.integers(1, 40).map(lambda n: 4 * n),
    group_size=st.integers(1, 20),
    coarsest=st.integers(1, 40),
    stop=st.sampled_from(["le", "le1", "lt1"]),
    rule=st.sampled_from(["ceil", "floor", "ceil_down"]),
    by=st.sampled_from(["mid", "outer"]),
    relax=st.sampled_from(["residual", "bottleneck"]),
    norm=st.sampled_from(["prolong", "both", "none"]),
    weights=st.sampled_from(["own", "fixed", "transpose"]),
    coupled=st.sampled_from(["full", "grouped"]),
)
def test_counted_tensors_equal_the_closed_form(
    c: int,
    group_size: int,
    coarsest: int,
    stop: str,
    rule: str,
    by: str,
    relax: str,
    norm: str,
    weights: str,
    coupled: str,
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HierarchyWarning)
        block = MGICBlock(
            c,
            relax=relax,
            group_size=group_size,
            coarsest=coarsest,
            stop=stop,
            group_rule=rule,
            group_by=by,
            transfer_norm=norm,
            transfer_weights=weights,
            coarsest_coupling=coupled,
        )
    groups = {"full": 1, "grouped": block.hierarchy.levels[-1].groups}[coupled]
    assert block.relax[-1].conv1.groups == groups
    tied = sum(restriction.rows.numel() for restriction in block.restrict) if weights == "transpose" else 0
    costs = block.hierarchy.costs(relax, transfer_norm=norm)
    parameters = sum(p.numel() for p in block.parameters())
    assert parameters == sum(cost.total.parameters for cost in costs) - tied
    assert sum(cost.total.parameters for cost in block.costs()) == parameters
    if not tied:
        assert block.costs() == costs
    counted = torchmg.count(block, (c, 3, 5))
    assert counted.parameters == parameters
    assert counted.macs == 15 * sum(cost.total.weights for cost in costs)
    for level, (_, level_parameters, macs) in enumerate(counted.by("level")):
        assert macs == 15 * costs[level].total.weights
        assert level_parameters == block.costs()[level].total.parameters


def test_the_published_block_counts_are_those_of_real_tensors() -> None:
    for options, parameters in [
        ({"channels": 64, "group_size": 8, "coarsest": 16}, 19_840),
        ({"channels": 64, "group_size": 16, "coarsest": 16, "stop": "lt1", "group_rule": "floor"}, 35_904),
        ({"channels": 256, "group_size": 32, "coarsest": 64}, 309_760),
        ({"channels": 256, "relax": "bottleneck", "group_size": 32, "coarsest": 64, "stop": "le1"}, 86_656),
        ({"channels": 512, "relax": "bottleneck", "group_size": 32, "coarsest": 64, "stop": "lt1"}, 224_384),
    ]:
        assert sum(p.numel() for p in MGICBlock(**options).parameters()) == parameters


# Evaluation, gradients -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [TRANSFERS[0], TRANSFERS[-2], TRANSFERS[8]], ids=name)
def test_evaluation_does_not_depend_on_the_batch(options: dict[str, str]) -> None:
    block = MGICBlock(32, group_size=4, coarsest=8, **options).double()
    block(torch.randn(8, 32, 5, 5, dtype=torch.float64))  # running statistics that are not the initial ones
    block.eval()
    x = torch.randn(6, 32, 5, 5, dtype=torch.float64) * torch.arange(1, 7)[:, None, None, None]
    together = block(x)
    alone = torch.cat([block(row[None]) for row in x])
    assert torch.allclose(together, alone, atol=1e-12)
    assert not torch.allclose(block.train()(x), together, atol=1e-3)


@pytest.mark.parametrize("options", TRANSFERS, ids=name)
def test_every_parameter_of_every_level_gets_a_finite_gradient(options: dict[str, str]) -> None:
    block = MGICBlock(32, group_size=4, coarsest=4, **options)
    block(torch.randn(4, 32, 6, 6)).square().sum().backward()
    for path, parameter in block.named_parameters():
        assert parameter.grad is not None, path
        assert parameter.grad.isfinite().all(), path
        assert parameter.grad.any(), path


@pytest.mark.parametrize("relax", ["residual", "bottleneck"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("weights", ["own", "transpose"])
def test_gradients_equal_finite_differences(relax: str, training: bool, weights: str) -> None:
    channels = 8 if relax == "residual" else 16
    block = MGICBlock(channels, relax=relax, group_size=2, coarsest=2, transfer_weights=weights)
    assert len(block.relax) >= 2
    block = block.double().train(training)
    names = [path for path, _ in block.named_parameters()]
    values = [parameter.detach().clone().requires_grad_() for parameter in block.parameters()]
    x = torch.randn(2, channels, 2, 2, dtype=torch.float64, requires_grad=True)

    def function(x: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(copy.deepcopy(block), dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(function, (x, *values), eps=1e-6, atol=1e-4, fast_mode=True)


# Wrong requests ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("channels", "options", "error", "words"),
    [
        (0, {}, UsageError, ["channels", "at least 1", "0"]),
        (0, {"relax": "bottleneck"}, UsageError, ["channels", "at least 1", "0"]),
        (64, {"group_size": 0}, UsageError, ["group_size", "at least 1"]),
        (64, {"group_size": -1}, UsageError, ["group_size", "-1"]),
        (64, {"group_size": 2.5}, UsageError, ["group_size", "2.5"]),
        (64, {"coarsest": 0}, UsageError, ["coarsest", "at least 1"]),
        (64, {"stop": "less"}, UnknownNameError, ["stop", "'less'", "le, le1, lt1"]),
        (64, {"group_rule": "flor"}, UnknownNameError, ["group_rule", "Did you mean floor"]),
        (64, {"group_by": "inner"}, UnknownNameError, ["group_by", "mid, outer"]),
        (64, {"transfer_init": "randm"}, UnknownNameError, ["transfer_init", "Did you mean random"]),
        (64, {"transfer_weights": "shared"}, UnknownNameError, ["transfer_weights", "own, transpose, fixed"]),
        (64, {"correction": "difference"}, UnknownNameError, ["correction", "fas, plain"]),
        (64, {"transfer_groups": "interleave"}, UnknownNameError, ["transfer_groups", "Did you mean interleaved"]),
        (64, {"transfer_norm": "all"}, UnknownNameError, ["transfer_norm", "prolong, both, none"]),
        (64, {"relax": "residul"}, UnknownNameError, ["relax", "Did you mean residual", "bottleneck"]),
        (18, {"relax": "bottleneck"}, UsageError, ["multiple of 4", "18", "16, 20"]),
        (64, {"relax": lambda c, g: None}, UsageError, ["channels=64", "groups=8", "NoneType", "nn.Module"]),
        (64, {"relax": lambda c, g: nn.ReLU}, UsageError, ["returned type", "nn.Module"]),
    ],
)
def test_impossible_blocks(channels: int, options: dict[str, object], error: type[Exception], words: list[str]) -> None:
    with pytest.raises(error) as caught:
        MGICBlock(channels, **options)
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize(
    "option", ["transfer_init", "transfer_weights", "transfer_groups", "transfer_norm", "correction"]
)
def test_one_level_checks_its_transfer_options_too(option: str) -> None:
    """A block without transfers must not accept what a wider one refuses."""
    with pytest.raises(UnknownNameError, match=option):
        MGICBlock(16, coarsest=16, **{option: "nonsense"})


@pytest.mark.parametrize(
    ("shape", "dtype", "words"),
    [
        ((2, 8, 8, 16), torch.float32, ["(batch, 16, H, W)", "(2, 8, 8, 16)", "channels-last", "permute"]),
        ((16, 8, 8), torch.float32, ["batch axis", "x[None]"]),
        ((2, 16, 8, 8), torch.uint8, ["floating point", "uint8", "255"]),
        ((2, 16, 8, 8), torch.int64, ["floating point", "int64"]),
        ((2, 3, 8, 8), torch.float32, ["(batch, 16, H, W)", "(2, 3, 8, 8)"]),
        ((2, 16), torch.float32, ["(batch, 16, H, W)", "(2, 16)"]),
    ],
)
def test_wrong_inputs_are_explained(shape: tuple[int, ...], dtype: torch.dtype, words: list[str]) -> None:
    with pytest.raises(ShapeError) as caught:
        MGICBlock(16)(torch.zeros(shape, dtype=dtype))
    assert all(word in str(caught.value) for word in words), str(caught.value)


# Printing ------------------------------------------------------------------------------------------------------------


def test_printing_a_block_shows_its_hierarchy_with_real_counts() -> None:
    block = MGICBlock(64)
    assert repr(block) == str(torchmg.Hierarchy(64))
    tied = repr(MGICBlock(64, transfer_weights="transpose"))
    assert f"parameters {19_840 - 256 - 128:,}" in tied
    assert "cycle complexity" not in tied, "weights that are used twice are not the MACs"
