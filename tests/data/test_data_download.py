import os
import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from urllib.error import URLError

import pytest

from torchmg.data import load
from torchmg.data.cifar import CIFAR10, CIFAR100
from torchmg.data.fashion_mnist import FASHION_MNIST
from torchmg.data.files import Source, find, read_bytes
from torchmg.errors import DataError

SOURCE = Source("Toy", "toy/raw", "one and two", "the toy page", "CIFAR10")
WANTED = [("one.gz", "one"), ("two",)]


def downloader(monkeypatch, files=(), error=None):
    """Put a stand-in in the place of torchvision, whose import takes seconds; returns the calls it got."""
    calls = []

    def download(root, *, download):
        calls.append((root, socket.getdefaulttimeout()))
        assert download
        folder = Path(root) / "toy" / "raw"
        folder.mkdir(parents=True)
        for name in files:
            (folder / name).write_bytes(f"new {name}".encode())
        if error is not None:
            raise error

    datasets = SimpleNamespace(CIFAR10=download, CIFAR100=download, FashionMNIST=download)
    monkeypatch.setitem(sys.modules, "torchvision", SimpleNamespace(datasets=datasets))
    return calls


def tree(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_download_moves_what_is_absent(monkeypatch, tmp_path):
    calls = downloader(monkeypatch, ["one.gz", "one", "two", "extra"])
    folder = tmp_path / "data" / "toy" / "raw"
    folder.mkdir(parents=True)
    (folder / "one").write_bytes(b"mine")
    paths = find(SOURCE, tmp_path / "data", WANTED, download=True)
    assert paths == [folder / "one", folder / "two"]
    assert [path.read_bytes() for path in paths] == [b"mine", b"new two"]
    assert tree(tmp_path / "data") == ["toy", "toy/raw", "toy/raw/one", "toy/raw/two"]
    assert len(calls) == 1
    assert calls[0][1] is not None
    assert socket.getdefaulttimeout() is None


def test_nothing_is_downloaded_when_all_is_there(monkeypatch, tmp_path):
    calls = downloader(monkeypatch, error=AssertionError())
    (tmp_path / "toy/raw").mkdir(parents=True)
    for name in ("one", "two"):
        (tmp_path / "toy/raw" / name).touch()
    find(SOURCE, tmp_path, WANTED, download=True)
    assert not calls


@pytest.mark.parametrize(
    "error",
    [
        URLError("Name or service not known"),
        RuntimeError("File not found or corrupted."),
        TimeoutError("timed out"),
        EOFError("Compressed file ended early"),
        ValueError("odd"),
    ],
)
def test_a_failed_download_leaves_nothing(monkeypatch, tmp_path, error):
    downloader(monkeypatch, ["one", "two"], error)
    with pytest.raises(DataError) as caught:
        find(SOURCE, tmp_path, WANTED, download=True)
    text = str(caught.value)
    for words in (str(tmp_path / "toy" / "raw"), "one.gz, two", "the download failed", type(error).__name__):
        assert words in text
    assert "the toy page" in text
    assert "--data-dir" in text
    assert caught.value.__cause__ is caught.value.__context__ is None
    assert tree(tmp_path) == []


def test_an_interrupted_download_leaves_nothing(monkeypatch, tmp_path):
    downloader(monkeypatch, ["one", "two"], KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        find(SOURCE, tmp_path, WANTED, download=True)
    assert tree(tmp_path) == []


def test_an_incomplete_download_is_named(monkeypatch, tmp_path):
    downloader(monkeypatch, ["one"])
    with pytest.raises(DataError, match=r"lacks two \(1 of 2 files are there\), and the download does not contain it"):
        find(SOURCE, tmp_path, WANTED, download=True)


def test_the_data_folder_cannot_be_made(monkeypatch, tmp_path):
    downloader(monkeypatch, ["one", "two"])
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="the download failed"):
        find(SOURCE, tmp_path / "file", WANTED, download=True)


@pytest.mark.parametrize("name", ["fashion_mnist", "cifar10", "cifar100"])
def test_public_sets_without_a_network(monkeypatch, tmp_path, name):
    downloader(monkeypatch, error=URLError("unreachable"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="unreachable") as caught:
        load(name)
    assert str(tmp_path / "data") in str(caught.value)


def test_files_that_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="not a regular file"):
        read_bytes(tmp_path / "pipe", 10, SOURCE)
    with pytest.raises(DataError, match="is a folder"):
        read_bytes(tmp_path, 10, SOURCE)
    (tmp_path / "large").write_bytes(bytes(11))
    with pytest.raises(DataError, match="11 bytes, more than the 10"):
        read_bytes(tmp_path / "large", 10, SOURCE)


def test_a_file_without_permission(monkeypatch, tmp_path):
    def refuse(self):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "mine").touch()
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(DataError, match=r"mine cannot be read \(Permission denied\)"):
        read_bytes(tmp_path / "mine", 10, SOURCE)


def test_names_and_sums_are_those_of_torchvision():
    from torchvision import datasets

    for ours, theirs in ((CIFAR10, datasets.CIFAR10), (CIFAR100, datasets.CIFAR100)):
        assert [[file.name, file.md5] for file in (*ours.train, *ours.test)] == theirs.train_list + theirs.test_list
        assert theirs.base_folder == ours.source.folder
    files = (*FASHION_MNIST.train, *FASHION_MNIST.test)
    assert [(f"{file.name}.gz", file.packed_md5) for file in files] == datasets.FashionMNIST.resources
    assert list(FASHION_MNIST.classes) == datasets.FashionMNIST.classes
    for layout in (CIFAR10, CIFAR100, FASHION_MNIST):
        assert hasattr(datasets, layout.source.torchvision_name)
