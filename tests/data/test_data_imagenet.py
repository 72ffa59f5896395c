import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import CenterCrop, Resize
from torchvision.transforms.v2.functional import resized_crop

from torchmg.data.crops import training_box
from torchmg.data.folder_images import FolderImages, FolderPreparation, FolderSplit
from torchmg.data.imagenet import load_imagefolder, load_imagenet
from torchmg.errors import DataError, DataWarning, ShapeError, UnknownNameError, UsageError

SIDE = 32
subset = pytest.mark.filterwarnings("ignore:ImageNet in .* the published:torchmg.errors.DataWarning")


def noise(width, height, seed=0):
    """A smooth picture: blocks of colour with some noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 230, (height // 7 + 1, width // 7 + 1, 3))
    pixels = coarse.repeat(7, 0).repeat(7, 1)[:height, :width] + rng.integers(0, 25, (height, width, 3))
    return Image.fromarray(pixels.astype(np.uint8))


def save(picture, path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, **options)
    return path


@pytest.fixture
def folders(tmp_path):
    """Two wnids, three training and one validation picture each, in sizes and extensions of their own."""
    root = tmp_path / "imagenet"
    for number, wnid in enumerate(("n02", "n01")):
        for index, end in enumerate(("JPEG", "png", "WebP")):
            save(noise(60 + 10 * index, 50, 10 * number + index), root / "train" / wnid / f"{index}.{end}")
        save(noise(45, 70, 100 + number), root / "val" / wnid / "v.jpg")
    return root


def split_of(path, side=SIDE, **options):
    return FolderSplit(path.parent, (path.name,), torch.zeros(1, dtype=torch.int64), side, **options)


def only(split, row=None):
    rows = None if row is None else torch.tensor([row])
    return split.take(torch.tensor([0]), rows)[0][0]


@subset
def test_layout(folders):
    data = load_imagenet(folders.parent, side=SIDE)
    assert (data.name, data.task, data.classes) == ("imagenet", "classify", ("n01", "n02"))
    assert (data.shape, data.num_classes, len(data.train), len(data.test)) == ((3, SIDE, SIDE), 2, 6, 2)
    assert data.train.names == tuple(f"{w}/{f}" for w in ("n01", "n02") for f in ("0.JPEG", "1.png", "2.WebP"))
    assert data.train.targets.tolist() == [0, 0, 0, 1, 1, 1]
    inputs, targets = data.test.take(torch.tensor([1, 0, 1]), None)
    assert (inputs.dtype, inputs.shape, targets.tolist()) == (torch.uint8, (3, 3, SIDE, SIDE), [1, 0, 1])
    before = data.hashes()
    assert before == load_imagenet(folders.parent).hashes()
    (folders / "val" / "n01" / "v.jpg").rename(folders / "val" / "n01" / "w.jpg")
    after = load_imagenet(folders.parent).hashes()
    assert {key for key in before if before[key] != after[key]} == {"test_files"}


def test_numbers_other_than_the_published_are_a_warning(folders):
    with pytest.warns(DataWarning, match="2 / 6 / 2 classes .* published 1,000 / 1,281,167 / 50,000") as record:
        load_imagenet(folders.parent)
    assert record[0].filename == __file__


def test_any_folder_of_pictures(folders):
    data = load_imagefolder(folders, side=SIDE, name="mine")
    assert (data.name, data.classes, len(data.train), data.test.root.name) == ("mine", ("n01", "n02"), 6, "val")
    (folders / "val").rename(folders / "test")
    assert load_imagefolder(folders).test.root.name == "test"


def test_unicode_names_in_either_normal_form(tmp_path):
    # "é" as one code point and as two: what a copy by way of another system makes of it.
    for split, name in (("train", "caf\u00e9"), ("val", "cafe\u0301")):
        save(noise(40, 40), tmp_path / split / name / "写真 1.PNG")
        save(noise(40, 40), tmp_path / split / "zoo" / "Ж.jpg")
    data = load_imagefolder(tmp_path, side=SIDE)
    assert data.classes == ("caf\u00e9", "zoo")
    assert data.test.take(torch.arange(2), None)[1].tolist() == [0, 1]
    data.hashes()
    (tmp_path / "train" / "cafe\u0301").mkdir()
    with pytest.raises(DataError, match=r"two folders .* different code points"):
        load_imagefolder(tmp_path)


@subset
def test_what_is_no_picture_is_reported_and_left_out(folders):
    for name in ("train/.DS_Store", "train/n01/._0.JPEG", "train/n01/notes.txt", "val/labels.csv"):
        (folders / name).write_text("")
    (folders / "train" / ".ipynb_checkpoints").mkdir()
    save(noise(9, 9), folders / "val" / "loose.png")
    save(noise(9, 9), folders / "val" / "n01" / "nested" / "deep.png")
    with pytest.warns(DataWarning, match=r"train/\.DS_Store, .* and 4 more left out") as record:
        data = load_imagenet(folders.parent)
    assert (len(record), record[0].filename) == (2, __file__)
    assert (len(data.train), len(data.test), data.num_classes) == (6, 2, 2)


def empty(folder):
    for path in folder.iterdir():
        path.unlink()


def flatten(root):
    for path in (root / "val").glob("*/*"):
        path.rename(root / "val" / f"{path.parent.name}.JPEG")
        path.parent.rmdir()


def archives(root):
    (root / "train" / "n03.tar").write_bytes(b"")


FAULTS = {
    "no train": (lambda root: (root / "train").rename(root / "else"), r"train is missing.*<wnid>.*image-net\.org"),
    "no val": (lambda root: (root / "val").rename(root / "else"), r"val is missing.*data_dir"),
    "absent": (lambda root: (root / "val" / "n02").rename(root / "n02"), r"val lacks the class folder n02 .*move them"),
    "extra": (lambda root: (root / "train" / "n02").rename(root / "n02"), r"val has the class folder n02 that .*train"),
    "empty": (lambda root: empty(root / "train" / "n01"), r"train/n01 holds no picture .*\.webp"),
    "flat": (flatten, r"val holds 2 pictures and no class folder.*torchvision.*ImageNet\("),
    "archives": (archives, r"train holds archives \(n03\.tar\); unpack each"),
    "no class": (lambda root: [p.rename(root / p.name) for p in (root / "val").iterdir()], "val holds no class folder"),
    "file": (lambda root: ((root / "val").rename(root / "v"), (root / "val").write_text("")), "val is not a folder"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_the_layout(folders, fault):
    change, message = FAULTS[fault]
    change(folders)
    with pytest.raises(DataError, match=message) as caught:
        load_imagenet(folders.parent)
    assert str(folders) in str(caught.value)


MODES = {
    "grey.jpg": lambda picture: picture.convert("L"),
    "alpha.png": lambda picture: picture.convert("RGBA"),
    "grey alpha.png": lambda picture: picture.convert("LA"),
    "cmyk.jpg": lambda picture: picture.convert("CMYK"),
    "palette.png": lambda picture: picture.convert("P"),
    "bits.png": lambda picture: picture.convert("1"),
    "deep.png": lambda picture: Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257),
}


@pytest.mark.parametrize("name", MODES)
def test_any_colour_mode(tmp_path, name):
    source = noise(64, 48)
    changed = MODES[name](source)
    split = split_of(save(changed, tmp_path / name, **({"quality": 100} if name.endswith("jpg") else {})))
    grey = name.startswith(("grey", "deep"))
    reference = source.convert("L").convert("RGB") if grey else changed.convert("RGB")
    expected = only(split_of(save(reference, tmp_path / "reference.png")))
    assert (only(split).int() - expected.int()).abs().max() <= (6 if name.endswith("jpg") else 1)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 50), (50, 1), (1, 3000), (3000, 1), (2, 7), (33, 32)])
def test_thin_pictures(tmp_path, width, height):
    split = split_of(save(noise(width, height), tmp_path / "thin.png"))
    for row in (None, [0] * 5, [2**31 - 1] * 5):
        assert only(split, row).shape == (3, SIDE, SIDE)


@pytest.mark.parametrize("side", [32, 224, 225, 288])
@pytest.mark.parametrize("size", [(500, 375), (375, 500), (333, 500), (97, 61), (256, 256), (1, 9)])
def test_evaluation_is_resize_and_centre_crop(tmp_path, size, side):
    source = noise(*size)
    got = only(split_of(save(source, tmp_path / "picture.png"), side)).permute(1, 2, 0).numpy().astype(int)
    reference = CenterCrop(side)(Resize(round(side * 256 / 224))(source))
    assert np.abs(got - np.asarray(reference)).max() <= 1


def test_training_is_torchvisions_crop_of_the_same_box(tmp_path):
    source = noise(500, 375)
    split = split_of(save(source, tmp_path / "picture.png"), 224)
    for seed in range(5):
        row = torch.from_numpy(np.random.default_rng(seed).integers(0, 2**31, 5)).tolist()
        left, top, right, bottom = training_box(500, 375, row)
        reference = np.asarray(resized_crop(source, top, left, bottom - top, right - left, [224, 224]))
        got = only(split, row).permute(1, 2, 0).numpy()
        assert np.array_equal(got, reference[:, ::-1] if row[4] % 2 else reference)


@subset
def test_a_sample_depends_on_its_row_only(folders):
    split = load_imagenet(folders.parent, side=SIDE).train
    table = FolderPreparation().table(3, 4, len(split))
    assert torch.equal(table, FolderPreparation().table(3, 4, 100)[: len(split)])
    every, targets = split.take(torch.arange(6), table)
    for order in ([5, 0, 3], [2], [1, 1, 4, 4, 1]):
        chosen = torch.tensor(order)
        inputs, labels = split.take(chosen, table[chosen])
        assert torch.equal(inputs, every[chosen])
        assert torch.equal(labels, targets[chosen])
    assert not torch.equal(every, split.take(torch.arange(6), FolderPreparation().table(3, 5, 6))[0])
    one = FolderSplit(split.root, split.names, split.targets, SIDE, threads=1)
    assert torch.equal(every, one.take(torch.arange(6), table)[0])
    mirrored = table.clone()
    mirrored[:, 4] ^= 1
    assert torch.equal(split.take(torch.arange(6), mirrored)[0], every.flip(-1))
    assert split.take(torch.arange(0), table[:0])[0].shape == (0, 3, SIDE, SIDE)


def cut(path):
    path.write_bytes(path.read_bytes()[:-200])


@subset
def test_a_truncated_picture_is_an_error_that_names_it(folders):
    cut(folders / "train" / "n01" / "0.JPEG")
    split = load_imagenet(folders.parent).train
    with pytest.raises(DataError, match=r"ImageNet: .*n01.0\.JPEG cannot be decoded \(.*truncated"):
        split.take(torch.arange(6), None)
    assert len(split.take(torch.tensor([1, 2]), None)[0]) == 2


@subset
def test_skip_takes_the_next_one_and_warns_once(folders):
    for name in ("n01/2.WebP", "n02/0.JPEG", "n02/2.WebP"):
        cut(folders / "train" / name)
    split = load_imagenet(folders.parent, side=SIDE, damaged="skip").train
    table = FolderPreparation().table(0, 0, 6)
    with pytest.warns(DataWarning, match="Replaced by the next picture: .* cannot be decoded") as record:
        inputs, targets = split.take(torch.arange(6), table)
    assert len(record) == 3
    assert all(item.filename == __file__ for item in record)
    # From then on in silence, and with each sample's own row.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = split.take(torch.arange(6), table)
    assert torch.equal(inputs, again[0])
    assert targets.tolist() == again[1].tolist() == [0, 0, 1, 1, 1, 0]
    assert torch.equal(inputs[2], split.take(torch.tensor([4]), table[2:3])[0][0])
    assert torch.equal(inputs[5], split.take(torch.tensor([0]), table[5:])[0][0])


def test_skip_gives_up(folders):
    data = load_imagefolder(folders, side=SIDE, damaged="skip")
    (folders / "train" / "n01" / "1.png").unlink()
    with pytest.raises(DataError, match=r"1\.png is missing"):
        data.train.take(torch.arange(6), None)
    for path in (folders / "val").glob("*/*"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"v\.jpg and all that follow"):
        data.test.take(torch.arange(1), None)


def test_preparation():
    inputs = torch.randint(0, 256, (2, 3, 5, 4), dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
    targets = torch.tensor([1, 0])
    values, same = FolderPreparation()(inputs, targets, None)
    mean, std = (torch.tensor(v, dtype=torch.float64)[:, None, None] for v in (FolderImages.mean, FolderImages.std))
    assert values.dtype == torch.float32
    assert values.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(values.double(), (inputs.double() / 255 - mean) / std, atol=1e-6)
    assert same is targets
    assert FolderPreparation(augment="none").table(0, 0, 5) is None
    table = FolderPreparation().table(0, 0, 5000)
    assert (table.shape, table.dtype) == ((5000, 5), torch.int64)
    assert 0 <= int(table.min()) < 2**22
    assert 2**31 - 2**22 < int(table.max()) < 2**31


def test_wrong_requests(folders):
    split = load_imagefolder(folders).train
    zeros = torch.zeros(1, dtype=torch.int64)
    with pytest.raises(ShapeError, match="rows"):
        split.take(torch.arange(2), torch.zeros(2, 3, dtype=torch.int64))
    with pytest.raises(UsageError, match=r"0\.\.5; got 6"):
        split.take(torch.tensor([6]), None)
    with pytest.raises(UsageError, match="side=0"):
        load_imagefolder(folders, side=0)
    with pytest.raises(UnknownNameError, match="skip"):
        load_imagefolder(folders, damaged="skipp")
    with pytest.raises(ShapeError, match="one target"):
        FolderSplit(folders, ("a", "b"), zeros)
    with pytest.raises(UsageError, match="int64"):
        FolderSplit(folders, ("a",), zeros.int())
    with pytest.raises(UsageError, match="Target 1 has no name"):
        FolderImages("mine", ("one",), split, split)
    with pytest.raises(ShapeError, match="side"):
        FolderImages("mine", ("a", "b"), split, load_imagefolder(folders, side=SIDE).test)
    with pytest.raises(UnknownNameError, match="inception"):
        FolderPreparation(augment="inceptio")
    with pytest.raises(UsageError, match="positive"):
        FolderPreparation(std=(1, 0, 1))
    with pytest.raises(ShapeError, match=r"\(B, 3, H, W\)"):
        FolderPreparation()(torch.zeros(1, 1, 2, 2, dtype=torch.uint8), zeros, None)
