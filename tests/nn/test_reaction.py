"""Diffusion-reaction schemes, IMEXnet's released step and smoothers against their formulas and stability bounds."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from tests.nn.expansion import ExactDiffusion, coupling_of_norm, expansion, jacobian, matrix_of
from torchmg.errors import UnknownNameError, UsageError
from torchmg.nn.coupling import Depthwise, Full, Grouped, Pointwise
from torchmg.nn.imexnet import IMEXnetCodeStep, ZeroMean
from torchmg.nn.reaction import DiffusionReaction, reaction
from torchmg.nn.smoothers import Smoother, SymmetricSmoother
from torchmg.nn.steps import DoubleStep, SymmetricStep

SIDE, STRENGTHS = 5, torch.tensor([0.0, 0.4, 3.0], dtype=torch.float64)
SEEDS = st.integers(0, 2**31)
ACTS = st.sampled_from(["relu", "tanh"])


def diffusion(h: float = 1.0) -> ExactDiffusion:
    return ExactDiffusion(STRENGTHS, SIDE, h)


def solve(h: float) -> Tensor:
    """(I + h L)^{-1}, dense."""
    return torch.linalg.inv(torch.eye(3 * SIDE, dtype=torch.float64) + h * diffusion().dense())


def plain(norm: float, act: Any, h: float, **options: Any) -> SymmetricStep:
    coupling = coupling_of_norm("full", 3, (SIDE,), norm)
    return SymmetricStep(coupling, norm="none", act=act, h=h, rescale=False, bias=True, **options).double()


def data(scale: float = 1.0) -> Tensor:
    return scale * torch.randn(1, 3, SIDE, dtype=torch.float64)


def test_every_scheme_is_its_formula() -> None:
    h, y = 0.6, data()
    for step in (plain(1.0, "tanh", 9.0), reaction(3, symmetric=False, norm="none", dims=1).double()):
        rate = step.rate(y)
        stepped = {
            name: DiffusionReaction(step, None if name == "explicit" else diffusion(), name, h=h)(y)
            for name in ("explicit", "imex", "lie", "imexnet", "strang")
        }
        full, half = solve(h), solve(h / 2)
        assert torch.allclose(stepped["explicit"], y + h * rate)
        assert torch.allclose(stepped["imex"].flatten(), full @ (y + h * rate).flatten())
        assert torch.equal(stepped["lie"], stepped["imex"])
        assert torch.allclose(stepped["imexnet"].flatten(), y.flatten() + h * full @ rate.flatten())
        start = (half @ y.flatten()).view_as(y)
        assert torch.allclose(stepped["strang"].flatten(), half @ (start + h * step.rate(start)).flatten())


@given(ACTS, st.floats(0.05, 5), SEEDS)
def test_adding_and_subtracting_the_diffusion_is_the_short_form(act: Any, h: float, seed: int) -> None:
    """S4: (I + h L)^{-1} (y + h L y + h F) = y + h (I + h L)^{-1} F."""
    torch.manual_seed(seed)
    step, y = DiffusionReaction(plain(1.0, act, h), diffusion(), "imexnet", h=h), data()
    long = step.diffusion(y + h * step.diffusion.operator(y) + h * step.reaction.rate(y))
    assert torch.allclose(step(y), long, atol=1e-12)


@given(ACTS, st.floats(0.05, 3), SEEDS)
def test_imexnet_does_not_expand_in_the_norm_of_its_operator(act: Any, h: float, seed: int) -> None:
    """h ||K S^{1/2}||^2 = 2 is enough, which allows larger kernels than h ||K||^2 = 2."""
    torch.manual_seed(seed)
    reactive = plain(1.0, act, h)
    values, vectors = torch.linalg.eigh(solve(h))
    root, inverse = (vectors @ (values**power).diag() @ vectors.T for power in (0.5, -0.5))
    smoothed = torch.linalg.matrix_norm(matrix_of(reactive.coupling, (SIDE,)) @ root, ord=2)
    with torch.no_grad():
        for weight, _ in reactive.coupling.variances():
            weight.mul_((2 / h) ** 0.5 / smoothed)
    assert torch.linalg.matrix_norm(matrix_of(reactive.coupling, (SIDE,)), ord=2) ** 2 * h > 2
    dense = jacobian(DiffusionReaction(reactive, diffusion(), "imexnet", h=h), data(3.0))
    assert torch.linalg.matrix_norm(inverse @ dense @ root, ord=2) <= 1 + 1e-12


@given(st.sampled_from(["imex", "lie", "strang"]), ACTS, st.floats(0.05, 3), SEEDS)
def test_imex_does_not_expand_in_the_plain_norm(scheme: Any, act: Any, h: float, seed: int) -> None:
    torch.manual_seed(seed)
    step = DiffusionReaction(plain((2 / h) ** 0.5, act, h), diffusion(), scheme, h=h)
    assert expansion(step, data(3.0)) <= 1 + 1e-12


@given(ACTS, st.floats(0.05, 3), SEEDS)
def test_split_does_not_expand_when_both_kernels_share_the_limit(act: Any, h: float, seed: int) -> None:
    torch.manual_seed(seed)
    spatial = coupling_of_norm("depthwise", 3, (SIDE,), h**-0.5)
    stencils = SymmetricStep(spatial, norm="none", act=act, rescale=False).double()
    step = DiffusionReaction(plain(h**-0.5, act, h), stencils, "split", h=h)
    y = data(3.0)
    matrix = matrix_of(spatial, (SIDE,))
    activate = torch.relu if act == "relu" else torch.tanh
    damped = matrix.T @ activate(matrix @ y.flatten())
    assert torch.allclose(step(y).flatten(), (y + h * step.reaction.rate(y)).flatten() - h * damped)
    assert expansion(step, y) <= 1 + 1e-12


@pytest.mark.parametrize("scheme", ["imex", "imexnet", "strang"])
def test_the_plus_sign_amplifies_constants(scheme: Any) -> None:
    """L of a constant is 0, so nothing damps it."""
    weight = torch.full((3, 3, 1), 0.5, dtype=torch.float64)
    coupling = Pointwise(3, 3, dims=1).double()
    with torch.no_grad():
        coupling.weight.copy_(weight)
    step = DiffusionReaction(coupling, diffusion(), scheme, norm="none", sign=1, h=0.5).double()
    ones = torch.ones(1, 3, SIDE, dtype=torch.float64)
    assert torch.allclose(step(ones), ones * step(ones)[0, 0, 0])
    assert step(ones)[0, 0, 0] > 1.2


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_reactions_couple_channels_only_and_have_that_many_weights(dims: Any) -> None:
    symmetric, double = reaction(4, norm="none", dims=dims), reaction(4, symmetric=False, norm="none", dims=dims)
    assert [sum(p.numel() for p in r.parameters()) for r in (symmetric, double)] == [16, 32]
    y = torch.randn(1, 4, *(3,) * dims, requires_grad=True)
    for step in (symmetric, double):
        (gradient,) = torch.autograd.grad(step(y)[..., 0].sum(), y)
        assert gradient[..., 1:].abs().max() == 0
        assert gradient[..., 0].abs().max() > 0


def test_parts_follow_the_time_step() -> None:
    step = DiffusionReaction(Full(3, 3), diffusion(), "strang", h=0.5)
    assert (step.reaction.h, step.diffusion.h) == (0.5, 0.25)
    step.h = 2.0
    assert (step.reaction.h, step.diffusion.h) == (2.0, 1.0)
    code = IMEXnetCodeStep(Full(3, 3), diffusion(), h=0.5)
    code.h = 3.0
    assert code.diffusion.h == 3.0


@pytest.mark.parametrize("member", [Full, Depthwise, Grouped])
@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("padding", ["zeros", "circular"])
def test_stencils_of_zero_mean(member: Any, dims: Any, padding: Any) -> None:
    options = {"group_size": 2} if member is Grouped else {}
    coupling = ZeroMean(member(4, 4, dims=dims, padding=padding, bias=True, **options)).double()
    size = (4, 5, 3)[:dims]
    x, z = torch.randn(2, 1, 4, *size, dtype=torch.float64)
    assert torch.allclose((coupling(x) * z).sum(), (x * coupling.adjoint(z)).sum())
    assert torch.allclose(coupling.dense_weight().flatten(2).sum(2), torch.zeros(4, 4).double(), atol=1e-12)
    if padding == "circular":
        assert torch.allclose(coupling(torch.ones_like(x)), torch.zeros_like(x), atol=1e-12)
    full = Full(4, 4, dims=dims, padding=padding).double()
    with torch.no_grad():
        full.weight.copy_(coupling.dense_weight())
    assert torch.allclose(coupling(x), full(x))
    assert torch.equal(coupling.adjacency(), coupling.coupling.adjacency())


def test_the_released_step_is_its_formula_and_has_one_norm() -> None:
    step, y = IMEXnetCodeStep(Full(3, 3, dims=1), diffusion(), h=0.5).double().eval(), data()
    torch.nn.init.normal_(step.norm.weight)
    torch.nn.init.normal_(step.norm.bias)
    weight = step.coupling.coupling.dense_weight()
    weight = weight - weight.mean(2, keepdim=True)
    z = F.conv_transpose1d(F.relu(step.norm(F.conv1d(y, weight, padding=1))), weight, padding=1)
    assert torch.allclose(step(y).flatten(), solve(0.5) @ step.norm(y + 0.5 * z).flatten())
    assert sum(p.numel() for p in step.parameters()) == 27 + 6
    assert step.train()(y).isfinite().all()


@given(ACTS, st.floats(0.05, 3), st.sampled_from(["zeros", "circular"]), SEEDS)
def test_the_symmetric_smoother_does_not_expand_for_any_data(act: Any, h: float, padding: Any, seed: int) -> None:
    torch.manual_seed(seed)
    coupling = coupling_of_norm("full", 3, (SIDE,), (2 / h) ** 0.5, out=4, padding=padding)
    smoother = SymmetricSmoother(coupling, norm="none", act=act, h=h, rescale=False).double()
    f = 3 * torch.randn(1, 4, SIDE, dtype=torch.float64)
    u = data()
    assert expansion(lambda u: smoother(u, f), u) <= 1 + 1e-12
    if act == "tanh":
        step = SymmetricStep(coupling, norm="none", act=act, h=h, rescale=False)
        assert torch.allclose(smoother(u, 0 * f), step(u), atol=1e-12)


def test_smoothers_are_their_formula() -> None:
    a, b = Full(3, 4, dims=1).double(), Full(4, 3, dims=1).double()
    u, f = data(), torch.randn(1, 4, SIDE, dtype=torch.float64)
    smoother = Smoother(a, b).double()
    r = F.relu(smoother.data_norm(f - a(u)))
    assert torch.allclose(smoother(u, f), u + F.relu(smoother.feature_norm(b(r))))
    symmetric = SymmetricSmoother(a, h=0.3).double()
    r = F.relu(symmetric.norm(f - a(u)))
    assert torch.allclose(symmetric(u, f), u + 0.3 * a.adjoint(r))


def test_bad_requests_say_what_would_work() -> None:
    with pytest.raises(UnknownNameError, match="strang"):
        DiffusionReaction(Full(3, 3), diffusion(), "strange")  # pyright: ignore[reportArgumentType]
    with pytest.raises(UsageError, match="imex"):
        DiffusionReaction(Full(3, 3), diffusion(), "explicit")
    with pytest.raises(UsageError, match="ImplicitDiffusion"):
        DiffusionReaction(Full(3, 3))
    with pytest.raises(UsageError, match="split"):
        DiffusionReaction(Full(3, 3), Depthwise(3, 3), "imexnet")
    with pytest.raises(UsageError, match="Depthwise"):
        DiffusionReaction(Full(3, 3), diffusion(), "split")
    with pytest.raises(UsageError, match="Full"):
        ZeroMean(Pointwise(3, 3))
    with pytest.raises(UsageError, match="stride 2"):
        IMEXnetCodeStep(Full(3, 3, stride=2), diffusion())
    with pytest.raises(UsageError, match="4 -> 3"):
        Smoother(Full(3, 4), Full(3, 3))
    with pytest.raises(UsageError, match="strides"):
        Smoother(Full(3, 3), Full(3, 3, stride=2))
    assert isinstance(DiffusionReaction(DoubleStep(Full(3, 3), Full(3, 3)), diffusion()).reaction, DoubleStep)
