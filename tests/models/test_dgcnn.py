"""Point cloud classifiers: the paper's architecture by its count, what they compute, and that they train and export."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import torchmg
from torchmg.errors import ShapeError, UnknownNameError, UsageError
from torchmg.models.dgcnn import DGCNN, dgcnn, mgic_dgcnn
from torchmg.nn import MGICBlock

BUILDERS = {"dense": dgcnn, "multigrid": mgic_dgcnn}
ALL = pytest.mark.parametrize(("kind", "conv"), [(kind, conv) for kind in BUILDERS for conv in ("edge", "diff")])


def small(kind: str, conv: str, **options: Any) -> DGCNN:
    torch.manual_seed(0)
    model = BUILDERS[kind](conv=conv, width=0.5, neighbours=6, **options)  # pyright: ignore[reportArgumentType]
    for _ in range(2):
        model(torch.randn(4, model.in_channels, 40))
    return model


def test_the_dense_network_has_the_papers_count() -> None:
    count = torchmg.count(dgcnn(), input=(3, 1024))
    assert sum(p.numel() for p in dgcnn().parameters()) == 63_882
    macs = {label: macs for label, _, macs in count.by("role")}
    assert macs["graph"] == 1024**2 * (3 + 5 * 64), "distances"
    assert macs["relax"] == 5 * 2 * 64 * 64 * 1024, "two maps a point, none an edge"
    assert macs["stem"] == 2 * 3 * 64 * 1024


def test_all_graph_convolutions_but_the_first_become_multigrid() -> None:
    model = mgic_dgcnn()
    assert sum(isinstance(module, MGICBlock) for module in model.modules()) == 5
    roles = {label for label, _, _ in torchmg.count(model, input=(3, 64)).by("role")}
    assert roles == {"graph", "stem", "relax", "coarsest", "restrict", "prolong", "shortcut", "head"}
    assert sum(p.numel() for p in model.parameters()) == 37_482


@ALL
def test_it_trains(kind: str, conv: str) -> None:
    model = small(kind, conv)
    model.zero_grad()
    nn.functional.cross_entropy(model(torch.randn(3, 3, 40)), torch.arange(3)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert all(p.grad is not None and p.grad.any() for name, p in model.named_parameters() if name.endswith("weight"))


@ALL
def test_the_order_of_points_and_the_company_of_clouds_are_of_no_account(kind: str, conv: str) -> None:
    model, x = small(kind, conv).double().eval(), torch.randn(3, 3, 40, dtype=torch.float64)
    y = model(x)
    assert y.shape == (3, 10)
    assert torch.allclose(model(x[:, :, torch.randperm(40)]), y, atol=1e-10)
    assert torch.allclose(model(x[1:2]), y[1:2], atol=1e-10)


def test_features_are_as_announced() -> None:
    model = small("multigrid", "diff", in_channels=6, num_classes=4)
    features = model.forward_features(torch.randn(2, 6, 40))
    assert [tuple(f.shape) for f in features] == [(2, info["num_chs"], 40) for info in model.feature_info]
    assert [f["module"] for f in model.feature_info] == [f"layers.{i}" for i in range(8)]
    assert {f["reduction"] for f in model.feature_info} == {1}
    assert "3 levels" in torchmg.info(mgic_dgcnn())


FILES = [("multigrid", "diff", "pt2")]
MORE = [("multigrid", "edge", "onnx"), ("multigrid", "diff", "onnx"), *(("dense", "edge", e) for e in ("onnx", "pt2"))]


@pytest.mark.parametrize(
    ("kind", "conv", "ending"), [*FILES, *(pytest.param(*case, marks=pytest.mark.slow) for case in MORE)]
)
def test_files_compute_what_the_network_does(kind: str, conv: str, ending: str, tmp_path: Path) -> None:
    exported = torchmg.export(small(kind, conv), tmp_path / f"net.{ending}", input=(3, 40))
    assert all(check.relative <= 1e-4 for check in exported.checks)


def test_what_cannot_be_is_explained() -> None:
    with pytest.raises(UsageError, match=r"20 neighbours among 16 points.*1 to 15"):
        dgcnn().eval()(torch.randn(2, 3, 16))
    with pytest.raises(UsageError, match=r"One cloud has no batch statistics.*eval"):
        dgcnn()(torch.randn(1, 3, 32))
    with pytest.raises(ShapeError, match="transpose"):
        dgcnn()(torch.randn(2, 32, 3))
    with pytest.raises(UnknownNameError, match="Did you mean edge"):
        dgcnn(conv="egde")  # pyright: ignore[reportArgumentType]
    with pytest.raises(UsageError, match="neighbours must be a whole number"):
        mgic_dgcnn(neighbours=0)
