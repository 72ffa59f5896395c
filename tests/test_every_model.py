"""One body for each property, over the whole catalogue; the smallest of every family and task in the fast suite."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_model, save_model
from torch import Tensor, nn
from torch.nn import functional as F

import torchmg
from torchmg.kernels.choice import pinned
from torchmg.models.catalog import MODELS, Entry
from torchmg.models.registry import option_names
from torchmg.models.rivals import Rival

LARGEST = 3_000_000
"""Parameters of a model in the fast suite."""


def smallest_of_each_kind() -> set[str]:
    kinds: dict[tuple[str, str], Entry] = {}
    for entry in MODELS.values():
        best = kinds.setdefault((entry.family, entry.task), entry)
        if entry.parameters < best.parameters:
            kinds[entry.family, entry.task] = entry
    return {entry.name for entry in kinds.values() if entry.parameters < LARGEST}


FAST = smallest_of_each_kind()
DEEP = {
    *("ghost_resnet56", "shufflenetv2_050", "mobilenetv3_small_cifar", "vit_cifar"),
    *("lraspp_mobilenetv3_small", "mgic_lraspp_mobilenetv3_small"),
    *("function_mobilenetv3", "function_ghost", "dgcnn", "drnet_circulant", "lean_resnet20"),
}
"""Of these, what takes long to trace while a relative or tests of its own trace the same layers."""


def models(names: Any, fast: set[str] = FAST) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "name", [pytest.param(name, marks=() if name in fast else pytest.mark.slow) for name in names]
    )


every_model = models(MODELS)
every_traced_model = models(MODELS, FAST - DEEP)
image_models = models(name for name, entry in MODELS.items() if entry.task in ("classify", "segment"))


def same(a: list[Tensor], b: list[Tensor], tolerance: float = 0.0) -> bool:
    return len(a) == len(b) and all(
        torch.allclose(x, y, rtol=tolerance, atol=tolerance) for x, y in zip(a, b, strict=True)
    )


def sizes(entry: Entry, side: int = 16) -> tuple[int, ...]:
    """The shape of a small sample."""
    small = {"classify": (side, side), "segment": (32, 48), "points": (64,)}
    points = tuple(min(size, 6) for size in entry.input[1:])
    return (entry.input[0], *small.get(entry.task, points))


def samples(entry: Entry, batch: int, side: int = 16, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(batch, *sizes(entry, side), dtype=dtype)


def lossy(entry: Entry, outputs: Tensor) -> Tensor:
    """A loss of the model's task, for targets that differ from sample to sample."""
    if entry.task == "regress":
        return (outputs - torch.linspace(-1, 1, outputs.numel()).view_as(outputs)).square().mean()
    targets = torch.arange(len(outputs)).view(-1, *(1,) * (outputs.dim() - 2)) % outputs.shape[1]
    return F.cross_entropy(outputs, targets.expand(len(outputs), *outputs.shape[2:]))


def without_chance(model: nn.Module) -> nn.Module:
    """The model without dropout and stochastic depth, so that two calls agree in training, too."""
    for module in model.modules():
        if type(module).__name__ in ("Dropout", "StochasticDepth"):
            module.p = 0.0  # pyright: ignore[reportAttributeAccessIssue]
    return model


def variants(entry: Entry) -> list[tuple[dict[str, int], tuple[int, ...], tuple[int, ...]]]:
    """Options, the shape of a sample, and that of what comes out."""
    if entry.task == "classify":
        cases = [(3, 10, (32, 32)), (1, 100, (28, 28)), (3, 7, (17, 17)), (1, 10, (9, 20))]
        return [({"in_channels": n, "num_classes": k}, (n, *pixels), (k,)) for n, k, pixels in cases]
    if entry.task == "segment":
        cases = [(3, 19, (32, 48)), (1, 5, (33, 47))]
        return [({"in_channels": n, "num_classes": k}, (n, *pixels), (k, *pixels)) for n, k, pixels in cases]
    if entry.task == "points":
        return [({"in_channels": n, "num_classes": k}, (n, p), (k,)) for n, k, p in [(3, 40, 64), (6, 5, 33)]]
    if entry.name == "mgic_transfers":
        return [({}, (64, 4, 6), (64, 4, 6)), ({"channels": 32, "coarsest": 4}, (32, 5, 1), (32, 5, 1))]
    return [({"in_channels": n, "num_classes": k}, (n, 1, 1), (k,)) for n, k in [(2, 1), (3, 4)]]


def test_the_fast_suite_has_every_family_and_task_that_has_a_small_model() -> None:
    assert {"resnet8", "mgic_resnet8"} <= FAST
    assert {MODELS[name].task for name in FAST} == {entry.task for entry in MODELS.values()}
    without = {entry.family for entry in MODELS.values()} - {MODELS[name].family for name in FAST}
    assert all(entry.parameters >= LARGEST for entry in MODELS.values() if entry.family in without)
    assert set(MODELS) >= DEEP


@every_model
def test_counts_are_the_catalogues(name: str) -> None:
    entry = MODELS[name]
    model = torchmg.create(name)
    counted = torchmg.count(model, entry.input)
    assert (counted.parameters, counted.macs) == (entry.parameters, entry.macs)
    assert counted.parameters == sum(p.numel() for p in model.parameters())
    assert counted.unknown == ()
    assert all(row.role != "other" for row in counted.rows), "every module has a place in the hierarchy"


@every_model
def test_outputs_have_the_shape_of_the_task(name: str) -> None:
    entry = MODELS[name]
    for options, shape, expected in variants(entry):
        outputs = torchmg.create(name, **options)(torch.randn(2, *shape))
        assert outputs.shape == (2, *expected)
        assert outputs.isfinite().all()
        assert not torch.equal(outputs[0], outputs[1])


@image_models
@pytest.mark.parametrize("pixels", [(32, 32), (28, 45), (17, 17)], ids=str)
def test_features_agree_with_feature_info_and_with_the_logits(name: str, pixels: tuple[int, int]) -> None:
    model = torchmg.create(name).eval()
    x = torch.randn(2, 3, *pixels)
    features = model.forward_features(x)
    assert len(features) == len(model.feature_info)
    for feature, info in zip(features, model.feature_info, strict=True):
        expected = [-(-side // info["reduction"]) for side in pixels]
        assert feature.shape == (2, info["num_chs"], *expected)
    caught: list[Tensor] = []
    root = getattr(model, "backbone", model)
    for info in model.feature_info:
        root.get_submodule(info["module"]).register_forward_hook(lambda module, args, out: caught.append(out))
    logits = model(x)
    assert same(caught, features, 1e-6)
    if MODELS[name].task == "classify":
        last = features[-1] if isinstance(model, Rival) else features[-1].mean((2, 3))
        assert torch.allclose(logits, model.head(last), atol=1e-4)


@every_model
def test_every_parameter_gets_a_finite_gradient(name: str) -> None:
    entry = MODELS[name]
    model = torchmg.create(name)
    # Taps beside the centre see nothing where a map has shrunk to one pixel.
    x = samples(entry, 4, 64 if entry.family in ("lean", "union") and entry.input[-1] > 32 else 16).requires_grad_()
    lossy(entry, model(x)).backward()
    assert x.grad is not None
    assert x.grad.any()
    for path, parameter in model.named_parameters():
        assert parameter.grad is not None, path
        assert parameter.grad.isfinite().all(), path
        assert parameter.grad.any(), path


@every_model
def test_a_gradient_step_lowers_the_loss(name: str) -> None:
    entry = MODELS[name]
    fixed = (
        {"graph_of": "positions"} if entry.task == "points" else {}
    )  # graphs of features jump, and the loss with them
    model = without_chance(torchmg.create(name, **fixed))
    x = samples(entry, 8)
    losses = []
    optimiser = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)  # deep networks overstep with 0.01
    for _ in range(6):
        loss = lossy(entry, model(x))
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert losses[-1] < losses[0]


@every_traced_model
def test_exports_with_a_dynamic_batch(name: str) -> None:
    entry = MODELS[name]
    model = torchmg.create(name).eval()
    sample, batch = samples(entry, 2, 32), torch.export.Dim("batch")
    exported = torch.export.export(model, (sample,), dynamic_shapes=({0: batch},)).module()
    for size in (1, 3):
        x = samples(entry, size, 32)
        assert torch.allclose(exported(x), model(x), atol=1e-5)


@every_traced_model
def test_compiles_without_a_graph_break(name: str) -> None:
    """With a lowering pinned: a compiler sees no batch and may choose another, and ReLUs amplify its roundings."""
    entry = MODELS[name]
    narrow = {"width": 0.5} if "width" in option_names(entry) else {}
    eager = without_chance(torchmg.create(name, **narrow))
    twin = copy.deepcopy(eager)
    x = samples(entry, 2)
    torch._dynamo.reset()
    with pinned("native"):
        outputs = torch.compile(twin, fullgraph=True, backend="aot_eager")(x)
        outputs.square().sum().backward()
        expected = eager(x)
        expected.square().sum().backward()
    assert torch.allclose(outputs, expected, atol=1e-4)
    scale = max(p.grad.abs().max().item() for p in eager.parameters() if p.grad is not None)
    gradients = [[p.grad / scale for p in model.parameters() if p.grad is not None] for model in (twin, eager)]
    assert len(gradients[0]) == len(list(eager.parameters()))
    assert same(*gradients, 1e-4)


@every_model
def test_a_deep_copy_is_equal_and_independent(name: str) -> None:
    model = torchmg.create(name).eval()
    twin = copy.deepcopy(model)
    x = samples(MODELS[name], 2)
    before = model(x)
    assert torch.equal(twin(x), before)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    assert not twin(x).any()
    assert torch.equal(model(x), before)


@every_model
@pytest.mark.parametrize("through", ["state dict", "torch.save", "safetensors"])
def test_weights_survive_saving(name: str, through: str, tmp_path: Path) -> None:
    entry = MODELS[name]
    shares = "transfer_weights" in option_names(entry)
    for options in [{}, {"transfer_weights": "transpose"}] if shares else [{}]:
        model, other = torchmg.create(name, **options), torchmg.create(name, **options)
        x = samples(entry, 2)
        model(x)  # running statistics are state, too
        file = str(tmp_path / "weights")
        if through == "state dict":
            other.load_state_dict(model.state_dict(), strict=True)
        elif through == "torch.save":
            torch.save(model.state_dict(), file)
            other.load_state_dict(torch.load(file, weights_only=True), strict=True)
        else:
            save_model(model, file)
            load_model(other, file, strict=True)
        assert same([*other.state_dict().values()], [*model.state_dict().values()])
        assert torch.equal(other.eval()(x), model.eval()(x))


@every_model
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_floating_point_types_work(name: str, dtype: torch.dtype) -> None:
    model = torchmg.create(name).to(dtype).eval()
    outputs = model(samples(MODELS[name], 2, dtype=dtype))
    assert outputs.dtype == dtype
    assert outputs.isfinite().all()


@models(name for name, entry in MODELS.items() if len(entry.input) == 3)
def test_channels_last_gives_the_same_outputs(name: str) -> None:
    model = torchmg.create(name).double().eval()
    x = samples(MODELS[name], 2, dtype=torch.float64)
    expected = model(x)
    last = copy.deepcopy(model).to(memory_format=torch.channels_last)
    assert torch.allclose(last(x.contiguous(memory_format=torch.channels_last)), expected, atol=1e-10)


@image_models
@pytest.mark.parametrize(
    ("x", "words"),
    [
        (torch.zeros(2, 32, 32, 3), ["(batch, 3, H, W)", "channels-last", "permute"]),
        (torch.zeros(3, 32, 32), ["batch axis", "x[None]"]),
        (torch.zeros(2, 3, 32, 32, dtype=torch.uint8), ["floating point", "255"]),
        (torch.zeros(2, 1, 32, 32), ["(batch, 3, H, W)", "(2, 1, 32, 32)"]),
    ],
    ids=["channels-last", "no batch", "uint8", "one channel"],
)
def test_wrong_images_are_explained(name: str, x: Tensor, words: list[str]) -> None:
    with pytest.raises(torchmg.errors.ShapeError) as caught:
        torchmg.create(name)(x)
    assert all(word in str(caught.value) for word in words), str(caught.value)


@every_model
def test_another_number_of_channels_is_explained(name: str) -> None:
    channels, *rest = sizes(MODELS[name])
    x = torch.zeros(2, channels + 1, *rest)
    with pytest.raises(torchmg.errors.ShapeError) as caught:
        torchmg.create(name)(x)
    assert f"(batch, {channels}, " in str(caught.value)
    assert str(tuple(x.shape)) in str(caught.value)
