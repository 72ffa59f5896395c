"""ImageNet (ILSVRC 2012; Russakovsky et al. 2015), and any other set of pictures in one folder for each class."""

import os
import unicodedata
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from torchmg.data.files import DEFAULT_DIR
from torchmg.data.folder_images import Damaged, FolderImages, FolderSplit
from torchmg.errors import DataError, DataWarning

EXTENSIONS = (".jpeg", ".jpg", ".png", ".webp")
"""Of the files that count as pictures, in any case."""
PUBLISHED = (1000, 1_281_167, 50_000)
"""Classes, training and validation pictures of ILSVRC 2012."""


def load_imagenet(data_dir: str | Path | None = None, *, side: int = 224, damaged: Damaged = "raise") -> FolderImages:
    """ImageNet from `DATA_DIR/imagenet/train/<wnid>/*` and `DATA_DIR/imagenet/val/<wnid>/*`.

    The class index is the place of the wnid in the sorted list of training folders, as everywhere. The validation
    pictures are the test split: the labels of the official test pictures are not public. Subsets that keep the layout
    (fewer classes) are read too. Nothing is downloaded: image-net.org gives the archives on registration.

    Args:
        data_dir: the folder that holds `imagenet`; `./data` when None.
        side: height and width of the pictures that a network sees, in pixels.
        damaged: what becomes of a file that cannot be decoded (`FolderSplit.damaged`).

    Raises:
        DataError: a split or a class is missing, empty, or not sorted into class folders.
        UsageError: a side below 1.
        UnknownNameError: another word for `damaged`.

    Warns:
        DataWarning: files that are no pictures and are left out; other numbers than the published ones.
    """
    root = _root(data_dir) / "imagenet"
    layout = _Layout("ImageNet", root, "val", _IMAGENET_ORIGIN.format(root=root), _IMAGENET_SORT.format(root=root))
    data = _load("imagenet", layout, side, damaged)
    found = (data.num_classes, len(data.train), len(data.test))
    if found != PUBLISHED:
        counts = " / ".join(f"{number:,}" for number in found)
        published = " / ".join(f"{number:,}" for number in PUBLISHED)
        text = f"ImageNet in {root} has {counts} classes / training / validation pictures, the published {published}."
        warnings.warn(text, DataWarning, stacklevel=2)
    return data


def load_imagefolder(
    data_dir: str | Path | None = None, *, side: int = 224, damaged: Damaged = "raise", name: str = "image_folder"
) -> FolderImages:
    """Pictures of any size from `DATA_DIR/train/<class>/*` and `DATA_DIR/val/<class>/*`, or `test` in place of `val`.

    Where both `val` and `test` exist, `val` is read: what is looked at while training is then not the last test.
    Classes are numbered in the order of their names by code points (NFC, so that all systems agree).

    Args:
        data_dir: the folder that holds `train`; `./data` when None.
        side: height and width of the pictures that a network sees, in pixels.
        damaged: what becomes of a file that cannot be decoded (`FolderSplit.damaged`).
        name: of the data set, for records.

    Raises:
        DataError: a split or a class is missing, empty, or not sorted into class folders.
        UsageError: a side below 1.
        UnknownNameError: another word for `damaged`.

    Warns:
        DataWarning: files that are no pictures and are left out.
    """
    root = _root(data_dir)
    test = "val" if (root / "val").exists() or not (root / "test").exists() else "test"
    origin = (
        f"Expected {root}/train/<class>/* and {root}/val/<class>/* (or test); name {root} with data_dir (--data-dir)."
    )
    return _load(
        name, _Layout("Image folder", root, test, origin, "Move each file into the folder of its class."), side, damaged
    )


_IMAGENET_ORIGIN = (
    "Expected {root}/train/<wnid>/* and {root}/val/<wnid>/*. The archives come from image-net.org (registration); "
    "torchvision.datasets.ImageNet unpacks them when they lie in that folder. If you have it elsewhere, name the "
    "folder that holds 'imagenet' with data_dir (--data-dir)."
)
_IMAGENET_SORT = (
    "This is how the official archive unpacks. Move the folder away, put ILSVRC2012_img_val.tar and "
    "ILSVRC2012_devkit_t12.tar.gz into {root}, and run (needs scipy): "
    "python -c \"from torchvision.datasets import ImageNet; ImageNet(r'{root}', 'val')\". It sorts them by the "
    "devkit's labels."
)


@dataclass(frozen=True)
class _Layout:
    title: str
    root: Path
    test: str
    """The folder of the test split."""
    origin: str
    """What is expected and where it comes from, for messages."""
    sort: str
    """How loose files are sorted into class folders, for messages."""


@dataclass(frozen=True)
class _Listing:
    """What lies in a folder."""

    folders: list[str]
    pictures: list[str]
    others: list[str]
    """Hidden, or files without an extension of pictures."""


def _root(data_dir: str | Path | None) -> Path:
    return Path(DEFAULT_DIR if data_dir is None else data_dir).expanduser().absolute()


def _load(name: str, layout: _Layout, side: int, damaged: Damaged) -> FolderImages:
    others: list[str] = []
    folders = {split: _class_folders(split, layout, others) for split in ("train", layout.test)}
    classes = sorted(folders["train"])
    _check_same_classes(classes, sorted(folders[layout.test]), layout)
    train, test = (_split(split, classes, folders[split], layout, side, damaged, others) for split in folders)
    if others:
        text = (
            f"{layout.title} in {layout.root}: {_few(others)} left out: hidden, not a picture by its name, "
            "or not in its place."
        )
        warnings.warn(text, DataWarning, stacklevel=3)
    return FolderImages(name, tuple(classes), train, test)


def _class_folders(split: str, layout: _Layout, others: list[str]) -> dict[str, str]:
    """The folder of each class of a split."""
    folder = layout.root / split
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "is missing"
        raise DataError(f"{layout.title}: {folder} {what}. {layout.origin}")
    listing = _listing(folder, layout)
    if listing.pictures and not listing.folders:
        count = len(listing.pictures)
        raise DataError(f"{layout.title}: {folder} holds {count:,} pictures and no class folder. {layout.sort}")
    if tars := [name for name in listing.others if name.endswith(".tar")]:
        raise DataError(
            f"{layout.title}: {folder} holds archives ({_few(tars)}); unpack each into a folder of its name without "
            f".tar, in {folder}, and move it away."
        )
    if not listing.folders:
        raise DataError(f"{layout.title}: {folder} holds no class folder. {layout.origin}")
    others += [f"{split}/{name}" for name in (*listing.pictures, *listing.others)]
    named: dict[str, str] = {}
    for name in listing.folders:
        normal = unicodedata.normalize("NFC", name)
        if normal in named:
            raise DataError(
                f"{layout.title}: two folders in {folder} have the name {normal}, spelled with different code points; "
                "put their files into one."
            )
        named[normal] = name
    return named


def _check_same_classes(train: Sequence[str], test: Sequence[str], layout: _Layout) -> None:
    folder = layout.root / layout.test
    if absent := sorted(set(train) - set(test)):
        raise DataError(
            f"{layout.title}: {folder} lacks the class folder{'s' * (len(absent) > 1)} {_few(absent)} that "
            f"{layout.root / 'train'} has. Copy them in, or move them away from train."
        )
    if extra := sorted(set(test) - set(train)):
        raise DataError(
            f"{layout.title}: {folder} has the class folder{'s' * (len(extra) > 1)} {_few(extra)} that "
            f"{layout.root / 'train'} lacks. Move them away, or copy the class into train."
        )


def _split(
    split: str,
    classes: Sequence[str],
    folders: dict[str, str],
    layout: _Layout,
    side: int,
    damaged: Damaged,
    others: list[str],
) -> FolderSplit:
    names: list[str] = []
    counts: list[int] = []
    for name in classes:
        folder = layout.root / split / folders[name]
        listing = _listing(folder, layout)
        if not listing.pictures:
            inside = [*listing.folders, *listing.others]
            there = f" (but {_few(inside)})" if inside else ""
            raise DataError(
                f"{layout.title}: {folder} holds no picture ({', '.join(EXTENSIONS)}){there}. "
                "Copy its pictures in, or move the class away from both splits."
            )
        names += [f"{folders[name]}/{file}" for file in listing.pictures]
        counts.append(len(listing.pictures))
        others += [f"{split}/{folders[name]}/{other}" for other in (*listing.folders, *listing.others)]
    targets = torch.repeat_interleave(torch.arange(len(classes)), torch.tensor(counts))
    return FolderSplit(layout.root / split, tuple(names), targets, side, layout.title, damaged)


def _listing(folder: Path, layout: _Layout) -> _Listing:
    """The names in a folder, each kind sorted, so that the order is the same on all systems."""
    listing = _Listing([], [], [])
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    listing.others.append(entry.name)
                elif entry.is_dir():
                    listing.folders.append(entry.name)
                else:
                    picture = entry.name.lower().endswith(EXTENSIONS)
                    (listing.pictures if picture else listing.others).append(entry.name)
    except OSError as error:
        raise DataError(f"{layout.title}: {folder} cannot be read ({error.strerror or error}).") from None
    for names in (listing.folders, listing.pictures, listing.others):
        names.sort()
        _check_names(names, folder, layout)
    return listing


def _check_names(names: list[str], folder: Path, layout: _Layout) -> None:
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise DataError(f"{layout.title}: {folder} holds the name {name!r}, not UTF-8; rename it.") from None


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
