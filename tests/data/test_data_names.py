import subprocess
import sys
from typing import get_args

import pytest

import torchmg.data
from torchmg.data import AUGMENTATIONS, DATASETS, load
from torchmg.data.names import OTHER_AUGMENTATIONS, SETS
from torchmg.errors import MissingExtraError, UnknownNameError
from torchmg.models.catalog import Task


def test_names_do_not_import_torch():
    code = "import sys, torchmg.data.names, torchmg.data.sets; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_public_name_resolves():
    for name in torchmg.data.__all__:
        assert getattr(torchmg.data, name) is not None
        assert name in dir(torchmg.data)
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        _ = torchmg.data.lode


def test_names():
    assert list(DATASETS)[:4] == ["digits", "fashion_mnist", "cifar10", "cifar100"]
    assert list(DATASETS) == list(SETS)
    for info in SETS.values():
        assert info.task in get_args(Task)
        assert info.augmentations[0] == "none"
        assert set(info.augmentations) <= {*AUGMENTATIONS, *OTHER_AUGMENTATIONS}
    assert list(AUGMENTATIONS) == ["none", "crop", "crop_flip", "autoaugment", "randaugment"]


def test_unknown_data_set():
    with pytest.raises(UnknownNameError, match=r"Unknown data set 'fashionmnist'\. Did you mean fashion_mnist"):
        load("fashionmnist")


def test_digits_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(MissingExtraError, match=r"The built-in digits needs the extra 'train'"):
        load("digits")
