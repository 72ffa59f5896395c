"""All plans of one network for GPUs, and what is done where there can be none."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from torchmg.inference.capture import CannotOptimizeError, reason
from torchmg.inference.gpu_plan import GpuPlan
from torchmg.inference.plan import fold
from torchmg.kernels.gpu import support

Key = tuple[tuple[int, ...], torch.dtype, torch.device]


class GpuPlans:
    """Plans by (size of images, type, device), each made when it is first needed.

    A plan whose kernels do not compile or launch is replaced by one that runs the folded network in torch; where the
    network cannot be folded the model itself runs. `told` says so.
    """

    def __init__(self) -> None:
        self._plans: dict[Key, GpuPlan | str] = {}
        self._failures: dict[Key, str] = {}

    def __call__(self, model: nn.Module, x: Tensor) -> Any:
        """What the model, whose weights are on the device of x and of its type, makes of x."""
        key = tuple(x.shape[1:]), x.dtype, x.device
        if key not in self._plans:
            return self._first(model, x, key)
        plan = self._plans[key]
        return model(x) if isinstance(plan, str) else plan(x)

    def _first(self, model: nn.Module, x: Tensor, key: Key) -> Any:
        if not lies_with(model, x):
            return model(x)
        try:
            network = fold(copy.deepcopy(model).to("cpu", torch.float32), key[0])
        except CannotOptimizeError as error:
            self._plans[key] = str(error)
            return model(x)
        except Exception as error:  # Whatever the graph holds, the model itself still runs.
            self._plans[key] = f"{type(error).__name__}: {reason(error)}"
            return model(x)
        for kernels in (True, False):
            try:
                plan = GpuPlan(network, x.device, x.dtype, kernels=kernels)
                made = plan(x)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:  # A compiler may say anything.
                self._failures[key] = f"{type(error).__name__}: {reason(error)}"
            else:
                self._plans[key] = plan
                return made
        self._plans[key] = self._failures[key]
        return model(x)

    def told(self) -> list[str]:
        """A line for each plan."""
        lines = []
        for key, plan in self._plans.items():
            size = "x".join(map(str, key[0]))
            what = f"not planned: {plan}" if isinstance(plan, str) else repr(plan)
            failed = f"; our kernels failed: {self._failures[key]}" if key in self._failures else ""
            lines.append(f"{size}: {what}{failed}")
        return lines


def suits(x: Tensor) -> bool:
    """Whether images are for a plan: on a CUDA device, of a type that kernels take, outside of autocast."""
    return x.is_cuda and x.dtype in support.DTYPES and not torch.is_autocast_enabled("cuda")


def lies_with(model: nn.Module, x: Tensor) -> bool:
    """Whether all weights and statistics are on the device of x, and of its type where they are no integers."""
    held = [*model.parameters(), *model.buffers()]
    return all(t.device == x.device and (t.dtype == x.dtype or not t.is_floating_point()) for t in held)
