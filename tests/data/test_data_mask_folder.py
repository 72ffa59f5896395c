"""Any folder of pictures and masks: what it holds is read exactly, and what is wrong with it is named."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from torchmg.data.mask_folder import load_mask_folder
from torchmg.errors import DataError

HEIGHT, WIDTH = 6, 9


def pixels(seed: int, *shape: int, high: int = 256) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, high, shape, dtype=np.uint8)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three training pairs and two test pairs in three classes."""
    root = tmp_path / "mine"
    for split, numbers in (("train", (0, 1, 2)), ("test", (3, 4))):
        for folder in ("images", "masks"):
            (root / split / folder).mkdir(parents=True)
        for i in numbers:
            Image.fromarray(pixels(i, HEIGHT, WIDTH, 3)).save(root / split / "images" / f"p{i}.png")
            Image.fromarray(pixels(i, HEIGHT, WIDTH, high=3)).save(root / split / "masks" / f"p{i}.png")
    return root


def refusal(root: Path) -> str:
    with pytest.raises(DataError) as raised:
        load_mask_folder(root)
    return str(raised.value)


def test_reads_what_was_written(root: Path) -> None:
    (root / "train" / "images" / "Thumbs.db").write_bytes(b"no picture")
    (root / "train" / "images" / ".hidden.png").write_bytes(b"no picture")
    mask = pixels(1, HEIGHT, WIDTH, high=3)
    mask[2:4] = 255
    Image.fromarray(mask).save(root / "train" / "masks" / "p1.png")
    data = load_mask_folder(root)
    assert (data.name, data.classes, data.shape) == ("mine", ("0", "1", "2"), (3, HEIGHT, WIDTH))
    assert (len(data.train), len(data.test)) == (3, 2)
    inputs, targets = data.train.take(torch.tensor([2, 1]), None)
    for i, sample in enumerate((2, 1)):
        assert np.array_equal(inputs[i].permute(1, 2, 0).numpy(), pixels(sample, HEIGHT, WIDTH, 3))
    assert np.array_equal(targets[1].numpy(), mask)


def test_val_takes_the_place_of_test(root: Path) -> None:
    (root / "test").rename(root / "val")
    assert len(load_mask_folder(root).test) == 2
    shutil.rmtree(root / "val")
    assert f"{root / 'test' / 'images'} cannot be read" in refusal(root)


def test_class_names(root: Path) -> None:
    names = root / "classes.txt"
    names.write_text("cat\n\n black dog \nbird\nunused\n", encoding="utf-8")
    assert load_mask_folder(root).classes == ("cat", "black dog", "bird", "unused")
    names.write_text("cat\ndog\n")
    assert "p0.png has the unknown label 2 (" in refusal(root)
    assert refusal(root).endswith("known are 0..1, 255.")
    for text, words in ((b"cat\ndog\ncat\n", "'cat' twice"), (b"\n", "0 names"), (b"\xff\xfe\xfa", "UTF-8")):
        names.write_bytes(text)
        assert words in refusal(root)
        assert str(names) in refusal(root)


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK", "P", "1", "LA", "I;16"])
def test_pictures_of_any_colour_mode(root: Path, mode: str) -> None:
    path, ending = root / "train" / "images" / "p1.png", ".jpg" if mode == "CMYK" else ".png"
    path.unlink()
    colours = pixels(1, HEIGHT, WIDTH, 3) if mode != "I;16" else np.full((HEIGHT, WIDTH), 300 * 256 // 2, np.uint16)
    picture = Image.fromarray(colours)
    picture = picture if mode == "I;16" else picture.convert(mode)
    picture.save(path.with_suffix(ending))
    got = load_mask_folder(root).train.take(torch.tensor([1]))[0][0]
    if mode in ("L", "1"):
        assert np.array_equal(got.numpy(), np.array(picture.convert("RGB")).transpose(2, 0, 1))
    if mode == "RGBA":
        assert np.array_equal(got.numpy(), colours.transpose(2, 0, 1))
    assert got.shape == (3, HEIGHT, WIDTH)


def test_palette_masks_give_their_indices_and_coloured_ones_are_refused(root: Path) -> None:
    path = root / "train" / "masks" / "p1.png"
    ids = pixels(1, HEIGHT, WIDTH, high=3)
    mask = Image.fromarray(ids).convert("P")
    mask.putdata(ids.flatten().tolist())
    mask.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200])
    mask.save(path)
    assert np.array_equal(load_mask_folder(root).train.take(torch.tensor([1]))[1][0].numpy(), ids)
    for mode in ("RGB", "RGBA", "CMYK"):
        path.unlink(missing_ok=True)
        path = path.with_suffix(".tif")
        mask.convert("RGB").convert(mode).save(path)
        assert f"{path} has mode {mode}" in refusal(root)


@pytest.mark.parametrize("which", ["images", "masks"])
@pytest.mark.parametrize("ending", [".png", ".jpg"])
def test_cut_files_are_named(root: Path, which: str, ending: str) -> None:
    path = root / "train" / which / "p1.png"
    path.unlink()
    path = path.with_suffix(ending)
    large = pixels(9, 90, 80, 3) if which == "images" else pixels(9, 90, 80, high=3)
    Image.fromarray(large).save(path)
    whole = path.read_bytes()
    for end in (0, 1, 30, len(whole) // 2):
        path.write_bytes(whole[:end])
        assert str(path) in refusal(root)


@pytest.mark.parametrize("ending", [".png", ".jpg", ".webp", ".bmp"])
def test_wherever_a_file_ends_it_is_refused_or_whole(root: Path, ending: str) -> None:
    path = root / "train" / "images" / "p1.png"
    path.unlink()
    path = path.with_suffix(ending)
    Image.fromarray(pixels(1, HEIGHT, WIDTH, 3)).save(path)
    whole, picture = path.read_bytes(), load_mask_folder(root).train.take(torch.tensor([1]))[0]
    refused = 0
    for end in range(0, len(whole), 7):
        path.write_bytes(whole[:end])
        try:
            assert torch.equal(load_mask_folder(root).train.take(torch.tensor([1]))[0], picture)
        except DataError as error:
            assert str(path) in str(error)  # noqa: PT017
            refused += 1
    assert refused * 7 > len(whole) * 0.8


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: (r / "train/masks/p1.png").unlink(), "images/p1.png has no mask"),
        (lambda r: (r / "train/masks/p1.png").rename(r / "train/masks/p1_mask.png"), "Did you mean p1_mask.png?"),
        (lambda r: (r / "test/images/p4.png").unlink(), "test/masks/p4.png has no picture"),
        (lambda r: shutil.copy(r / "train/images/p1.png", r / "train/images/p1.bmp"), "p1.png have one name"),
        (lambda r: shutil.rmtree(r / "train/masks"), "train/masks cannot be read (No such file"),
        (lambda r: shutil.rmtree(r / "train"), "train/images cannot be read (No such file"),
        (lambda r: [path.unlink() for path in (r / "train/masks").iterdir()], "train/masks has no pictures"),
        (lambda r: os.mkfifo(r / "train/masks/p9.png"), "p9.png is not a regular file"),
        (lambda r: (r / "train/images/p9.png").symlink_to("nowhere"), "p9.png is not a regular file"),
        (lambda r: (r / "train/images/p9.png").mkdir(), "p9.png is not a regular file"),
    ],
)
def test_what_is_wrong_with_the_folders_is_named(root: Path, change, words: str) -> None:
    change(root)
    assert words in refusal(root)


def test_one_size_is_required(root: Path) -> None:
    masks, images = root / "train" / "masks", root / "train" / "images"
    Image.fromarray(pixels(1, WIDTH, HEIGHT, high=3)).save(masks / "p1.png")
    assert f"{masks / 'p0.png'} is 6 x 9" in refusal(root)
    assert f"{masks / 'p1.png'} is 9 x 6" in refusal(root)
    for i in range(3):
        Image.fromarray(pixels(i, WIDTH, HEIGHT, high=3)).save(masks / f"p{i}.png")
    assert f"{images / 'p0.png'} is 6 x 9 (height x width), its mask {masks / 'p0.png'} is 9 x 6" in refusal(root)
    for i in range(3):
        Image.fromarray(pixels(i, WIDTH, HEIGHT, 3)).save(images / f"p{i}.png")
    message = refusal(root)
    assert str(images / "p0.png") in message
    assert str(root / "test" / "images" / "p3.png") in message


def test_only_ignored_pixels_still_make_a_set(root: Path) -> None:
    for path in root.glob("*/masks/*"):
        Image.fromarray(np.full((HEIGHT, WIDTH), 255, np.uint8)).save(path)
    assert load_mask_folder(root).classes == ("0",)
