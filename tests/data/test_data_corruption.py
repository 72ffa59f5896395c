"""Whatever happens to the files of a data set, reading them ends in data or in a sentence that names the file."""

import gzip
import pickle
import shutil
import tempfile
import tracemalloc
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from damage import ATTACKS, attack, attempt, damage
from hypothesis import given, settings
from hypothesis import strategies as st

from torchmg.data.cifar import CIFAR10, CIFAR100, load_cifar
from torchmg.data.fashion_mnist import FASHION_MNIST, load_idx
from torchmg.data.files import md5
from torchmg.data.stl10 import STL10, load_stl10
from torchmg.errors import DataError, DataWarning

N = 2


def pickled(file, layout, seed):
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (N, 3072), dtype=np.uint8)
    labels = random.integers(0, len(layout.classes), N).tolist()
    content = pickle.dumps({"data": pixels, layout.label_key: labels, "filenames": ["a.png"] * N}, 2)
    return file.name, content, replace(file, count=N, md5=md5(content))


def idx(file, seed, packed):
    random = np.random.default_rng(seed)
    shape = (N, *file.shape[1:])
    sizes = b"".join(size.to_bytes(4, "big") for size in shape)
    array = random.integers(0, 256 if len(shape) == 3 else 10, shape, dtype=np.uint8)
    content = bytes([0, 0, 8, len(shape)]) + sizes + array.tobytes()
    small = gzip.compress(content, mtime=0)
    tiny = replace(file, shape=shape, md5=md5(content), packed_md5=md5(small))
    return (f"{file.name}.gz", small, tiny) if packed else (file.name, content, tiny)


def bare(file, seed):
    random = np.random.default_rng(seed)
    shape = (N, *file.shape[1:])
    content = random.integers(*((0, 256) if len(shape) > 1 else (1, 11)), shape, dtype=np.uint8).tobytes()
    return file.name, content, replace(file, shape=shape, md5=md5(content))


def build(root, name):
    """Write a set of two images a file; returns its folder and how to read it."""
    layout = {"cifar10": CIFAR10, "cifar100": CIFAR100, "stl10": STL10}.get(name, FASHION_MNIST)
    folder, files = root / name / layout.source.folder, []
    folder.mkdir(parents=True)
    for seed, file in enumerate((*layout.train, *layout.test)):
        packed = name == "fashion_mnist packed"
        if layout is STL10:
            made = bare(file, seed)
        else:
            made = idx(file, seed, packed) if layout is FASHION_MNIST else pickled(file, layout, seed)
        (folder / made[0]).write_bytes(made[1])
        files.append(made[2])
    cut = len(layout.train)
    layout, load = replace(layout, train=tuple(files[:cut]), test=tuple(files[cut:])), load_cifar
    if name.startswith("fashion_mnist"):
        load = load_idx
    elif name == "stl10":
        load = load_stl10
    return folder, lambda: load(root / name, download=False, layout=layout)


SETS = ["cifar10", "cifar100", "fashion_mnist", "fashion_mnist packed", "stl10"]


@pytest.fixture(scope="module")
def everywhere(tmp_path_factory):
    """Sound files of all sets."""
    root = tmp_path_factory.mktemp("sound")
    return [path for name in SETS for path in sorted(build(root, name)[0].iterdir())]


def survives(data, root, everywhere):
    """Damage a file of a set, then read the set."""
    folder, load = build(root, data.draw(st.sampled_from(SETS), "set"))
    good, path = load(), data.draw(st.sampled_from(sorted(folder.iterdir())), "file")
    same = damage(data, path, everywhere)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read, message = attempt(load, DataError)
    if message:
        assert path.name in message
        assert not same
        return
    if same:
        assert not caught
        assert read.hashes() == good.hashes()
        return
    (warning,) = caught
    assert warning.category is DataWarning
    assert path.name in str(warning.message)
    is_test = path.name.startswith(("test", "t10k"))
    untouched, before = (read.train, good.train) if is_test else (read.test, good.test)
    assert torch.equal(untouched.images, before.images)
    assert torch.equal(untouched.labels, before.labels)


@settings(max_examples=100)
@given(st.data())
def test_damage_is_named(everywhere, data):
    with tempfile.TemporaryDirectory() as folder:
        survives(data, Path(folder), everywhere)


@pytest.mark.slow
@settings(max_examples=3000)
@given(st.data())
def test_damage_is_named_whatever_it_is(everywhere, data):
    with tempfile.TemporaryDirectory() as folder:
        survives(data, Path(folder), everywhere)


def most_memory(load):
    """Bytes that reading takes at its height."""
    tracemalloc.start()
    attempt(load, DataError)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most


@pytest.mark.filterwarnings("ignore::torchmg.errors.DataWarning")
@pytest.mark.parametrize("name", SETS)
def test_no_flipped_bit_makes_a_reader_take_memory(name, tmp_path):
    folder, load = build(tmp_path, name)
    path = sorted(folder.iterdir())[0]
    good = path.read_bytes()
    attempt(load, DataError)  # what is imported on the way counts not
    for place in range(150):  # where sizes stand: up to terabytes, if they were believed
        path.write_bytes(good[:place] + bytes([good[place] ^ 1 << 7 - place % 3]) + good[place + 1 :])
        # Threads of the test runner take memory too, so a high reading is taken again.
        assert any(most_memory(load) < 1_000_000 for _ in range(3))


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("name", ATTACKS)
def test_no_pickle_runs_a_command(name, hidden, tmp_path):
    canary = tmp_path / "canary"
    evil = attack(name, f"mkdir {canary}")
    for layout in ("cifar10", "cifar100"):
        folder, load = build(tmp_path, layout)
        path = sorted(folder.iterdir())[0]
        # An item more in a sound dictionary, or all that there is.
        content = path.read_bytes()[:-2] + b"U\x01x" + evil + b"u." if hidden else b"\x80\x04" + evil + b"."
        path.write_bytes(content)
        with pytest.raises(DataError, match=path.name):
            load()
        assert not canary.exists()
    try:
        pickle.loads(content)
    except pickle.UnpicklingError:
        assert name == "as a persistent id"
    assert canary.is_dir()  # it was a real one


def test_files_in_each_others_place(tmp_path):
    folder, load = build(tmp_path, "cifar10")
    shutil.move(folder / "data_batch_1", folder / "x")
    shutil.move(folder / "test_batch", folder / "data_batch_1")
    shutil.move(folder / "x", folder / "test_batch")
    with pytest.warns(DataWarning, match=r"data_batch_1, test_batch\.$"):
        load()


def test_little_endian_sizes(tmp_path):
    folder, load = build(tmp_path, "fashion_mnist")
    path = folder / "train-images-idx3-ubyte"
    data = path.read_bytes()
    sizes = b"".join(size.to_bytes(4, "little") for size in (N, 28, 28))
    path.write_bytes(data[:4] + sizes + data[16:])
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte says it holds 33554432 x "):
        load()
