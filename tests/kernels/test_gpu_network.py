"""Modules in training by the GPU's kernels, in Triton's interpreter; on a GPU where asked for."""

import pytest
from interpreted import run_cases


def test_modules_in_the_interpreter() -> None:
    run_cases("gpu_cases_network")


@pytest.mark.gpu
def test_modules_on_a_gpu() -> None:
    run_cases("gpu_cases_network", interpret=False)
