"""A GPU's peaks that tests pretend to know, and what a script has written."""

import json
from typing import Any

import torch

from torchmg.bench.gpu_floors import GpuPeaks
from torchmg.bench.gpu_script import GpuScript

CPU = torch.device("cpu")
PEAKS = GpuPeaks("bfloat16", tflops=500.0, gbytes=4000.0, launch_us=2.0)


def written(script: GpuScript) -> dict[str, Any]:
    """The record."""
    return json.loads(script.path.read_text())
