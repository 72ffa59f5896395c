"""Training's GPU kernels: right in Triton's interpreter and on a GPU where there is one; compiled, fit for an H200."""

import importlib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from torchmg.kernels.shape import Shape

pytest.importorskip("triton", reason="GPU kernels need Triton")

CASES = Path(__file__).with_name("gpu_cases_train.py")
ROOMIEST = 227 * 1024
"""Shared memory of a program on an H200, in bytes."""
COMPILER = pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION")

BATCHES = (
    ("norm_conv",),
    ("norm_conv_every_way", "norm_conv_takes_gradients_of_any_layout"),
    ("weight_gradients", "weight_gradients_of_many_pixels_add_up"),
    (
        "affine_ends", "sums_over_many_tiles", "partial_sums_are_reduced_in_float64",
        "variance_where_the_mean_is_large", "what_is_not_a_number_stays_so",
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


class Built(NamedTuple):
    """What a compiled kernel takes of a multiprocessor."""

    registers: int
    spilled: int
    shared: int
    wide: bool
    """Whether what it reads of maps it reads 16 bytes at a time."""


def build(kernel: Any, pointers: dict[str, str | None], constants: dict[str, Any], warps: int, stages: int) -> Built:
    """Compile for an H200, as for channels that are multiples of 16."""
    compiler: Any = importlib.import_module("triton.compiler")
    backends: Any = importlib.import_module("triton.backends.compiler")
    constants = constants | {name: None for name, kind in pointers.items() if kind is None}
    signature: dict[str, str] = {}
    aligned: dict[tuple[int], list[list[Any]]] = {}
    for i, name in enumerate(kernel.arg_names):
        kind = pointers.get(name)
        signature[name] = (
            "constexpr" if name in constants else f"*{kind}" if kind else "fp32" if name == "eps" else "i32"
        )
        if kind or name.endswith("channels"):
            aligned[i,] = [["tt.divisibility", 16]]
    source = compiler.ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=aligned)
    options = {"num_warps": warps, "num_stages": stages}
    built = compiler.compile(source, target=backends.GPUTarget("cuda", 90, 32), options=options)
    loads = re.findall(r"(?:ld\.global|cp\.async\.c[ag])\S*.*", built.asm["ptx"])
    wide = any(".v4" in load or "0x10" in load for load in loads)
    return Built(*_resources(built.asm["cubin"]), built.metadata.shared, wide)


def _resources(cubin: bytes) -> tuple[int, int]:
    knobs: Any = importlib.import_module("triton").knobs
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        said = subprocess.run(
            [knobs.nvidia.cuobjdump.path, "-res-usage", file.name], capture_output=True, text=True, check=True
        ).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+).* LOCAL:(\d+)", said)
    assert found is not None, said
    return int(found[1]), int(found[2]) + int(found[3])


def weight_builds(shape: Shape, dtype: str, edges: bool, default_only: bool) -> list[tuple[Any, ...]]:
    """`build`'s arguments for the launches of a weight gradient."""
    from torchmg.kernels.gpu import tiles, weight_kernels, weights

    packs = tiles.packs_of(shape)
    found: list[tuple[Any, ...]] = []
    for config in weights.candidates(shape, dtype != "fp32"):
        vectors = dict.fromkeys(("scale", "shift", "constant", "slope"), "fp32" if edges else None)
        pointers = {"x": dtype, "grad": dtype, "shares": "fp32", "other": dtype if edges else None, **vectors}
        constants = {
            "AFFINE": 2 * edges, "REACH": edges, "IN_SIZE": packs.in_size, "OUT_SIZE": packs.out_size,
            "GROUPS": packs.groups, "IN_PACK": packs.in_pack, "OUT_PACK": packs.out_pack, "BLOCK": config.block_m,
            "PRECISION": "ieee",
        }  # fmt: skip
        kernel = weight_kernels.rows_kernel
        if config.packs == 0:
            constants |= {"AHEAD": config.stages > 1}
        else:
            kernel = weight_kernels.taps_kernel
            constants |= {"KERNEL_H": shape.kernel_h, "KERNEL_W": shape.kernel_w, "STRIDE": shape.stride}
            constants |= {"PAD_H": shape.pad_h, "PAD_W": shape.pad_w, "TAPS": config.packs}
        found.append((kernel, pointers, constants, config.warps, config.stages))
    return found[:1] if default_only else found


@COMPILER
def test_the_weight_gradient_compiles_for_an_h200() -> None:
    (arguments,) = weight_builds(Shape(8, 64, 64, 4, 56, 56, 3, 3, 1, 1, 1), "bf16", True, True)
    built = build(*arguments)
    assert (built.spilled, built.wide) == (0, True)
    assert built.shared <= ROOMIEST


@COMPILER
@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
@pytest.mark.parametrize("size", [4, 16, 32, 64])
def test_every_weight_gradient_fits_an_h200(size: int, dtype: str) -> None:
    groups, image = 256 // size, (28, 28)
    found = weight_builds(Shape(8, 256, 256, groups, *image, 3, 3, 1, 1, 1), dtype, True, False)
    found += weight_builds(Shape(8, 256, 256, groups, *image, 3, 3, 2, 1, 1), dtype, True, True)
    found += weight_builds(Shape(8, 256, 512, groups, *image, 1, 1, 1, 0, 0), dtype, True, True)
    for arguments in found:
        built = build(*arguments)
        assert (built.spilled, built.wide) == (0, True), (arguments, built)
        assert built.shared <= ROOMIEST, (arguments, built)


@COMPILER
@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bf16", "fp16", "fp32"])
def test_passes_over_maps_fit_an_h200(dtype: str) -> None:
    from torchmg.kernels.gpu import affine

    pointers: dict[str, str | None] = dict.fromkeys(("scale", "shift", "partials"), "fp32")
    pointers |= dict.fromkeys(("y", "add", "out", "gout", "gy", "gadd"), dtype)
    for channels in (16, 64):
        blocks = {"BLOCK_P": affine.TILE // channels, "BLOCK_C": channels}
        found = [build(affine._moments, pointers, blocks, affine.WARPS, 3)]
        for relu in range(3):
            found.append(build(affine._affine, pointers, blocks | {"RELU": relu, "ADD": True}, 4, 3))
            ways = blocks | {"RELU": relu, "GADD": relu == 1}
            found.append(build(affine._affine_backward, pointers, ways, affine.WARPS, 3))
        for built in found:
            assert (built.spilled, built.wide) == (0, True), built
            assert built.registers <= 128, built


@COMPILER
@pytest.mark.slow
def test_coefficients_fit_an_h200() -> None:
    from torchmg.kernels.gpu import norms

    names = "partials gamma beta found mean_of variance_of gamma_of gscale_of gshift_of".split()
    pointers: dict[str, str | None] = dict.fromkeys(names, "fp32")
    for rows in (1, norms.MOST_ROWS):
        found = [build(norms._reduced, pointers, {"ROWS": rows}, norms.WARPS, 3)]
        found += [
            build(norms._coefficients, pointers, {"ROWS": rows, "MOMENTS": m}, norms.WARPS, 3) for m in (False, True)
        ]
        assert all(built.spilled == 0 for built in found), found
    assert build(norms._coefficients_backward, pointers, {"BLOCK": 128}, 4, 3).spilled == 0
