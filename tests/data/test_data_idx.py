import gzip
import shutil
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from torchmg.data.fashion_mnist import FASHION_MNIST, load_idx
from torchmg.data.files import md5
from torchmg.data.idx import gunzip, parse_idx
from torchmg.errors import DataError, DataWarning

COUNTS = (7, 3)


def idx(array):
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


def arrays():
    rng = np.random.default_rng(0)
    for count in COUNTS:
        yield rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        yield (np.arange(count) % 10).astype(np.uint8)


@pytest.fixture
def tiny(tmp_path):
    """A FashionMNIST of ten images, and the description for which it is the published one."""
    folder = tmp_path / FASHION_MNIST.source.folder
    folder.mkdir(parents=True)
    files = []
    for file, array in zip((*FASHION_MNIST.train, *FASHION_MNIST.test), arrays(), strict=True):
        packed = gzip.compress(idx(array))
        (folder / f"{file.name}.gz").write_bytes(packed)
        files.append(replace(file, shape=array.shape, packed_md5=md5(packed), md5=md5(idx(array))))
    return folder, replace(FASHION_MNIST, train=tuple(files[:2]), test=tuple(files[2:]))


def read(folder, layout):
    return load_idx(folder.parent.parent, download=False, layout=layout)


def unpack(folder):
    for path in list(folder.glob("*.gz")):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()


def check(data):
    assert (len(data.train), len(data.test)) == COUNTS
    images, labels, *_ = arrays()
    assert torch.equal(data.train.images[:, 0], torch.from_numpy(images))
    assert torch.equal(data.train.labels, torch.from_numpy(labels).long())
    assert data.shape == (1, 28, 28)
    assert data.classes[9] == "Ankle boot"


def test_packed_and_unpacked(tiny):
    check(read(*tiny))
    unpack(tiny[0])
    check(read(*tiny))


def test_packed_is_preferred(tiny):
    (tiny[0] / tiny[1].train[0].name).write_bytes(b"never read")
    check(read(*tiny))


@pytest.mark.parametrize("packed", [True, False])
def test_other_bytes_are_a_single_warning(tiny, packed):
    folder, layout = tiny
    if not packed:
        unpack(folder)
    bad = {"md5": "0" * 32, "packed_md5": "0" * 32}
    layout = replace(layout, train=tuple(replace(file, **bad) for file in layout.train))
    with pytest.warns(DataWarning, match=r"train-images.*, train-labels") as record:
        check(read(folder, layout))
    assert len(record) == 1
    assert "t10k" not in str(record[0].message)


def test_the_published_files_of_another_size_are_no_warning_but_an_error(tiny):
    folder, layout = tiny
    layout = replace(layout, train=(replace(layout.train[0], shape=(8, 28, 28)), layout.train[1]))
    with pytest.raises(DataError, match="holds 7 x 28 x 28 values, not 8 x 28 x 28"):
        read(folder, layout)


IMAGES, LABELS, *_ = arrays()
DAMAGE = {
    "empty": (b"", "begins with nothing"),
    "magic": (b"\0\0\x0d\3" + idx(IMAGES)[4:], "begins with 00000d03, not with 00000803"),
    "labels in its place": (idx(LABELS), "begins with 00000801"),
    "header only": (idx(IMAGES)[:9], "cut off"),
    "short": (idx(IMAGES)[:-1], "cut off"),
    "long": (idx(IMAGES) + b"x", "goes on behind"),
    "fewer": (idx(IMAGES[:6]), "6 x 28 x 28"),
    "lying count": (idx(IMAGES)[:4] + b"\xff" * 12 + idx(IMAGES)[16:], "4294967295"),
}


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_images(tiny, damage, packed):
    content, words = DAMAGE[damage]
    folder, layout = tiny
    if not packed:
        unpack(folder)
    path = folder / (layout.train[0].name + (".gz" if packed else ""))
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(DataError, match=words) as caught:
        read(folder, layout)
    assert str(path) in str(caught.value)
    assert "Zalando" in str(caught.value)
    assert path.exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data[:-9], "cut off"),
        (lambda data: data[: len(data) // 2], "cut off"),
        (lambda data: data[:-8] + b"\0\0\0\0" + data[-4:], "not a sound gzip file"),
        (lambda data: data[:30] + bytes(200) + data[230:], "not a sound gzip file"),
        (lambda data: b"<html>404</html>", "not a sound gzip file"),
        (lambda data: data + b"more", "not a sound gzip file"),
        (lambda data: data + bytes(10**6), "more than the"),
        (lambda data: gzip.compress(bytes(10**6)), "begins with 00000000"),
    ],
)
def test_damaged_gzip(tiny, change, words):
    path = tiny[0] / f"{tiny[1].train[0].name}.gz"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DataError, match=words):
        read(*tiny)


def test_a_bomb_is_not_unpacked():
    assert len(gunzip(gzip.compress(bytes(10**7)), 1000)) == 1001


def test_a_label_without_a_class(tiny):
    folder, layout = tiny
    (folder / f"{layout.test[1].name}.gz").write_bytes(gzip.compress(idx(np.array([0, 10, 2], np.uint8))))
    with pytest.raises(DataError, match=r"t10k-labels.* has a label 10, outside 0\.\.9"):
        read(folder, layout)


def test_a_folder_in_place_of_a_file(tiny):
    path = tiny[0] / f"{tiny[1].train[0].name}.gz"
    path.unlink()
    path.mkdir()
    with pytest.raises(DataError, match="is a folder, not a file"):
        read(*tiny)


def test_a_dangling_link(tiny):
    path = tiny[0] / f"{tiny[1].train[0].name}.gz"
    path.unlink()
    path.symlink_to("nowhere")
    with pytest.raises(DataError, match="cannot be read"):
        read(*tiny)


def test_a_missing_file_is_named(tiny):
    folder, layout = tiny
    (folder / f"{layout.test[0].name}.gz").unlink()
    with pytest.raises(DataError, match=r"lacks t10k-images-idx3-ubyte.gz \(3 of 4 files are there\)") as caught:
        read(folder, layout)
    assert str(folder) in str(caught.value)
    assert "--data-dir" in str(caught.value)


def test_nothing_is_written(tiny):
    before = sorted((path.name, path.stat().st_mtime_ns) for path in tiny[0].iterdir())
    with warnings.catch_warnings(action="error"):
        read(*tiny)
    assert sorted((path.name, path.stat().st_mtime_ns) for path in tiny[0].iterdir()) == before


def test_no_folder(tiny):
    shutil.rmtree(tiny[0].parent)
    with pytest.raises(DataError, match=r"lacks train-images.*, and downloading was switched off"):
        read(*tiny)


def test_parse_idx_gives_writable_memory():
    assert parse_idx(idx(IMAGES), IMAGES.shape).flags.writeable
