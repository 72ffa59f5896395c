import hashlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from torchmg.data import segmentation
from torchmg.data.pictures import read_mask
from torchmg.data.segmentation import LazyPairSplit, PairSplit, SegmentationSet
from torchmg.errors import DataError, ShapeError, UsageError


def pairs(n: int = 3, height: int = 5, width: int = 6, classes: int = 4, seed: int = 0) -> PairSplit:
    random = np.random.default_rng(seed)
    targets = random.integers(0, classes, (n, height, width), dtype=np.uint8)
    targets[0, 0, 0], targets[-1, -1, -1] = classes - 1, 255
    inputs = random.integers(0, 256, (n, 3, height, width), dtype=np.uint8)
    return PairSplit(torch.from_numpy(inputs), torch.from_numpy(targets))


def on_disk(folder: Path, split: PairSplit) -> LazyPairSplit:
    files: dict[str, list[Path]] = {"p": [], "m": []}
    for i, (picture, mask) in enumerate(zip(split.inputs, split.targets, strict=True)):
        for kind, values in (("p", picture.permute(1, 2, 0)), ("m", mask)):
            files[kind].append(folder / f"{kind}{i:03}.png")
            Image.fromarray(values.contiguous().numpy()).save(files[kind][-1])
    read = partial(read_mask, title="T")
    return LazyPairSplit(tuple(files["p"]), tuple(files["m"]), read, folder, "T")


BYTES = torch.zeros(2, 3, 8, 9, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("inputs", "targets", "error", "words"),
    [
        (BYTES.permute(0, 2, 3, 1), BYTES[:, 0], ShapeError, "channels-last"),
        (BYTES[:, :1], BYTES[:, 0], ShapeError, "3 channels"),
        (BYTES[:0], BYTES[:0, 0], ShapeError, "at least one pixel"),
        (BYTES, BYTES[:1, 0], ShapeError, r"Expected masks \(2, 8, 9\).*got \(1, 8, 9\)"),
        (BYTES, BYTES[:, 0, :7], ShapeError, r"Expected masks \(2, 8, 9\)"),
        (BYTES, BYTES, ShapeError, r"Expected masks \(2, 8, 9\)"),
        (BYTES.float(), BYTES[:, 0], UsageError, "uint8 pictures"),
        (BYTES, BYTES[:, 0].long(), UsageError, "uint8 masks"),
    ],
)
def test_wrong_splits(inputs, targets, error, words):
    with pytest.raises(error, match=words):
        PairSplit(inputs, targets)


def test_wrong_sets():
    names = ("a", "b", "c", "d")
    with pytest.raises(ShapeError, match="must agree"):
        SegmentationSet("mine", names, pairs(), pairs(height=6))
    with pytest.raises(UsageError, match=r"Id 3 in [\d,]+ pixels of the test masks has no name: there are 3 classes"):
        SegmentationSet("mine", names[:3], pairs(classes=3), pairs())
    for classes in ((), tuple(map(str, range(256)))):
        with pytest.raises(UsageError, match=r"1\.\.255 classes"):
            SegmentationSet("mine", classes, pairs(), pairs())
    assert SegmentationSet("mine", tuple(map(str, range(255))), pairs(), pairs()).num_classes == 255


def test_what_a_set_says():
    data = SegmentationSet("mine", ("a", "b", "c", "d"), pairs(), pairs(2, seed=1))
    assert (data.shape, data.num_classes, data.task, data.IGNORE) == ((3, 5, 6), 4, "segment", 255)
    train, test = data.train, data.test
    assert isinstance(train, PairSplit)
    assert isinstance(test, PairSplit)
    assert data.hashes() == {
        f"{which}_{what}": hashlib.sha256(tensor.numpy().tobytes()).hexdigest()
        for which, split in (("train", train), ("test", test))
        for what, tensor in (("pixels", split.inputs), ("labels", split.targets))
    }
    striding = PairSplit(train.inputs.contiguous(memory_format=torch.channels_last), train.targets)
    assert striding.hashes() == train.hashes()
    assert train.ids.tolist() == np.bincount(train.targets.numpy().ravel(), minlength=256).tolist()
    inputs, targets = train.take(torch.tensor([2, 0]), torch.zeros(2, 4, dtype=torch.int64))
    assert torch.equal(inputs, train.inputs[[2, 0]])
    assert torch.equal(targets, train.targets[[2, 0]])


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.integers(1, 7), st.integers(1, 7), st.integers(0, 99))
def test_mean_and_std_equal_numpy(n, height, width, seed):
    split = pairs(n, height, width, seed=seed)
    data = SegmentationSet("mine", ("a", "b", "c", "d"), split, split)
    pixels = split.inputs.numpy() / 255
    np.testing.assert_allclose(data.mean, pixels.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(data.std, pixels.std((0, 2, 3)), rtol=1e-6, atol=1e-9)


def test_lazy_splits_equal_those_in_memory(tmp_path, monkeypatch):
    whole = pairs(23)
    lazy = on_disk(tmp_path, whole)
    assert (len(lazy), lazy.shape) == (23, (3, 5, 6))
    for chosen in ([0], [22, 3, 3, 7], list(range(23))):
        for got, wanted in zip(lazy.take(torch.tensor(chosen)), whole.take(torch.tensor(chosen)), strict=True):
            assert torch.equal(got, wanted)
    assert torch.equal(lazy.levels(), whole.levels())
    # Evenly spaced: of 23 pictures, 5 are the places 0, 4, 9, 13, 18.
    monkeypatch.setattr(segmentation, "MOMENT_PICTURES", 5)
    data = SegmentationSet("mine", ("a", "b", "c", "d"), lazy, lazy)
    np.testing.assert_allclose(data.mean, (whole.inputs[[0, 4, 9, 13, 18]] / 255).double().mean((0, 2, 3)), rtol=1e-6)


def test_wrong_lazy_splits(tmp_path):
    lazy = on_disk(tmp_path, pairs())
    with pytest.raises(ShapeError, match="3 pictures and 2 masks"):
        LazyPairSplit(lazy.pictures, lazy.masks[:2], lazy.read_ids, tmp_path, "T")
    with pytest.raises(ShapeError, match="0 pictures"):
        LazyPairSplit((), (), lazy.read_ids, tmp_path, "T")
    lazy.masks[1].unlink()
    with pytest.raises(DataError, match=r"m001\.png is missing"):
        lazy.take(torch.tensor([0, 1]))
    lazy.pictures[0].write_bytes(b"text")
    with pytest.raises(DataError, match=r"p000\.png.* is not a picture"):
        LazyPairSplit(lazy.pictures, lazy.masks, lazy.read_ids, tmp_path, "T")
