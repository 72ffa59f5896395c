import pickle
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch

from torchmg.data.cifar import CIFAR10, CIFAR100, load_cifar
from torchmg.data.files import md5
from torchmg.errors import DataError, DataWarning

N = 4


def batch(seed, n=N, layout=CIFAR10):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (n, 3072), dtype=np.uint8)
    return {"data": pixels, layout.label_key: rng.integers(0, len(layout.classes), n).tolist()}


def python3(entries, protocol=2):
    named = {**entries, "batch_label": "a batch", "filenames": [f"{i}.png" for i in range(N)]}
    return pickle.dumps(named, protocol)


def python2(entries):
    """What cPickle of Python 2 wrote with protocol 2: every string, pixels included, as bytes without encoding."""

    def text(value):
        return b"U" + bytes([len(value)]) + value

    data = entries["data"]
    ((key, labels),) = (item for item in entries.items() if item[0] != "data")
    shape = b"K" + bytes([len(data)]) + b"M" + struct.pack("<H", 3072) + b"\x86"
    dtype = b"cnumpy\ndtype\nq\x04U\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\nq\x05cnumpy\nndarray\nK\x00\x85U\x01b\x87Rq\x06"
    array += b"(K\x01" + shape + dtype + b"\x89T" + struct.pack("<i", data.size) + data.tobytes() + b"tb"
    counted = b"".join(b"K" + bytes([label]) for label in labels)
    label_list = b"]q\x07(" + counted + b"e"
    items = text(b"batch_label") + text(b"training batch 1 of 5") + text(key.encode()) + label_list
    return b"\x80\x02}q\x01(" + items + text(b"data") + array + b"u."


def bytes_keys(entries):
    return pickle.dumps({key.encode(): value for key, value in entries.items()}, 2)


WRITERS = {
    "python2": python2,
    "python3-2": python3,
    "python3-4": lambda entries: python3(entries, 4),
    "python3-5": lambda entries: python3(entries, 5),
    "bytes keys": bytes_keys,
    "label array": lambda entries: python3({key: np.array(value) for key, value in entries.items()}),
    "fortran": lambda entries: python3({**entries, "data": np.asfortranarray(entries["data"])}),
}


@pytest.fixture
def tiny(tmp_path):
    """A CIFAR-10 of four images a file, and the description for which it is the published one."""
    return write(tmp_path, python3)


def write(root, writer, layout=CIFAR10):
    folder = root / layout.source.folder
    folder.mkdir(parents=True)
    files = []
    for seed, file in enumerate((*layout.train, *layout.test)):
        data = writer(batch(seed, layout=layout))
        (folder / file.name).write_bytes(data)
        files.append(replace(file, count=N, md5=md5(data)))
    cut = len(layout.train)
    return folder, replace(layout, train=tuple(files[:cut]), test=tuple(files[cut:]))


def read(folder, layout):
    return load_cifar(folder.parent, download=False, layout=layout)


@pytest.mark.parametrize("writer", WRITERS)
def test_whoever_wrote_it(tmp_path, writer):
    data = read(*write(tmp_path, WRITERS[writer]))
    assert (len(data.train), len(data.test)) == (20, 4)
    assert data.shape == (3, 32, 32)
    images = np.concatenate([batch(seed)["data"] for seed in range(5)]).reshape(-1, 3, 32, 32)
    assert torch.equal(data.train.images, torch.from_numpy(images))
    assert data.test.labels.tolist() == batch(5)["labels"]
    assert data.classes[6] == "frog"


@pytest.mark.parametrize("writer", WRITERS)
def test_the_hundred_classes(tmp_path, writer):
    data = read(*write(tmp_path, WRITERS[writer], CIFAR100))
    train, test = batch(0, layout=CIFAR100), batch(1, layout=CIFAR100)
    assert torch.equal(data.train.images, torch.from_numpy(train["data"]).reshape(-1, 3, 32, 32))
    assert (data.train.labels.tolist(), data.test.labels.tolist()) == (train["fine_labels"], test["fine_labels"])
    assert (data.name, data.num_classes, data.shape) == ("cifar100", 100, (3, 32, 32))


def test_coarse_labels_are_not_taken_for_fine_ones(tmp_path):
    def both(entries):
        return python3({"coarse_labels": [19] * N, **entries})

    folder, layout = write(tmp_path, both, CIFAR100)
    assert read(folder, layout).test.labels.tolist() == batch(1, layout=CIFAR100)["fine_labels"]
    (folder / "train").write_bytes(python3({"coarse_labels": [19] * N, "data": batch(0)["data"]}))
    with pytest.raises(DataError, match="train has no entry 'fine_labels'"):
        read(folder, layout)
    (folder / "train").write_bytes(both({**batch(0), "fine_labels": [0, 1, 99, 100]}))
    with pytest.raises(DataError, match=r"a label 100, outside 0\.\.99"):
        read(folder, layout)


def test_class_names_are_in_the_order_of_the_alphabet():
    for layout, number in ((CIFAR10, 10), (CIFAR100, 100)):
        assert list(layout.classes) == sorted(set(layout.classes))
        assert len(layout.classes) == number


def test_the_hand_made_python2_pickle_is_one():
    loaded = pickle.loads(python2(batch(0)), encoding="latin1")
    assert np.array_equal(loaded["data"], batch(0)["data"])


def test_other_bytes_are_a_single_warning(tiny):
    folder, layout = tiny
    layout = replace(layout, train=tuple(replace(file, md5="0" * 32) for file in layout.train))
    with pytest.warns(DataWarning, match=r"CIFAR-10 in .* data_batch_1, .*data_batch_5\.") as record:
        read(folder, layout)
    assert len(record) == 1
    assert "test_batch" not in str(record[0].message)


def changed(**entries):
    return python3({**batch(0), **entries})


GOOD = python3(batch(0))
DAMAGE = {
    "empty": (b"", "not a whole pickle"),
    "cut": (GOOD[:-1], "not a whole pickle"),
    "half": (GOOD[: len(GOOD) // 2], "not a whole pickle"),
    "web page": (b"<!DOCTYPE html>", "not a whole pickle"),
    "list": (pickle.dumps([1, 2], 2), "holds a list, not a dictionary"),
    "no data": (pickle.dumps({"labels": [1]}, 2), "has no entry 'data'"),
    "cifar-100": (pickle.dumps({"data": batch(0)["data"], "fine_labels": [1] * N}, 2), "has no entry 'labels'"),
    "no array": (changed(data=[1, 2]), "a list as 'data', not an array"),
    "float": (changed(data=np.zeros((N, 3072), np.float32)), "float32"),
    "channels-last": (changed(data=np.zeros((N, 32, 32, 3), np.uint8)), r"\(4, 32, 32, 3\), not uint8 \(4, 3072\)"),
    "fewer images": (changed(data=np.zeros((N - 1, 3072), np.uint8)), r"\(3, 3072\), not uint8 \(4, 3072\)"),
    "fewer labels": (changed(labels=[0, 1]), "does not have 4 labels"),
    "label too large": (changed(labels=[0, 1, 2, 10]), r"a label 10, outside 0\.\.9"),
    "negative label": (changed(labels=[0, 1, 2, -1]), "a label -1"),
    "text label": (changed(labels=[0, 1, 2, "3"]), "a label of type str"),
    "true as label": (changed(labels=[0, 1, 2, True]), "a label of type bool"),
    "giant label": (changed(labels=[0, 1, 2, 2**2000]), "a label 114813"),
    "label table": (changed(labels=np.zeros((N, 2), np.int64)), "a label of type list"),
    "labels no list": (changed(labels=7), "does not have 4 labels"),
    "command": (b"cos\nsystem\n(S'exit 1'\ntR.", "asks for os.system"),
    "hidden command": (GOOD[:-2] + b"U\x01xcposix\nsystem\nU\x01y\x85Ru.", "asks for posix.system"),
    "too large": (GOOD + bytes(10**6), "more than the"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage(tiny, damage):
    content, words = DAMAGE[damage]
    folder, layout = tiny
    path = folder / "data_batch_3"
    path.write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        read(folder, layout)
    assert str(path) in str(caught.value)
    assert "the CIFAR-10 page" in str(caught.value)
    assert path.read_bytes() == content


def test_missing_files_are_named(tiny):
    (tiny[0] / "data_batch_2").unlink()
    (tiny[0] / "test_batch").unlink()
    with pytest.raises(DataError, match=r"lacks data_batch_2, test_batch \(4 of 6 files are there\)"):
        read(*tiny)


def test_a_folder_in_place_of_a_file(tiny):
    (tiny[0] / "test_batch").unlink()
    (tiny[0] / "test_batch").mkdir()
    with pytest.raises(DataError, match=r"test_batch is a folder"):
        read(*tiny)
