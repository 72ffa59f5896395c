"""Recording and matching: what layers met is kept as it was, and nothing but units and statistics changes."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from torchmg import MGIC
from torchmg.conversion.convert import convert
from torchmg.conversion.observe import evaluating, observe, recorded, undisturbed
from torchmg.conversion.regress import match, output_errors, reestimate_norms
from torchmg.conversion.sites import find_sites
from torchmg.errors import DivergedError

SIZES = MGIC(group_size=4, coarsest=8)


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few steps show what is asked here."""
    monkeypatch.setattr("torchmg.conversion.carry_out.match", partial(match, steps=16))


def convolutional(width: int = 16) -> nn.Sequential:
    """As VGG: activations overwrite what layers gave."""
    return nn.Sequential(
        *(nn.Conv2d(3, width, 3, padding=1), nn.ReLU(inplace=True)),
        *(nn.Conv2d(width, 32, 3, padding=1), nn.ReLU(inplace=True)),
        *(nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(inplace=True), nn.Dropout(0.5)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)),
    )


class Named(nn.Module):
    """Calls one layer twice, one by keyword, and one never; changes an input in place."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.twice, self.named = nn.Linear(8, 16), nn.Linear(16, 16), nn.Linear(16, 32)
        self.never, self.out = nn.Linear(16, 16), nn.Linear(32, 4)
        self.norm, self.idle = nn.BatchNorm1d(16), nn.BatchNorm1d(16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.twice(self.twice(self.norm(self.embed(x))).relu_())
        y = self.named(input=x)
        x.zero_()
        return self.out(y.relu_())


def matched(net: nn.Module, x: Any, **options: Any) -> tuple[nn.Module, Any]:
    return convert(net, SIZES, warm_start="match", data=[x], **options)


def test_what_is_recorded_is_what_layers_saw_and_gave() -> None:
    net = convolutional().eval()
    x = torch.randn(2, 3, 6, 6)
    layers = [net[0], net[2], net[4]]
    with torch.no_grad(), recorded(layers) as pairs:
        net(x)
    z = x
    with torch.no_grad():
        for layer, calls in zip(layers, pairs, strict=True):
            ((seen, given),) = calls
            assert torch.equal(seen, z)
            assert torch.equal(given, layer(z))
            z = given.relu()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())

    named = Named().eval()
    with torch.no_grad(), recorded([named.twice, named.named, named.never]) as pairs:
        named(x[:, 0].reshape(-1, 36)[:, :8])
    assert [len(calls) for calls in pairs] == [2, 1, 0]
    for layer, calls in zip([named.twice, named.named], pairs, strict=False):
        assert all(torch.allclose(layer(seen), given) for seen, given in calls)
    assert bool(pairs[1][0][0].any())


def test_a_users_hooks_are_part_of_what_is_learnt() -> None:
    net = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 16)).eval()
    net[0].register_forward_pre_hook(lambda module, args: (args[0] + 3,))
    net[0].register_forward_hook(lambda module, args, output: output * 2)
    x = torch.randn(32, 16)
    new, report = matched(net, x, stem=True, where=lambda name, module: name == "0")
    with torch.no_grad():
        expected = (new[0](x) - net[0](x)).norm() / net[0](x).norm()
    assert report.replaced[0].output_error == pytest.approx(expected.item(), rel=1e-5)
    _, projected = convert(net, SIZES, stem=True, where=lambda name, module: name == "0", data=[x])
    assert report.replaced[0].output_error < projected.replaced[0].output_error


def test_sizes_are_of_all_calls() -> None:
    net = Named().eval()
    sites, _ = find_sites(net, stem=True, head=True)
    x = torch.randn(6, 8)
    seen = observe(net, {site.path: -1 for site in sites}, x)
    assert {path: met.inside for path, met in seen.items()} == {
        "embed": 1,
        "twice": 2,
        "named": 1,
        "never": 0,
        "out": 1,
    }


def test_units_that_are_never_called_keep_their_projection() -> None:
    net, x = Named(), torch.randn(32, 8)
    net.idle.running_mean.fill_(3)
    projected, _ = convert(net, SIZES)
    new, report = matched(net, x)
    found = {change.site.path: change.output_error for change in report.replaced}
    assert found.pop("never") is None
    assert all(error is not None and error < 0.9 for error in found.values())
    for ours, theirs in zip(new.never.parameters(), projected.never.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert bool((new.idle.running_mean == 3).all())
    assert "never" in str(report)


def test_modes_generators_and_dropout_are_left_alone() -> None:
    net, x = convolutional().train(), torch.randn(8, 3, 6, 6)
    net[5].eval()
    modes = [module.training for module in net.modules()]
    built, _ = convert(net, SIZES, warm_start="project")
    torch.manual_seed(7)
    convert(net, SIZES, warm_start="none")
    after_building = torch.get_rng_state()
    torch.manual_seed(7)
    new, report = matched(net, x)
    # Nothing is drawn but what fresh units draw.
    assert torch.equal(torch.get_rng_state(), after_building)
    assert [module.training for module in net.modules()] == modes
    assert new.training
    assert new[7].training
    assert not new[5].training
    assert all(module.training for path in ("2", "4") for module in new.get_submodule(path).modules())
    assert all(parameter.grad is None for parameter in (*net.parameters(), *new.parameters()))
    # With dropout on, layers after it could not be matched; without, the same comes out twice.
    torch.manual_seed(7)
    again, _ = matched(net, x)
    assert all(torch.equal(a, b) for a, b in zip(new.state_dict().values(), again.state_dict().values(), strict=True))
    # What is no unit and no statistic is untouched.
    for name in ("0.weight", "5.weight", "10.weight"):
        assert torch.equal(new.state_dict()[name], net.state_dict()[name])
    assert built.training
    assert report.undo(new).training


def test_generators_stay_where_forwards_draw_in_any_mode() -> None:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 16), nn.Linear(16, 4))

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x + 1e-3 * torch.randn_like(x))

    net, x = Noisy(), torch.randn(16, 8)
    torch.manual_seed(7)
    convert(net, SIZES, warm_start="none")
    expected = torch.get_rng_state()
    torch.manual_seed(7)
    matched(net, x)
    assert torch.equal(torch.get_rng_state(), expected)
    torch.manual_seed(7)
    expected = torch.get_rng_state()
    convert(net, ratio=1.2, data=[x], dry_run=True)
    assert torch.equal(torch.get_rng_state(), expected)
    with undisturbed(net):
        torch.randn(3)
    assert torch.equal(torch.get_rng_state(), expected)


def test_statistics_are_those_of_one_big_batch() -> None:
    net, x = convolutional().eval(), torch.randn(256, 3, 6, 6)
    one, many = (convolutional().eval() for _ in range(2))
    for other in (one, many):
        other.load_state_dict(net.state_dict())
    one[5].momentum = many[5].momentum = 0.3
    reestimate_norms(one, [x])
    reestimate_norms(many, list(x.split(32)))
    with torch.no_grad():
        reached = net[:5](x)
    mean, variance = reached.mean((0, 2, 3)), reached.var((0, 2, 3))
    assert torch.allclose(one[5].running_mean, mean, atol=1e-5)
    assert torch.allclose(one[5].running_var, variance, rtol=1e-4)
    assert torch.allclose(many[5].running_mean, mean, atol=1e-5)
    assert torch.allclose(many[5].running_var, variance, rtol=0.03)
    assert many[5].momentum == 0.3
    assert not many[5].training
    # Of batches that the network does not take nothing remains.
    before = one[5].running_mean.clone()
    with pytest.raises(RuntimeError):
        reestimate_norms(one, [x, x[:, :2]])
    assert torch.equal(one[5].running_mean, before)
    assert one[5].momentum == 0.3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_types_are_matched_as_well_as_single_precision(dtype: torch.dtype) -> None:
    net, x = convolutional().eval(), torch.randn(16, 3, 6, 6)
    _, single = matched(net, x)
    new, report = matched(net.to(dtype), x.to(dtype))
    assert {parameter.dtype for parameter in new.parameters()} == {dtype}
    pairs = zip(single.replaced, report.replaced, strict=True)
    assert all(abs(a.output_error - b.output_error) < 0.03 for a, b in pairs)


@pytest.mark.parametrize("part", ["all", "2"])
def test_frozen_networks_are_matched_and_stay_frozen(part: str) -> None:
    net, x = convolutional().eval(), torch.randn(16, 3, 6, 6)
    (net if part == "all" else net[2]).requires_grad_(False)
    torch.manual_seed(7)
    _, projected = convert(net, SIZES, data=[x])
    torch.manual_seed(7)
    new, report = matched(net, x)
    for before, after in zip(projected.replaced, report.replaced, strict=True):
        assert after.output_error < before.output_error
    assert not any(p.requires_grad for p in (new if part == "all" else new[2]).parameters())
    assert all(p.requires_grad for p in new[4].parameters()) == (part != "all")
    with torch.inference_mode(False), torch.no_grad():
        matched(net, x)


@pytest.mark.parametrize("budget", [{}, {"ratio": 1.5}], ids=["sizes", "budget"])
@pytest.mark.parametrize("warm", ["project", "match"])
def test_data_that_are_no_numbers_leave_the_network_as_it_was(warm: Any, budget: Any) -> None:
    net, x = convolutional().train(), torch.randn(4, 3, 6, 6)
    modules, before = list(net.modules()), {name: tensor.clone() for name, tensor in net.state_dict().items()}
    x[0, 0, 0, 0] = float("nan")
    with pytest.raises(DivergedError, match="finite"):
        convert(net, None if budget else SIZES, **budget, warm_start=warm, data=[x], inplace=True)
    assert all(old is now for old, now in zip(modules, net.modules(), strict=True))
    assert all(torch.equal(net.state_dict()[name], tensor) for name, tensor in before.items())
    assert all(module.training for module in net.modules())


def test_a_failure_while_matching_puts_everything_back() -> None:
    net, x = convolutional().eval(), torch.randn(4, 3, 6, 6)
    wrong = torch.randn(4, 3, 6, 6)
    y = net(x)
    modules = list(net.modules())

    class Fails(nn.Module):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            Fails.calls += 1
            if Fails.calls > 5:
                raise RuntimeError("the user's own")
            return x

    net.append(Fails())
    modules.append(net[-1])
    with pytest.raises(RuntimeError, match="the user's own"):
        convert(net, SIZES, warm_start="match", data=[wrong], inplace=True)
    assert all(old is now for old, now in zip(modules, net.modules(), strict=True))
    assert torch.equal(net[:-1](x), y)


def test_match_itself_says_when_it_diverges_and_does_nothing_without_units() -> None:
    dense, x = convolutional().eval(), torch.randn(4, 3, 6, 6)
    net, report = convert(dense, SIZES)
    pairs = [(dense.get_submodule(c.site.path), net.get_submodule(c.site.path)) for c in report.replaced]
    match(dense, net, [], [x])
    match(dense, net, pairs, [x], steps=0)
    with pytest.raises(DivergedError, match="finite"):
        match(dense, net, pairs, [x * float("inf")], steps=2)
    assert output_errors(dense, [(layer, layer) for layer, _ in pairs], [x]) == [0.0] * len(pairs)
    with evaluating(net.train()):
        assert not net.training
    assert net.training
