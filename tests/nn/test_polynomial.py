"""Polynomial feature maps against the error propagation that defines them, in float64."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.polynomial import chebyshev, polynomial
from torch import Tensor

from torchmg.errors import UnknownNameError, UsageError
from torchmg.nn.mgnet import DataFeature
from torchmg.nn.polynomial import SPECTRUM, PolynomialFeature

DEGREES = pytest.mark.parametrize("degree", [1, 2, 3, 4])


def symmetric(n: int = 7) -> Tensor:
    a = torch.randn(n, n, dtype=torch.float64)
    return a @ a.T / n + 0.1 * torch.eye(n, dtype=torch.float64)


def matrix_of(feature: PolynomialFeature, a: Tensor) -> Tensor:
    """p(A): the columns are what the feature map makes of the unit vectors."""
    identity = torch.eye(len(a), dtype=torch.float64)
    return feature.double()(identity, lambda y: a @ y)


def of_eigenvalues(a: Tensor, function: Any) -> Tensor:
    values, vectors = torch.linalg.eigh(a)
    return vectors @ torch.from_numpy(function(values.numpy())).diag() @ vectors.T


@DEGREES
def test_jacobi_is_that_many_sweeps(degree: int) -> None:
    a, feature = symmetric(), PolynomialFeature("jacobi", degree)
    damping = feature.coefficients.double().exp().item()
    identity = torch.eye(7, dtype=torch.float64)
    sweeps = torch.linalg.matrix_power(identity - damping * a, degree + 1)
    assert torch.allclose(identity - a @ matrix_of(feature, a), sweeps, atol=1e-12)


@DEGREES
def test_chebyshev_is_the_scaled_polynomial(degree: int) -> None:
    a, feature = symmetric(), PolynomialFeature("chebyshev", degree)
    lower, length = feature.coefficients.double().exp().tolist()
    middle, half = lower + length / 2, length / 2
    wanted = [0.0] * (degree + 1) + [1.0]
    propagated = of_eigenvalues(
        a, lambda x: chebyshev.chebval((middle - x) / half, wanted) / chebyshev.chebval(middle / half, wanted)
    )
    assert torch.allclose(torch.eye(7).double() - a @ matrix_of(feature, a), propagated, atol=1e-12)


@DEGREES
def test_chebyshev_is_smallest_over_its_interval(degree: int) -> None:
    """Its largest value on [a, b] is 1 / T(middle / half), below that of Jacobi with the best damping there."""
    feature = PolynomialFeature("chebyshev", degree).double()
    lower, length = feature.coefficients.exp().tolist()
    grid = torch.linspace(lower, lower + length, 201, dtype=torch.float64)
    left = 1 - grid * feature(torch.ones_like(grid), lambda y: grid * y)
    best = (length / (2 * lower + length)) ** (degree + 1)
    sigma = (2 * lower + length) / length
    assert left.abs().max().item() == pytest.approx(1 / np.cosh((degree + 1) * np.arccosh(sigma)), rel=1e-6)
    assert left.abs().max() < best


@DEGREES
def test_learned_is_the_polynomial_of_its_coefficients(degree: int) -> None:
    a, feature = symmetric(), PolynomialFeature("learned", degree)
    torch.nn.init.normal_(feature.coefficients)
    values = feature.coefficients.detach().double().numpy()
    assert torch.allclose(matrix_of(feature, a), of_eigenvalues(a, lambda x: polynomial.polyval(x, values)), atol=1e-12)


@DEGREES
def test_learned_starts_as_jacobi(degree: int) -> None:
    a = symmetric()
    assert torch.allclose(
        matrix_of(PolynomialFeature("learned", degree), a), matrix_of(PolynomialFeature("jacobi", degree), a), atol=1e-6
    )


def test_the_expected_norm_is_that_of_new_convolutions() -> None:
    torch.manual_seed(0)
    weight = DataFeature(128, steps=1).data_maps[0].weight
    symbol = torch.fft.fft2(weight.double(), (12, 12)).permute(2, 3, 0, 1)
    assert torch.linalg.matrix_norm(symbol, 2).max().item() == pytest.approx(SPECTRUM, rel=0.1)


def test_impossible_polynomials_are_explained() -> None:
    for degree in (0, 5, 2.0):
        with pytest.raises(UsageError, match="degree must be 1, 2, 3 or 4"):
            PolynomialFeature("jacobi", degree)  # pyright: ignore[reportArgumentType]
    with pytest.raises(UnknownNameError, match="smoother='conv'"):
        PolynomialFeature("conv")
