"""Multiply-accumulates of one forward pass, counted operator by operator on the meta device.

The framework's own formulas are exact for forwards but over-count the *backward* of grouped convolutions, which is
why only forwards are counted; they count a multiply and an add apart, so MACs are half.
"""

import copy
from collections import Counter
from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from torchmg.errors import ShapeError, TorchmgError
from torchmg.hierarchy.transforms import fft_macs
from torchmg.nn.coupling import ChannelCoupling
from torchmg.nn.transfer import Transfer

FREE = frozenset(
    """
    _native_batch_norm_legit_no_training native_batch_norm native_layer_norm native_group_norm
    _batch_norm_no_update cudnn_batch_norm mean sum amax amin max_pool2d_with_indices avg_pool2d max_pool3d_with_indices
    avg_pool3d _adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_max_pool2d constant_pad_nd reflection_pad2d
    replication_pad2d cat stack copy_ clone _to_copy contiguous empty zeros ones full arange zeros_like ones_like
    full_like empty_like new_zeros new_ones new_empty new_full fill_ zero_ index gather index_select channel_shuffle
    pixel_shuffle pixel_unshuffle upsample_nearest2d upsample_bilinear2d embedding roll flip sort topk argmax argmin
    max min _softmax _log_softmax softmax cumsum repeat lift_fresh _unsafe_view _reshape_copy scalar_tensor
    native_dropout var_mean std var norm linalg_vector_norm any all bernoulli_ bernoulli where masked_fill _safe_softmax
    complex polar
    _unsafe_index unsafe_split as_strided_ hardswish hardswish_ hardtanh hardtanh_ silu_
    _native_batch_norm_legit im2col col2im
    """.split()
)
"""Operators that move, compare, normalise or average; by convention they cost no MACs."""

TRANSFORMS = {torch.ops.aten._fft_r2c: True, torch.ops.aten._fft_c2r: True, torch.ops.aten._fft_c2c: False}
"""Fourier transforms, and whether one side of them is real. torch has no formula for these."""


def transform_macs(packet: Any, x: Tensor, axes: Sequence[int], out: Tensor) -> int:
    """`fft_macs` of a transform of `x` along `axes`; the lengths are those of its real side, if it has one."""
    shape = out.shape if packet is torch.ops.aten._fft_c2r else x.shape
    lengths = [shape[axis] for axis in axes]
    return fft_macs(lengths, prod(shape) // max(prod(lengths), 1), TRANSFORMS[packet])


def meta_copy(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode whose tensors have shapes but no data; ties are kept, no memory is used."""
    memo: dict[int, Any] = {}
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(torch.empty_like(parameter, device="meta"), parameter.requires_grad)
    for buffer in model.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    return copy.deepcopy(model, memo).eval()


class Macs(NamedTuple):
    """What one forward pass costs."""

    by_path: dict[str, int]
    """Dotted path of the innermost module at work, or of a coupling that counts by its closed form -> MACs."""
    couplings: int
    """Of them, those by closed forms of channel couplings."""
    transforms: int
    """Of all, those of Fourier transforms."""
    unknown: tuple[str, ...]
    """Operators counted as zero though they may compute."""


class _MacCounter(TorchDispatchMode):
    """Adds up MACs by (module path, operator) while the module stack is kept by hooks."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = [""]
        self.macs: Counter[str] = Counter()
        self.couplings = self.transforms = 0
        self.inside = 0
        """How many couplings are at work, one within the other; the outermost counts for all."""
        self.unknown: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        packet = func._overloadpacket
        if packet not in flop_registry:
            with self:
                decomposed = func.decompose(*args, **kwargs)
            if decomposed is not NotImplemented:
                return decomposed
        out = func(*args, **kwargs)
        if packet in TRANSFORMS:
            self.transforms += transform_macs(packet, args[0], args[1], out)
        if self.inside:
            return out
        if packet in flop_registry:
            self.macs[self.stack[-1]] += flop_registry[packet](*args, **kwargs, out_val=out) // 2
        elif packet in TRANSFORMS:
            self.macs[self.stack[-1]] += transform_macs(packet, args[0], args[1], out)
        elif not (torch.Tag.pointwise in func.tags or func.is_view or packet.__name__ in FREE):
            self.unknown.add(str(packet))
        return out


def _follow(counter: _MacCounter, path: str) -> tuple[Callable[..., None], Callable[..., None]]:
    """Hooks that keep the module stack, and add what a module computes element by element instead of by a product."""

    def enter(*_: Any) -> None:
        counter.stack.append(path)

    def leave(module: nn.Module, _: Any, out: Any) -> None:
        counter.stack.pop()
        if isinstance(module, Transfer) and not counter.inside:
            counter.macs[path] += module.elementwise_macs(out)

    return enter, leave


def _by_formula(counter: _MacCounter, path: str, coupling: ChannelCoupling) -> None:
    """Have a coupling on the meta device count by its closed form, forward and adjoint, not by what it calls.

    Its evaluation may multiply zeros (stars within squares) and transform; the adjoint is no forward that hooks see.
    """

    def counted(apply: Callable[..., Tensor], *, fine: int) -> Callable[..., Tensor]:
        def call(*args: Any, **kwargs: Any) -> Tensor:
            counter.inside += 1
            out = apply(*args, **kwargs)
            counter.inside -= 1
            if not counter.inside:
                x = args[0] if args else next(iter(kwargs.values()))
                macs = coupling.macs(*(x, out)[fine].shape[2:])
                counter.macs[path] += macs
                counter.couplings += macs
            return out

        return call

    coupling.forward = counted(coupling.forward, fine=0)
    coupling.adjoint = counted(coupling.adjoint, fine=1)


def forward_macs(model: nn.Module, input: tuple[int, ...], dtype: torch.dtype | None = None) -> Macs:  # noqa: A002
    """MACs of one forward pass for one sample of shape `input`, and the operators that have no formula.

    The sample has this dtype; by default that of the model's first floating parameter, or torch's own.

    Raises:
        ShapeError: the model cannot take this input; the message carries the model's own.
        TorchmgError: the model cannot be copied.
    """
    try:
        meta = meta_copy(model)
    except Exception as error:
        raise TorchmgError(f"The model cannot be copied for counting: {error}") from error
    floating = (parameter.dtype for parameter in model.parameters() if parameter.is_floating_point())
    x = torch.empty(1, *input, device="meta", dtype=dtype or next(floating, None))
    try:
        return call_macs(meta, lambda: meta(x))
    except TorchmgError:
        raise
    except Exception as error:
        raise ShapeError(f"The model does not run on one sample of shape {input}: {error}") from error


def call_macs(ghost: nn.Module, call: Callable[[], Any]) -> Macs:
    """MACs of everything that `call` does with a module, all samples together.

    Args:
        ghost: a copy to be thrown away, as `meta_copy` makes it: it is left with hooks.
        call: runs it; whatever it raises is passed on.
    """
    counter = _MacCounter()
    for path, module in ghost.named_modules():
        enter, leave = _follow(counter, path)
        module.register_forward_pre_hook(enter)
        module.register_forward_hook(leave)
        if isinstance(module, ChannelCoupling):
            _by_formula(counter, path, module)
    with torch.no_grad(), counter:
        call()
    return Macs(dict(counter.macs), counter.couplings, counter.transforms, tuple(sorted(counter.unknown)))
