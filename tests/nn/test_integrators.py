"""Leapfrog and Hamiltonian blocks against closed forms, and the published numbers of weights."""

from itertools import pairwise
from math import acos, cos
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tests.nn.expansion import jacobian
from torchmg.errors import ShapeError, UsageError
from torchmg.nn.certified import certify
from torchmg.nn.conv_norm_act import ConvNormAct
from torchmg.nn.coupling import Full, Pointwise
from torchmg.nn.integrators import Hamiltonian, HamiltonianStep, Leapfrog
from torchmg.nn.smoothers import SymmetricSmoother
from torchmg.nn.steps import SymmetricStep
from torchmg.nn.time_steps import TimeSteps


def symmetric(width: int, **options: Any) -> SymmetricStep:
    return SymmetricStep(Full(width, width, **options))


def hamiltonian(width: int) -> HamiltonianStep:
    return HamiltonianStep(symmetric(width // 2), symmetric(width // 2))


def network(widths: list[int], classes: int, kind: str) -> nn.Sequential:
    """The skeleton of the authors' drivers: opening, three steps and a 1x1 connector per width, classifier."""
    parts: list[nn.Module] = [ConvNormAct(3, widths[0], 3)]
    for width, following in pairwise(widths):
        if kind == "parabolic":
            parts.append(TimeSteps.copies(symmetric(width), 3))
        elif kind == "second order":
            parts.append(Leapfrog.copies(symmetric(width), 3))
        else:
            parts.append(Hamiltonian.copies(hamiltonian(width), 3))
        parts += [ConvNormAct(width, following, 1), nn.AvgPool2d(2)]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], classes))


CIFAR10, CIFAR100, STL10 = [32, 64, 112, 112], [32, 64, 128, 256], [16, 32, 64, 128, 128]


@pytest.mark.parametrize(
    ("widths", "classes", "kind", "published"),
    [
        (CIFAR10, 10, "parabolic", 502_570),
        (CIFAR10, 10, "second order", 502_570),
        (CIFAR10, 10, "hamiltonian", 264_106),
        (CIFAR100, 100, "parabolic", 652_484),
        (CIFAR100, 100, "second order", 652_484),
        (CIFAR100, 100, "hamiltonian", 362_180),
        (STL10, 10, "parabolic", 618_554),
        (STL10, 10, "second order", 618_554),
        (STL10, 10, "hamiltonian", 324_794),
    ],
)
def test_published_numbers_of_weights(widths: list[int], classes: int, kind: str, published: int) -> None:
    """Ruthotto and Haber's networks, to the last weight (spec 3.3).

    With n_1, ..., n_B the widths of the blocks and n_{B+1} the last one:

        opening      3x3 without bias and norm             27 n_1 + 2 n_1
        a step       one 3x3 kernel and a norm             9 n^2 + 2 n
          Hamiltonian: two of half the width               2 (9 (n/2)^2 + 2 n/2) = 9 n^2 / 2 + 2 n
        a connector  1x1 without bias and norm             n_b n_{b+1} + 2 n_{b+1}
        classifier   with bias                             (n_{B+1} + 1) classes

    So for CIFAR-10, with 32^2 + 64^2 + 112^2 = 17,664 and 32 + 64 + 112 = 208:

        928 + 3 (9 * 17,664 + 2 * 208) + 22,336 + 1,130 = 502,570
        928 + 3 (9 * 17,664 / 2 + 2 * 208) + 22,336 + 1,130 = 264,106

    The kernels of a Hamiltonian step are half of a symmetric one's in sum, its norms the same.
    """
    net = network(widths, classes, kind)
    assert sum(p.numel() for p in net.parameters()) == published
    inner = 9 * sum(n * n for n in widths[:-1]) // (2 if kind == "hamiltonian" else 1) + 2 * sum(widths[:-1])
    connectors = sum(a * b + 2 * b for a, b in pairwise(widths))
    assert 29 * widths[0] + 3 * inner + connectors + (widths[-1] + 1) * classes == published
    if len(widths) == 4:
        assert net.eval()(torch.randn(1, 3, 16, 16)).shape == (1, classes)


@given(
    st.sampled_from([1, 2, 3]),
    st.sampled_from(["relu", "tanh"]),
    st.sampled_from(["batch", "tv", "none"]),
    st.sampled_from([-1, 1]),
    st.floats(0.01, 2),
    st.integers(0, 2**31),
)
def test_a_hamiltonian_block_runs_backwards(dims: Any, act: Any, norm: Any, sign: Any, h: float, seed: int) -> None:
    torch.manual_seed(seed)

    def half() -> SymmetricStep:
        return SymmetricStep(Full(3, 3, dims=dims), norm=norm, act=act, sign=sign, h=h, rescale=True)

    block = Hamiltonian(*(HamiltonianStep(half(), half()) for _ in range(4))).double().eval()
    y = torch.randn(2, 6, *(4,) * dims, dtype=torch.float64)
    assert torch.allclose(block.inverse(block(y)), y, atol=1e-10, rtol=0)
    assert torch.allclose(block(block.inverse(y)), y, atol=1e-10, rtol=0)
    assert not torch.allclose(block(y), y, atol=1e-6)


def test_a_hamiltonian_step_is_its_formula_and_keeps_the_symplectic_form() -> None:
    first, second = (SymmetricStep(Full(2, 2), norm="none", act="tanh", h=0.3) for _ in range(2))
    step = HamiltonianStep(first, second).double()
    state = torch.randn(1, 4, 3, 2, dtype=torch.float64)
    y, z = state.chunk(2, 1)
    y = y + 0.3 * first.rate(z)
    z = z - 0.3 * second.rate(y)
    assert torch.allclose(step(state), torch.cat([y, z], 1), atol=1e-14)
    eye = torch.eye(12, dtype=torch.float64)
    form = torch.cat([torch.cat([0 * eye, eye], 1), torch.cat([-eye, 0 * eye], 1)])
    dense = jacobian(step, state)
    assert torch.allclose(dense.T @ form @ dense, form, atol=1e-13)
    assert torch.allclose(torch.linalg.det(dense), torch.ones((), dtype=torch.float64))


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_leapfrog_is_the_discrete_cosine_of_a_linear_spring(steps: int) -> None:
    """For small y, tanh is linear: y_{j+1} - 2 y_j + y_{j-1} = -h^2 w^2 y_j with y_{-1} = y_0."""
    h, w = 0.7, 1.3
    block = Leapfrog.copies(SymmetricStep(Pointwise(1, 1, dims=1), norm="none", act="tanh", h=h), steps).double()
    for parameter in block.parameters():
        nn.init.constant_(parameter, w)
    angle = acos(1 - (h * w) ** 2 / 2)
    start = torch.full((1, 1, 1), 1e-6, dtype=torch.float64)
    assert block(start).item() == pytest.approx(1e-6 * cos((steps + 0.5) * angle) / cos(angle / 2), rel=1e-9)


def test_leapfrog_of_unequal_steps_is_its_recurrence() -> None:
    block = Leapfrog(*(symmetric(4) for _ in range(3))).eval()
    y = before = torch.randn(2, 4, 5, 5)
    start = y
    for step in block:
        assert isinstance(step, SymmetricStep)
        y, before = 2 * y - before + step.rate(y), y
    assert torch.allclose(block(start), y, atol=1e-5)


def test_refined_hamiltonian_blocks_halve_both_parts() -> None:
    block = Hamiltonian.copies(hamiltonian(4), 3)
    fine = block.refine()
    assert isinstance(fine, Hamiltonian)
    assert (len(fine), fine.time) == (6, block.time)
    assert all(isinstance(m, SymmetricStep) and m.h == 0.5 for s in fine.children() for m in s.children())


@pytest.mark.parametrize("block", [Leapfrog.copies(symmetric(4), 2), Hamiltonian.copies(hamiltonian(4), 2)])
def test_blocks_are_exported_and_run_under_autocast(block: TimeSteps) -> None:
    block, y = block.eval(), torch.randn(2, 4, 5, 5)
    assert torch.allclose(torch.export.export(block, (y,)).module()(y), block(y), atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.allclose(block(y).float(), block(y), atol=0.2)


def test_bad_requests_say_what_would_work() -> None:
    with pytest.raises(UsageError, match="same width and h"):
        HamiltonianStep(symmetric(2), symmetric(3))
    with pytest.raises(UsageError, match="rate of change"):
        HamiltonianStep(SymmetricSmoother(Full(2, 2)), symmetric(2))  # pyright: ignore[reportArgumentType]
    with pytest.raises(UsageError, match="rate of change"):
        Leapfrog(hamiltonian(4))(torch.randn(1, 4, 3, 3))
    with pytest.raises(UsageError, match="backwards"):
        Hamiltonian(symmetric(4)).inverse(torch.randn(1, 4, 3, 3))
    with pytest.raises(UsageError, match="conserve"):
        certify(nn.Sequential(Leapfrog.copies(symmetric(4), 2)))
    with pytest.raises(UsageError, match="No theorem"):
        certify(Hamiltonian.copies(hamiltonian(4), 2))
    with pytest.raises(ShapeError):
        hamiltonian(4)(torch.randn(1, 3, 4, 4))
