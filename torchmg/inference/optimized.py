"""A trained network, faster: `torchmg.optimize`."""

import copy
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from torchmg.errors import UsageError
from torchmg.inference.capture import CannotOptimizeError, frozen_copy, reason
from torchmg.inference.gpu_plans import GpuPlans, suits
from torchmg.inference.plan import Plan, fold
from torchmg.kernels import native

Purpose = Literal["inference"]
Size = tuple[int, ...]


def optimize(model: nn.Module, for_: Purpose = "inference", *, input: Tensor | Size | None = None) -> "Optimized":  # noqa: A002
    """A network that computes what `model` does in evaluation mode, to rounding, in less time.

    Batch normalisation becomes part of the convolutions, sums and activations are fused into them, and chains of
    operations whose channel groups are independent, as a multigrid level's, run group by group in cache. What the
    native executor has no operation for, or what torch does as well, is left to torch. After `.to("cuda")`, in
    float32, bfloat16 or float16, a level of a multigrid block is one Triton kernel, and all of it one CUDA graph.

    Args:
        model: any network that takes one batch of images; it is not changed, and its weights of now are copied.
        for_: only `"inference"`.
        input: an example batch, or the size (channels, height, width) of the images, to plan for at once; without it
            the first call of every size does, which takes seconds.

    Returns:
        The optimised network; `print` it to see what became of the model.

    Raises:
        UsageError: another purpose, no module, or an input that is no image.
        CannotOptimizeError: the model cannot be copied.
    """
    if for_ != "inference":
        raise UsageError(f'Networks are optimised for_="inference"; got {for_!r}.')
    if not isinstance(model, nn.Module):
        raise UsageError(f"optimize takes an nn.Module; got {type(model).__name__}.")
    if isinstance(model, Optimized):
        model = model.original
    made = Optimized(model)
    if input is not None:
        shape = tuple(input.shape[1:]) if isinstance(input, Tensor) else tuple(input)
        if len(shape) != 3 or not all(isinstance(size, int) and size > 0 for size in shape):
            raise UsageError(f"input must be a batch of images or a size (channels, height, width); got {shape}.")
        made.plan(shape)
    return made


class Optimized(nn.Module):
    """What `torchmg.optimize` returns: (batch, channels, height, width) -> what the model makes of it.

    Planned are float32 images on the CPU, one plan for each size, and images on a CUDA device of its weights' type
    (float32, bfloat16, float16), one plan for each size and type, with a CUDA graph for each batch shape. Everything
    else - other types and devices, several inputs, inputs that need gradients, autocast, `torch.compile`, and models
    that are no one graph with a free batch size - runs in a copy of the model in evaluation mode, which `.to()` moves.
    Nothing of it can be trained.

    Attributes:
        frozen: the copy of the model.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        object.__setattr__(self, "_original", model)
        self.frozen = frozen_copy(model).requires_grad_(False)
        self._plans: dict[Size, Plan | str] = {}
        self._gpu_plans = GpuPlans()
        self.training = False

    @property
    def original(self) -> nn.Module:
        """The model as it was given."""
        return self._original  # pyright: ignore[reportReturnType]

    def restore(self) -> nn.Module:
        """The model as it was given: what undoes `optimize`."""
        return self.original

    def plan(self, shape: Size) -> Plan | None:
        """The plan for images of `shape` (channels, height, width); None if there can be none, see `reasons`."""
        if shape not in self._plans:
            self._plans[shape] = self._planned(shape)
        found = self._plans[shape]
        return None if isinstance(found, str) else found

    def _planned(self, shape: Size) -> Plan | str:
        model = self.frozen
        if any(tensor.device.type != "cpu" for tensor in (*model.parameters(), *model.buffers())):
            return "the weights were moved from the CPU"
        try:
            return Plan(fold(model, shape), native.loaded())
        except CannotOptimizeError as error:
            return str(error)
        except Exception as error:  # Whatever the graph holds, the model itself still runs.
            return f"{type(error).__name__}: {reason(error)}"

    @property
    def reasons(self) -> dict[Size, str]:
        """For each size of images that could not be planned, why."""
        return {shape: found for shape, found in self._plans.items() if isinstance(found, str)}

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the model makes of its inputs."""
        if len(args) != 1 or kwargs or not _is_plannable(args[0]):
            return self.frozen(*args, **kwargs)
        if args[0].is_cuda:
            with torch.no_grad():
                return self._gpu_plans(self.frozen, args[0])
        plan = self.plan(tuple(args[0].shape[1:]))
        if plan is None:
            return self.frozen(args[0])
        with torch.no_grad():
            return plan(args[0])

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode.

        Raises:
            UsageError: training was asked for.
        """
        if mode:
            raise UsageError("An optimised network cannot be trained; train `.original`, then optimise it again.")
        return self

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Refused: the weights were copied when the network was optimised.

        Raises:
            UsageError: always.
        """
        raise UsageError("An optimised network takes no weights; load them into `.original`, then optimise it again.")

    def __getstate__(self) -> dict[str, Any]:
        """Without plans, which belong to this process."""
        return {**self.__dict__, "_plans": {}, "_gpu_plans": GpuPlans()}

    def __deepcopy__(self, memo: dict[int, Any]) -> "Optimized":
        """A copy that plans anew."""
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        nn.Module.__init__(twin)
        for name, value in self.__getstate__().items():
            twin.__dict__[name] = copy.deepcopy(value, memo)
        return twin

    def __repr__(self) -> str:
        """The plans: stages, what share of the multiply-adds is native, what is left to torch and why."""
        lines = [f"Optimized({type(self.original).__name__})"]
        if missing := native.why_not():
            lines.append(f"  the native library is missing ({missing}): folded, and run by torch")
        if not self._plans and not self._gpu_plans.told():
            lines.append("  not planned yet: the first call of every size plans")
        for shape, found in self._plans.items():
            size = "x".join(map(str, shape))
            lines.append(f"  {size}: " + (f"not planned: {found}" if isinstance(found, str) else _told(found)))
        lines += [f"  {line}" for line in self._gpu_plans.told()]
        return "\n".join(lines)


def _told(plan: Plan) -> str:
    summary = plan.summary
    share = 100 * summary.native_macs / max(1, summary.macs)
    text = f"{summary.stages} stages in {summary.programs} programs, {share:.0f}% of {summary.macs / 1e6:.1f} M MACs"
    if not summary.programs:
        return f"{len(plan.network.steps)} folded steps in torch, {summary.macs / 1e6:.1f} M MACs"
    left = [f"{why} ({count})" for why, count in sorted(summary.left.items())]
    return text + (f"; left to torch: {', '.join(left)}" if left else "")


def _is_plannable(x: Any) -> bool:
    return (
        isinstance(x, Tensor)
        and not torch.compiler.is_compiling()
        and (x.layout, x.dim()) == (torch.strided, 4)
        and ((x.device.type, x.dtype) == ("cpu", torch.float32) or suits(x))
        and x.shape[0] > 0
        and not (x.requires_grad and torch.is_grad_enabled())
    )
