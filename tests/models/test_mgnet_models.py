"""MgNet and MGiaD: published counts, closed forms of whole networks, the order of layers, options."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_model, save_model
from torch import Tensor, nn
from torch.nn import functional as F

import torchmg
from torchmg.errors import GroupError, UnknownNameError, UsageError
from torchmg.nn.mgnet import DataFeature
from torchmg.nn.sic import SiC
from torchmg.nn.transfer import Transfer
from torchmg.train.average import Average

WIDTHS = {18: (64, 128, 256, 256), 20: (16, 32, 64)}


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def counted(name: str, **options: Any) -> int:
    """Parameters of a model of which no number is drawn."""
    with torch.device("meta"):
        return parameters(torchmg.create(name, **options))


def fixed_part(widths: list[int], in_channels: int, classes: int) -> int:
    """Stem with its norm, both transfers between resolutions, head."""
    return 9 * in_channels * widths[0] + 2 * widths[0] + 18 * sum(widths[1:]) + (widths[-1] + 1) * classes


@settings(max_examples=15)
@given(
    depth=st.sampled_from([18, 20]),
    width=st.sampled_from([1, 2, 3]),
    coarsest=st.sampled_from([4, 8, 16, 32, 64]),
    group_size=st.sampled_from([1, 2, 4, 8, 16]),
    eta_pre=st.integers(0, 2),
    eta_post=st.integers(1, 3),
    in_channels=st.sampled_from([1, 3]),
    classes=st.sampled_from([10, 100]),
)
def test_mgiad_has_the_weights_of_the_closed_form(
    depth: int,
    width: int,
    coarsest: int,
    group_size: int,
    eta_pre: int,
    eta_post: int,
    in_channels: int,
    classes: int,
) -> None:
    widths = [width * c for c in WIDTHS[depth]]
    total = fixed_part(widths, in_channels, classes)
    for c in widths:
        fine = []
        while c // 2 >= coarsest and c % 2 == 0:
            fine.append(c)
            c //= 2
        groups = [min(group_size, f) for f in fine]
        assume(all(f % g == 0 for f, g in zip(fine, groups, strict=True)))
        total += 18 * (sum(f * g for f, g in zip(fine, groups, strict=True)) + c * c) + 5 * sum(fine)
        total += 4 * (eta_pre + eta_post) * (sum(fine) + c)
    assert total == counted(
        f"mgiad{depth}",
        width=width,
        coarsest=coarsest,
        group_size=group_size,
        eta_pre=eta_pre,
        eta_post=eta_post,
        in_channels=in_channels,
        num_classes=classes,
    )


@settings(max_examples=25)
@given(
    depth=st.sampled_from([18, 20]),
    width=st.sampled_from([1, 2]),
    group_size=st.sampled_from([None, 4, 8, 16, 64]),
    steps=st.integers(1, 3),
    share=st.sampled_from(["level", "A", "none"]),
    norms=st.sampled_from(["use", "level"]),
    fas=st.booleans(),
)
def test_mgnet_has_the_weights_of_the_closed_form(
    depth: int, width: int, group_size: int | None, steps: int, share: Any, norms: Any, fas: bool
) -> None:
    widths = [width * c for c in WIDTHS[depth]]
    total = fixed_part(widths, 3, 10) - (0 if fas else 9 * sum(widths[1:]))
    maps = {"level": 2, "A": 1 + steps, "none": 2 * steps}[share]
    for c in widths:
        total += 9 * maps * min(group_size or c, c) * c + 4 * (steps if norms == "use" else 1) * c
    options = {"width": width, "group_size": group_size, "steps": steps, "share": share, "norms": norms, "fas": fas}
    assert counted(f"mgnet{depth}", **options) == total


@pytest.mark.parametrize(
    ("name", "calls"), [("mgnet18", 28), ("mgiad18", 73)], ids=["2 steps with FAS", "coarsest 64, 1 + 1 steps"]
)
def test_calls_are_those_of_the_algorithm(name: str, calls: int) -> None:
    model, called = torchmg.create(name), []
    for module in model.modules():
        if isinstance(module, nn.Conv2d | Transfer):
            module.register_forward_hook(lambda module, *_: called.append(module))
    model(torch.randn(2, 3, 8, 8))
    assert len(called) == calls


def test_mgiad_is_algorithm_3() -> None:
    """Stem, then on each resolution the smoother, Pi u and R(f - A u) + A_c Pi u, from the modules' weights alone."""
    model = torchmg.create("mgiad20", group_size=4).double()
    x = torch.randn(3, 3, 12, 12, dtype=torch.float64)
    stem = F.conv2d(x, model.stem.conv.weight, padding=1)
    f = F.batch_norm(stem, None, None, training=True).relu()
    u = torch.zeros_like(f)
    features = []
    for level, smoother in enumerate(model.smoothers):
        assert isinstance(smoother, SiC)
        u = smoother(u, f)
        features.append(u)
        if level < 2:

            def data_map(v: Tensor, at: int) -> Tensor:
                relation = model.smoothers[at].finest
                return F.conv2d(v, relation.data_maps[0].weight, padding=1, groups=relation.groups)

            r, pi = model.restrict[level].conv.weight, model.project[level].conv.weight
            residual = f - data_map(u, level)
            u = F.conv2d(u, pi, stride=2, padding=1, groups=pi.shape[0] // 2)
            f = F.conv2d(residual, r, stride=2, padding=1, groups=r.shape[0] // 2) + data_map(u, level + 1)
    for got, expected in zip(model.forward_features(x), features, strict=True):
        assert torch.allclose(got, expected, atol=1e-10)
    assert torch.allclose(model(x), model.head(features[-1].mean((2, 3))), atol=1e-10)


def test_without_fas_each_resolution_starts_from_zero() -> None:
    model, seen = torchmg.create("mgnet20", fas=False), []
    for smoother in model.smoothers:
        smoother.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model(torch.randn(2, 3, 8, 8))
    assert len(seen) == 3
    assert seen == [None] * 3
    assert len(model.project) == 0


def test_he_and_xus_transfers_are_dense_normalised_and_rectified() -> None:
    model = torchmg.create("mgnet_hexu", width=1 / 16)
    assert {info["num_chs"] for info in model.feature_info} == {16}
    for transfer in (*model.restrict, *model.project):
        assert transfer.conv.groups == 1
        assert isinstance(transfer.norm, nn.BatchNorm2d)
    norms = 2 * 2 * 3 * 16
    assert parameters(model) == 9 * 3 * 16 + 2 * 16 + 4 * (18 * 16 * 16 + 8 * 16) + 6 * 9 * 16 * 16 + norms + 17 * 10


@pytest.mark.parametrize("name", ["mgnet20", "mgiad20"])
@pytest.mark.parametrize("smoother", ["jacobi", "chebyshev", "learned"])
def test_with_a_polynomial_a_level_needs_one_map_only(name: str, smoother: str) -> None:
    conv, polynomial = torchmg.create(name), torchmg.create(name, smoother=smoother, degree=3)
    weights = [
        sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Conv2d) and m.stride == (1, 1))
        for model in (conv, polynomial)
    ]
    stem = 9 * 3 * 16
    assert weights[1] - stem == (weights[0] - stem) / 2
    loss = nn.functional.cross_entropy(polynomial(torch.randn(4, 3, 16, 16)), torch.arange(4))
    loss.backward()
    assert all(p.grad is not None and p.grad.any() for p in polynomial.parameters())


SHARING = [{"cycle": "W"}, {"cycle": "F", "transfer_norm": "both"}, {"share": "A"}]
WAYS = ["deepcopy", "state dict", "safetensors", "average", "export", "compile"]


@pytest.mark.parametrize(
    ("way", "options"),
    [
        pytest.param(
            way,
            options,
            marks=[pytest.mark.slow] if way == "compile" or (way == "export" and options != SHARING[0]) else [],
        )
        for way in WAYS
        for options in SHARING
    ],
)
def test_shared_tensors_stay_shared(options: dict[str, Any], way: str, tmp_path: Path) -> None:
    """The copy has as many parameters, and changing one of A's or R's weights changes the same uses."""
    options = {"coarsest": 4, "group_size": 4, "width": 0.25, **options}
    model = torchmg.create("mgiad20", **options)
    x = torch.randn(4, 3, 16, 16)
    model(x)
    model.eval()
    if way == "export":
        exported = torch.export.export(model, (x,)).module()
        assert len({p.data_ptr() for p in exported.parameters()}) == len(list(model.parameters()))
        assert torch.allclose(exported(x), model(x), atol=1e-5)
        return
    if way == "compile":
        torch._dynamo.reset()
        twin = torch.compile(copy.deepcopy(model), fullgraph=True, backend="aot_eager")
        copied = getattr(twin, "_orig_mod")  # noqa: B009 (torch does not declare it)
    elif way == "average":
        copied = twin = Average(model, 0.5).module
    elif way == "deepcopy":
        copied = twin = copy.deepcopy(model)
    else:
        copied = twin = torchmg.create("mgiad20", **options).eval()
        if way == "state dict":
            twin.load_state_dict(model.state_dict())
        else:
            save_model(model, str(tmp_path / "weights"))
            load_model(twin, str(tmp_path / "weights"))
    assert parameters(copied) == parameters(model)
    with torch.no_grad():
        for net in (model, copied):
            for smoother in net.smoothers:
                for transfer in (*smoother.restrict, *smoother.prolong):
                    transfer.rows.mul_(1.5)
                for relation in smoother.relax:
                    assert isinstance(relation, DataFeature)
                    relation.data_maps[0].weight.mul_(0.5)
    assert torch.allclose(twin(x), model(x), atol=1e-5)


def test_steps_of_a_level_have_one_map() -> None:
    model = torchmg.create("mgiad20")
    names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    assert len(names) == len(set(names)) == len(list(model.parameters()))


@pytest.mark.parametrize(
    ("name", "options", "error", "words"),
    [
        ("mgnet20", {"group_size": 3}, UsageError, ["group_size=3", "width of 16", "nearest that does: 2"]),
        ("mgnet20", {"group_size": 0}, UsageError, ["at least 1", "0"]),
        ("mgnet20", {"steps": 0}, UsageError, ["steps", "at least 1"]),
        ("mgnet20", {"width": 0.01}, UsageError, ["width=0.01", "use at least"]),
        ("mgiad20", {"width": float("nan")}, UsageError, ["finite"]),
        ("mgiad20", {"coarsest": 0}, UsageError, ["coarsest", "at least 1"]),
        ("mgiad20", {"degree": 7, "smoother": "jacobi"}, UsageError, ["degree", "7"]),
        ("mgiad20", {"num_classes": 0}, UsageError, ["num_classes", "at least 1"]),
        ("mgiad20", {"grid_transfer": "deep"}, UnknownNameError, ["grid_transfer='deep'", "Did you mean dense"]),
        ("mgiad20", {"steps": 2}, UnknownNameError, ["no option 'steps'"]),
        ("mgnet20", {"eta_pre": 1}, UnknownNameError, ["no option 'eta_pre'"]),
    ],
)
def test_impossible_options_are_explained(
    name: str, options: dict[str, Any], error: type[Exception], words: list[str]
) -> None:
    with pytest.raises(error) as caught:
        torchmg.create(name, **options)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert not isinstance(caught.value, GroupError)
