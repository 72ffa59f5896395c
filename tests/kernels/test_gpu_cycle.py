"""The GPU's kernel for whole blocks, in Triton's interpreter; on a GPU where asked for."""

import pytest
from interpreted import run_cases


def test_blocks_in_the_interpreter() -> None:
    run_cases("gpu_cases_cycle")


@pytest.mark.slow
def test_more_blocks_in_the_interpreter() -> None:
    run_cases("gpu_cases_cycle", slow=True)


@pytest.mark.gpu
def test_blocks_on_a_gpu() -> None:
    run_cases("gpu_cases_cycle", interpret=False)
