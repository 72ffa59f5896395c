"""What is asked of a conversion of a real network: it runs forward, backward and in torch.export, and can be undone."""

import copy
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import torchmg
from torchmg.conversion.convert import apply_plan
from torchmg.models.user import build

pytestmark = pytest.mark.filterwarnings("ignore")  # torch.export's and the libraries' own

ROOT = Path(__file__).parents[2]


def script(name: str) -> ModuleType:
    """A script of benchmarks/ as a module; what stands under `__main__` does not run."""
    spec = spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


zoo = script("convert_zoo")
TRANSFORMER: dict[str, Any] = {"img_size": 32, "embed_dim": 32, "depth": 1, "num_heads": 2}
SMALL: dict[str, tuple[str, dict[str, Any], float]] = {
    "unet": (str(ROOT / "examples" / "unet.py:unet"), {"width": 16, "depth": 2}, 0.9),
    "resnet": ("timm:resnet18", {"channels": (16, 16, 32, 32), "stem_width": 16, "layers": (2, 1, 1, 1)}, 0.9),
    "convnext": ("timm:test_convnext", {}, 0.9),
    "efficientnet": ("timm:test_efficientnet", {}, 0.7),
    "vit": ("timm:vit_tiny_patch16_224", TRANSFORMER, 0.9),
    "beit": ("timm:beit_base_patch16_224", TRANSFORMER, 0.7),  # its qkv is read
}
"""Name -> what to build, with which options, and the least share of its parameters that converts."""


def good(row: dict[str, Any], share: float) -> None:
    """All that was asked holds, and the network became smaller."""
    assert {name: row[name] for name in zoo.STEPS} == dict.fromkeys(zoo.STEPS, zoo.YES)
    assert row["share"] >= share
    assert row["after"] < row["before"]
    assert row["layers"] + row["blocks"] > 0


@pytest.mark.parametrize("name", SMALL)
def test_small_networks(name: str) -> None:
    spec, options, share = SMALL[name]
    row: dict[str, Any] = {}
    zoo.check(build(spec, **options), torch.randn(2, 3, 32, 32), row)
    good(row, share)


def test_a_plan_builds_the_same_network_again() -> None:
    spec, options, _ = SMALL["resnet"]
    model, x = build(spec, **options).eval(), torch.randn(2, 3, 32, 32)
    net, report = torchmg.convert(model, torchmg.MGIC(group_size=4, coarsest=8))
    again = apply_plan(copy.deepcopy(model), report.plan())
    again.load_state_dict(net.state_dict())
    assert torch.equal(again.eval()(x), net.eval()(x))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_dtypes_survive(dtype: torch.dtype) -> None:
    spec, options, _ = SMALL["resnet"]
    model, x = build(spec, **options).to(dtype).eval(), torch.randn(2, 3, 32, 32, dtype=dtype)
    net, report = torchmg.convert(model, torchmg.MGIC(group_size=4, coarsest=8), example_input=x)
    y = net(x)
    assert y.dtype == dtype
    assert y.isfinite().all()
    assert 0 < report.after.macs < report.before.macs


class Tokens(nn.Sequential):
    """A classifier of texts, which takes whole numbers."""

    def __init__(self) -> None:
        super().__init__(nn.Embedding(10, 32), nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64), nn.Linear(64, 2))


def test_tokens_are_an_example() -> None:
    ids = torch.randint(10, (2, 5))
    net, report = torchmg.convert(Tokens(), torchmg.MGIC(group_size=4, coarsest=8), example_input=ids)
    assert net(ids).shape == (2, 5, 2)
    assert report.before.macs == 5 * (32 * 64 + 64 * 64 + 64 * 2)


class Half(nn.Module):
    """Of whose layers one gets no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.last = nn.Linear(8, 16), nn.Linear(16, 2)
        self.cut, self.free = nn.Linear(16, 16), nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.last(self.free(x) + self.cut(x).detach())


def test_what_does_not_work_is_told() -> None:
    row: dict[str, Any] = {}
    zoo.check(Half(), torch.randn(2, 8), row)
    assert row["backward"].endswith("parameters without a finite gradient, such as cut.bias")
    assert row["forward"] == row["export"] == row["undo"] == zoo.YES
    missing = zoo.checked(zoo.Network("timm:no_such_network", (3, 8, 8)), 60)
    assert missing["error"].startswith("UnknownNameError: timm has no model 'no_such_network'")
    slow = zoo.checked(zoo.Network("torchvision:resnet152", (3, 512, 512)), 1)
    assert slow["error"] == "longer than 1 s"


@pytest.mark.slow
@pytest.mark.parametrize(
    "spec",
    [
        *("torchvision:mobilenet_v3_small", "torchvision:shufflenet_v2_x1_0", "torchvision:lraspp_mobilenet_v3_large"),
        *("timm:efficientnet_b0", "timm:poolformer_s12", "timm:dla34", "timm:coatnet_nano_rw_224"),
        "torchvision:mc3_18",
    ],
)
def test_networks_of_the_table(spec: str) -> None:
    row = zoo.checked(next(network for network in zoo.NETWORKS if network.spec == spec), 600)
    assert "error" not in row
    good(row, 0.9)
