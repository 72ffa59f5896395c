"""Random convolutions by the GPU's kernels: some in Triton's interpreter, many on a GPU where asked for."""

import pytest
from interpreted import run_cases


@pytest.mark.slow
def test_random_convolutions_in_the_interpreter() -> None:
    run_cases("gpu_cases_random")


@pytest.mark.gpu
def test_random_convolutions_on_a_gpu() -> None:
    run_cases("gpu_cases_random", interpret=False)
