"""One body for each property, over the whole catalogue; the smallest model of every family in the fast suite."""

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_model, save_model
from torch import Tensor, nn

import torchmg
from torchmg.models.catalog import MODELS, Entry


def smallest_of_each_family() -> set[str]:
    families: dict[str, Entry] = {}
    for entry in MODELS.values():
        best = families.setdefault(entry.family, entry)
        if entry.parameters < best.parameters:
            families[entry.family] = entry
    return {entry.name for entry in families.values()}


FAST = smallest_of_each_family()
every_model = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in MODELS]
)


def same(a: list[Tensor], b: list[Tensor], tolerance: float = 0.0) -> bool:
    return len(a) == len(b) and all(
        torch.allclose(x, y, rtol=tolerance, atol=tolerance) for x, y in zip(a, b, strict=True)
    )


def test_the_fast_suite_has_every_family() -> None:
    assert {"resnet20", "mgic_resnet20"} <= FAST
    assert {MODELS[name].family for name in FAST} == {entry.family for entry in MODELS.values()}


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
@pytest.mark.parametrize(
    ("channels", "classes", "pixels"), [(3, 10, (32, 32)), (1, 100, (28, 28)), (3, 7, (17, 17)), (1, 10, (9, 20))]
)
def test_logits_have_one_row_an_image(name: str, channels: int, classes: int, pixels: tuple[int, int]) -> None:
    model = torchmg.create(name, in_channels=channels, num_classes=classes)
    logits = model(torch.randn(2, channels, *pixels))
    assert logits.shape == (2, classes)
    assert logits.isfinite().all()
    assert not torch.equal(logits[0], logits[1])


@every_model
@pytest.mark.parametrize("pixels", [32, 28, 17])
def test_features_agree_with_feature_info_and_with_the_logits(name: str, pixels: int) -> None:
    model = torchmg.create(name).eval()
    x = torch.randn(2, 3, pixels, pixels)
    features = model.forward_features(x)
    assert len(features) == len(model.feature_info)
    for feature, info in zip(features, model.feature_info, strict=True):
        side = -(-pixels // info["reduction"])
        assert feature.shape == (2, info["num_chs"], side, side)
    caught: list[Tensor] = []
    for info in model.feature_info:
        model.get_submodule(info["module"]).register_forward_hook(lambda module, args, out: caught.append(out))
    logits = model(x)
    assert same(caught, features, 1e-6)
    assert torch.allclose(logits, features[-1].mean((2, 3)) @ model.head.weight.T + model.head.bias, atol=1e-4)


@every_model
def test_every_parameter_gets_a_finite_gradient(name: str) -> None:
    model = torchmg.create(name)
    x = torch.randn(4, 3, 16, 16, requires_grad=True)
    nn.functional.cross_entropy(model(x), torch.arange(4)).backward()
    assert x.grad is not None
    assert x.grad.any()
    for path, parameter in model.named_parameters():
        assert parameter.grad is not None, path
        assert parameter.grad.isfinite().all(), path
        assert parameter.grad.any(), path


@every_model
def test_a_gradient_step_lowers_the_loss(name: str) -> None:
    model = torchmg.create(name)
    x, y = torch.randn(8, 3, 16, 16), torch.arange(8)
    losses = []
    optimiser = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)  # deep networks overstep with 0.01
    for _ in range(6):
        loss = nn.functional.cross_entropy(model(x), y)
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert losses[-1] < losses[0]


@every_model
def test_exports_with_a_dynamic_batch(name: str) -> None:
    model = torchmg.create(name).eval()
    sample, batch = torch.randn(2, 3, 32, 32), torch.export.Dim("batch")
    exported = torch.export.export(model, (sample,), dynamic_shapes=({0: batch},)).module()
    for size in (1, 3):
        x = torch.randn(size, 3, 32, 32)
        assert torch.allclose(exported(x), model(x), atol=1e-5)


@every_model
def test_compiles_without_a_graph_break(name: str) -> None:
    eager = torchmg.create(name, width=0.5)
    twin = copy.deepcopy(eager)
    x = torch.randn(2, 3, 16, 16)
    torch._dynamo.reset()
    logits = torch.compile(twin, fullgraph=True, backend="aot_eager")(x)
    logits.square().sum().backward()
    expected = eager(x)
    expected.square().sum().backward()
    assert torch.allclose(logits, expected, atol=1e-4)
    scale = max(p.grad.abs().max().item() for p in eager.parameters())
    gradients = [[p.grad / scale for p in model.parameters()] for model in (twin, eager)]
    assert same(*gradients, 1e-4)


@every_model
def test_a_deep_copy_is_equal_and_independent(name: str) -> None:
    model = torchmg.create(name).eval()
    twin = copy.deepcopy(model)
    x = torch.randn(2, 3, 16, 16)
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
    variants = [{}] if not name.startswith("mgic") else [{}, {"transfer_weights": "transpose"}]
    for options in variants:
        model, other = torchmg.create(name, **options), torchmg.create(name, **options)
        x = torch.randn(2, 3, 16, 16)
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
    logits = model(torch.randn(2, 3, 16, 16, dtype=dtype))
    assert logits.dtype == dtype
    assert logits.isfinite().all()


@every_model
def test_channels_last_gives_the_same_logits(name: str) -> None:
    model = torchmg.create(name).double().eval()
    x = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    expected = model(x)
    last = copy.deepcopy(model).to(memory_format=torch.channels_last)
    assert torch.allclose(last(x.contiguous(memory_format=torch.channels_last)), expected, atol=1e-10)


@every_model
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
def test_wrong_inputs_are_explained(name: str, x: Tensor, words: list[str]) -> None:
    with pytest.raises(torchmg.errors.ShapeError) as caught:
        torchmg.create(name)(x)
    assert all(word in str(caught.value) for word in words), str(caught.value)
