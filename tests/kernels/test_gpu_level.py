"""The GPU's kernels for levels and restrictions, in Triton's interpreter; on a GPU where asked for."""

import pytest
from interpreted import run_cases


def test_levels_in_the_interpreter() -> None:
    run_cases("gpu_cases_level")


@pytest.mark.gpu
def test_levels_on_a_gpu() -> None:
    run_cases("gpu_cases_level", interpret=False)
