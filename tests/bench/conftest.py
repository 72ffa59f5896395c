"""What tests of the GPU's scripts share."""

from pathlib import Path

import pytest

from tests.bench.scripts import CPU, PEAKS
from torchmg.bench.gpu_script import GpuScript


@pytest.fixture
def script(tmp_path: Path) -> GpuScript:
    """A script on the CPU whose device's peaks are known."""
    made = GpuScript(tmp_path / "r.json", quick=True, precision="fp32", device=CPU)
    made.peaks = PEAKS
    return made
