"""Circulant couplings: the definition, three ways to evaluate it, and their closed forms."""

import copy
from math import prod

import pytest
import torch
from torch import Tensor

from torchmg.errors import GroupError, UnknownNameError
from torchmg.hierarchy.transforms import fft_macs
from torchmg.nn.coupling import Circulant, Full


def twins(*args: int, **options: object) -> tuple[Circulant, Circulant]:
    """The same coupling evaluated densely and by channel FFT, in float64."""
    dense = Circulant(*args, evaluate="dense", **options).double()
    fast = copy.deepcopy(dense)
    fast.evaluate = "channel_fft"
    return dense, fast


def by_3d_fft(coupling: Circulant, x: Tensor) -> Tensor:
    """The authors' form: a periodic convolution over channels, rows and columns, which turns stencils around."""
    theta, margin = coupling.blocks[0, 0], coupling.kernel_size // 2
    padded = torch.zeros_like(x[0])
    for i, j in torch.cartesian_prod(*[torch.arange(coupling.kernel_size)] * 2).tolist():
        padded[:, (margin - i) % x.shape[2], (margin - j) % x.shape[3]] += theta[:, i, j]
    axes = (-3, -2, -1)
    return torch.fft.ifftn(torch.fft.fftn(padded, dim=axes) * torch.fft.fftn(x, dim=axes), dim=axes).real


def test_the_kernel_is_the_definition() -> None:
    coupling = Circulant(6, 4, block=2)
    weight = coupling.dense_weight()
    for o in range(4):
        for i in range(6):
            assert torch.equal(weight[o, i], coupling.blocks[o // 2, i // 2, (o - i) % 2])


@pytest.mark.parametrize("channels", [1, 2, 5, 8])
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_three_evaluations_agree(channels: int, kernel_size: int) -> None:
    dense, fast = twins(channels, channels, kernel_size, padding="circular")
    x = torch.randn(2, channels, 6, 4, dtype=torch.float64)
    torch.testing.assert_close(fast(x), dense(x), rtol=0, atol=1e-12)
    torch.testing.assert_close(by_3d_fft(dense, x), dense(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("widths", [(8, 8, None), (8, 8, 4), (6, 4, None), (4, 12, 2), (3, 5, None)])
@pytest.mark.parametrize("stride", [1, 2])
def test_both_evaluations_have_the_same_gradients(widths: tuple[int, int, int | None], stride: int) -> None:
    dense, fast = twins(*widths[:2], block=widths[2], stride=stride)  # pyright: ignore[reportArgumentType]
    x = torch.randn(2, widths[0], 5, 6, dtype=torch.float64)
    weights = torch.randn_like(dense(x))
    gradients = []
    for coupling in (dense, fast):
        image = x.clone().requires_grad_()
        (coupling(image) * weights).sum().backward()
        assert image.grad is not None
        assert coupling.theta.grad is not None
        gradients.append((image.grad, coupling.theta.grad))
        torch.testing.assert_close(coupling.adjoint(weights, (5, 6)), image.grad, rtol=0, atol=1e-12)
    for mine, other in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-11)


def test_it_commutes_with_rolling_the_channels() -> None:
    for coupling in twins(9, 9):
        x = torch.randn(1, 9, 4, 5, dtype=torch.float64)
        torch.testing.assert_close(coupling(x.roll(2, 1)), coupling(x).roll(2, 1), rtol=0, atol=1e-12)


def test_blocks_of_one_are_the_full_convolution() -> None:
    full = Full(6, 4).double()
    for coupling in (Circulant(6, 4, block=1).double(), Circulant(6, 4, block=1, evaluate="channel_fft").double()):
        coupling.load_state_dict({"theta": full.weight.flatten(0, 1)[:, None]})
        x = torch.randn(1, 6, 5, 5, dtype=torch.float64)
        torch.testing.assert_close(coupling(x), full(x), rtol=0, atol=1e-12)
        assert coupling.num_params() == full.num_params()


@pytest.mark.parametrize(("channels", "macs"), [(64, 2148), (128, 4580), (256, 9764), (512, 20772)])
def test_closed_forms_are_those_of_the_specification(channels: int, macs: int) -> None:
    fast = Circulant(channels, channels, evaluate="channel_fft")
    dense, blocks = Circulant(channels, channels), Circulant(channels, channels, block=16)
    assert fast.macs_per_pixel() == macs
    assert fast.macs(8, 9) == 72 * macs + 9 * fft_macs([channels], 1, real=True)
    assert dense.macs_per_pixel() == 9 * channels**2
    assert dense.num_params() == 9 * channels
    assert blocks.num_params() == 9 * channels**2 // 16
    assert (dense.growth, blocks.growth) == ("linear", "quadratic")


def test_a_stride_saves_products_but_no_transforms_of_the_input() -> None:
    strided = Circulant(16, 32, stride=2, evaluate="channel_fft")
    products, transform = 4 * 9 * 9 * 2, 1.25 * 16 * 4
    assert strided.macs(5, 6) == 9 * (products + 2 * transform) + 30 * transform + 9 * 2 * transform


@pytest.mark.parametrize(
    ("lengths", "batch", "real", "macs"), [([8], 1, False, 60), ([4, 4], 3, True, 240), ([1], 9, True, 0)]
)
def test_transforms_cost_n_log_n(lengths: list[int], batch: int, real: bool, macs: int) -> None:
    assert (
        fft_macs(lengths, batch, real)
        == macs
        == (1.25 if real else 2.5) * batch * prod(lengths) * (prod(lengths).bit_length() - 1)
    )


def test_the_norm_of_one_block_is_the_largest_entry_of_its_transform() -> None:
    coupling = Circulant(6, 6, padding="circular").double()
    padded = torch.zeros(6, 5, 7, dtype=torch.float64)
    padded[:, :3, :3] = coupling.blocks[0, 0].detach()
    torch.testing.assert_close(coupling.norm_bound((5, 7)), torch.fft.fftn(padded).abs().max(), rtol=1e-12, atol=0)


def test_transforms_stay_in_single_precision_under_autocast() -> None:
    _, fast = twins(8, 8)
    fast = fast.float()
    x = torch.randn(2, 8, 5, 5)
    exact = fast(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(fast(x), exact)
        assert torch.equal(fast.adjoint(exact), fast.adjoint(exact))
        rounded = fast(x.bfloat16())
    assert rounded.dtype == torch.bfloat16
    assert torch.equal(rounded, fast(x.bfloat16().float()).bfloat16())
    assert fast.bfloat16()(x.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("evaluate", ["dense", "channel_fft"])
def test_either_evaluation_is_one_graph(evaluate: str) -> None:
    coupling = Circulant(6, 4, evaluate=evaluate, padding="circular").eval()  # pyright: ignore[reportArgumentType]
    x = torch.randn(2, 6, 5, 4)
    program = torch.export.export(coupling, (x,))
    torch.testing.assert_close(program.module()(x), coupling(x))


def test_what_is_wrong_is_explained() -> None:
    with pytest.raises(GroupError, match=r"6 -> 4 must divide both widths; got 3. Use one of 1, 2"):
        Circulant(6, 4, block=3)
    with pytest.raises(UnknownNameError, match="dense, channel_fft"):
        Circulant(4, 4, evaluate="fft")  # pyright: ignore[reportArgumentType]
