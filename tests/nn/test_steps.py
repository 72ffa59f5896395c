"""Residual steps against the theorems on them (T2, T3, T5 of the specification), in float64 with dense Jacobians."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from tests.nn.expansion import coupling_of_norm, expansion, jacobian, matrix_of
from torchmg.errors import ShapeError, UnknownNameError, UsageError
from torchmg.nn.coupling import Depthwise, Full, Grouped, Padding, Pointwise
from torchmg.nn.norm import NORMS
from torchmg.nn.pixel_norm import PixelNorm
from torchmg.nn.step_norm import NonnegativeBatchNorm, StepAct
from torchmg.nn.steps import DoubleStep, SymmetricStep, norm_estimate

ACTS = pytest.mark.parametrize("act", ["relu", "tanh"])
SIZES: dict[int, tuple[int, ...]] = {1: (5,), 2: (4, 3), 3: (3, 3, 2)}


def plain(coupling: Any, act: StepAct = "relu", h: float = 1.0, **options: Any) -> SymmetricStep:
    """The step of the theorems: no norm, weights as given."""
    return SymmetricStep(coupling, norm="none", act=act, h=h, rescale=False, **options).double()


def open_step(coupling: Any, act: StepAct, h: float, **options: Any) -> SymmetricStep:
    """A step whose activation has slope 1 at 0: ReLU is opened by its bias."""
    step = plain(coupling, act, h, bias=True, **options)
    if act == "relu" and step.bias is not None:
        torch.nn.init.constant_(step.bias, 100.0)
    return step


STEPS = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["full", "grouped", "depthwise", "pointwise"]),
        "padding": st.sampled_from(["zeros", "circular"]),
        "act": st.sampled_from(["relu", "tanh"]),
        "dims": st.sampled_from([1, 2, 3]),
        "h": st.floats(0.05, 3),
        "stride": st.sampled_from([1, 1, 2]),
        "seed": st.integers(0, 2**31),
    }
)


def drawn(case: dict[str, Any], product: float) -> tuple[SymmetricStep, Tensor]:
    """A random step with h ||K||^2 = product, and an input."""
    torch.manual_seed(case["seed"])
    options = {"group_size": 2} if case["name"] == "grouped" else {}
    size = SIZES[case["dims"]]
    norm = (product / case["h"]) ** 0.5
    coupling = coupling_of_norm(case["name"], 4, size, norm, padding=case["padding"], stride=case["stride"], **options)
    step = plain(coupling, case["act"], case["h"], bias=True)
    assert step.bias is not None
    torch.nn.init.normal_(step.bias)
    return step, 10 ** torch.empty(()).uniform_(-2, 1).item() * torch.randn(1, 4, *size, dtype=torch.float64)


@given(STEPS)
def test_it_does_not_expand_at_the_limit_of_two(case: dict[str, Any]) -> None:
    step, y = drawn(case, 2.0)
    assert expansion(step, y) <= 1 + 1e-12
    z = torch.randn_like(y)
    assert torch.dist(step(y), step(z)) <= torch.dist(y, z) * (1 + 1e-12)


@ACTS
@pytest.mark.parametrize("padding", ["zeros", "circular"])
@pytest.mark.parametrize("product", [2.2, 3.0])
def test_above_the_limit_two_inputs_move_apart(act: StepAct, padding: Padding, product: float) -> None:
    """At a point where all units are active, along the top singular vector: by the factor |1 - h ||K||^2|."""
    h, size = 0.5, (4, 3)
    coupling = coupling_of_norm("full", 2, size, (product / h) ** 0.5, padding=padding)
    matrix = matrix_of(coupling, size)
    y = torch.linalg.solve(matrix, torch.ones(24, dtype=torch.float64)) if act == "relu" else torch.zeros(24).double()
    direction = torch.linalg.svd(matrix).Vh[0] * 1e-4
    pair = torch.stack([y, y + direction]).view(2, 2, *size)
    out = plain(coupling, act, h)(pair)
    stretched = torch.dist(out[0], out[1]) / torch.dist(pair[0], pair[1])
    assert stretched.item() == pytest.approx(product - 1, rel=1e-5)


@given(STEPS)
def test_below_one_errors_keep_their_sign(case: dict[str, Any]) -> None:
    step, y = drawn(case, 1.0)
    dense = jacobian(step, y)
    assert torch.allclose(dense, dense.T, atol=1e-13)
    assert torch.linalg.eigvalsh(dense)[0] >= -1e-12


@ACTS
def test_above_one_some_error_changes_its_sign(act: StepAct) -> None:
    step = open_step(coupling_of_norm("full", 3, (5,), 1.2**0.5), act, 1.0)
    dense = jacobian(step, torch.zeros(1, 3, 5, dtype=torch.float64))
    assert torch.linalg.eigvalsh(dense)[0] == pytest.approx(-0.2)


@given(STEPS)
def test_it_goes_down_a_convex_energy(case: dict[str, Any]) -> None:
    step, y = drawn(case, 2.0)

    def energy(y: Tensor) -> Tensor:
        z = step.coupling(y) + step.bias
        return (F.relu(z).square() / 2 if case["act"] == "relu" else torch.logaddexp(z, -z)).sum()

    (gradient,) = torch.autograd.grad(energy(y.requires_grad_()), y)
    assert torch.allclose(step.rate(y), -gradient, atol=1e-11)
    assert energy(step(y)) <= energy(y) * (1 + 1e-12) + 1e-12


@ACTS
def test_the_plus_sign_expands(act: StepAct) -> None:
    coupling = coupling_of_norm("full", 3, (5,), 2**0.5)
    y = torch.zeros(1, 3, 5, dtype=torch.float64)
    assert expansion(open_step(coupling, act, 1.0, sign=1), y) == pytest.approx(3)
    assert expansion(open_step(coupling, act, 1.0, sign=-1), y) == pytest.approx(1)


def test_a_negative_gamma_expands_and_its_absolute_value_does_not() -> None:
    coupling = coupling_of_norm("full", 3, (5,), 1.0)
    y = torch.zeros(1, 3, 5, dtype=torch.float64)
    expansions = []
    for norm in ("batch", "nonnegative"):
        step = SymmetricStep(coupling, norm=norm, rescale=False).double().eval()
        torch.nn.init.constant_(step.norm.weight, -1.0)
        torch.nn.init.constant_(step.norm.bias, 100.0)
        expansions.append(expansion(step, y))
    assert expansions[0] == pytest.approx(2, rel=1e-4)
    assert expansions[1] <= 1


def test_an_ordinary_step_expands_with_kernels_of_norm_one() -> None:
    size = (5,)
    first, second = (coupling_of_norm("full", 3, size, 1.0) for _ in range(2))
    step = DoubleStep(first, second, norm="none", act="tanh").double()
    assert expansion(step, torch.zeros(1, 3, *size, dtype=torch.float64)) > 1.2
    identity = Pointwise(2, 2)
    with torch.no_grad():
        identity.weight.copy_(torch.eye(2)[..., None, None])
    assert torch.equal(DoubleStep(identity, identity, norm="none")(torch.ones(1, 2, 3, 3)), torch.full((1, 2, 3, 3), 2))


@pytest.mark.parametrize("norm", ["batch", "tv", "none"])
def test_both_steps_are_their_formula(norm: Any) -> None:
    y = torch.randn(3, 4, 6, 5)
    step = SymmetricStep(Full(4, 8), norm=norm, h=0.3, bias=True, outer_norm=True, sign=1)
    assert step.bias is not None
    torch.nn.init.normal_(step.bias)
    weight = step.coupling.dense_weight()
    z = F.relu(step.norm(F.conv2d(y, weight, padding=1)) + step.bias)
    expected = y + 0.3 * step.outer_norm(F.conv_transpose2d(z, weight, padding=1))
    assert torch.allclose(step(y), expected, atol=1e-6)
    double = DoubleStep(Full(4, 8), Grouped(8, 4, group_size=4), norm=norm, act="tanh", h=0.5, sign=-1)
    a, b = double.first.dense_weight(), double.second.dense_weight()
    expected = y - 0.5 * F.conv2d(torch.tanh(double.norm(F.conv2d(y, a, padding=1))), b, padding=1)
    assert torch.allclose(double(y), expected, atol=1e-6)
    assert torch.allclose(y + step.h * step.rate(y), step(y), atol=1e-6)


def test_pixel_norm_divides_each_pixel_by_its_length() -> None:
    norm, y = PixelNorm(3).double(), torch.randn(2, 3, 4, dtype=torch.float64)
    length = y.norm(dim=1, keepdim=True)
    assert torch.allclose(norm(y), y / (length**2 + 1e-4).sqrt())
    assert norm(1e-8 * y).abs().max() < 1e-5
    assert isinstance(norm, NORMS)
    assert sum(p.numel() for p in norm.parameters()) == sum(p.numel() for p in torch.nn.BatchNorm2d(3).parameters())
    half = PixelNorm(3)(torch.full((1, 3, 2, 2), 300.0, dtype=torch.half))
    assert half.isfinite().all()  # the sum of squares is above what half precision holds


def test_a_norm_of_nonnegative_scale_is_batch_norm_otherwise() -> None:
    ours, theirs, y = NonnegativeBatchNorm(3), torch.nn.BatchNorm2d(3), torch.randn(5, 3, 4, 4)
    for _ in range(2):
        assert torch.allclose(ours(y), theirs(y), atol=1e-6)
    assert all(torch.equal(a, b) for a, b in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True))
    ours.eval(), theirs.eval()
    assert torch.allclose(ours(y), theirs(y), atol=1e-6)
    assert ours.gain().item() == pytest.approx(float((theirs.running_var + 1e-5).rsqrt().max()))


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("member", [Full, Depthwise, Pointwise])
@pytest.mark.parametrize("padding", ["zeros", "circular"])
def test_a_rescaled_step_starts_with_a_product_below_one(dims: Any, member: Any, padding: Padding) -> None:
    coupling = member(12, 12, dims=dims, padding=padding, bias=True)
    torch.nn.init.constant_(coupling.bias, 7.0)
    step = SymmetricStep(coupling, h=2.0, rescale=True)
    product = 2 * step.coupling.norm_bound((8 if dims == 3 else 20,) * dims) ** 2
    assert 0.4 < product < 1


def test_small_weights_are_left_alone_and_so_are_all_unless_asked() -> None:
    small = Full(4, 4)
    with torch.no_grad():
        small.weight.mul_(1e-2)
    before = small.weight.clone()
    assert torch.equal(SymmetricStep(small, rescale=True).coupling.dense_weight(), before)
    large = Full(4, 4)
    before = large.weight.clone()
    assert torch.equal(SymmetricStep(large).coupling.dense_weight(), before)


def test_the_estimate_of_the_norm_is_from_below_and_close() -> None:
    coupling = Full(6, 9, padding="circular").double()
    exact = coupling.norm_bound((8, 8))
    assert 0.95 * exact < norm_estimate(coupling) <= exact * (1 + 1e-12)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_steps_run_under_autocast_and_are_exported(dims: Any) -> None:
    y = torch.randn(2, 4, *SIZES[dims])
    for norm in ("batch", "tv"):
        step = SymmetricStep(Full(4, 4, dims=dims), norm=norm).eval()
        with torch.autocast("cpu", torch.bfloat16):
            out = step(y)
        assert out.dtype == torch.float32
        assert torch.allclose(out, step(y), atol=0.1)
        exported = torch.export.export(step, (y,)).module()
        assert torch.allclose(exported(y), step(y), atol=1e-6)


def test_bad_requests_say_what_would_work() -> None:
    with pytest.raises(UsageError, match="above 0"):
        SymmetricStep(Full(2, 2), h=0.0)
    with pytest.raises(UsageError, match="sign must be"):
        SymmetricStep(Full(2, 2), sign=0)  # pyright: ignore[reportArgumentType]
    with pytest.raises(UsageError, match="Use 4 -> 2"):
        DoubleStep(Full(2, 4), Full(3, 2))
    with pytest.raises(UsageError, match="strides"):
        DoubleStep(Full(2, 2, stride=2), Full(2, 2))
    with pytest.raises(UnknownNameError, match="tv"):
        SymmetricStep(Full(2, 2), norm="tvv")  # pyright: ignore[reportArgumentType]
    with pytest.raises(UnknownNameError, match="relu"):
        SymmetricStep(Full(2, 2), act="relus")  # pyright: ignore[reportArgumentType]
    with pytest.raises(UsageError, match="eps"):
        PixelNorm(2, 0)
    with pytest.raises(ShapeError):
        SymmetricStep(Full(2, 2))(torch.randn(1, 3, 4, 4))
