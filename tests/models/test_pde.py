"""PDE networks: published counts, computed ones, a functional oracle, and what their options mean."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import torchmg
from torchmg.errors import UnknownNameError, UsageError
from torchmg.models.imexnet import IMEXNet, imexnet
from torchmg.models.pde import PDENet, drnet, hamiltonian, parabolic, second_order
from torchmg.models.pde_steps import time_steps
from torchmg.nn.certified import Bounded
from torchmg.nn.coupling import Full, Lean
from torchmg.nn.diffusion import ImplicitDiffusion
from torchmg.nn.imexnet import IMEXnetCodeStep
from torchmg.nn.reaction import DiffusionReaction
from torchmg.nn.steps import DoubleStep, SymmetricStep
from torchmg.nn.time_steps import TimeSteps


def size(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def built(make: Any, **options: Any) -> int:
    """Parameters of a network that is not filled."""
    with torch.device("meta"):
        return size(make(**options))


def blocks(model: nn.Module) -> list[TimeSteps]:
    return [module for module in model.modules() if isinstance(module, TimeSteps)]


PRESETS = ("cifar10", "cifar100", "stl10")
PUBLISHED = {  # Ruthotto and Haber (J. Math. Imaging Vis. 2020), re-derived from the widths of their drivers
    parabolic: (502_570, 652_484, 618_554),
    hamiltonian: (264_106, 362_180, 324_794),
    second_order: (502_570, 652_484, 618_554),
}


@pytest.mark.parametrize("make", PUBLISHED)
def test_published_weights(make: Any) -> None:
    assert tuple(built(make, preset=preset) for preset in PRESETS) == PUBLISHED[make]
    assert {preset: built(make, preset=preset, num_classes=10) for preset in ("cifar10", "stl10")} == {
        preset: PUBLISHED[make][PRESETS.index(preset)] for preset in ("cifar10", "stl10")
    }, "classes are the preset's unless given"


COMPUTED: list[tuple[str, dict[str, Any], tuple[int, int, int]]] = [
    ("full", {}, (502_570, 652_484, 618_554)),
    ("depthwise", {}, (31_258, 77_924, 37_514)),
    ("pointwise", {}, (78_634, 136_388, 96_314)),
    ("union", {}, (83_626, 141_764, 102_074)),
    ("lean", {"stencil": "9"}, (83_626, 141_764, 102_074)),
    ("lean", {"stencil": "5"}, (81_130, 139_076, 99_194)),
    ("lean", {"stencil": "3"}, (79_882, 137_732, 97_754)),
    ("lean", {"stencil": "5", "group_size": 16}, (118_570, 179_396, 142_394)),
    ("grouped", {"group_size": 16}, (115_498, 168_644, 134_714)),
    ("circulant", {}, (31_258, 77_924, 37_514)),
    ("circulant", {"block": 16}, (55_450, 108_164, 67_754)),
    ("chain", {"radius": 1, "periodic": True}, (42_490, 90_020, 50_474)),
    ("lattice", {"lattice_neighbours": 5, "periodic": True}, (53_722, 102_116, 63_434)),
]


@pytest.mark.parametrize(("coupling", "options", "expected"), COMPUTED, ids=str)
def test_weights_by_coupling(coupling: str, options: dict[str, Any], expected: tuple[int, int, int]) -> None:
    """Computed by hand from the skeleton and each coupling's formula; no paper prints them."""
    assert tuple(built(parabolic, preset=p, coupling=coupling, **options) for p in PRESETS) == expected


STEPS_CHANNELS = 3 * (32 + 64 + 112)


def test_implicit_diffusion_adds_a_stencil_or_three_strengths_a_channel_and_step() -> None:
    for coupling, (cifar, *_) in {name: counts for name, options, counts in COMPUTED if not options}.items():
        assert built(drnet, coupling=coupling) == cifar + 9 * STEPS_CHANNELS
        assert built(drnet, coupling=coupling, backend="cosine") == cifar + 3 * STEPS_CHANNELS
        assert built(drnet, coupling=coupling, scheme="explicit") == cifar
        norms = 2 * STEPS_CHANNELS
        assert built(drnet, coupling=coupling, scheme="split") == cifar + 9 * STEPS_CHANNELS + norms
    assert drnet("union", width=0.125).get_submodule("stages.0.steps.0").scheme == "imex"


def test_a_network_is_what_its_equations_say() -> None:
    """An independent functional parabolic network, in training mode, in float64."""
    torch.manual_seed(0)
    model = parabolic(width=0.125, steps=2, h=0.5).double()
    x = torch.randn(4, 3, 9, 8, dtype=torch.float64)
    p = dict(model.named_parameters())

    def norm(y: Tensor, name: str) -> Tensor:
        return F.batch_norm(y, None, None, p[f"{name}.weight"], p[f"{name}.bias"], training=True)

    y = F.relu(norm(F.conv2d(x, p["stem.conv.weight"], padding=1), "stem.norm"))
    for i in range(3):
        if i:
            y = F.avg_pool2d(y, 2, ceil_mode=True)
        for j in range(2):
            step, kernel = f"stages.{i}.steps.{j}", p[f"stages.{i}.steps.{j}.coupling.weight"]
            z = F.relu(norm(F.conv2d(y, kernel, padding=1), f"{step}.norm"))
            y = y - 0.5 * F.conv_transpose2d(z, kernel, padding=1)
        y = F.relu(norm(F.conv2d(y, p[f"stages.{i}.connect.conv.weight"]), f"stages.{i}.connect.norm"))
    expected = y.mean((2, 3)) @ p["head.weight"].T + p["head.bias"]
    assert torch.allclose(model(x), expected, atol=1e-12)


@pytest.mark.parametrize("options", [{}, {"coupling": "lean", "stencil": "3"}], ids=str)
@pytest.mark.parametrize("make", PUBLISHED)
def test_steps_of_a_block_start_alike_and_share_nothing(make: Any, options: dict[str, Any]) -> None:
    for block in blocks(make(width=0.25, **options)):
        first, *others = [dict(step.named_parameters()) for step in block]
        assert len(others) == 2
        for other in others:
            assert other.keys() == first.keys()
            assert all(torch.equal(other[name], first[name]) and other[name] is not first[name] for name in first)


def test_three_point_stencils_take_turns() -> None:
    def turns(**options: Any) -> list[str]:
        block = time_steps(8, coupling="lean", stencil="3", **options)
        return [module.stencil for module in block.modules() if isinstance(module, Lean)]

    assert turns() == ["3h", "3v", "3h"]
    assert turns(layer="double", steps=1) == ["3h", "3v"], "two convolutions of a layer cover 3x3"
    assert turns(dynamics="hamiltonian", steps=1) == ["3h", "3v"]


def test_layers_signs_and_norms() -> None:
    symmetric, double = (time_steps(8, layer=layer)[0] for layer in ("symmetric", "double"))
    assert isinstance(symmetric, SymmetricStep)
    assert isinstance(double, DoubleStep)
    assert (symmetric.sign, double.sign) == (-1, 1)
    assert size(double) - 16 == 2 * (size(symmetric) - 16), "twice the weights, one norm"
    step = time_steps(8, sign="plus", h=0.25, norm="none")[0]
    assert isinstance(step, SymmetricStep)
    assert (step.sign, step.h, size(step)) == (1, 0.25, 9 * 64)
    strang = time_steps(8, scheme="strang", backend="sweeps", h=0.5)[0]
    assert isinstance(strang, DiffusionReaction)
    assert isinstance(strang.diffusion, ImplicitDiffusion)
    assert (strang.diffusion.backend, strang.diffusion.h) == ("sweeps", 0.25)


def test_rescaled_weights_start_below_the_bound_of_stability_and_others_are_drawn_as_ever() -> None:
    def largest(**options: Any) -> float:
        torch.manual_seed(0)
        steps = [m for m in parabolic(width=0.25, coupling="full", **options).modules() if isinstance(m, SymmetricStep)]
        return max((step.h * step.coupling.norm_bound((8, 8)) ** 2).item() for step in steps)

    assert largest(rescale=True) < 1 < 2 < largest()


@pytest.mark.parametrize("options", [{}, {"scheme": "imex", "backend": "cosine"}, {"norm": "none"}], ids=str)
def test_certified_steps_do_not_expand_however_large_their_weights(options: dict[str, Any]) -> None:
    torch.manual_seed(1)
    model = parabolic(width=0.25, certified=True, **options).eval()
    with torch.no_grad():
        for block in blocks(model):
            for parameter in block.parameters():
                parameter.normal_(std=3.0)
    for block in blocks(model):
        channels = next(module.in_channels for module in block.modules() if isinstance(module, Bounded))
        a = torch.randn(2, channels, 6, 6)
        b = a + 0.1 * torch.randn(2, channels, 6, 6)
        before, after = (b - a).flatten(1).norm(dim=1), (block(b) - block(a)).flatten(1).norm(dim=1)
        assert (after <= before * (1 + 1e-5)).all()


@pytest.mark.parametrize("scheme", ["explicit", "split", "imex", "lie", "imexnet", "strang"])
@pytest.mark.parametrize("coupling", ["full", "union", "pointwise", "circulant"])
def test_every_scheme_computes_and_learns(coupling: Any, scheme: Any) -> None:
    model = drnet(coupling, scheme=scheme, width=0.125, steps=2, num_classes=3)
    logits = model(torch.randn(4, 3, 13, 12))
    assert logits.shape == (4, 3)
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in model.parameters())


# IMEXnet -------------------------------------------------------------------------------------------------------------


def convolutions(model: IMEXNet) -> tuple[int, int]:
    """Weights of convolutions without the classifier, and of the stencils of diffusion."""
    couplings = sum(m.weight.numel() for m in model.modules() if isinstance(m, Full | nn.Conv2d)) - (
        model.head.weight.numel()  # pyright: ignore
    )
    return couplings, sum(m.stencil.numel() for m in model.modules() if isinstance(m, ImplicitDiffusion))


def test_the_released_imexnet_has_the_weights_that_its_code_counts() -> None:
    """For pictures of one channel, as Q-tips are."""
    with torch.device("meta"):
        baseline = imexnet(released=True, in_channels=1, scheme="explicit")
        model = imexnet(released=True, in_channels=1)
    assert convolutions(baseline) == (2_691_648, 0)
    kernels, stencils = convolutions(model)
    assert (kernels, stencils) == (2_691_648, 12_096)
    assert size(model) - size(baseline) == stencils
    # The script's own rule leaves out a stencil: 9 (3 * 64 + 3 * 128 + 2 * 256) instead of nine steps.
    assert kernels + stencils - 9 * 256 == 2_701_440


def test_the_released_steps_are_the_codes() -> None:
    model = imexnet(released=True, width=0.125)
    for block in blocks(model):
        for step in block:
            assert isinstance(step, IMEXnetCodeStep)
            weight, stencil = (next(m.parameters()) for m in (step.coupling, step.diffusion))  # pyright: ignore
            assert weight.min() >= 0
            assert weight.max() <= 1e-3
            assert 0 <= stencil.min() < stencil.max() <= 1
    logits = model(torch.randn(2, 3, 16, 12))
    assert logits.shape == (2, 4, 16, 12)
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


def test_an_implicit_step_sees_the_whole_picture_and_the_baseline_does_not() -> None:
    """The gradient of the first pixel's logits reaches as far as 3x3 kernels add up to, or everywhere."""
    for name, everywhere in (("imexnet", True), ("imexnet_explicit", False)):
        torch.manual_seed(0)
        model = torchmg.create(name, width=0.0625).double().eval()
        x = torch.randn(1, 3, 4, 64, dtype=torch.float64, requires_grad=True)
        model(x)[0, :, 0, 0].sum().backward()
        assert x.grad is not None
        kernels = 3 + 2 * 9  # a symmetric step has two
        assert x.grad[..., : kernels + 1].any()
        # Periodic solves reach round the corner; the middle is farthest.
        assert bool(x.grad[..., kernels + 1 :].any()) == everywhere


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: parabolic(coupling="ful"), UnknownNameError, ["ful", "Did you mean full"]),  # pyright: ignore
        (lambda: parabolic(preset="cifar"), UnknownNameError, ["preset", "cifar10"]),  # pyright: ignore
        (lambda: parabolic(scheme="euler"), UnknownNameError, ["scheme", "explicit"]),  # pyright: ignore
        (lambda: parabolic(layer="both"), UnknownNameError, ["layer", "double"]),  # pyright: ignore
        (lambda: parabolic(sign="-"), UnknownNameError, ["sign", "minus"]),  # pyright: ignore
        (lambda: parabolic(norm="layer"), UnknownNameError, ["norm", "batch"]),  # pyright: ignore
        (lambda: parabolic(radius=2), UsageError, ["'full' has no option radius"]),
        (lambda: parabolic(steps=0), UsageError, ["steps", "at least 1", "0"]),
        (lambda: parabolic(h=-1.0), UsageError, ["h must be", "-1.0"]),
        (lambda: parabolic(backend="fourier"), UsageError, ["solves nothing", "scheme='imex'"]),
        (lambda: parabolic(width=0.001), UsageError, ["width=0.001"]),
        (lambda: parabolic(num_classes=0), UsageError, ["num_classes"]),
        (lambda: parabolic(certified=True, norm="batch"), UsageError, ["certified", "nonnegative"]),
        (lambda: parabolic(certified=True, layer="double"), UsageError, ["DoubleStep", "SymmetricStep"]),
        (lambda: parabolic(rescale=True, layer="double"), UsageError, ["rescale", "symmetric"]),
        (lambda: time_steps(8, dynamics="second_order", scheme="imex"), UsageError, ["parabolic", "second_order"]),
        (lambda: hamiltonian(width=1 / 32), UsageError, ["halve", "1"]),
        (lambda: PDENet(nn.Identity, [8]), UsageError, ["two or more", "[8]"]),
        (lambda: imexnet(released=True, coupling="union"), UsageError, ["released", "coupling='union'"]),
        (lambda: imexnet(released=True, scheme="strang"), UsageError, ["scheme='strang'", "imex"]),
        (lambda: IMEXNet(nn.Identity, [], num_classes=2, in_channels=3), UsageError, ["at least one width"]),
    ],
)
def test_what_cannot_be_built_is_named(make: Any, error: type[Exception], words: list[str]) -> None:
    with pytest.raises(error) as caught:
        make()
    assert all(word in str(caught.value) for word in words), str(caught.value)
