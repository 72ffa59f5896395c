"""Devices by name, and what is missing or dangerous among the packages."""

import sys
from importlib.metadata import PackageNotFoundError
from typing import Any

import pytest
import torch

from torchmg.errors import MissingExtraError, TorchmgError, UsageError
from torchmg.train import engine as module
from torchmg.train.engine import engine, pick_device
from torchmg.train.environment import EXACT, differences, environment


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pick_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert pick_device("auto") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("auto") == torch.device("cuda:0")
    assert pick_device("cuda") == torch.device("cuda:0")
    assert pick_device("cuda:1") == torch.device("cuda:1")
    for name in ("cuda:2", "cuda:x", "gpu", "meta", "mps", ""):
        with pytest.raises(UsageError, match=rf"no device '{name}' here\. Devices: auto, cpu, cuda:0, cuda:1\."):
            pick_device(name)


def test_lightning_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(_: str) -> str:
        raise PackageNotFoundError

    monkeypatch.setattr(module, "version", absent)
    with pytest.raises(MissingExtraError, match=r"pip install 'torchmg\[train\]'"):
        engine("cpu", "fp32")


@pytest.mark.parametrize("release", ["2.6.2", "2.6.3"])
def test_malicious_releases_are_not_imported(release: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "version", lambda _: release)
    monkeypatch.setitem(sys.modules, "lightning.fabric", None)  # importing it now would be an ImportError
    with pytest.raises(TorchmgError, match=rf"lightning {release} is a known malicious release.*Upgrade to >=2\.6\.6"):
        engine("cpu", "fp32")


def test_the_environment_names_no_one() -> None:
    here: dict[str, Any] = environment(torch.device("cpu"))
    assert type(here["torch"]) is str
    assert set(EXACT) <= set(here)
    assert all(isinstance(value, str | int) for value in here.values())
    import getpass
    import platform

    text = repr(here)
    assert platform.node() not in text
    assert f"/{getpass.getuser()}" not in text


def test_differences_are_named() -> None:
    assert differences({"torch": "1", "threads": 2}, {"torch": "1", "threads": 2}) == []
    assert differences({"threads": 2}, {"threads": 4}) == ["threads was 2, is 4"]
    assert differences({}, {"torch": "2"}) == ["torch was None, is '2'"]
    assert differences({"python": "3.11"}, {"python": "3.12"}) == []
