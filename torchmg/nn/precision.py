"""Computing in the given type where autocast would choose a smaller one."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def without_autocast(kind: str) -> AbstractContextManager[object]:
    """A context in which autocast on this kind of device (`tensor.device.type`) leaves types as they are."""
    # Entered only where autocast is on: exporters turn the context into a subgraph that ONNX cannot express.
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        return torch.autocast(kind, enabled=False)
    return nullcontext()


def at_least_single(x: Tensor) -> Tensor:
    """Half precision as float32, in which norms, transforms and certified bounds are computed; others as they are."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
