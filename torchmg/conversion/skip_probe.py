"""Whether an unknown block adds the result of its layers to its input, found by trying a copy of it out."""

from collections.abc import Sequence
from copy import deepcopy
from functools import partial

import torch
from torch import Tensor, nn

from torchmg.conversion.hooks import without_hooks

SIZE = 5
"""Length of each spatial axis of the inputs."""
FAR = 50.0
"""Inputs lie between this and twice this, where usual activations are the identity."""


def adds_to_its_input(block: nn.Module, chain: Sequence[str], others: Sequence[str] = ()) -> bool:
    """Whether `block` computes x + its convolutions one after the other, up to an activation.

    A copy in float32 on the CPU, in evaluation mode and with fresh weights gets two inputs of a few pixels. Each
    convolution must run once, in order, and change what the next one gets; and with the last one's weights at zero
    the copy must pass differences of its input on unchanged. Gates, parallel branches and norms after the sum fail.

    Args:
        block: the module; it is left as it is. One on the meta device cannot be tried out.
        chain: names of its convolutions in it, in order.
        others: names of further layers in it, of gates beside the chain.

    Returns:
        Whether it does; False, too, when it cannot take a tensor (batch, channels, *spatial) alone.
    """
    if any(parameter.is_meta for parameter in block.parameters()):
        return False
    # What a user's module may raise on an input it was not made for is anything; then it is no such block.
    try:
        with torch.random.fork_rng(devices=()), torch.no_grad():
            twin = deepcopy(block, without_hooks(block)).to("cpu", torch.float32).eval()
            _refresh(twin, chain, others)
            return _runs_in_order(twin, chain) and _passes_on(twin, chain)
    except Exception:
        return False


def _refresh(twin: nn.Module, chain: Sequence[str], others: Sequence[str]) -> None:
    """Give a copy weights that let every signal through, whatever training has made of them."""
    draws = torch.Generator().manual_seed(0)
    for parameter in twin.parameters(recurse=True):
        parameter.fill_(1.0)
    for module in twin.modules():
        if callable(reset := getattr(module, "reset_running_stats", None)):
            reset()
        if module._parameters.get("bias") is not None:
            module.get_parameter("bias").zero_()
    for name in chain:
        weight = twin.get_submodule(name).get_parameter("weight")
        weight.copy_(torch.randn(weight.shape, generator=draws) / weight[0].numel() ** 0.5)
    for name in others:
        twin.get_submodule(name).get_parameter("weight").zero_()


def _input(twin: nn.Module, chain: Sequence[str], seed: int) -> Tensor:
    weight = twin.get_submodule(chain[0]).get_parameter("weight")
    channels = getattr(twin.get_submodule(chain[0]), "in_channels", weight.shape[1])
    shape = (1, channels, *(SIZE for _ in weight.shape[2:]))
    return FAR * (1 + torch.rand(shape, generator=torch.Generator().manual_seed(seed)))


def _runs_in_order(twin: nn.Module, chain: Sequence[str]) -> bool:
    """Whether each convolution runs once, in order, and what it makes reaches the next one."""
    got: list[tuple[str, Tensor]] = []

    def note(name: str, _: nn.Module, args: tuple[Tensor, ...]) -> None:
        got.append((name, args[0].clone()))

    for name in chain:
        twin.get_submodule(name).register_forward_pre_hook(partial(note, name))
    x = _input(twin, chain, 0)
    twin(x.clone())
    usual = got.copy()
    if [name for name, _ in usual] != list(chain):
        return False
    for place, name in enumerate(chain[:-1], start=1):
        weight = twin.get_submodule(name).get_parameter("weight")
        kept = weight.clone()
        got.clear()
        weight.neg_()
        twin(x.clone())
        weight.copy_(kept)
        if torch.equal(got[place][1], usual[place][1]):
            return False
    return True


def _passes_on(twin: nn.Module, chain: Sequence[str]) -> bool:
    """Whether differences of the input come out unchanged once the last convolution gives nothing."""
    twin.get_submodule(chain[-1]).get_parameter("weight").zero_()
    first, second = _input(twin, chain, 1), _input(twin, chain, 2)
    results = twin(first.clone()), twin(second.clone())
    if not all(isinstance(result, Tensor) and result.shape == first.shape for result in results):
        return False
    return torch.allclose(results[1] - results[0], second - first, rtol=1e-3, atol=1e-3)
