"""The GPU's convolution kernels, in Triton's interpreter; on a GPU where asked for."""

import pytest
from interpreted import run_cases


def test_convolutions_in_the_interpreter() -> None:
    run_cases("gpu_cases_conv")


@pytest.mark.slow
def test_more_convolutions_in_the_interpreter() -> None:
    run_cases("gpu_cases_conv", slow=True)


@pytest.mark.gpu
def test_convolutions_on_a_gpu() -> None:
    run_cases("gpu_cases_conv", interpret=False)
