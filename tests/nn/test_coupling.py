"""Every channel coupling against its dense kernel: one table says what each member can be asked for."""

from collections.abc import Callable
from math import gcd
from typing import Any, NamedTuple

import coupling_checks as checks
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from torchmg.errors import ShapeError, UnknownNameError, UsageError
from torchmg.hierarchy import divisors
from torchmg.nn.coupling import COUPLINGS, ChannelCoupling, channel_coupling, conv_builder, folded

Options = Callable[[int, int], st.SearchStrategy[dict[str, Any]]]


class Member(NamedTuple):
    options: Options
    """Its own options for widths (in, out)."""
    widths: st.SearchStrategy[tuple[int, int]]


def options(**strategies: Callable[[int, int], st.SearchStrategy[Any]]) -> Options:
    return lambda i, o: st.fixed_dictionaries({name: make(i, o) for name, make in strategies.items()})


def choice(*values: Any) -> Callable[[int, int], st.SearchStrategy[Any]]:
    return lambda i, o: st.sampled_from(values)


def group_sizes(i: int, o: int) -> st.SearchStrategy[int]:
    return st.sampled_from([s for s in divisors(i) if o % (i // s) == 0])


ANY = st.tuples(st.integers(1, 6), st.integers(1, 6))
MULTIPLE = st.tuples(st.integers(1, 4), st.integers(1, 3)).map(lambda pair: (pair[0], pair[0] * pair[1]))
SQUARE = st.integers(1, 6).map(lambda c: (c, c))

MEMBERS = {
    "full": Member(options(), ANY),
    "pointwise": Member(options(), ANY),
    "depthwise": Member(options(), MULTIPLE),
    "grouped": Member(options(group_size=group_sizes), ANY),
    "shuffle": Member(options(group_size=group_sizes), ANY),
    "separable": Member(options(), ANY),
    "union": Member(options(), ANY),
    "lean": Member(
        options(
            stencil=choice("9", "5", "3h"),
            group_size=lambda i, o: st.sampled_from(divisors(i)),
            pointwise=choice("full", "circulant"),
        ),
        ANY,
    ),
    "circulant": Member(
        options(
            block=lambda i, o: st.sampled_from([None, *divisors(gcd(i, o))]), evaluate=choice("dense", "channel_fft")
        ),
        ANY,
    ),
    "chain": Member(
        lambda i, o: st.one_of(
            st.fixed_dictionaries({"radius": st.integers(0, i), "periodic": st.just(False)}),
            st.fixed_dictionaries({"radius": st.integers(0, (i - 1) // 2), "periodic": st.just(True)}),
        ),
        SQUARE,
    ),
    "block_chain": Member(options(group_size=group_sizes, radius=choice(0, 1)), SQUARE),
    "lattice": Member(options(neighbours=choice(5, 9)), SQUARE),
    "multigrid": Member(
        options(group_size=choice(1, 2), coarsest=choice(1, 2)), st.sampled_from([(2, 2), (4, 4), (8, 8)])
    ),
}
PRODUCTS = ("multigrid", "separable")
"""Members whose dense kernels have more entries than are multiplied by."""
LARGEST = {1: 9, 2: 5, 3: 3}
"""Sides of the maps by number of axes, so that their operators are small matrices."""
member = pytest.mark.parametrize("name", sorted(COUPLINGS))


def draw(data: st.DataObject, name: str, **fixed: Any) -> tuple[ChannelCoupling, tuple[int, ...]]:
    """A coupling in float64 with random biases, if any, and a size of maps for it."""
    widths = data.draw(MEMBERS[name].widths, "widths")
    dims = data.draw(st.sampled_from([2, 2, 1, 3]), "dims")
    size = data.draw(st.tuples(*[st.integers(2, LARGEST[dims])] * dims), "size")
    common = {
        "kernel_size": data.draw(st.sampled_from([3, 1, 5] if dims < 3 else [3, 1]), "kernel"),
        "stride": data.draw(st.sampled_from([1, 2]), "stride"),
        "padding": data.draw(st.sampled_from(["zeros", "circular"]), "padding"),
        "bias": data.draw(st.booleans(), "bias"),
    }
    own = data.draw(MEMBERS[name].options(*widths), "options")
    coupling = channel_coupling(name, *widths, dims=dims, **{**common, **own, **fixed}).double()  # pyright: ignore
    if coupling.bias is not None:
        nn.init.normal_(coupling.bias)
    return coupling, size


def test_every_member_is_checked() -> None:
    assert set(MEMBERS) == set(COUPLINGS)


@member
@settings(max_examples=25)
@given(data=st.data())
def test_the_map_is_that_of_the_dense_kernel(name: str, data: st.DataObject) -> None:
    coupling, size = draw(data, name)
    checks.check_forward(coupling, size)
    checks.check_forward(coupling.float(), size)


@member
@settings(max_examples=25)
@given(data=st.data())
def test_the_adjoint_is_the_transpose(name: str, data: st.DataObject) -> None:
    checks.check_adjoint(*draw(data, name))


@member
@settings(max_examples=15)
@given(data=st.data())
def test_closed_forms_are_what_is_there(name: str, data: st.DataObject) -> None:
    coupling, size = draw(data, name)
    checks.check_counts(coupling)
    checks.check_adjacency(coupling)
    if name not in PRODUCTS and getattr(coupling, "evaluate", "dense") == "dense":
        checks.check_macs(coupling, size)


@member
@settings(max_examples=15)
@given(data=st.data())
def test_norm_bounds_are_bounds(name: str, data: st.DataObject) -> None:
    coupling, size = draw(data, name)
    checks.check_bounds(coupling, size)
    checks.check_bound_gradients(coupling, size)


@member
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    coupling = channel_coupling(name, 4, 4, bias=True, stride=2, **SMALL.get(name, {})).double()
    checks.check_gradients(coupling, (3, 2))


SMALL: dict[str, dict[str, Any]] = {
    "grouped": {"group_size": 2},
    "shuffle": {"group_size": 2},
    "lean": {"stencil": "5", "group_size": 2, "pointwise": "circulant"},
    "circulant": {"block": 2, "evaluate": "channel_fft"},
    "block_chain": {"group_size": 2},
    "multigrid": {"group_size": 1, "coarsest": 2},
}
"""Options for which four channels are enough, and that take the longest way."""


@member
@pytest.mark.parametrize("scheme", ["he", "meganet"])
def test_first_values(name: str, scheme: str) -> None:
    """`he` doubles the variance of independent inputs, up to chance; `meganet` is drawn and clipped as published."""
    coupling = channel_coupling(name, 64, 64, padding="circular", bias=True)
    assert coupling.bias is not None
    nn.init.ones_(coupling.bias)
    coupling.reset_parameters(scheme)  # pyright: ignore[reportArgumentType]
    assert not coupling.bias.any()
    if scheme == "he":
        with torch.no_grad():
            variance = coupling(torch.randn(8, 64, 8, 8)).var()
        assert 1.7 < variance < 2.3
    else:
        std = 0.1 if name == "full" else (2 / (coupling.taps * 64)) ** 0.5
        values = torch.cat([weight.flatten() for weight, _ in coupling.variances()])
        assert values.abs().max() <= 2 * std
        assert abs(values.std() / std - 0.88) < 0.05  # clipped at two standard deviations


@member
def test_bounds_hold_in_half_precision_and_under_autocast(name: str) -> None:
    coupling = channel_coupling(name, 8, 8)
    exact = coupling.norm_bound()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(coupling.norm_bound(), exact)
        torch.testing.assert_close(coupling.norm_bound((5, 5)), coupling.norm_bound((5, 5)))
    low = coupling.bfloat16()
    rounded = channel_coupling(name, 8, 8)
    rounded.load_state_dict(low.state_dict())
    assert torch.equal(low.norm_bound(), rounded.norm_bound())
    assert torch.equal(low.norm_bound((5, 5)), rounded.norm_bound((5, 5)))


def test_what_is_folded_keeps_mode_type_and_padding() -> None:
    convolution = folded(channel_coupling("lean", 4, 6, padding="circular").double().eval())
    assert convolution.weight.dtype == torch.float64
    assert convolution.padding_mode == "circular"
    assert not convolution.training


def test_a_builder_makes_the_member_with_its_options() -> None:
    build = conv_builder("lean", stencil="5")
    module = build(8, 16, 3, stride=2, groups=4, dims=1)
    assert isinstance(module, ChannelCoupling)
    assert module(torch.randn(1, 8, 7)).shape == (1, 16, 4)


@pytest.mark.parametrize(
    ("kind", "what", "message"),
    [
        (UnknownNameError, lambda: channel_coupling("leen", 4, 4), "Did you mean lean"),
        (UnknownNameError, lambda: channel_coupling("full", 4, 4, padding="same"), "zeros, circular"),  # pyright: ignore
        (UsageError, lambda: channel_coupling("full", 4, 4, group_size=2), "has no option group_size"),
        (UsageError, lambda: channel_coupling("full", 0, 4), "in_channels of a full coupling .* got 0"),
        (UsageError, lambda: channel_coupling("full", 4, 4, 2), "kernel_size must be odd .* Use 1 or 3"),
        (UsageError, lambda: channel_coupling("full", 4, 4, dims=4), "1, 2 or 3 spatial axes"),  # pyright: ignore
        (UsageError, lambda: channel_coupling("grouped", 6, 6, group_size=4), "group_size must divide .* Nearest: 3"),
        (ShapeError, lambda: channel_coupling("full", 4, 4)(torch.randn(1, 3, 5, 5)), "Expected images"),
        (
            ShapeError,
            lambda: channel_coupling("full", 4, 4, 7, padding="circular")(torch.randn(1, 4, 2, 5)),
            "sides of at least 3",
        ),
        (
            ShapeError,
            lambda: channel_coupling("full", 4, 4, stride=2).adjoint(torch.randn(1, 4, 3, 3), (7, 5)),
            r"do not become \(3, 3\)",
        ),
    ],
)
def test_what_is_wrong_is_explained(kind: type[Exception], what: Callable[[], Any], message: str) -> None:
    with pytest.raises(kind, match=message):
        what()


@member
def test_memory_formats_and_half_precision_change_nothing_but_that(name: str) -> None:
    torch.manual_seed(0)
    coupling = channel_coupling(name, 8, 8, padding="circular", **SMALL.get(name, {}))
    x = torch.randn(2, 8, 6, 5)
    expected = coupling(x).detach()
    coupling = coupling.to(memory_format=torch.channels_last)
    x = x.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(coupling(x), expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert (coupling(x).float() - expected).abs().max() < 0.05 * expected.abs().max()
