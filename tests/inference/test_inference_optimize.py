"""`torchmg.optimize`: whole networks against themselves in double precision, and everything it must not break."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import torchmg
from tests.inference.norm_statistics import randomised
from torchmg.errors import UsageError
from torchmg.inference.interpret import interpret
from torchmg.inference.optimized import Optimized, optimize
from torchmg.inference.plan import programs
from torchmg.inference.torch_run import run_steps
from torchmg.kernels import native
from torchmg.models.user import build
from torchmg.nn import MGICBlock

UNET = str(Path(__file__).parents[2] / "examples" / "unet.py")


def torchvision_net(name: str) -> nn.Module:
    models = pytest.importorskip("torchvision").models
    return getattr(models, name)(weights=None)


NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "residual block": (lambda: MGICBlock(64, group_size=8), (64, 9, 7)),
    "bottleneck block": (lambda: MGICBlock(128, relax="bottleneck", group_size=8), (128, 6, 6)),
    "pairs": (lambda: MGICBlock(32, group_size=2, coarsest=8, transfer_norm="both"), (32, 5, 5)),
    "mgnet18": (lambda: torchmg.create("mgnet18"), (3, 16, 16)),
    "resnet20": (lambda: torchmg.create("resnet20"), (3, 16, 16)),
    "U-Net": (lambda: build(f"{UNET}:unet"), (3, 32, 32)),
}
SLOW = {
    "mgic_resnet20": (lambda: torchmg.create("mgic_resnet20"), (3, 16, 16)),
    "resnet18": (lambda: torchvision_net("resnet18"), (3, 64, 64)),
    "drnet_union": (lambda: torchmg.create("drnet_union"), (3, 16, 16)),
    "mgiad20": (lambda: torchmg.create("mgiad20"), (3, 16, 16)),
    "mgic_resnet34": (lambda: torchmg.create("mgic_resnet34"), (3, 64, 64)),
    "mgic_mobilenetv3_small": (lambda: torchmg.create("mgic_mobilenetv3_small"), (3, 64, 64)),
    "shufflenetv2_050": (lambda: torchmg.create("shufflenetv2_050"), (3, 64, 64)),
    "mobilenet_v3_small": (lambda: torchvision_net("mobilenet_v3_small"), (3, 64, 64)),
}


def is_right(got: Tensor, wanted: Tensor) -> bool:
    return got.shape == wanted.shape and bool((got - wanted).abs().max() <= 1e-4 * wanted.abs().max())


@torch.no_grad()
def compare(make: Callable[[], nn.Module], shape: tuple[int, ...]) -> None:
    model = randomised(make())
    x = torch.randn(2, *shape)
    fast = optimize(model, input=shape)
    assert not fast.reasons
    got, wanted = fast(x), copy.deepcopy(model).double()(x.double())
    assert is_right(got, wanted)
    assert is_right(fast(x[:1]), wanted[:1])

    planned = fast.plan(shape)
    assert planned is not None
    network = planned.network
    values: dict[int, Tensor] = {network.input: x}
    for part, program in programs(network):
        if program is None:
            run_steps(part.steps, network.shapes, values)
            continue
        made = interpret(program, [values[value].contiguous() for value in part.entries])
        for value, y in zip(part.exits, made, strict=True):
            values[value] = y.view(-1, *network.shapes[value])  # pyright: ignore
    assert is_right(values[network.output], wanted)


@pytest.mark.parametrize("name", NETS)
def test_networks(name: str) -> None:
    compare(*NETS[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_large_networks(name: str) -> None:
    compare(*SLOW[name])


@pytest.fixture
def model() -> nn.Module:
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout())
    return net.train()


def test_the_model_is_not_touched_and_comes_back(model: nn.Module) -> None:
    before = copy.deepcopy(model.state_dict())
    fast = torchmg.optimize(model, input=torch.rand(1, 3, 8, 8))
    fast(torch.rand(2, 3, 6, 5))
    assert fast.original is fast.restore() is model
    assert model.training
    assert all(p.requires_grad for p in model.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before.values(), model.state_dict().values(), strict=True))
    assert set(fast._plans) == {(3, 8, 8), (3, 6, 5)}
    assert optimize(fast).original is model


def test_weights_are_those_of_the_moment(model: nn.Module) -> None:
    x = torch.rand(2, 3, 8, 8)
    fast = optimize(model)
    before = fast(x)
    with torch.no_grad():
        model[0].weight.zero_()  # pyright: ignore
    assert torch.equal(fast(x), before)
    with pytest.raises(UsageError, match="optimise it again"):
        fast.load_state_dict({})
    with pytest.raises(UsageError, match="cannot be trained"):
        fast.train()
    assert not fast.eval().training


def test_other_inputs_run_in_the_copy(model: nn.Module) -> None:
    fast = optimize(model)
    wanted = copy.deepcopy(model).eval()
    x = torch.rand(2, 3, 8, 8, requires_grad=True)
    y = fast(x)
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal(y, wanted(x))
    assert fast(x.detach().to(memory_format=torch.channels_last)).shape == y.shape
    assert fast(x[:0].detach()).shape == (0, 8, 8, 8)
    double = copy.deepcopy(fast).double()
    assert torch.equal(double(x.detach().double()), wanted.double()(x.detach().double()))


def test_copies_and_pickles_plan_anew(model: nn.Module) -> None:
    x = torch.rand(2, 3, 8, 8)
    fast = optimize(model)
    wanted = fast(x)
    for twin in (copy.deepcopy(fast), pickle.loads(pickle.dumps(fast))):
        assert isinstance(twin, Optimized)
        assert not twin._plans
        assert torch.equal(twin(x), wanted)


class Two(nn.Module):
    """Two outputs."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"out": x, "aux": x + 1}


class Batch(nn.Module):
    """Its answer hangs on the size of the batch."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.shape[0] > 2 else x


@pytest.mark.parametrize("odd", [Two(), Batch()])
def test_networks_that_cannot_be_planned_run_as_they_are(odd: nn.Module) -> None:
    x = torch.rand(3, 3, 4, 4)
    fast = optimize(odd, input=(3, 4, 4))
    assert fast.reasons
    assert "not planned" in repr(fast)
    torch.testing.assert_close(fast(x), odd(x))


def test_several_inputs_and_vectors() -> None:
    assert optimize(nn.Bilinear(2, 3, 4))(torch.rand(5, 2), torch.rand(5, 3)).shape == (5, 4)
    assert optimize(nn.Linear(3, 2))(torch.rand(5, 3)).shape == (5, 2)


def test_what_is_said(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    fast = optimize(model)
    assert "not planned yet" in repr(fast)
    fast.plan((3, 8, 8))
    if native.loaded() is not None:
        assert "100% of" in repr(fast)
    monkeypatch.setattr(native, "loaded", lambda: None)
    monkeypatch.setattr(native, "why_not", lambda: "not compiled")
    slow, x = optimize(model, input=(3, 8, 8)), torch.rand(2, 3, 8, 8)
    assert "not compiled" in repr(slow)
    assert "1 folded steps in torch" in repr(slow)
    torch.testing.assert_close(slow(x), fast(x))


def test_wrong_requests() -> None:
    with pytest.raises(UsageError, match="for_"):
        optimize(nn.ReLU(), "training")  # pyright: ignore[reportArgumentType]
    with pytest.raises(UsageError, match=r"nn\.Module"):
        optimize(torch.rand(1))  # pyright: ignore[reportArgumentType]
    with pytest.raises(UsageError, match="size"):
        optimize(nn.ReLU(), input=(3, 4))
