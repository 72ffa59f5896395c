"""`torchmg.convert`: what survives, what compiles and exports, what is refused, and in which words."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import torchmg
from tests.conversion.drawn_networks import BATCH_NORMS, CONVS, Residual, run
from torchmg import MGIC, Circulant, Lean
from torchmg.conversion.block import MultigridBlock
from torchmg.conversion.convert import convert, convert_stepwise
from torchmg.conversion.regress import match
from torchmg.conversion.schemes import Scheme
from torchmg.conversion.units import OnLastAxis
from torchmg.errors import ShapeError, TorchmgError, UsageError
from torchmg.nn.additive import MultigridLayer
from torchmg.nn.coupling import ChannelCoupling


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few steps of matching show what is asked here."""
    monkeypatch.setattr("torchmg.conversion.carry_out.match", partial(match, steps=4))


def small(dims: int = 2) -> nn.Sequential:
    """Stem, a layer, a block, a head."""
    conv, batch_norm = CONVS[dims], BATCH_NORMS[dims]
    body = [conv(3, 16, 3, padding=1), conv(16, 32, 3, padding=1, bias=False), batch_norm(32), nn.ReLU()]
    pool = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}[dims]
    return nn.Sequential(*body, Residual(32, 32, dims), pool(1), nn.Flatten(), nn.Linear(32, 16), nn.Linear(16, 10))


SIZES = MGIC(group_size=4, coarsest=8, blocks=True)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_converted_network_compiles_and_exports_with_any_batch(dims: int) -> None:
    net, _ = convert(small(dims).eval(), SIZES)
    x = torch.randn(3, 3, *(4,) * dims)
    y = run(net, x)
    graph = torch.compile(net, backend="aot_eager", fullgraph=True)
    with torch.no_grad():
        assert torch.allclose(graph(x), y, atol=1e-5)
    dynamic = ({0: torch.export.Dim("batch", min=1, max=64)},)
    exported = torch.export.export(net, (x,), dynamic_shapes=dynamic).module()
    more = torch.randn(7, 3, *(4,) * dims)
    assert torch.allclose(exported(more), run(net, more), atol=1e-5)


@pytest.mark.parametrize("scheme", [SIZES, Circulant(4)], ids=str)
def test_linear_layers_take_any_axes_before_the_last_also_when_exported(scheme: Scheme) -> None:
    net, _ = convert(
        nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16)).eval(), scheme, stem=True, head=True
    )
    x = torch.randn(2, 5, 16)
    dynamic = ({0: torch.export.Dim("batch", max=64), 1: torch.export.Dim("tokens", max=64)},)
    exported = torch.export.export(net, (x,), dynamic_shapes=dynamic).module()
    more = torch.randn(3, 7, 16)
    assert torch.allclose(exported(more), run(net, more), atol=1e-5)
    flat = run(net, more.flatten(0, 1))
    assert torch.allclose(run(net, more).flatten(0, 1), flat, atol=1e-5)
    assert torch.allclose(run(net, more[0, 0]), flat[0], atol=1e-5)
    assert run(net, more[:0]).shape == (0, 7, 16)


def test_converting_again_says_that_it_is_converted() -> None:
    net, _ = convert(small(), SIZES)
    with pytest.raises(UsageError, match=r"multigrid layers and blocks in it already.*undo"):
        convert(net, SIZES)
    layer, _ = convert(nn.Linear(16, 16), SIZES)
    with pytest.raises(UsageError, match="is one multigrid layer or block in it already"):
        convert(layer, SIZES)


def test_nothing_eligible_names_what_was_seen_and_what_would_match() -> None:
    with pytest.raises(UsageError, match=r"no layer of torch that mixes channels. What matches: nn.Linear") as error:
        convert(nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3)))
    assert "nn.Conv1d/2d/3d" in str(error.value)
    grouped = nn.Sequential(nn.Conv2d(16, 16, 3, groups=4), nn.Conv2d(16, 16, 3, groups=16), nn.Linear(7, 7))
    with pytest.raises(UsageError, match="2 Conv2d, 1 Linear") as error:
        convert(grouped, head=True)
    for words in ("grouped already (4 groups)", "depthwise", "has no half", "What matches"):
        assert words in str(error.value)
    with pytest.raises(UsageError, match="`where` leaves it out"):
        convert(small(), where=lambda name, module: False)
    with pytest.raises(UsageError, match=r"with stem=True, head=True those ends too"):
        convert(nn.Sequential(nn.Conv2d(3, 16, 3), nn.Flatten(), nn.Linear(16, 10)))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scheme", [SIZES, MGIC(4, 8, blocks=False), Lean(), Circulant()], ids=str)
def test_type_format_mode_freezing_and_hooks_survive(dtype: torch.dtype, scheme: Scheme) -> None:
    net = small().to(dtype, memory_format=torch.channels_last).train()
    net[4].eval()
    net[1].requires_grad_(False)
    calls: list[str] = []
    handle = net[1].register_forward_hook(lambda module, args, output: calls.append(type(module).__name__))
    x = torch.randn(2, 3, 6, 6).to(dtype, memory_format=torch.channels_last)
    new, report = convert(net, scheme, data=[x])
    assert new[0].training
    assert not any(module.training for module in new[4].modules())
    assert type(new[1]) is not nn.Conv2d
    assert new[1].training
    assert not any(p.requires_grad for p in new[1].parameters())
    assert all(p.requires_grad for p in new[4].parameters())
    assert {t.dtype for t in (*new.parameters(), *new.buffers()) if t.is_floating_point()} == {dtype}
    for parameter in new.parameters():
        assert parameter.dim() != 4 or parameter.is_contiguous(memory_format=torch.channels_last)
    calls.clear()
    assert run(new, x).dtype == dtype
    assert len(calls) == 1
    assert calls[0] == type(new[1]).__name__
    report.undo(new)
    calls.clear()
    run(new, x)
    assert calls == ["Conv2d"]
    handle.remove()  # the user's own handle is of the network that was given, which is as it was
    calls.clear()
    run(net, x)
    assert calls == []


def test_a_users_handle_removes_the_hook_from_what_came_in_place() -> None:
    net, calls = small().eval(), []
    handle = net[1].register_forward_hook(lambda *_: calls.append(1))
    convert(net, SIZES, inplace=True)
    run(net, torch.randn(1, 3, 6, 6))
    assert calls == [1]
    handle.remove()
    run(net, torch.randn(1, 3, 6, 6))
    assert calls == [1]


def test_projection_is_as_exact_as_the_type_of_the_network() -> None:
    source = MultigridLayer(torchmg.nn.layer_shape.LayerShape(0, 32, 32), group_size=4, coarsest=8).double()
    dense = nn.Linear(32, 32, bias=False).double()
    dense.weight.data.copy_(source.dense_weight())
    x = torch.randn(4, 32, dtype=torch.float64)
    net, report = convert(dense, MGIC(4, 8, permute=False))
    assert isinstance(net, MultigridLayer)
    assert report.replaced[0].fit_error < 1e-10
    assert torch.allclose(run(net, x), run(dense, x), rtol=0, atol=1e-9)


@pytest.mark.parametrize("data", [False, True])
@pytest.mark.parametrize("budget", [{}, {"ratio": 1.5}], ids=["sizes", "budget"])
@pytest.mark.parametrize("root", [lambda: nn.Linear(32, 64), lambda: Residual(32, 32)], ids=["layer", "block"])
def test_the_root_may_be_the_layer_or_block_itself(root: Callable[[], nn.Module], budget: Any, data: bool) -> None:
    net = root().eval()
    x = torch.randn(4, 32) if isinstance(net, nn.Linear) else torch.randn(4, 32, 5, 5)
    y = run(net, x)
    for warm in ("project", "match") if data else ("project",):
        new, report = convert(
            net, MGIC(blocks=True) if budget else SIZES, **budget, data=[x] if data else None, warm_start=warm
        )
        assert isinstance(new, (MultigridLayer, MultigridBlock))
        assert report.replaced[0].site.path == ""
        assert "(root)" in str(report)
        assert run(new, x).shape == y.shape
        assert type(report.undo(new)) is type(net)
        if budget and data:
            assert report.replaced[0].loss > 0
    inplace, report = convert(net, SIZES, inplace=True)
    assert report.undo(inplace) is net
    assert torch.equal(run(net, x), y)


def test_filters_ends_and_blocks() -> None:
    net = small().eval()
    kinds = lambda report: {c.site.path: c.site.kind for c in report.replaced}  # noqa: E731
    assert kinds(convert(net, SIZES)[1]) == {"1": "conv", "4": "residual", "7": "linear"}
    assert kinds(convert(net, MGIC(4, 8), warm_start="none")[1]) == kinds(convert(net, SIZES)[1])
    layers = convert(net, MGIC(4, 8))[1]
    assert layers == convert(net, MGIC(4, 8, blocks=False))[1], "what is only projected"
    assert kinds(layers) == {"1": "conv", "4.a": "conv", "4.b": "conv", "7": "linear"}
    only = convert(net, SIZES, where=lambda name, module: isinstance(module, nn.Conv2d) and name.startswith("4"))[1]
    assert set(kinds(only)) == {"4.a", "4.b"}
    assert any(skip.reason == "`where` leaves it out" for skip in only.skipped)
    wide = nn.Sequential(nn.Conv2d(8, 16, 3), nn.Conv2d(16, 16, 3), nn.Flatten(), nn.Linear(16, 8))
    assert set(kinds(convert(wide, MGIC(2, 4))[1])) == {"1"}
    assert set(kinds(convert(wide, MGIC(2, 4), stem=True)[1])) == {"0", "1"}
    assert set(kinds(convert(wide, MGIC(2, 4), head=True)[1])) == {"1", "3"}


def test_couplings_take_what_they_can_and_say_what_they_cannot() -> None:
    parts = {
        "linear": nn.Linear(16, 32),
        "strided": nn.Conv2d(16, 32, 3, stride=2, padding=1),
        "transposed": nn.ConvTranspose2d(16, 16, 2, stride=2),
        "even": nn.Conv2d(16, 16, 2),
        "oblong": nn.Conv2d(16, 16, (3, 1), padding=(1, 0)),
        "strides": nn.Conv2d(16, 16, 3, stride=(2, 1), padding=1),
        "dilated": nn.Conv2d(16, 16, 3, padding=2, dilation=2),
        "valid": nn.Conv2d(16, 16, 3),
        "reflect": nn.Conv2d(16, 16, 3, padding=1, padding_mode="reflect"),
        "coprime": nn.Conv2d(16, 9, 3, padding=1),
        "point": nn.Conv2d(16, 16, 1, stride=2),
        "circular": nn.Conv1d(16, 16, 5, padding=2, padding_mode="circular"),
    }
    net = nn.ModuleDict(parts)
    lean, report = convert(net, Lean(), stem=True, head=True)
    assert {c.site.path for c in report.replaced} == {"strided", "circular"}
    reasons = {skip.path: skip.reason for skip in report.skipped}
    expected = {
        "linear": "one tap",
        "transposed": "no transposed form",
        "even": "odd kernels",
        "oblong": "odd kernels of one size",
        "strides": "one stride",
        "dilated": "no dilation",
        "valid": "keep the resolution",
        "reflect": "zeros or periodically",
        "point": "one tap",
        "coprime": "no fewer",
    }
    assert reasons.keys() == expected.keys()
    assert all(words in reasons[name] for name, words in expected.items())
    circulant, report = convert(net, Circulant(4), stem=True, head=True)
    assert {c.site.path for c in report.replaced} == {"linear", "strided", "point", "circular"}
    assert "no common divisor" in {skip.path: skip.reason for skip in report.skipped}["coprime"]
    assert isinstance(circulant["linear"], OnLastAxis)
    inputs = {"linear": (5, 16), "circular": (16, 9)}
    for made in (lean, circulant):
        for name, module in made.items():
            if isinstance(module, (OnLastAxis, ChannelCoupling)):
                x = torch.randn(2, *inputs.get(name, (16, 7, 7)))
                assert module(x).shape == parts[name](x).shape


@pytest.mark.parametrize("scheme", [MGIC(4, 8), Lean(), Circulant(2)], ids=str)
def test_what_stands_in_is_called_as_torch_calls_its_layers(scheme: Scheme) -> None:
    class Caller(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.linear = nn.Conv1d(16, 16, 3, padding=1), nn.Linear(16, 16)

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(input=self.conv(input=x).mT)

    x = torch.randn(2, 16, 6)
    net, report = convert(Caller(), scheme, stem=True, head=True, data=[x], warm_start="match")
    assert run(net, x).shape == (2, 6, 16)
    assert all(change.output_error is not None for change in report.replaced)
    if isinstance(net.conv, MultigridLayer):
        assert run(net.conv, x[0]).shape == (16, 6)  # without a batch


class Several(nn.Module):
    """Takes tokens and, or, a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.inner, self.out = nn.Embedding(20, 32), nn.Linear(32, 64), nn.Linear(64, 32)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> dict[str, Any]:
        x = self.embed(tokens)
        x = x if mask is None else x * mask[..., None]
        return {"loss": None, "logits": self.out(self.inner(x).relu())}


TOKENS, MASK = torch.arange(12).reshape(2, 6), torch.ones(2, 6)


@pytest.mark.parametrize(
    "example",
    [TOKENS, (TOKENS, MASK), [TOKENS], {"tokens": TOKENS, "mask": MASK}, {"tokens": TOKENS.to("meta")}],
    ids=["tensor", "tuple", "list", "dict", "meta"],
)
def test_macs_are_counted_for_whatever_a_network_takes(example: Any) -> None:
    dense = 6 * 2 * 32 * 64
    net, report = convert(Several(), max_macs=dense // 2, example_input=example, head=True)
    assert report.before.macs == dense
    assert report.after.macs <= dense // 2
    _, again = convert(Several(), SIZES, example_input=example)
    assert again.before.macs == dense
    assert net(TOKENS)["logits"].shape == (2, 6, 32)


def test_data_come_in_every_usual_form() -> None:
    dicts = [{"tokens": TOKENS, "mask": MASK}]
    for data in (dicts, dicts[0], [TOKENS], TOKENS, [(TOKENS, TOKENS)], [[TOKENS, TOKENS]], iter([TOKENS])):
        _, report = convert(Several(), ratio=1.5, data=data, head=True)
        assert all(change.output_error is not None for change in report.replaced)
    for data, words in (([], "gave no batch"), ([3], "got int"), (["text"], "got str")):
        with pytest.raises(UsageError, match=words):
            convert(Several(), SIZES, data=data)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(TOKENS, MASK), batch_size=1)
    steps = list(convert_stepwise(Several(), SIZES, data=iter(loader), head=True, steps=2))
    assert [len(report.replaced) for _, report in steps] == [1, 1]


def test_requests_that_make_no_sense_say_what_does() -> None:
    net = small()
    cases: list[tuple[dict[str, Any], str]] = [
        ({"warm_start": "match"}, "needs data"),
        ({"warm_start": "projekt"}, "project"),
        ({"ratio": 2, "max_params": 10}, "one budget"),
        ({"max_macs": 10}, "needs example_input"),
        ({"ratio": 0.5}, "above 1"),
        ({"max_params": 10}, "least that can be reached"),
        ({"max_params": 10**9}, "within the budget as it is"),
        ({"example_input": (3, 32, 32)}, "no tensor"),
    ]
    for options, words in cases:
        with pytest.raises(TorchmgError, match=words):
            convert(net, **options)
    with pytest.raises(ShapeError, match="does not run on this example_input"):
        convert(net, example_input=torch.randn(1, 5, 8, 8))
    with pytest.raises(UsageError, match=r"torch.nn.Module; got str"):
        convert("resnet18")  # pyright: ignore[reportArgumentType]
    with pytest.raises(UsageError, match=r"MGIC\(\), Lean\(\) or Circulant\(\)"):
        convert(net, "mgic")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("scheme", [MGIC(), Lean(), Circulant()], ids=str)
def test_on_the_meta_device_everything_but_fitting_works(scheme: Scheme) -> None:
    with torch.device("meta"):
        net = small()
    x = torch.randn(2, 3, 8, 8)
    for options in ({"ratio": 1.3}, {"ratio": 1.3, "data": [x]}, {"ratio": 1.3, "data": [x], "warm_start": "match"}):
        new, report = convert(net, scheme, **options)
        assert all(parameter.is_meta for parameter in new.parameters())
        assert report.after.params <= report.before.params / 1.3
        assert all(change.fit_error is None and change.output_error is None for change in report.changes)
    macs = convert(net, scheme, example_input=x)[1]
    assert macs.before.macs > 0
    if isinstance(scheme, MGIC):
        real, on_real = convert(small(), MGIC(blocks=False), ratio=1.3, example_input=x.to("meta"))
        assert on_real.before == macs.before
        assert run(real, x).shape == (2, 10)


def test_networks_that_ask_for_values_are_observed_with_values() -> None:
    class Asks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.scale = small(), torch.ones(1)  # no buffer, so it stays where it is

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x * self.scale) if x.abs().sum().item() > 0 else x

    x = torch.randn(2, 3, 8, 8)
    _, report = convert(Asks().eval(), SIZES, example_input=x)
    _, plain = convert(small().eval(), SIZES, example_input=x)
    assert (report.before, report.after) == (plain.before, plain.after)


def test_a_network_that_cannot_be_copied_can_be_changed_in_place() -> None:
    net = small()
    net.noise = torch.ones(1, requires_grad=True) * 2  # no leaf
    with pytest.raises(UsageError, match="inplace=True"):
        convert(net, SIZES)
    with pytest.raises(UsageError, match="without example_input and data"):
        convert(net, SIZES, data=[torch.randn(2, 3, 8, 8)], inplace=True)
    assert convert(net, SIZES, inplace=True)[0] is net


def test_steps_follow_the_plan_of_the_whole() -> None:
    net, x = small().eval(), torch.randn(2, 3, 8, 8)
    y = run(net, x)
    whole = {tuple(change["paths"]) for change in convert(net, SIZES)[1].plan()["changes"]}
    done = [report for _, report in convert_stepwise(net, SIZES, steps=3)]
    assert {c.site.paths for report in done for c in report.replaced} == whole
    assert torch.equal(run(net, x), y)
