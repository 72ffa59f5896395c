"""Whether the Triton kernels can be used at all, and on which tensors. Imports Triton only when asked."""

import os
from functools import cache
from typing import Any

import torch
from torch import Tensor

DTYPES = (torch.bfloat16, torch.float16, torch.float32)
"""What activations may be made of; the kernels add up in float32 whatever it is."""

CAPABILITY = (8, 0)
"""The oldest devices with tensor cores for bfloat16."""


def interpreted() -> bool:
    """Whether Triton's interpreter runs the kernels, on tensors of the CPU: `TRITON_INTERPRET=1` before any import."""
    return os.environ.get("TRITON_INTERPRET", "0").lower() in {"1", "true", "on", "yes", "y"}


def why_not() -> str:
    """Why the kernels cannot be used here, in one line; empty when they can."""
    return _why_not(interpreted())


def serves(*activations: Tensor) -> bool:
    """Whether kernels can run on these: of one of `DTYPES`, on one device that has them, dense in channels-last order.

    Args:
        activations: (batch, channels, height, width) tensors; tensors of fewer axes (vectors) must be contiguous.
    """
    kinds = {x.device.type for x in activations}
    if kinds != {"cpu" if interpreted() else "cuda"} or len({x.device for x in activations}) > 1 or why_not():
        return False
    return all(x.dtype in DTYPES and channels_last(x) and x.numel() > 0 for x in activations)


def channels_last(x: Tensor) -> bool:
    """Whether its memory is [batch, height, width, channels] without gaps; of fewer axes: contiguous."""
    return x.is_contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x.is_contiguous()


def float32_precision() -> str:
    """How products of float32 are formed: as in torch's own convolutions, "tf32" or "ieee"."""
    cudnn: Any = torch.backends.cudnn
    return "tf32" if cudnn.conv.fp32_precision == "tf32" else "ieee"


@cache
def _why_not(interpreting: bool) -> str:
    try:
        import triton  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ImportError as error:
        return f"Triton cannot be imported ({error}); on Linux torch's CUDA builds bring it along"
    if interpreting:
        return ""
    if not torch.cuda.is_available():
        return "there is no CUDA device"
    if (found := torch.cuda.get_device_capability()) < CAPABILITY:
        return f"the device's compute capability is {found[0]}.{found[1]}; {CAPABILITY[0]}.{CAPABILITY[1]} is needed"
    return ""
