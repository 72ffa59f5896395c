"""Counts of parameters and MACs against hand formulas and an independent, hook-based counter."""

import copy
import csv
import gc
import io
import json
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import torchmg
from torchmg.counting import Count
from torchmg.errors import ShapeError, UnknownNameError, UsageError
from torchmg.nn import Transfer
from torchmg.nn.coupling import COUPLINGS, channel_coupling

Shape = tuple[int, ...]


def second_opinion(model: nn.Module, shape: Shape) -> int:
    """MACs by hooks on a real forward: output elements times what each of them sums over, from the tensors' shapes."""
    total = 0

    def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d):
            total += output.numel() * module.weight[0].numel()
        elif isinstance(module, nn.Linear):
            total += output.numel() * inputs[0].shape[-1]
        elif isinstance(module, Transfer):
            total += output.numel() * inputs[0].shape[1] // module.groups

    twin = copy.deepcopy(model).eval()
    for module in twin.modules():
        module.register_forward_hook(add)
    with torch.no_grad():
        twin(torch.randn(1, *shape))
    return total


@pytest.mark.parametrize(
    ("name", "options", "shape"),
    [
        ("resnet20", {}, (3, 32, 32)),
        ("resnet20", {"in_channels": 1, "num_classes": 7}, (1, 17, 19)),
        ("resnet18_cifar", {"width": 0.25}, (3, 24, 24)),
        ("mgic_resnet20", {}, (3, 32, 32)),
        ("mgic_resnet20", {"transfer_weights": "transpose", "transfer_groups": "interleaved"}, (3, 16, 16)),
        ("mgic_resnet32", {"preset": "reference_code", "group_size": 4, "transfer_norm": "both"}, (3, 28, 28)),
        ("mgic_resnet18_cifar", {"width": 0.5, "shortcut": "pointwise"}, (3, 32, 32)),
    ],
)
def test_a_second_counter_agrees(name: str, options: dict[str, object], shape: Shape) -> None:
    model = torchmg.create(name, **options)
    counted = torchmg.count(model, shape)
    assert counted.macs == second_opinion(model, shape)
    assert counted.parameters == sum(p.numel() for p in set(model.parameters()))
    assert counted.unknown == ()


# Hand formulas -------------------------------------------------------------------------------------------------------


class Attention(nn.Module):
    """Self-attention over a sequence (length, width)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x, need_weights=False)[0]


class Function(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


@pytest.mark.parametrize(
    ("model", "shape", "macs"),
    [
        (nn.Conv2d(3, 8, 3), (3, 10, 12), 8 * 10 * 8 * 27),
        (nn.Conv2d(3, 8, 3, padding=1, bias=False), (3, 10, 12), 10 * 12 * 8 * 27),
        (nn.Conv2d(8, 8, 3, groups=4, padding=1, stride=2), (8, 9, 9), 5 * 5 * 8 * 2 * 9),
        (nn.Conv2d(8, 8, 5, groups=8, padding=4, dilation=2), (8, 9, 9), 9 * 9 * 8 * 25),
        (nn.Conv1d(4, 6, 3), (4, 20), 18 * 6 * 12),
        (nn.Conv3d(2, 4, 3, padding=1), (2, 4, 5, 6), 120 * 4 * 54),
        (nn.ConvTranspose2d(4, 6, 2, stride=2), (4, 5, 5), 25 * 4 * 6 * 4),
        (nn.Linear(20, 30), (20,), 600),
        (nn.Linear(20, 30), (7, 20), 7 * 600),
        (Attention(16, 4), (10, 16), 4 * 10 * 16 * 16 + 2 * 10 * 10 * 16),
        (nn.LSTM(5, 6, batch_first=True), (7, 5), 7 * 4 * 6 * (5 + 6)),
        (
            nn.TransformerEncoderLayer(16, 4, 32, batch_first=True),
            (10, 16),
            4 * 10 * 16 * 16 + 2 * 10 * 10 * 16 + 2 * 10 * 16 * 32,
        ),
        (Function(lambda x: x @ x.mT), (6, 5), 6 * 6 * 5),
        (Function(lambda x: torch.einsum("bij,bkj->bik", x, x)), (6, 5), 6 * 6 * 5),
        (Function(lambda x: F.scaled_dot_product_attention(x, x, x)), (2, 7, 8), 2 * (2 * 7 * 7 * 8)),
        (nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2), nn.Softmax(1)), (3, 8, 8), 0),
        (nn.Sequential(nn.GroupNorm(1, 4), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Dropout()), (4, 8, 8), 0),
        (nn.Sequential(nn.Upsample(scale_factor=2), nn.AvgPool2d(2), nn.Flatten(), nn.Sigmoid()), (4, 8, 8), 0),
        (nn.Sequential(nn.Hardswish(inplace=True), nn.InstanceNorm2d(4), nn.Unfold(3)), (4, 8, 8), 0),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else None,
)
def test_macs_equal_the_hand_formula(model: nn.Module, shape: Shape, macs: int) -> None:
    counted = torchmg.count(model, shape)
    assert counted.macs == macs
    assert counted.unknown == ()


def test_an_operator_without_formula_is_listed_not_hidden() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), Function(lambda x: torch.linalg.inv(x)))
    counted = torchmg.count(model, (1, 8, 8))
    assert counted.macs == 36 * 18
    assert any("inv" in operator for operator in counted.unknown)
    assert "NOT counted" in counted.conventions
    assert "inv" in str(counted)
    assert "NOT counted" not in torchmg.count(nn.ReLU(), (1, 8, 8)).conventions


@pytest.mark.parametrize(
    ("function", "shape", "macs"),
    [
        (torch.fft.rfft2, (3, 8, 16), 3 * 1.25 * 128 * 7),
        (torch.fft.rfft, (3, 8, 16), 24 * 1.25 * 16 * 4),
        (lambda x: torch.fft.rfft(x, dim=2), (3, 8, 16), 16 * 3 * 1.25 * 8 * 3),
        (lambda x: torch.fft.irfft2(torch.complex(x, x), s=(8, 16)), (3, 8, 9), 3 * 1.25 * 128 * 7),
        (lambda x: torch.fft.irfft(torch.polar(x, x), n=15), (2, 8), round(2 * 1.25 * 15 * math.log2(15))),
        (lambda x: torch.roll(torch.fft.fft2(x).abs(), 1, -1), (3, 8, 16), 3 * 2.5 * 128 * 7),
        (lambda x: torch.fft.ifft(torch.complex(x, x)).real, (4, 4, 4), 16 * 2.5 * 4 * 2),
        (lambda x: torch.fft.irfftn(torch.fft.rfftn(x)), (4, 4, 8), 2 * 1.25 * 128 * 7),
        (lambda x: torch.fft.fft(x), (5, 1), 0),
    ],
)
def test_fourier_transforms_cost_their_formula(function: Callable[[Tensor], Tensor], shape: Shape, macs: float) -> None:
    """Half of 2.5 n log2 n operations for real numbers, of 5 n log2 n for complex ones, times what is no axis of it."""
    model = nn.Sequential(nn.Linear(shape[-1], shape[-1]), Function(function))
    counted = torchmg.count(model, shape)
    assert counted.transforms == macs
    assert counted.macs == macs + math.prod(shape) * shape[-1]
    assert counted.unknown == ()
    assert sum(n for *_, n in counted.by("module")) == counted.macs
    assert ("2.5 n log2 n" in counted.conventions) == (macs > 0)
    assert json.loads(counted.table().json())["note"] == counted.conventions
    assert "log2" not in counted.table().csv()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "parameters", "macs"),
    [  # as torchvision publishes them, resnet50 and mobilenet_v3_large to the last one
        ("resnet50", 25_557_032, 4_089_184_256),
        ("mobilenet_v3_large", 5_483_032, 216_589_760),
        ("vit_b_16", 86_567_656, 17.564e9),
        ("swin_t", 28_288_354, 4.491e9),
        ("convnext_tiny", 28_589_128, 4.456e9),
    ],
)
def test_torchvisions_models_have_their_published_counts(name: str, parameters: int, macs: float) -> None:
    import torchvision

    with torch.device("meta"):
        model = getattr(torchvision.models, name)()
    counted = torchmg.count(model, (3, 224, 224))
    assert counted.parameters == parameters
    assert counted.macs == (macs if isinstance(macs, int) else pytest.approx(macs, abs=0.0005e9))
    assert counted.unknown == ()


# Breakdowns ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mgic() -> Count:
    torch.manual_seed(0)
    return torchmg.count(torchmg.create("mgic_resnet20"), name="mgic_resnet20")


@pytest.mark.parametrize("key", ["role", "level", "kind", "module"])
def test_every_breakdown_sums_to_the_whole(mgic: Count, key: str) -> None:
    rows = mgic.by(key)
    assert len({label for label, *_ in rows}) == len(rows) > 1
    assert sum(parameters for _, parameters, _ in rows) == mgic.parameters == 104_890
    assert sum(macs for *_, macs in rows) == mgic.macs == 25_670_272


def test_roles_levels_and_kinds_are_those_of_the_hierarchies(mgic: Count) -> None:
    """mgic_resnet20: three blocks at each of 16 (1 level), 32 (2), 64 (3), at 1024, 256 and 64 pixels."""
    relax = {(c, g): 18 * c * c // g for c, g in [(16, 1), (32, 4), (64, 8)]}
    pixels = {16: 1024, 32: 256, 64: 64}
    coarsest = 3 * (relax[16, 1] + 64)
    fine = 3 * ((relax[32, 4] + 128) + (relax[64, 8] + 256) + (relax[32, 4] + 128))
    transfer = {c: c * 8 // 2 for c in (32, 64)}
    roles = {label: (parameters, macs) for label, parameters, macs in mgic.by("role")}
    assert roles == {
        "stem": (27 * 16 + 32, 1024 * 27 * 16),
        "coarsest": (3 * coarsest, 3 * relax[16, 1] * sum(pixels.values())),
        "shortcut": (9 * 32 + 64 + 9 * 64 + 128, 9 * 256 * 32 + 9 * 64 * 64),
        "relax": (fine, 3 * (256 * relax[32, 4] + 64 * (relax[64, 8] + relax[32, 4]))),
        "restrict": (
            3 * (transfer[32] + transfer[64] + transfer[32]),
            3 * (256 * transfer[32] + 64 * (transfer[64] + transfer[32])),
        ),
        "prolong": (
            3 * (transfer[32] + 64 + transfer[64] + 128 + transfer[32] + 64),
            3 * (256 * transfer[32] + 64 * (transfer[64] + transfer[32])),
        ),
        "head": (650, 640),
    }
    levels = {label: parameters for label, parameters, _ in mgic.by("level")}
    assert list(levels) == [0, 1, 2, "outside"]
    assert levels[2] == coarsest
    kinds = {label: parameters for label, parameters, _ in mgic.by("kind")}
    assert kinds["linear"] == 650
    assert kinds["depthwise conv"] == 9 * 32 + 9 * 64
    assert kinds["transfer"] == 2 * 3 * (2 * transfer[32] + transfer[64])
    assert kinds["grouped conv"] == fine - 3 * (128 + 256 + 128)
    assert set(kinds) == {"linear", "depthwise conv", "grouped conv", "dense conv", "norm", "transfer"}


def test_a_dense_network_is_one_level() -> None:
    counted = torchmg.count(torchmg.create("resnet20"))
    assert [label for label, *_ in counted.by("level")] == [0, "outside"]
    assert {label for label, *_ in counted.by("role")} == {"stem", "relax", "head"}


def test_shared_tensors_count_once_but_work_twice() -> None:
    layer = nn.Linear(8, 8)
    counted = torchmg.count(nn.Sequential(layer, nn.ReLU(), layer), (8,))
    assert (counted.parameters, counted.macs) == (72, 128)
    tied = nn.Sequential(nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False))
    tied[1].weight = tied[0].weight
    counted = torchmg.count(tied, (8,))
    assert (counted.parameters, counted.macs) == (64, 128)
    assert [row.parameters for row in counted.rows] == [64, 0]
    own, shared = (
        torchmg.count(torchmg.create("mgic_resnet20", transfer_weights=weights)) for weights in ("own", "transpose")
    )
    assert own.macs == shared.macs
    assert own.parameters - shared.parameters == 3 * (2 * 128 + 256)


def test_tables_csv_and_json_hold_the_same_numbers(mgic: Count) -> None:
    table = mgic.table("role")
    assert table.rows[-1][:2] == ["total", 104_890]
    assert "mgic_resnet20, input 3x32x32" in str(mgic)
    assert "25,670,272" in str(mgic)
    assert mgic.conventions in str(mgic)
    rows = list(csv.DictReader(io.StringIO(table.csv())))
    document = json.loads(table.json())
    assert [int(row["parameters"]) for row in rows] == [row["parameters"] for row in document["rows"]]
    assert [int(row["MACs"]) for row in rows[:-1]] == [macs for *_, macs in mgic.by("role")]
    shares = [float(row["share"].removesuffix("%")) for row in rows]
    assert shares[-1] == 100
    assert sum(shares[:-1]) == pytest.approx(100, abs=0.5)


# Side effects, wrong requests ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
def test_counting_leaves_the_model_as_it_was(training: bool) -> None:
    model = torchmg.create("mgic_resnet20", transfer_weights="transpose").train(training)
    calls: list[int] = []
    model.head.register_forward_hook(lambda *_: calls.append(1))
    hooks = {path: (len(m._forward_hooks), len(m._forward_pre_hooks)) for path, m in model.named_modules()}
    before = {key: value.clone() for key, value in model.state_dict().items()}
    identities = [id(p) for p in model.parameters()]
    random_state = torch.get_rng_state()
    torchmg.count(model)
    assert [id(p) for p in model.parameters()] == identities
    assert hooks == {path: (len(m._forward_hooks), len(m._forward_pre_hooks)) for path, m in model.named_modules()}
    assert all(m.training == training for m in model.modules())
    assert all(p.device.type == "cpu" and p.grad is None and p.requires_grad for p in model.parameters())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random_state)
    assert torch.is_grad_enabled()


def test_counting_allocates_no_data_and_keeps_nothing() -> None:
    with torch.device("meta"):
        huge = nn.Sequential(nn.Conv2d(3, 50_000, 3, padding=1), nn.Conv2d(50_000, 50_000, 3, padding=1))
    assert torchmg.count(huge, (3, 1000, 1000)).macs == 10**6 * (27 * 50_000 + 9 * 50_000**2)
    model = torchmg.create("mgic_resnet20")

    def tensors() -> int:
        gc.collect()
        return sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())

    torchmg.count(model)
    before = tensors()
    for _ in range(3):
        torchmg.count(model)
    assert tensors() == before


@pytest.mark.parametrize(
    ("shape", "error", "words"),
    [
        ((), UsageError, ["(3, 32, 32)", "()"]),
        ((3, 0, 32), UsageError, ["positive", "(3, 0, 32)"]),
        ((3, -1, 32), UsageError, ["positive", "-1"]),
        ((3, 32.0, 32), UsageError, ["positive", "32.0"]),
        ((1, 32, 32), ShapeError, ["(batch, 3, H, W)", "(1, 1, 32, 32)"]),
        ((32, 32, 3), ShapeError, ["channels-last"]),
        ((3, 32), ShapeError, ["(batch, 3, H, W)"]),
    ],
)
def test_impossible_inputs(shape: Shape, error: type[Exception], words: list[str]) -> None:
    with pytest.raises(error) as caught:
        torchmg.count(torchmg.create("resnet20"), shape)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_foreign_model_that_cannot_run_says_so() -> None:
    with pytest.raises(ShapeError, match=r"does not run on one sample of shape \(1, 8, 8\)"):
        torchmg.count(nn.Conv2d(3, 4, 3), (1, 8, 8))
    with pytest.raises(ShapeError, match="does not run"):
        torchmg.count(Function(lambda x: x if x.sum().item() > 0 else -x), (3,))


def test_an_unknown_breakdown_names_the_nearest(mgic: Count) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean level"):
        mgic.by("levels")


class ExtraWorkInTraining(nn.Linear):
    """Like networks with auxiliary heads."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return super().forward(y) if self.training else y


def test_what_is_counted_is_the_evaluation() -> None:
    assert torchmg.count(ExtraWorkInTraining(4, 4).train(), (4,)).macs == 16


@pytest.mark.parametrize("name", sorted(COUPLINGS))
def test_couplings_count_by_their_closed_forms_forward_and_back(name: str) -> None:
    class Symmetric(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.coupling = channel_coupling(name, 32, 32)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x - self.coupling.adjoint(self.coupling(x).relu())

    model = Symmetric()
    counted = torchmg.count(model, (32, 6, 5))
    assert counted.macs == counted.couplings == 2 * model.coupling.macs(6, 5)
    assert not counted.unknown
    assert "closed forms" in counted.conventions


def test_transforms_of_couplings_are_named() -> None:
    counted = torchmg.count(nn.Sequential(channel_coupling("circulant", 8, 8, evaluate="channel_fft")), (8, 4, 4))
    assert counted.couplings == counted.macs == 4 * 4 * (4 * 9 * 5 + round(2.5 * 8 * 3)) + round(9 * 1.25 * 8 * 3)
    assert 0 < counted.transforms < counted.macs
    assert "Fourier transforms" in counted.conventions
