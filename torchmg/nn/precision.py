"""Where lower precision than asked for would be wrong."""

from contextlib import AbstractContextManager, nullcontext

import torch


def without_autocast(kind: str) -> AbstractContextManager[object]:
    """A context in which autocast leaves the types of the device type `kind` alone.

    Entered only where autocast is on: exporters turn the context into a subgraph that ONNX cannot express.
    """
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        return torch.autocast(kind, enabled=False)
    return nullcontext()
