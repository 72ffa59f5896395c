"""Lean couplings and the special sparsity: which taps they have, what they contain, and the specification's counts."""

import pytest
import torch

from torchmg.errors import UnknownNameError, UsageError
from torchmg.nn.coupling import Full, Lean, Pointwise, Stencil, Union

DOUBLE = torch.float64


def pattern(coupling: Lean, out: int = 0, channel: int = 0) -> list[str]:
    """The taps of one stencil, a row a word."""
    stencil = coupling.dense_weight()[out, channel]
    return ["".join("x" if entry else "." for entry in row) for row in stencil.reshape(-1, stencil.shape[-1]).tolist()]


@pytest.mark.parametrize(
    ("stencil", "kernel_size", "rows"),
    [
        ("9", 3, "xxx xxx xxx"),
        ("5", 3, ".x. xxx .x."),
        ("3h", 3, "... xxx ..."),
        ("3v", 3, ".x. .x. .x."),
        ("5", 5, "..x.. ..x.. xxxxx ..x.. ..x.."),
        ("3v", 5, "..x.. ..x.. ..x.. ..x.. ..x.."),
    ],
)
def test_stencils_in_the_plane(stencil: Stencil, kernel_size: int, rows: str) -> None:
    coupling = Lean(4, 4, kernel_size, stencil=stencil)
    assert pattern(coupling) == rows.split()
    others = [word for word in pattern(coupling, 0, 1) if "x" in word]
    assert others == [f"{'.' * (kernel_size // 2)}x{'.' * (kernel_size // 2)}"]


@pytest.mark.parametrize(("dims", "counts"), [(1, {"9": 3, "5": 3, "3h": 3}), (3, {"9": 27, "5": 7, "3h": 3, "3v": 3})])
def test_stencils_on_lines_and_in_space(dims: int, counts: dict[Stencil, int]) -> None:
    for stencil, taps in counts.items():
        coupling = Lean(2, 2, stencil=stencil, dims=dims)  # pyright: ignore[reportArgumentType]
        assert int((coupling.dense_weight()[0, 0] != 0).sum()) == taps
        assert coupling.num_params() == 4 + (taps - 1) * 2
    if dims == 3:
        weight = Lean(2, 2, stencil="3v", dims=3).dense_weight()
        assert bool((weight[0, 0, 1, :, 1] != 0).all())


@pytest.mark.parametrize(("widths", "stride"), [((4, 4), 1), ((4, 8), 2), ((6, 4), 2)])
def test_all_taps_of_single_channels_are_the_special_sparsity(widths: tuple[int, int], stride: int) -> None:
    lean, union = Lean(*widths, stencil="9", stride=stride), Union(*widths, stride=stride)
    union.load_state_dict(lean.state_dict())
    x = torch.randn(2, widths[0], 5, 4)
    assert torch.equal(lean(x), union(x))


def test_all_taps_of_all_channels_are_the_full_convolution() -> None:
    full, lean = Full(4, 6).double(), Lean(4, 6, stencil="9", group_size=4).double()
    flat = full.weight.detach().flatten(2)
    lean.load_state_dict({"centre": flat[:, :, 4], "stencils": flat[:, :, [0, 1, 2, 3, 5, 6, 7, 8]]})
    assert torch.equal(lean.dense_weight(), full.weight)
    assert lean.num_params() == full.num_params()
    x = torch.randn(2, 4, 5, 5, dtype=DOUBLE)
    torch.testing.assert_close(lean(x), full(x), rtol=0, atol=1e-12)


def test_the_special_sparsity_is_the_published_mask() -> None:
    """Free where output is input, or at the centre."""
    dense = Union(5, 5).dense_weight() != 0
    mask = torch.eye(5, dtype=torch.bool)[:, :, None, None].repeat(1, 1, 3, 3)
    mask[:, :, 1, 1] = True
    assert torch.equal(dense, mask)


def test_without_neighbours_or_common_divisors_it_is_pointwise() -> None:
    for coupling in (Lean(4, 6, 1), Union(3, 8), Union(8, 3)):
        pointwise = Pointwise(coupling.in_channels, coupling.out_channels)
        pointwise.weight.data = coupling.centre.detach()[..., None, None]
        x = torch.randn(1, coupling.in_channels, 4, 4)
        torch.testing.assert_close(coupling(x), pointwise(x))
        assert coupling.num_params() == coupling.in_channels * coupling.out_channels
        assert next(coupling.variances())[1] == 2 / coupling.in_channels
    assert Union(1, 1).num_params() == 9


def test_stars_lie_around_the_pixels_that_are_kept() -> None:
    coupling = Lean(1, 1, stencil="5", stride=2)
    coupling.load_state_dict({"centre": torch.tensor([[10.0]]), "stencils": torch.tensor([[[1.0, 2, 3, 4]]])})
    x = torch.zeros(1, 1, 5, 5)
    x[0, 0, 2, 2] = 1
    assert coupling(x)[0, 0].tolist() == [[0, 0, 0], [0, 10, 0], [0, 0, 0]]
    assert coupling(x.roll(1, 3))[0, 0].tolist() == [[0, 0, 0], [0, 3, 2], [0, 0, 0]]  # between two of them
    assert coupling(x.roll(1, 2))[0, 0].tolist() == [[0, 0, 0], [0, 4, 0], [0, 1, 0]]
    assert not coupling(x.roll((1, 1), (2, 3))).any()


@pytest.mark.parametrize(
    ("stencil", "group_size", "counts"),
    [
        ("9", 1, (4_608, 17_408, 67_584, 266_240)),
        ("5", 1, (4_352, 16_896, 66_560, 264_192)),
        ("3h", 1, (4_224, 16_640, 66_048, 263_168)),
        ("5", 16, (8_192, 24_576, 81_920, 294_912)),
    ],
)
def test_counts_of_the_specification(stencil: Stencil, group_size: int, counts: tuple[int, ...]) -> None:
    for channels, count in zip((64, 128, 256, 512), counts, strict=True):
        coupling = Lean(channels, channels, stencil=stencil, group_size=group_size)
        assert coupling.num_params() == coupling.macs_per_pixel() == count


def stage_widths(widths: tuple[int, ...], blocks: tuple[int, ...]) -> list[tuple[int, int]]:
    """The 3x3 convolutions (in, out) of the basic blocks of a residual network."""
    convolutions, before = [], widths[0]
    for width, count in zip(widths, blocks, strict=True):
        convolutions += [(before, width)] + [(width, width)] * (2 * count - 1)
        before = width
    return convolutions


RESNETS = {
    "resnet20": (stage_widths((16, 32, 64), (3, 3, 3)), 269_722, (37_530, 34_842, 33_498, 75_162)),
    "resnet56": (stage_widths((16, 32, 64), (9, 9, 9)), 853_018, (115_482, 107_418, 103_386, 228_378)),
    "resnet18": (
        stage_widths((64, 128, 256, 512), (2, 2, 2, 2)),
        11_689_512,
        (1_955_368, 1_940_008, 1_932_328, 2_170_408),
    ),
    "resnet34": (
        stage_widths((64, 128, 256, 512), (3, 4, 6, 3)),
        21_797_672,
        (3_114_792, 3_084_584, 3_069_480, 3_537_704),
    ),
    "resnet50": (
        [(c, c) for c, n in zip((64, 128, 256, 512), (3, 4, 6, 3), strict=True) for _ in range(n)],
        25_557_032,
        (15_527_464, 15_512_360, 15_504_808, 15_738_920),
    ),
}
"""3x3 convolutions of the residual layers, parameters of the full network, and with them lean: lowcost spec 3.4."""


@pytest.mark.parametrize("network", RESNETS)
def test_residual_networks_have_the_counts_of_the_specification(network: str) -> None:
    convolutions, full, expected = RESNETS[network]
    for (stencil, group_size), count in zip([("9", 1), ("5", 1), ("3v", 1), ("5", 16)], expected, strict=True):
        lean = {
            widths: Lean(*widths, stencil=stencil, group_size=group_size)  # pyright: ignore[reportArgumentType]
            for widths in set(convolutions)
        }
        assert full + sum(lean[w].num_params() - 9 * w[0] * w[1] for w in convolutions) == count


def test_a_circulant_centre_couples_all_channels_by_few_weights() -> None:
    coupling = Lean(64, 64, stencil="5", pointwise="circulant")
    assert coupling.num_params() == 64 + 4 * 64
    assert coupling.reach() == 1
    assert coupling.macs_per_pixel() == 64 * 64 + 4 * 64
    assert (coupling.growth, Lean(64, 64).growth) == ("linear", "quadratic")
    centre = coupling.dense_weight()[:, :, 1, 1]
    assert torch.equal(centre.roll((1, 1), (0, 1)), centre)


def test_without_a_size_single_channels_are_bounded_by_the_sum_of_their_taps() -> None:
    coupling = Lean(8, 8, stencil="5").double()
    assert coupling.stencils is not None
    with torch.no_grad():
        coupling.centre.mul_(10)  # so that Schur's bound is the larger one
    bound = torch.linalg.matrix_norm(coupling.centre, ord=2) + coupling.stencils.abs().sum(2).max()
    assert (1 - 1e-12) * bound <= coupling.norm_bound() <= 1.01 * bound


def test_what_is_wrong_is_explained() -> None:
    with pytest.raises(UsageError, match="needs rows and columns"):
        Lean(4, 4, stencil="3v", dims=1)
    with pytest.raises(UsageError, match=r"group_size must divide the 6 channels; got 4. Nearest: 3"):
        Lean(6, 6, group_size=4)
    with pytest.raises(UnknownNameError, match="9, 5, 3h, 3v"):
        Lean(4, 4, stencil="7")  # pyright: ignore[reportArgumentType]
    with pytest.raises(UnknownNameError, match="full, circulant"):
        Lean(4, 4, pointwise="none")  # pyright: ignore[reportArgumentType]
