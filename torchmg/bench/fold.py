"""Batch normalisations folded into the convolutions before them, for the eager engine."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils.fusion import fuse_conv_bn_eval

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@torch.no_grad()
def folded(model: nn.Module, x: Tensor) -> nn.Module:
    """A copy in evaluation mode in which a convolution that one norm follows has the norm's scale and shift in it.

    What follows what is seen in one pass: the norm's input *is* the convolution's output, and both run once. Whoever
    uses the copy should compare its output, because a convolution's output could also be read elsewhere.

    Args:
        model: any network that takes `x`.
        x: an input.
    """
    twin = copy.deepcopy(model).eval()
    names = {module: name for name, module in twin.named_modules()}
    made: dict[int, nn.Module] = {}
    alive: list[Tensor] = []
    calls: dict[nn.Module, int] = {}
    pairs: list[tuple[nn.Module, nn.Module]] = []

    def see(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        calls[module] = calls.get(module, 0) + 1
        if isinstance(module, CONVOLUTIONS):
            made[id(output)] = module
            alive.append(output)  # or another tensor could get its identity
        elif id(inputs[0]) in made:
            pairs.append((made[id(inputs[0])], module))

    hooks = [m.register_forward_hook(see) for m in names if isinstance(m, (*CONVOLUTIONS, _NormBase))]
    twin(x)
    for hook in hooks:
        hook.remove()
    for conv, norm in pairs:
        if calls[conv] == calls[norm] == 1 and isinstance(norm, _NormBase) and norm.track_running_stats:
            twin.set_submodule(names[conv], fuse_conv_bn_eval(conv, norm))  # pyright: ignore[reportArgumentType]
            twin.set_submodule(names[norm], nn.Identity())
    return twin
