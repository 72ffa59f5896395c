"""Implicit diffusion against dense matrices that NumPy builds from the stencils, in float64."""

import math
from math import prod
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from numpy.polynomial import chebyshev
from torch import Tensor

import torchmg
from tests.nn.diffusions import KINDS, Case, cases, dense_operator, matrix_of, random_module
from torchmg.errors import ShapeError, UnknownNameError, UsageError
from torchmg.hierarchy.diffusion import diffusion_lengths, sweep_factor
from torchmg.nn.diffusion import ImplicitDiffusion

EVERY = pytest.mark.parametrize(("backend", "symbol"), KINDS)


# What it computes ----------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(cases(("fourier", "cosine")))
def test_it_inverts_identity_plus_h_l(case: Case) -> None:
    module, size = case
    solve, operator = matrix_of(module, module, size), matrix_of(module.operator, module, size)
    for channel in range(module.channels):
        dense = dense_operator(module, size, channel)
        scale = 1 + np.abs(dense).max()
        assert np.allclose(operator[channel], dense, atol=1e-10 * scale, rtol=0)
        system = np.eye(prod(size)) + module.h * dense
        assert np.allclose(system @ solve[channel], np.eye(prod(size)), atol=1e-10 * (1 + module.h) * scale, rtol=0)


@settings(max_examples=40, deadline=None)
@given(cases())
def test_it_is_a_symmetric_contraction_that_keeps_means(case: Case) -> None:
    module, size = case
    for matrix in matrix_of(module, module, size):
        assert np.allclose(matrix, matrix.T, atol=1e-12)
        assert np.abs(np.linalg.eigvalsh(matrix)).max() <= 1 + 1e-12
    if module.zero_mean:
        y = torch.randn(2, module.channels, *size, dtype=torch.float64)
        axes = tuple(range(2, y.dim()))
        assert torch.allclose(module(y).mean(axes), y.mean(axes), atol=1e-13)
        assert torch.allclose(module(y.mean(axes, keepdim=True).expand_as(y)), y.mean(axes, keepdim=True), atol=1e-13)


@settings(max_examples=20, deadline=None)
@given(cases(("fourier", "cosine")))
def test_adding_and_subtracting_the_operator_changes_nothing(case: Case) -> None:
    """IMEXnet's step, two ways: S (y + h L y + h F) = y + h S F."""
    module, size = case
    y, reaction = torch.randn(2, 2, module.channels, *size, dtype=torch.float64)
    h = module.h
    left = module(y + h * module.operator(y) + h * reaction)
    scale = 1 + h * module.operator(y).abs().max().item()
    assert torch.allclose(left, y + h * module(reaction), atol=1e-12 * scale)


@EVERY
def test_gradients(backend: Any, symbol: Any) -> None:
    module = random_module(2, 3, backend=backend, symbol=symbol, sweeps=3)
    (name, parameter) = next(module.named_parameters())
    y = torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)

    def call(y: Tensor, values: Tensor, method: str) -> Tensor:
        class Twin(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.inner = module

            def forward(self, y: Tensor) -> Tensor:
                return getattr(self.inner, method)(y)

        return torch.func.functional_call(Twin(), {f"inner.{name}": values}, (y,))

    values = parameter.detach().clone().requires_grad_()
    for method in ("forward", "operator"):
        assert torch.autograd.gradcheck(lambda y, values, m=method: call(y, values, m), (y, values))


# Sweeps --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("acceleration", ["richardson", "chebyshev"])
@pytest.mark.parametrize("sweeps", [1, 2, 5])
@pytest.mark.parametrize("h", [0.1, 1.0, 6.0])
def test_every_mode_loses_what_the_sweeps_polynomial_says(acceleration: Any, sweeps: int, h: float) -> None:
    size, n = (6, 7), 42
    module = random_module(1, backend="sweeps", h=h, sweeps=sweeps, acceleration=acceleration, zero_mean=False)
    dense = dense_operator(module, size, 0)
    values, modes = np.linalg.eigh(dense)
    a0, ay, ax, axy = np.log1p(np.exp(module.strength.detach().numpy()[0]))
    largest = a0 + 4 * ay + 4 * ax + 16 * axy
    assert values.max() < largest
    z = h * largest
    centred = (2 + z - 2 * (1 + h * values)) / z
    wanted = [0.0] * sweeps + [1.0]
    if acceleration == "richardson":
        factors = (centred * z / (2 + z)) ** sweeps
    else:
        factors = chebyshev.chebval(centred, wanted) / chebyshev.chebval((2 + z) / z, wanted)
    exact = np.linalg.inv(np.eye(n) + h * dense)
    error = matrix_of(module, module, size)[0] - exact
    before = np.eye(n) - exact
    assert np.allclose(modes.T @ error @ modes, np.diag(factors * np.diag(modes.T @ before @ modes)), atol=1e-12)
    bound = sweep_factor(h, largest, sweeps, acceleration)
    assert np.abs(factors).max() <= bound * (1 + 1e-12)
    # Attained at the ends of the spectrum.
    end = (z / (2 + z)) ** sweeps if acceleration == "richardson" else 1 / chebyshev.chebval((2 + z) / z, wanted)
    assert bound == pytest.approx(end, rel=1e-12)


def test_published_factors_of_richardson_sweeps() -> None:
    """Five-point Laplacian, l_max = 8."""
    factors = [round(sweep_factor(h, 8, 1, "richardson"), 2) for h in (0.1, 0.5, 1, 4)]
    assert factors == [0.29, 0.67, 0.80, 0.94]
    assert sweep_factor(0.0, 8, 3) == sweep_factor(1.0, 0, 3) == 0
    assert sweep_factor(1.0, 8, 1) == pytest.approx(sweep_factor(1.0, 8, 1, "richardson"))
    assert all(sweep_factor(h, 8, m) < sweep_factor(h, 8, m, "richardson") for h in (0.1, 4) for m in (2, 5))


@pytest.mark.parametrize("symbol", ["anisotropic", "isotropic"])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_sweeps_tend_to_the_cosine_solution(symbol: Any, dims: Any) -> None:
    """Of the same state dict; and where sweeps are any good (h l_max = 4) Chebyshev's are nearer than Richardson's."""
    options: dict[str, Any] = {"symbol": symbol, "dims": dims}
    factors = random_module(1, backend="cosine", **options).strength.exp().log1p()
    sizes = [4.0 * dims] if symbol == "isotropic" else [4.0] * dims + [16.0] * (dims * (dims - 1) // 2) + [64.0]
    options["h"] = 4 / sum(a * b for a, b in zip(factors[0].tolist(), sizes, strict=False))
    exact = random_module(1, backend="cosine", **options)
    y = torch.randn(2, 1, *(15, 9, 6)[:dims], dtype=torch.float64, generator=torch.Generator().manual_seed(dims))

    def error(sweeps: int, acceleration: Any) -> float:
        module = ImplicitDiffusion(1, backend="sweeps", sweeps=sweeps, acceleration=acceleration, **options).double()
        module.load_state_dict(exact.state_dict())
        return (module(y) - exact(y)).abs().max().item()

    assert error(24, "chebyshev") < 1e-9
    assert error(60, "richardson") < 1e-9
    assert error(8, "chebyshev") < error(8, "richardson") / 2


# First values, counts, precision, graphs -----------------------------------------------------------------------------


@pytest.mark.parametrize("dims", [1, 2, 3])
@EVERY
def test_the_first_values_smooth_mildly(backend: Any, symbol: Any, dims: Any) -> None:
    """The largest eigenvalue of L tends to 1 with the size, so that the fastest mode is divided by 1 + h."""
    kernel_size = 5 if backend == "fourier" else 3
    module = ImplicitDiffusion(1, backend=backend, symbol=symbol, dims=dims, kernel_size=kernel_size).double()
    size = (6,) * dims
    largest = max(np.linalg.eigvalsh(dense_operator(module, size, 0)))
    assert largest == pytest.approx(1, abs=1e-6 if backend == "fourier" else 0.25)
    assert largest < 1 + 1e-6


@pytest.mark.parametrize(
    ("options", "power"),
    [
        ({}, 4),
        ({"symbol": "laplacian"}, 2),
        ({"backend": "cosine"}, 2),
        ({"backend": "cosine", "symbol": "isotropic"}, 2),
    ],
    ids=str,
)
def test_spread_lengths_are_those_at_which_waves_are_halved(options: dict[str, Any], power: int) -> None:
    module = ImplicitDiffusion(6, init="spread", dims=1, **options).double()
    assert diffusion_lengths(6) == pytest.approx([1, 2, 4, 8, 16, 32])
    side, modes = 512, torch.arange(1, 40, dtype=torch.float64)
    place = torch.arange(side, dtype=torch.float64) + 0.5
    waves = torch.cos(2 * math.pi / side * modes[:, None] * place)
    left = (module(waves[:, None].expand(-1, 6, -1)) * waves[:, None]).sum(2) / waves.square().sum(1)[:, None]
    w = 2 * math.pi / side * modes[:, None]
    expected = 1 / (1 + (torch.tensor(diffusion_lengths(6)) * w) ** power)
    torch.testing.assert_close(left, expected, rtol=0.02, atol=0.02)


def test_the_first_values_of_imexnet() -> None:
    laplacian = ImplicitDiffusion(2, symbol="laplacian", init="imexnet").stencil
    nine = torch.tensor([[-1.0, -4, -1], [-4, 20, -4], [-1, -4, -1]]) / 6
    assert torch.allclose(laplacian, 0.01 * nine.expand(2, 3, 3))
    drawn = ImplicitDiffusion(500, init="imexnet").stencil
    assert 0 <= drawn.min() < 0.01
    assert 0.99 < drawn.max() <= 1
    assert drawn.mean().item() == pytest.approx(0.5, abs=0.02)


@settings(max_examples=15, deadline=None)
@given(cases())
def test_counts_equal_the_closed_forms(case: Case) -> None:
    module, size = case
    counted = torchmg.count(module, (module.channels, *size))
    assert counted.macs == module.macs(*size)
    assert counted.parameters == module.num_params()
    assert counted.unknown == ()
    assert set(module.state_dict()) == {name for name, _ in module.named_parameters()}


def test_counts_of_spec_size() -> None:
    """64 channels of 32 x 32 by hand: three transforms of 1.25 * 1024 * 10; 2 * 1024 * 64; 4 sweeps of nine taps."""
    assert ImplicitDiffusion(64).macs(32, 32) == 64 * 3 * 12_800
    assert ImplicitDiffusion(64, backend="cosine").macs(32, 32) == 64 * 131_072
    assert ImplicitDiffusion(64, backend="sweeps").macs(32, 32) == 64 * 4 * 9 * 1024
    parameters = [ImplicitDiffusion(64, backend=b, symbol=s).num_params() for b, s in KINDS]  # pyright: ignore
    assert parameters == [64 * 9, 64 * 9, 64 * 3, 64, 64 * 3, 64]


@EVERY
def test_autocast_does_not_reach_inside(backend: Any, symbol: Any) -> None:
    exact = random_module(3, backend=backend, symbol=symbol)
    module = ImplicitDiffusion(3, backend=backend, symbol=symbol)
    module.load_state_dict(exact.state_dict())
    y = torch.randn(2, 3, 16, 17)
    for method in ("forward", "operator"):
        wanted = getattr(exact, method)(y.double())
        with torch.autocast("cpu", torch.bfloat16):
            got, half = getattr(module, method)(y), getattr(module, method)(y.bfloat16())
        assert (got.dtype, half.dtype) == (torch.float32, torch.bfloat16)
        assert torch.allclose(got.double(), wanted, atol=1e-5 * (1 + wanted.abs().max().item()))
        assert torch.equal(half, getattr(module, method)(y.bfloat16().float()).bfloat16())
    assert module.bfloat16()(y.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize(("backend", "symbol"), KINDS[::2])
def test_graphs_take_any_batch(backend: Any, symbol: Any) -> None:
    module = ImplicitDiffusion(3, backend=backend, symbol=symbol).eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(module, (torch.randn(2, 3, 6, 7),), dynamic_shapes=({0: batch},))
    for n in (1, 5):
        y = torch.randn(n, 3, 6, 7)
        assert torch.allclose(program.module()(y), module(y), atol=1e-6)


@EVERY
def test_shapes_are_known_without_data(backend: Any, symbol: Any) -> None:
    with torch.device("meta"):
        module = ImplicitDiffusion(3, backend=backend, symbol=symbol)
        assert module(torch.empty(2, 3, 6, 7)).shape == (2, 3, 6, 7)


# Wrong requests ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"channels": 0}, "channels and sweeps"),
        ({"sweeps": 0}, "channels and sweeps"),
        ({"h": 0.0}, "positive time step"),
        ({"h": -1.0}, "got -1.0"),
        ({"h": float("nan")}, "positive time step"),
        ({"kernel_size": 4}, "3 or 5"),
        ({"kernel_size": 1}, "Use 3"),
        ({"dims": 0}, "dims is 1, 2 or 3"),
        ({"backend": "cosine", "kernel_size": 5}, "Only the fourier back end"),
        ({"backend": "sweeps", "init": "imexnet"}, "Only the fourier back end"),
        ({"backend": "sweeps", "init": "spread"}, "backend='cosine'"),
    ],
)
def test_impossible_requests_are_explained(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        ImplicitDiffusion(**{"channels": 2, **options})


def test_unknown_names_are_explained() -> None:
    for options, words in [
        ({"backend": "furier"}, "Did you mean fourier"),
        ({"symbol": "isotropic"}, "Choices: gram, laplacian"),
        ({"backend": "cosine", "symbol": "gram"}, "cosine back end"),
        ({"init": "smoth"}, "Did you mean smooth"),
        ({"acceleration": "chebychev"}, "Did you mean chebyshev"),
    ]:
        with pytest.raises(UnknownNameError, match=words):
            ImplicitDiffusion(2, **options)  # pyright: ignore[reportArgumentType]
    with pytest.raises(UnknownNameError, match="Did you mean richardson"):
        sweep_factor(1.0, 8, 1, "richards")  # pyright: ignore[reportArgumentType]
    with pytest.raises(UsageError, match="sweeps >= 1"):
        sweep_factor(1.0, 8, 0)


def test_wrong_tensors_are_explained() -> None:
    module = ImplicitDiffusion(2, kernel_size=5)
    for method in (module, module.operator):
        with pytest.raises(ShapeError, match=r"6x4, whose smallest side is 4"):
            method(torch.zeros(1, 2, 6, 4))
        with pytest.raises(ShapeError, match=r"\(batch, 2, H, W\)"):
            method(torch.zeros(1, 3, 6, 6))
    for size in ((8,), (8, 8, 8), (8, 0)):
        with pytest.raises(ShapeError, match="2 positive sizes"):
            module.macs(*size)
