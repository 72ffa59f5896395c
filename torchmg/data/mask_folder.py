"""Folders of pictures beside folders of masks, matched by name: any data set for semantic segmentation."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from torchmg.data.files import DEFAULT_DIR
from torchmg.data.pictures import read_mask
from torchmg.data.segmentation import IGNORE, PairSplit, SegmentationSet, read_pairs
from torchmg.errors import DataError, did_you_mean

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".gif")
"""What counts as a picture; other files in a folder are left alone."""
TITLE = "Mask folder"


def load_mask_folder(data_dir: str | Path | None = None) -> SegmentationSet:
    """Read `data_dir/{train,test}/images/*` and `.../masks/*`, whole into memory; all pictures have one size.

    A picture and its mask have the same name up to the ending. Where there is no `test`, `val` takes its place. A mask
    has one channel of 8 bits whose values are class ids, 255 for pixels that are ignored. The classes are the lines
    of `data_dir/classes.txt`; without that file they are called 0, 1, ... up to the highest id that occurs.

    Args:
        data_dir: The folder, `./data` when None; its name becomes that of the set.

    Raises:
        DataError: A folder, picture or mask is missing, cannot be decoded, has another size, or an id without a name.
    """
    root = Path(DEFAULT_DIR if data_dir is None else data_dir).expanduser().absolute()
    names = _names(root / "classes.txt")
    ids = id_table({i: i for i in range(len(names or range(IGNORE)))})
    test = root / ("val" if not (root / "test").is_dir() and (root / "val").is_dir() else "test")
    one, two = ((folder / "images", folder / "masks") for folder in (root / "train", test))
    splits = load_splits(one, two, ids, TITLE)
    if names is None:
        present = (splits[0].ids + splits[1].ids)[:IGNORE].nonzero().flatten().tolist()
        names = tuple(map(str, range(max(present, default=0) + 1)))
    return SegmentationSet(root.name or "mask_folder", names, splits[0], splits[1])


def load_splits(
    train: tuple[Path, Path], test: tuple[Path, Path], ids: Tensor, title: str
) -> tuple[PairSplit, PairSplit]:
    """Two splits in memory, each from its folder of pictures and its folder of masks.

    Args:
        train: Both folders; a mask has the name of its picture up to the ending.
        test: Likewise.
        ids: `id_table` of the data set.
        title: Of the data set, for messages.

    Raises:
        DataError: A folder, picture or mask is missing, cannot be decoded, has another size, or an unknown id.
    """
    read = partial(read_ids, title=title, ids=ids)
    # All names first: what is missing from the last folder is known before the first picture is decoded.
    files = [matched(*folders, title) for folders in (train, test)]
    one, two = (PairSplit(*read_pairs(*pair, read, title)) for pair in files)
    check_one_size((files[0][0][0], one.shape), (files[1][0][0], two.shape), title)
    return one, two


def check_one_size(train: tuple[Path, tuple[int, ...]], test: tuple[Path, tuple[int, ...]], title: str) -> None:
    """Raise DataError unless training and test pictures have one shape; each side is a file and its (3, H, W)."""
    if train[1] != test[1]:
        sizes = [f"{path} is {shape[1]} x {shape[2]}" for path, shape in (train, test)]
        raise DataError(f"{title}: {sizes[0]} (height x width), {sizes[1]}; training and test need one size.")


def matched(pictures: Path, masks: Path, title: str) -> tuple[list[Path], list[Path]]:
    """The pictures of one folder by name, and of each its mask in the other: the file of the same stem.

    Raises:
        DataError: A folder that is missing or empty, a picture or a mask alone, two files of one stem, or a link that
            leads nowhere.
    """
    here, there = by_stem(pictures, title), by_stem(masks, title)
    for stem, path in here.items():
        if stem not in there:
            raise DataError(f"{title}: {path} has no mask {masks / stem}.* beside it.{_alone(stem, here, there)}")
    for stem, path in there.items():
        if stem not in here:
            raise DataError(f"{title}: the mask {path} has no picture {pictures / stem}.*. Add it, or move it away.")
    return list(here.values()), [there[stem] for stem in here]


def by_stem(folder: Path, title: str, end: str = "") -> dict[str, Path]:
    """The pictures of a folder in the order of their names, by what is left of a name without ending.

    Args:
        folder: It is not searched further down; hidden files and those that are no pictures are left out.
        title: Of the data set, for messages.
        end: Only files whose stem ends with this; it is cut off too.

    Raises:
        DataError: No such folder, nothing in it, two files of one stem, or something that is not a regular file.
    """
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"{title}: the folder {folder} cannot be read ({error.strerror or error}).") from None
    files: dict[str, Path] = {}
    for path in entries:
        if path.name.startswith(".") or path.suffix.lower() not in ENDINGS or not path.stem.endswith(end):
            continue
        # A pipe would be waited for without end.
        if not path.is_file():
            raise DataError(f"{title}: {path} is not a regular file. Move it away, or copy the file itself there.")
        stem = path.stem.removesuffix(end)
        if stem in files:
            raise DataError(f"{title}: {files[stem]} and {path} have one name. Move one of them away.")
        files[stem] = path
    if not files:
        raise DataError(f"{title}: the folder {folder} has no pictures (*{end}: {', '.join(ENDINGS)}).")
    return files


def id_table(meanings: Mapping[int, int]) -> Tensor:
    """What `read_ids` looks values up in: int16 (256,), -1 for values that mean nothing.

    Args:
        meanings: From the value in a mask to a class id or `IGNORE`; 255 always means `IGNORE`.
    """
    table = torch.full((256,), -1, dtype=torch.int16)
    for value, meaning in {**meanings, IGNORE: IGNORE}.items():
        table[value] = meaning
    return table


def read_ids(path: Path, title: str, ids: Tensor) -> Tensor:
    """The class ids of a mask file, uint8 (H, W).

    Args:
        path: The file.
        title: Of the data set, for messages.
        ids: An `id_table`.

    Raises:
        DataError: As `read_mask`; or a value without a meaning, with the number of its pixels.
    """
    values = read_mask(path, title)
    counts = torch.bincount(values.reshape(-1), minlength=256)
    unknown = ((ids < 0) & (counts > 0)).nonzero().flatten().tolist()
    if unknown:
        found = ", ".join(f"{value} ({int(counts[value]):,} pixels)" for value in unknown[:4])
        more = f" and {len(unknown) - 4} others" if len(unknown) > 4 else ""
        known = _ranges((ids >= 0).nonzero().flatten().tolist())
        plural = "s" if len(unknown) > 1 else ""
        raise DataError(f"{title}: {path} has the unknown label{plural} {found}{more}; known are {known}.")
    return ids.to(torch.uint8)[values.long()]


def _names(path: Path) -> tuple[str, ...] | None:
    """The class names of a file, one a line; None where there is no such file."""
    if not path.exists():
        return None
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise DataError(f"{TITLE}: {path} cannot be read as UTF-8 text ({error}).") from None
    if not 1 <= len(names) <= IGNORE:
        raise DataError(f"{TITLE}: {path} has {len(names)} names, one a line; there can be 1..{IGNORE}.")
    if twice := [name for name in names if names.count(name) > 1]:
        raise DataError(f"{TITLE}: {path} names the class '{twice[0]}' twice.")
    return tuple(names)


def _alone(stem: str, here: Mapping[str, Path], there: Mapping[str, Path]) -> str:
    """A guess at what the mask of a picture may be called."""
    rest = [name for name in there if name not in here]
    if longer := [name for name in rest if stem in name]:
        return f" Did you mean {there[longer[0]].name}? Both need one name, up to the ending."
    return did_you_mean(stem, rest) if rest else ""


def _ranges(values: list[int]) -> str:
    """[0, 1, 2, 5] as "0..2, 5"."""
    parts: list[list[int]] = []
    for value in values:
        if parts and parts[-1][-1] == value - 1:
            parts[-1].append(value)
        else:
            parts.append([value])
    return ", ".join(f"{part[0]}..{part[-1]}" if len(part) > 1 else str(part[0]) for part in parts)
