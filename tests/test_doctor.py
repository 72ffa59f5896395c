"""The examination of an installation, with parts of it taken away or broken."""

import getpass
import json
import platform
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from torchmg import cli
from torchmg.data.cifar import CIFAR10
from torchmg.data.fashion_mnist import FASHION_MNIST
from torchmg.data.idx import idx_size
from torchmg.data.names import DATASETS
from torchmg.doctor import Finding, compiling, devices, examine, packages, selfcheck, traps
from torchmg.doctor.datasets import data_sets
from torchmg.doctor.packages import within
from torchmg.kernels.gpu import support

Patch = pytest.MonkeyPatch


def by_name(findings: Any) -> dict[str, Finding]:
    return {finding.what: finding for finding in findings}


def install(patch: Patch, **versions: str | None) -> None:
    """Pretend that packages have other versions, or are absent."""

    def pretended(package: str) -> str:
        found = versions.get(package.replace("-", "_"), version(package) if package not in versions else None)
        if found is None:
            raise PackageNotFoundError(package)
        return found

    patch.setattr(packages, "version", pretended)


# ---- the whole


def test_this_installation_is_healthy_and_the_report_names_no_one(tmp_path: Path) -> None:
    report = examine(tmp_path)
    assert report.healthy
    assert str(report.table()).startswith("everything that is required works")
    found = by_name(report.findings)
    assert found["torch"].found == version("torch")
    assert found["self-check on cpu"].status == "ok"
    assert set(DATASETS) <= set(found)
    text = str(report.table()) + report.data().json()
    assert platform.node() not in text
    assert f"/{getpass.getuser()}/" not in text.replace(str(tmp_path), "")


def test_json_and_exit_codes(capsys: pytest.CaptureFixture[str], monkeypatch: Patch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.run(["doctor", "--json", "--csv", "doctor.csv"]) == 0
    read = json.loads(capsys.readouterr().out)
    assert read["healthy"] is True
    assert {tuple(row) for row in read["rows"]} == {("area", "what", "status", "found", "advice")}
    assert {row["status"] for row in read["rows"]} <= {"ok", "absent", "warning"}
    assert len((tmp_path / "doctor.csv").read_text().splitlines()) == len(read["rows"]) + 1
    install(monkeypatch, lightning="2.6.3")
    assert cli.run(["doctor", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["healthy"] is False


def test_a_torch_that_cannot_be_imported_ends_the_examination(monkeypatch: Patch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    report = examine()
    assert not report.healthy
    assert report.findings[-1].what == "import torch"
    assert "torch" in report.findings[-1].found


# ---- packages


def test_a_malicious_lightning_is_named_and_not_imported(monkeypatch: Patch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "lightning"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "lightning", None)  # importing it now would be an error
    install(monkeypatch, lightning="2.6.2")
    train = by_name(packages.packages())["train"]
    assert train.status == "broken"
    assert "lightning 2.6.2 is a known malicious release" in train.advice
    assert "pip install --upgrade 'lightning<3,>=2.6.6'" in train.advice


def test_absent_extras_are_a_choice(monkeypatch: Patch) -> None:
    install(monkeypatch, lightning=None, matplotlib=None)
    found = by_name(packages.packages())
    assert (found["train"].status, found["train"].advice) == ("absent", "pip install 'torchmg[train]'")
    assert "lightning absent, scikit-learn " in found["train"].found
    assert found["plot"].status == "absent"
    assert set(found) >= {"train", "plot", "export", "timm", "hub"}
    assert not [finding for finding in found.values() if finding.status == "broken"]


def test_old_packages(monkeypatch: Patch) -> None:
    install(monkeypatch, torch="2.10.1+cpu", matplotlib="3.8.4", rich=None)
    found = by_name(packages.packages())
    assert (found["torch"].status, found["torch"].advice) == ("broken", "pip install 'torch<3,>=2.11'")
    assert (found["rich"].status, found["rich"].found) == ("broken", "not installed")
    assert found["plot"].status == "warning"
    assert "matplotlib must be >=3.9" in found["plot"].advice


@pytest.mark.parametrize(
    ("here", "status"), [("3.10.4", "broken"), ("3.11.0", "ok"), ("3.13.9", "ok"), ("3.14.0", "warning")]
)
def test_pythons(here: str, status: str, monkeypatch: Patch) -> None:
    monkeypatch.setattr(platform, "python_version", lambda: here)
    python = by_name(packages.packages())["Python"]
    assert python.status == status
    assert python.advice == ("" if status == "ok" else "torchmg supports Python 3.11 to 3.13.")


def test_run_from_its_source(monkeypatch: Patch) -> None:
    def absent(_: str) -> None:
        raise PackageNotFoundError

    monkeypatch.setattr(packages, "requires", absent)
    monkeypatch.setattr(packages, "metadata", absent)
    found = packages.packages()
    assert [finding.what for finding in found] == ["torchmg", "Python"]
    assert "run from its source" in found[0].found


NUMBERS = st.lists(st.integers(0, 12), min_size=1, max_size=3).map(lambda parts: ".".join(map(str, parts)))


@given(NUMBERS, NUMBERS, st.sampled_from(["", "+cu132", "+cpu"]))
def test_versions_are_ordered_as_packaging_orders_them(installed: str, bound: str, local: str) -> None:
    enough = Version(installed) >= Version(bound)
    assert within(installed + local, f">={bound}") == enough
    assert within(installed + local, f"<{bound}") != enough
    assert within(installed + local, "")


# ---- compiler


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("reason", "status"), [("", "ok"), ("there is no CUDA device", "absent"), ("Triton cannot be imported", "absent")]
)
def test_gpu_kernels(monkeypatch: Patch, reason: str, status: str) -> None:
    monkeypatch.setattr(support, "why_not", lambda: reason)
    finding = by_name(compiling.compiling())["GPU kernels"]
    assert finding.status == status
    assert finding.advice.casefold().startswith(reason.casefold())
    assert bool(finding.advice) == ("on a GPU small groups go to cuDNN" in finding.advice) == bool(reason)


def test_triton(monkeypatch: Patch) -> None:
    monkeypatch.setattr(compiling, "installed_version", lambda _: None)
    finding = by_name(compiling.compiling())["Triton"]
    assert (finding.status, finding.found) == ("absent", "absent")
    assert "torch.compile on CUDA and the GPU kernels" in finding.advice
    monkeypatch.setattr(compiling, "installed_version", lambda _: "3.6.0")
    assert by_name(compiling.compiling())["Triton"] == Finding("compile", "Triton", "ok", "3.6.0")


def test_compilers(monkeypatch: Patch, tmp_path: Path) -> None:
    def compiler() -> Finding:
        return by_name(compiling.compiling())["C++ compiler"]

    (tmp_path / "Python.h").write_text("")
    monkeypatch.setattr(compiling.sysconfig, "get_path", lambda _: str(tmp_path))
    monkeypatch.setenv("CXX", script(tmp_path / "works", "cat > /dev/null"))
    assert (compiler().status, compiler().found) == ("ok", "works")
    monkeypatch.setenv("CXX", script(tmp_path / "fails", "cat > /dev/null; echo 'no such header' >&2; exit 1"))
    assert compiler().status == "warning"
    assert compiler().advice == "fails cannot compile a small program, so torch.compile will fail: no such header"
    monkeypatch.setenv("CXX", "no_such_compiler")
    assert (compiler().status, compiler().found) == ("absent", "no no_such_compiler")
    monkeypatch.setenv("CXX", str(tmp_path / "works"))
    (tmp_path / "Python.h").unlink()
    assert "Python.h is missing" in compiler().advice
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert (compiler().status, compiler().found) == ("absent", "absent")


# ---- devices and traps


def driver(folder: Path, patch: Patch, gpus: int = 1) -> None:
    """Pretend that NVIDIA's driver is installed."""
    (folder / "gpus").mkdir(parents=True)
    for index in range(gpus):
        (folder / "gpus" / f"0000:0{index}:00.0").mkdir()
    line = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Thu Jan 23 2025\nGCC version: 12.2.0\n"
    (folder / "version").write_text(line)
    patch.setattr(devices, "DRIVER", folder)
    patch.setattr(traps, "DRIVER", folder)


def cuda(patch: Patch, count: int, major: int = 9) -> None:
    """Pretend that torch sees CUDA devices."""
    patch.setattr(torch.cuda, "is_available", lambda: count > 0)
    patch.setattr(torch.cuda, "device_count", lambda: count)
    properties = SimpleNamespace(name="Device", total_memory=80 * 2**30, major=major)
    patch.setattr(torch.cuda, "get_device_properties", lambda _: properties)


def test_no_driver(monkeypatch: Patch, tmp_path: Path) -> None:
    cuda(monkeypatch, 0)
    monkeypatch.setattr(devices, "DRIVER", tmp_path / "none")
    found = by_name(devices.devices())
    assert (found["cuda"].status, found["cuda"].found) == ("absent", "no NVIDIA driver")
    assert f"torch threads: {torch.get_num_threads()}" in found["cpu"].found


def test_a_driver_and_a_torch_for_the_cpu(monkeypatch: Patch, tmp_path: Path) -> None:
    driver(tmp_path / "nvidia", monkeypatch)
    cuda(monkeypatch, 0)
    monkeypatch.setattr(torch.version, "cuda", None)
    found = by_name(devices.devices())["cuda"]
    assert (found.status, found.found) == ("warning", "driver 570.86.15, torch for the CPU")
    assert "build for the CPU" in found.advice


def test_a_driver_that_torch_cannot_start(monkeypatch: Patch, tmp_path: Path) -> None:
    import warnings

    def too_old() -> bool:
        warnings.warn("The NVIDIA driver on your system is too old\nmore", UserWarning, stacklevel=2)
        return False

    driver(tmp_path / "nvidia", monkeypatch)
    monkeypatch.setattr(torch.version, "cuda", "13.2")
    monkeypatch.setattr(torch.cuda, "is_available", too_old)
    found = by_name(devices.devices())["cuda"]
    assert (found.status, found.advice) == ("warning", "The NVIDIA driver on your system is too old")


@pytest.mark.parametrize(("major", "bf16"), [(7, "no bf16"), (8, "80 GiB, bf16")])
def test_cuda_devices(major: int, bf16: str, monkeypatch: Patch, tmp_path: Path) -> None:
    driver(tmp_path / "nvidia", monkeypatch, gpus=2)
    cuda(monkeypatch, 2, major)
    monkeypatch.setattr(torch.version, "cuda", "13.2")
    found = by_name(devices.devices())
    assert "cuda" not in found
    assert found["cuda:1"].found.startswith("Device, 80 GiB")
    assert bf16 in found["cuda:1"].found
    assert found["cuda:1"].found.endswith("driver 570.86.15, CUDA 13.2")
    assert "visible devices" not in by_name(traps.traps())
    cuda(monkeypatch, 1)
    assert by_name(traps.traps())["visible devices"].found == "1 of 2"


@pytest.mark.parametrize(("threads", "trapped"), [("4", True), ("2", False), ("", False), ("4,2", False)])
def test_more_threads_than_cores(threads: str, trapped: bool, monkeypatch: Patch, tmp_path: Path) -> None:
    monkeypatch.setattr(traps, "CGROUP", tmp_path)
    monkeypatch.setattr(traps, "usable_cores", lambda: 2)
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    found = by_name(traps.traps())
    assert ("OMP_NUM_THREADS" in found) == trapped
    if trapped:
        assert found["OMP_NUM_THREADS"].advice.endswith("OMP_NUM_THREADS=2")


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({}, None),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "nonsense"}, None),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.5),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "0\n"}, None),
    ],
)
def test_the_limit_of_a_container(
    files: dict[str, str], limit: float | None, monkeypatch: Patch, tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(traps, "CGROUP", tmp_path)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    assert traps.cpu_limit() == limit
    found = by_name(traps.traps())
    assert ("limit of the container" in found) == (limit is not None)
    if limit is not None:
        assert found["limit of the container"].advice.endswith("OMP_NUM_THREADS=1")


# ---- data sets


def sparse(path: Path, size: int) -> None:
    """A file of a size, without contents."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(size)


def cifar(root: Path) -> list[Path]:
    files = [root / "cifar-10-batches-py" / f.name for f in CIFAR10.train + CIFAR10.test]
    for file in files:
        sparse(file, 31_000_000)
    return files


def test_data_sets_there_and_absent(tmp_path: Path) -> None:
    assert [by_name(data_sets(tmp_path))[name].status for name in ("cifar10", "fashion_mnist")] == ["absent"] * 2
    cifar(tmp_path)
    for f in FASHION_MNIST.train:
        sparse(tmp_path / "FashionMNIST" / "raw" / f.name, idx_size(f.shape))
    for f in FASHION_MNIST.test:
        sparse(tmp_path / "FashionMNIST" / "raw" / f"{f.name}.gz", idx_size(f.shape) // 2)
    found = by_name(data_sets(tmp_path))
    assert found["cifar10"] == Finding("data", "cifar10", "ok", f"6 files in {tmp_path / 'cifar-10-batches-py'}")
    assert found["fashion_mnist"].status == "ok"
    assert found["digits"].status == "ok"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda file: file.unlink(), "lacks data_batch_1"),
        (lambda file: sparse(file, 1000), "cut short: data_batch_1"),
        (lambda file: (file.unlink(), file.mkdir()), "lacks data_batch_1"),
    ],
)
def test_incomplete_data_sets(change: Callable[[Path], object], says: str, tmp_path: Path) -> None:
    change(cifar(tmp_path)[0])
    found = by_name(data_sets(tmp_path))["cifar10"]
    assert found.status == "warning"
    assert found.found.endswith(says)


def test_digits_need_scikit_learn(monkeypatch: Patch, tmp_path: Path) -> None:
    def absent(_: str) -> str:
        raise PackageNotFoundError

    monkeypatch.setattr("torchmg.doctor.datasets.version", absent)
    found = by_name(data_sets(tmp_path))["digits"]
    assert (found.status, found.advice) == ("absent", "pip install 'torchmg[train]'")


# ---- self-check


def test_the_self_check_leaves_the_random_numbers_alone() -> None:
    before = torch.get_rng_state()
    assert selfcheck.check(torch.device("cpu")).status == "ok"
    assert torch.equal(before, torch.get_rng_state())


def test_a_device_that_computes_wrongly(monkeypatch: Patch) -> None:
    forward = selfcheck.MGICBlock.forward
    monkeypatch.setattr(selfcheck.MGICBlock, "forward", lambda self, x: forward(self, x) + 1e-6)
    assert selfcheck.check(torch.device("cpu")).found == "an idle cycle changes its input"


def test_gradients_that_are_not_finite(monkeypatch: Patch) -> None:
    class Overflow(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:  # pyright: ignore
            return grad * float("inf")

    forward = selfcheck.MGICBlock.forward
    monkeypatch.setattr(selfcheck.MGICBlock, "forward", lambda self, x: Overflow.apply(forward(self, x)))
    found = selfcheck.check(torch.device("cpu"))
    assert (found.status, found.found) == ("broken", "gradients are not finite")


def test_a_device_that_fails(monkeypatch: Patch) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError("no kernel image is available\nmore")

    monkeypatch.setattr(selfcheck.MGICBlock, "forward", fails)
    found = selfcheck.check(torch.device("cpu"))
    assert (found.status, found.found) == ("broken", "no kernel image is available")
