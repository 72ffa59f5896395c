"""Certified steps stay non-expansive whatever happens to their weights: dense Jacobians in float64."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tests.nn.expansion import ExactDiffusion, expansion, jacobian, matrix_of
from torchmg.errors import ShapeError, UsageError
from torchmg.nn.certified import Bounded, certify, linear_maps
from torchmg.nn.coupling import COUPLINGS, Depthwise, Full, channel_coupling
from torchmg.nn.reaction import DiffusionReaction
from torchmg.nn.smoothers import Smoother, SymmetricSmoother
from torchmg.nn.steps import DoubleStep, SymmetricStep
from torchmg.nn.time_steps import TimeSteps

SIZES: dict[int, tuple[int, ...]] = {1: (6,), 2: (4, 3), 3: (3, 2, 3)}

CASES = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["full", "grouped", "depthwise", "pointwise"]),
        "padding": st.sampled_from(["zeros", "circular"]),
        "act": st.sampled_from(["relu", "tanh"]),
        "dims": st.sampled_from([1, 2, 3]),
        "norm": st.sampled_from(["none", "nonnegative"]),
        "h": st.floats(0.05, 3),
        "sized": st.booleans(),
        "monotone": st.booleans(),
        "seed": st.integers(0, 2**31),
    }
)


@torch.no_grad()
def disturb(module: nn.Module) -> None:
    """Weights, gammas and running statistics as a diverging optimiser could leave them."""
    for name, value in module.state_dict(keep_vars=True).items():
        if value.is_floating_point():
            value.normal_().mul_(10 ** torch.empty(()).uniform_(-3, 3).item())
            if name.endswith("running_var"):
                value.abs_()


@given(CASES)
def test_no_weights_make_a_certified_step_expand(case: dict[str, Any]) -> None:
    torch.manual_seed(case["seed"])
    size = SIZES[case["dims"]]
    options = {"group_size": 2} if case["name"] == "grouped" else {}
    coupling = channel_coupling(case["name"], 4, 4, dims=case["dims"], padding=case["padding"], **options)
    step = SymmetricStep(coupling, norm=case["norm"], act=case["act"], h=case["h"], bias=True).double().eval()
    certify(step, monotone=case["monotone"], size=size if case["sized"] else None)
    y = 10 ** torch.empty(()).uniform_(-3, 2).item() * torch.randn(1, 4, *size, dtype=torch.float64)
    for _ in range(2):
        disturb(step)
        dense = jacobian(step, y)
        assert torch.linalg.matrix_norm(dense, ord=2) <= 1 + 1e-12
        if case["monotone"]:
            assert torch.linalg.eigvalsh((dense + dense.T) / 2)[0] >= -1e-12
        step.h = 3 * step.h  # the certificate follows
    assert expansion(step, y) <= 1 + 1e-12


@pytest.mark.parametrize("norm", ["none", "nonnegative"])
def test_training_to_expand_as_much_as_it_can_does_not_succeed(norm: Any) -> None:
    y, origin = 0.01 * torch.randn(8, 3, 5), torch.zeros(1, 3, 5, dtype=torch.float64)
    step = SymmetricStep(Full(3, 3, dims=1), norm=norm, act="tanh", certified=True)
    free = SymmetricStep(Full(3, 3, dims=1), norm="none", act="tanh")
    for trained in (step, free):
        parameters = list(trained.parameters())
        with torch.no_grad():
            parameters[0].mul_(3)
        for _ in range(20):
            apart = (trained(y) - trained(y + 1e-2 * torch.randn_like(y))).norm()
            with torch.no_grad():
                for parameter, gradient in zip(parameters, torch.autograd.grad(apart, parameters), strict=True):
                    parameter.add_(10 * gradient)
    assert expansion(step.double().eval(), origin) <= 1 + 1e-12
    assert expansion(free.double(), origin) > 2


@given(CASES)
def test_the_bounded_coupling_is_a_coupling_of_bounded_norm(case: dict[str, Any]) -> None:
    torch.manual_seed(case["seed"])
    size = SIZES[case["dims"]]
    options = {"group_size": 2} if case["name"] == "grouped" else {}
    inner = channel_coupling(case["name"], 4, 4, dims=case["dims"], padding=case["padding"], **options)
    bounded = Bounded(inner, case["h"], size=size if case["sized"] else None).double()
    disturb(bounded)
    dense = matrix_of(bounded, size)
    assert torch.linalg.matrix_norm(dense, ord=2) <= case["h"] * (1 + 1e-12)
    assert bounded.norm_bound(size if case["sized"] else None) <= case["h"] * (1 + 1e-12)
    x, z = torch.randn(2, 1, 4, *size, dtype=torch.float64)
    assert torch.allclose((bounded(x) * z).sum(), (x * bounded.adjoint(z)).sum(), rtol=1e-10)
    forward, adjoint = linear_maps(bounded)
    assert torch.equal(forward(x), bounded(x))
    assert torch.equal(adjoint(z, size), bounded.adjoint(z))
    scaled = Full(4, 4, inner.kernel_size, dims=case["dims"], padding=case["padding"]).double()
    with torch.no_grad():
        scaled.weight.copy_(bounded.dense_weight())
    assert torch.allclose(matrix_of(scaled, size), dense, rtol=1e-10)
    assert bounded.num_params() == inner.num_params() == sum(p.numel() for p in bounded.parameters())
    assert bounded.macs(*size) == inner.macs(*size)
    assert torch.equal(bounded.adjacency(), inner.adjacency())
    assert (bounded.growth, bounded.reach()) == (inner.growth, inner.reach())


def test_a_small_kernel_is_left_as_it_is_and_exact_bounds_leave_more() -> None:
    inner = Full(3, 3, padding="circular").double()
    assert torch.equal(Bounded(inner, 1e3).dense_weight(), inner.dense_weight())
    exact = Bounded(inner, 1.0, size=(5, 4))
    assert torch.linalg.matrix_norm(matrix_of(exact, (5, 4)), ord=2).item() == pytest.approx(1)
    assert Bounded(inner, 1.0).factor() < exact.factor()


def test_the_factor_is_part_of_the_gradient() -> None:
    step = certify(SymmetricStep(Full(2, 2, dims=1), norm="none", act="tanh", rescale=False, h=2.0)).double()
    assert isinstance(step.coupling, Bounded)
    assert step.coupling.factor() < 1
    names, values = zip(*step.named_parameters(), strict=True)
    y = torch.randn(1, 2, 4, dtype=torch.float64)

    def call(*weights: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(step, dict(zip(names, weights, strict=True)), (y,))

    assert torch.autograd.gradcheck(call, values)


@pytest.mark.parametrize("padding", ["zeros", "circular"])
@pytest.mark.parametrize("name", COUPLINGS)
def test_every_coupling_can_be_certified(name: str, padding: Any) -> None:
    size = (4, 3)
    step = SymmetricStep(channel_coupling(name, 8, 8, padding=padding), norm="none", act="tanh", h=2.0, rescale=True)
    assert 2 * torch.linalg.matrix_norm(matrix_of(step.coupling.double(), size), ord=2) ** 2 < 1
    certify(step.double())
    for _ in range(3):
        disturb(step)
        assert expansion(step, torch.zeros(1, 8, *size, dtype=torch.float64)) <= 1 + 1e-12
    assert isinstance(step.coupling, Bounded)
    assert step.coupling.num_params() == sum(p.numel() for p in step.parameters())


def test_weights_of_zero_have_a_gradient() -> None:
    step = certify(SymmetricStep(Full(3, 3), norm="none"))
    for parameter in step.parameters():
        nn.init.zeros_(parameter)
    step(torch.randn(1, 3, 4, 4)).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in step.parameters())


@pytest.mark.parametrize("scheme", ["explicit", "split", "imex", "strang", "imexnet"])
@pytest.mark.parametrize("act", ["relu", "tanh"])
def test_certified_diffusion_reaction_steps(scheme: Any, act: Any) -> None:
    """`imexnet` in the norm of S^{-1}, the others in the plain one."""
    side, strengths = 5, torch.tensor([0.0, 0.5, 3.0], dtype=torch.float64)
    implicit = ExactDiffusion(strengths, side)
    diffusion = {"explicit": None, "split": Depthwise(3, 3, dims=1)}.get(scheme, implicit)
    step = DiffusionReaction(Full(3, 3, dims=1), diffusion, scheme, norm="none", act=act, h=0.7).double()
    certify(step)
    for _ in range(10):
        with torch.no_grad():
            for parameter in step.parameters():
                parameter.normal_().mul_(10)
        dense = jacobian(step, 10 * torch.randn(1, 3, side, dtype=torch.float64))
        if scheme == "imexnet":
            values, vectors = torch.linalg.eigh(torch.eye(15, dtype=torch.float64) + 0.7 * implicit.dense())
            root, inverse = (vectors @ (values**power).diag() @ vectors.T for power in (0.5, -0.5))
            dense = root @ dense @ inverse
        assert torch.linalg.matrix_norm(dense, ord=2) <= 1 + 1e-12


def test_the_two_terms_of_a_split_step_share_the_limit() -> None:
    """With single numbers for kernels, 1 - h (k^2 + b^2) is -1 when each has half of the limit, or 0 if monotone."""
    for monotone, derivative in ((False, -1.0), (True, 0.0)):
        parts = [Depthwise(1, 1, 1, dims=1) for _ in range(2)]
        step = DiffusionReaction(*parts, "split", norm="none", act="tanh", h=0.3).double()
        certify(step, monotone=monotone)
        for parameter in step.parameters():
            nn.init.constant_(parameter, 100.0)
        assert jacobian(step, torch.zeros(1, 1, 1, dtype=torch.float64)).item() == pytest.approx(derivative, abs=1e-12)


def test_certified_smoothers_and_whole_blocks() -> None:
    smoother = certify(SymmetricSmoother(Full(3, 4, dims=1), norm="none")).double()
    net = nn.Sequential(nn.Conv1d(3, 3, 1), TimeSteps.copies(SymmetricStep(Full(3, 3, dims=1), norm="none"), 3))
    certify(net, size=(6,)).double()
    f, y = torch.randn(1, 4, 6, dtype=torch.float64), torch.randn(1, 3, 6, dtype=torch.float64)
    for _ in range(5):
        disturb(smoother)
        disturb(net)
        assert expansion(lambda u: smoother(u, f), y) <= 1 + 1e-12
        block = net[1]
        assert isinstance(block, TimeSteps)
        assert expansion(block, y) <= 1 + 1e-12
        assert expansion(block.refine(), y) <= 1 + 1e-12
        assert all(isinstance(m, Bounded) and m.limit == 2 for s in block.refine() for m in [s.coupling])


def test_copies_moves_and_certifying_again() -> None:
    step = certify(SymmetricStep(Full(3, 3), norm="nonnegative")).double().eval()
    other = deepcopy(step)
    disturb(other)
    y = torch.randn(1, 3, 3, 4, dtype=torch.float64)
    assert expansion(other, y) <= 1 + 1e-12  # the copy's factor looks at the copy's norm
    certify(step, monotone=True)
    assert isinstance(step.coupling, Bounded)
    assert isinstance(step.coupling.coupling, Full)
    assert step.coupling.limit == 1
    assert len(step.state_dict()) == 6


def test_it_is_exported_and_autocast_does_not_change_the_factor() -> None:
    step = certify(SymmetricStep(Full(4, 4), norm="nonnegative", rescale=False, h=3.0)).eval()
    y = torch.randn(2, 4, 5, 5)
    assert torch.allclose(torch.export.export(step, (y,)).module()(y), step(y), atol=1e-6)
    assert isinstance(step.coupling, Bounded)
    expected = step.coupling.factor()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(step.coupling.factor(), expected)
        assert step(y).dtype == torch.float32


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (SymmetricStep(Full(2, 2)), "nonnegative"),
        (SymmetricStep(Full(2, 2), norm="tv"), "nonnegative"),
        (SymmetricStep(Full(2, 2), norm="nonnegative", outer_norm=True), "outer norm"),
        (SymmetricStep(Full(2, 2), norm="none", sign=1), "sign=-1"),
        (DoubleStep(Full(2, 2), Full(2, 2), norm="none"), "SymmetricStep"),
        (Smoother(Full(2, 2), Full(2, 2)), "no step"),
        (DiffusionReaction(DoubleStep(Full(2, 2), Full(2, 2)), scheme="explicit"), "SymmetricStep"),
        (nn.Conv2d(2, 2, 1), "no step"),
    ],
)
def test_what_no_theorem_covers_is_refused(module: nn.Module, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        certify(nn.Sequential(module))


def test_bad_requests_say_what_would_work() -> None:
    with pytest.raises(UsageError, match="above 0"):
        Bounded(Full(2, 2), 0.0)
    with pytest.raises(UsageError, match="2 sides"):
        Bounded(Full(2, 2), 1.0, size=(3,))
    zeros, circular = (Bounded(Full(2, 2, padding=p), 1.0, size=(5, 5)) for p in ("zeros", "circular"))
    assert zeros(torch.randn(1, 2, 4, 5)).shape == (1, 2, 4, 5)
    with pytest.raises(ShapeError, match="at most"):
        zeros(torch.randn(1, 2, 6, 5))
    with pytest.raises(ShapeError, match="exactly"):
        circular(torch.randn(1, 2, 4, 5))
    with pytest.raises(ShapeError, match="exactly"):
        circular.adjoint(torch.randn(1, 2, 4, 5))
