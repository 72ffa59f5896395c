"""Importing torchmg and its data-only modules loads no torch; every public name resolves."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import torchmg

LIGHT = ["torchmg", "torchmg.errors", "torchmg.hierarchy", "torchmg.tables", "torchmg.models.catalog"]
HEAVY = ("torch", "torchvision", "lightning", "matplotlib", "numpy")


@pytest.mark.parametrize("module", [*LIGHT, "torchmg.models.options", "torchmg.paper", "torchmg.paper.measured"])
def test_importing_loads_no_torch(module: str) -> None:
    code = f"import sys, {module}; print(sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_using_light_names_and_listing_all_loads_no_torch() -> None:
    code = (
        "import sys, torchmg; print(torchmg.Hierarchy(64)); dir(torchmg); torchmg.TorchmgError; "
        "from torchmg.models.catalog import find; find('resnet20'); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_the_building_blocks_load_no_torchvision_and_no_compiler() -> None:
    code = (
        "import sys, torchmg; torchmg.nn.MGICBlock(32); torchmg.create('mgic_resnet20'); "
        "assert not {'torchvision', 'lightning', 'matplotlib', 'torch._dynamo'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_importing_while_another_device_is_the_default_leaves_nothing_there() -> None:
    code = (
        "import torch, torchmg\nwith torch.device('meta'): torchmg.create('mgiad20', grid_init='full_weighting')\n"
        "print(torchmg.create('mgiad20', grid_init='full_weighting')(torch.zeros(1, 3, 8, 8)).isfinite().all())"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "tensor(True)"


@pytest.mark.parametrize("name", torchmg.__all__)
def test_every_public_name_resolves(name: str) -> None:
    assert name in dir(torchmg)
    found = getattr(torchmg, name)
    home = getattr(found, "__module__", None)
    if home is not None and name != "nn":
        assert getattr(importlib.import_module(home), found.__name__) is found


def test_the_submodule_nn_is_an_attribute() -> None:
    assert torchmg.nn is importlib.import_module("torchmg.nn")
    assert set(torchmg.nn.__all__) <= set(dir(torchmg.nn))


@pytest.mark.parametrize("name", ["creat", "MGICBlock", "__wrapped__"])
def test_an_unknown_name_is_an_attribute_error(name: str) -> None:
    with pytest.raises(AttributeError, match=f"'torchmg' has no attribute '{name}'"):
        getattr(torchmg, name)
    assert not hasattr(torchmg, name)


def test_version_is_that_of_the_project() -> None:
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text()
    assert f'\nversion = "{torchmg.__version__}"\n' in text
