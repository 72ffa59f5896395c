"""What training's GPU kernels must compute, as plain functions: in the interpreter on the CPU, or on a CUDA device.

Not collected by itself: Triton's interpreter is chosen when kernels are imported, so `test_gpu_train` runs these in a
process of their own. The oracle is torch in float64; every result is poisoned before it is written.
"""

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.grad import conv2d_weight

from torchmg.kernels import fused
from torchmg.kernels.fused import End
from torchmg.kernels.gpu import affine, conv, norms, support, tiles, training, weights
from torchmg.kernels.gpu.edges import Affine, Reach
from torchmg.kernels.gpu.tune import Config
from torchmg.kernels.shape import Shape

DEVICE = "cpu" if support.interpreted() else "cuda"
ERRORS = {torch.float32: 2e-5, torch.float16: 3e-3, torch.bfloat16: 2e-2}
"""Norm of the difference by the norm of the oracle."""

GROUPED: tuple[tuple[int, int, int], ...] = (
    (12, 12, 3), (32, 32, 8), (40, 40, 5), (48, 48, 3), (64, 64, 2), (128, 128, 2), (32, 16, 8), (16, 32, 8),
    (64, 32, 2),
)  # fmt: skip
"""Channels in and out and groups: groups of 4, 8, 16, 32, 64; tails; transfers that halve and double."""


def poison() -> None:
    """Let all memory for results hold NaN at first."""
    real = tiles.empty

    def poisoned(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
        return real(shape, dtype, device).fill_(float("nan"))

    for module in (tiles, affine, norms, conv):
        if hasattr(module, "empty"):
            module.empty = poisoned  # pyright: ignore[reportAttributeAccessIssue]


def maps(shape: Sequence[int], dtype: torch.dtype = torch.float32, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Normal numbers, channels-last."""
    x = (torch.randn(*shape) * std + mean).to(DEVICE, dtype)
    return x.contiguous(memory_format=torch.channels_last)


def vector(channels: int) -> Tensor:
    """Normal numbers."""
    return torch.randn(channels).to(DEVICE)


def same(found: Tensor | None, expected: Tensor | None, dtype: torch.dtype, what: str, factor: float = 1.0) -> None:
    """Equal but for the rounding of `dtype`."""
    assert (found is None) == (expected is None), what
    if found is None or expected is None:
        return
    assert found.shape == expected.shape, (what, found.shape, expected.shape)
    error = (found.double() - expected).norm().item()
    assert error <= factor * ERRORS[dtype] * max(expected.norm().item(), 1e-6), (what, error, expected.norm().item())


def shapes_and_types() -> list[tuple[Shape, torch.dtype]]:
    """Every grouping with every kernel and stride, types in turn."""
    kinds = itertools.cycle(ERRORS)
    found: list[tuple[Shape, torch.dtype]] = []
    for i, (channels_in, channels_out, groups) in enumerate(GROUPED):
        for kernel, stride in ((3, 1), (3, 2), (1, 1), (1, 2)):
            sizes = (1 + i % 3, channels_in, channels_out, groups, 5 + i % 2, 7 - i % 3)
            found.append((Shape(*sizes, kernel, kernel, stride, kernel // 2, kernel // 2), next(kinds)))
    found.append((Shape(2, 16, 16, 2, 6, 5, 5, 5, 1, 2, 2), torch.float32))
    return found


def case_weight_gradients() -> None:
    for i, (shape, dtype) in enumerate(shapes_and_types()):
        x, grad = maps(shape.inputs, dtype), maps(shape.outputs, dtype)
        before = None if i % 3 == 0 else Affine(vector(shape.in_channels), vector(shape.in_channels), i % 3 == 2)
        reach = (
            Reach(maps(shape.outputs, dtype), *(vector(shape.out_channels) for _ in range(2)))
            if (i // 4 + i) % 2
            else None
        )
        configs = weights.candidates(shape, dtype != torch.float32)
        config = next((c for c in configs if (c.packs == 0, c.stages) == (i % 8 != 0, 1 + i // 8 % 2)), configs[0])
        found = weights.launch(config, x, grad, shape, before, reach)
        wide, wide_grad = x.double(), grad.double()
        if before is not None:
            wide = wide * before.scale.double()[:, None, None] + before.shift.double()[:, None, None]
            wide = wide.relu() if before.relu else wide
        if reach is not None:
            constant, slope = reach.constant.double()[:, None, None], reach.slope.double()[:, None, None]
            wide_grad = wide_grad + constant + slope * reach.other.double()
        how = (shape.stride, shape.pad_h, 1, shape.groups)
        same(found, conv2d_weight(wide, shape.weights, wide_grad, *how), dtype, f"{shape} {dtype}")
        assert found.dtype == torch.float32


def case_weight_gradients_of_many_pixels_add_up() -> None:
    shape = Shape(4, 16, 16, 4, 13, 10, 3, 3, 1, 1, 1)
    x, grad = maps(shape.inputs), maps(shape.outputs)
    expected = conv2d_weight(x.double(), shape.weights, grad.double(), 1, 1, 1, 4)
    for config in (Config(32, 0, 4, 2, 1), Config(16, 0, 4, 1, 3), Config(32, 16), Config(64, 4)):
        for most in (weights.PROGRAMS, 3):  # shares for all, or several turns of a program
            weights.PROGRAMS, kept = most, weights.PROGRAMS
            found = weights.launch(config, x, grad, shape, None, None)
            weights.PROGRAMS = kept
            same(found, expected, torch.float32, str(config))
    assert torch.equal(weights.weight_gradient(x, grad, shape), weights.weight_gradient(x, grad, shape))


def _norm_conv(shape: Shape, dtype: torch.dtype, has_affine: bool, relu: bool, has_add: bool) -> None:
    x, add = maps(shape.inputs, dtype), maps(shape.outputs, dtype) if has_add else None
    weight = torch.randn(shape.weights).to(DEVICE)  # a master weight: kernels round it to the maps' type
    gamma, beta = vector(shape.out_channels), vector(shape.out_channels)
    scale, shift = (vector(shape.in_channels), vector(shape.in_channels)) if has_affine else (None, None)
    eps = 1e-5
    rounded = weight.to(dtype)
    y, *found = training.norm_conv_forward(x, weight, gamma, beta, scale, shift, add, eps, relu, shape)

    inputs = [None if t is None else t.double().requires_grad_() for t in (x, rounded, gamma, beta, scale, shift, add)]
    outputs = fused.plain_norm_conv(fused.Inputs(*inputs), fused.How(eps, relu, shape))
    what = f"{shape} {dtype} affine {has_affine} relu {relu} add {has_add}"
    variance, mean = torch.var_mean(outputs[0], (0, 2, 3), correction=0)
    for name, a, b in zip(
        ("y", "scale", "shift", "mean", "variance"), (y, *found), (*outputs, mean, variance), strict=True
    ):
        same(a, b.detach(), dtype, f"{name} of {what}", 2)
    assert y.dtype == dtype
    assert support.channels_last(y)

    grads = [maps(shape.outputs, dtype), vector(shape.out_channels), vector(shape.out_channels)]
    scaled = [g * s for g, s in zip(grads, (1.0, 1.0, 1.0), strict=True)]
    gradients = training.norm_conv_backward(
        scaled[0], scaled[1], scaled[2], x, weight, gamma, scale, shift, y, found[2], found[3], eps, relu, shape,
        True, has_add,
    )  # fmt: skip
    wanted = [t for t in inputs if t is not None]
    expected = iter(torch.autograd.grad(outputs, wanted, [g.double() for g in scaled]))
    for name, a, t in zip(("x", "weight", "gamma", "beta", "scale", "shift", "add"), gradients, inputs, strict=True):
        same(a, None if t is None else next(expected), dtype, f"gradient of {name} of {what}", 3)


def _norm_convs(chosen: Sequence[tuple[Shape, torch.dtype]]) -> None:
    ways = itertools.cycle([(a, r, d) for a in (True, False) for r in (a, False) for d in (False, True)][::-1])
    for shape, dtype in chosen:
        _norm_conv(shape, dtype, *next(ways))


def case_norm_conv() -> None:
    _norm_convs(shapes_and_types()[::5])


def case_more_norm_convs() -> None:
    _norm_convs([case for number, case in enumerate(shapes_and_types()) if number % 5])


def case_norm_conv_every_way() -> None:
    for kernel, stride in ((3, 1), (1, 2)):
        shape = Shape(2, 16, 16, 2, 4, 5, kernel, kernel, stride, kernel // 2, kernel // 2)
        for has_affine, relu, has_add in itertools.product((False, True), repeat=3):
            _norm_conv(shape, torch.float32, has_affine, relu and has_affine, has_add)


def case_norm_conv_takes_gradients_of_any_layout() -> None:
    shape = Shape(2, 16, 16, 2, 4, 4, 1, 1, 1, 0, 0)
    x, weight, gamma, beta = maps(shape.inputs), torch.randn(shape.weights).to(DEVICE), vector(16), vector(16)
    y, _, _, mean, variance = training.norm_conv_forward(x, weight, gamma, beta, None, None, None, 1e-5, False, shape)
    rest = (x, weight, gamma, None, None, y, mean, variance, 1e-5, False, shape)
    one = torch.ones((), device=DEVICE)
    found = training.norm_conv_backward(one.expand(y.shape), one.expand(16), one.expand(16), *rest, False, False)
    dense = (torch.ones(y.shape, device=DEVICE), torch.ones(16, device=DEVICE), torch.ones(16, device=DEVICE))
    expected = training.norm_conv_backward(*dense, *rest, True, False)
    assert found[0] is None
    assert torch.equal(found[1], expected[1])
    assert torch.equal(found[2], expected[2])


def case_variance_where_the_mean_is_large() -> None:
    shape = Shape(3, 24, 24, 6, 17, 19, 1, 1, 1, 0, 0)
    x = maps(shape.inputs, mean=100.0, std=0.1)
    weight = torch.zeros(shape.weights)
    weight[torch.arange(24), torch.arange(24) % 4] = 1.0  # y = x
    gamma, beta, nothing = vector(24), vector(24), (None, None, None)
    how = (gamma, beta, *nothing, 1e-5, False, shape)
    y, scale, _, mean, variance = training.norm_conv_forward(x, weight.to(DEVICE), *how)
    assert torch.equal(y, x)
    of, at = torch.var_mean(x.double(), (0, 2, 3), correction=0)
    assert (variance / of - 1).abs().max() < 1e-5, (variance, of)
    assert (mean - at).abs().max() < 1e-5
    assert (scale / (gamma.double() * (of + 1e-5).rsqrt()) - 1).abs().max() < 1e-5


def case_sums_over_many_tiles() -> None:
    y, gout = maps((2, 72, 20, 21), mean=-3.0), maps((2, 72, 20, 21))
    ones, zeros = torch.ones(72, device=DEVICE), torch.zeros(72, device=DEVICE)
    of, at = torch.var_mean(y.double(), (0, 2, 3), correction=0)
    for most in (affine.PROGRAMS, 4):  # a tile a program, or several
        affine.PROGRAMS, kept = most, affine.PROGRAMS
        partials = affine.moments(y)
        gy, _, of_scale, of_shift = training.affine_backward(gout, y, ones, zeros, None, End.BEFORE_ADD, False)
        affine.PROGRAMS = kept
        assert partials.shape[0] == (2 if most == 4 else 14)
        assert partials[:, 0].sum(0).eq(y.numel() // 72).all()
        _, _, mean, variance = norms.coefficients(partials, y.numel() // 72, ones, zeros, 0.0)
        assert (variance / of - 1).abs().max() < 1e-6
        assert (mean - at).abs().max() < 1e-6
        t = gout.double() * (y > 0)
        assert torch.equal(gy.double(), t)
        same(of_shift, t.sum((0, 2, 3)), torch.float32, "shift")
        same(of_scale, (t * y).sum((0, 2, 3)), torch.float32, "scale")


def case_partial_sums_are_reduced_in_float64() -> None:
    partials = torch.randn(3000, 2, 20, dtype=torch.float64)
    partials[:1500] += 1e6
    partials[1500:] -= 1e6
    narrow = partials.float().to(DEVICE)
    for found, expected in zip(norms.reduced(narrow), narrow.double().sum(0), strict=True):
        assert (found - expected).abs().max() <= 1e-6 * expected.abs().max()


def case_affine_ends() -> None:
    for i, (channels, end, has_add) in enumerate(itertools.product((12, 64, 80), End, (False, True))):
        dtype = list(ERRORS)[i % 3]
        sizes = (2, channels, 9, 11)
        y, add = maps(sizes, dtype), maps(sizes, dtype) if has_add else None
        scale, shift = vector(channels), vector(channels)
        out = training.affine_forward(y, scale, shift, add, end)
        inputs = [None if t is None else t.double().requires_grad_() for t in (y, scale, shift, add)]
        (expected,) = fused._plain_affine(tuple(inputs), end)
        what = f"{channels} {end!r} add {has_add} {dtype}"
        same(out, expected.detach(), dtype, what)
        gout = maps(sizes, dtype)
        saved = out if end == End.LAST else None
        gy, gadd, of_scale, of_shift = training.affine_backward(gout, y, scale, shift, saved, end, has_add)
        wanted = [t for t in inputs if t is not None]
        gradients = dict(zip(map(id, wanted), torch.autograd.grad(expected, wanted, gout.double()), strict=True))
        for name, a, t in zip(("y", "scale", "shift", "add"), (gy, of_scale, of_shift, gadd), inputs, strict=True):
            same(a, None if t is None else gradients[id(t)], dtype, f"gradient of {name} of {what}")


def case_what_is_not_a_number_stays_so() -> None:
    y, ones = maps((1, 16, 3, 3)), torch.ones(16, device=DEVICE)
    y[0, 3, 1, 1] = float("nan")
    for end in End:
        assert training.affine_forward(y, ones, ones, None, end).isnan().sum() == 1
    found = norms.coefficients(affine.moments(y), 9, ones, ones, 1e-5)
    assert all(v.isnan().sum() == 1 and v[3].isnan() for v in found)


CASES: dict[str, Callable[[], None]] = {n[5:]: f for n, f in list(globals().items()) if n.startswith("case_")}

if __name__ == "__main__":
    import sys
    import time

    poison()
    for name in sys.argv[1:] or CASES:
        torch.manual_seed(0)
        start = time.process_time()
        CASES[name]()
        print(name, f"{time.process_time() - start:.1f} s", flush=True)
