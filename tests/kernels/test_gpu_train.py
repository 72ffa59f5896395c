"""Training's GPU kernels: right in Triton's interpreter and on a GPU where there is one."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton", reason="GPU kernels need Triton")

CASES = Path(__file__).with_name("gpu_cases_train.py")

BATCHES = (
    ("norm_conv", "norm_conv_every_way", "norm_conv_takes_gradients_of_any_layout"),
    (
        "weight_gradients", "weight_gradients_of_many_pixels_add_up", "affine_ends", "sums_over_many_tiles",
        "partial_sums_are_reduced_in_float64", "variance_where_the_mean_is_large", "what_is_not_a_number_stays_so",
    ),
)  # fmt: skip
"""Cases of one process each."""
SLOW = ("more_norm_convs",)


@pytest.mark.parametrize("cases", [*BATCHES, pytest.param(SLOW, marks=pytest.mark.slow)], ids=lambda cases: cases[0])
def test_interpreted(cases: tuple[str, ...]) -> None:
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(CASES.parents[2])}
    done = subprocess.run(
        [sys.executable, CASES, *cases], env=environment, capture_output=True, text=True, check=False, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_case_is_run() -> None:
    source = CASES.read_text(encoding="utf-8")
    run = sorted(case for batch in (*BATCHES, SLOW) for case in batch)
    assert run == sorted(re.findall(r"^def case_(\w+)", source, re.M))


@pytest.mark.gpu
@pytest.mark.parametrize("case", [case for batch in (*BATCHES, SLOW) for case in batch])
def test_on_a_gpu(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(CASES.parent)
    cases = importlib.import_module(CASES.stem)
    torch.manual_seed(0)
    cases.CASES[case]()
