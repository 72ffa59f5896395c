"""Cityscapes (Cordts et al. 2016): street scenes of 1024 x 2048 pixels in 19 classes, decoded when asked for."""

import warnings
from functools import partial
from pathlib import Path
from typing import Final

from torch import Tensor

from torchmg.data.files import DEFAULT_DIR
from torchmg.data.mask_folder import by_stem, check_one_size, id_table, read_ids
from torchmg.data.segmentation import IGNORE, LazyPairSplit, SegmentationSet
from torchmg.errors import DataError, DataWarning

TITLE: Final = "Cityscapes"
TRAIN_IDS: Final = {
    7: "road",
    8: "sidewalk",
    11: "building",
    12: "wall",
    13: "fence",
    17: "pole",
    19: "traffic light",
    20: "traffic sign",
    21: "vegetation",
    22: "terrain",
    23: "sky",
    24: "person",
    25: "rider",
    26: "car",
    27: "truck",
    28: "bus",
    31: "train",
    32: "motorcycle",
    33: "bicycle",
}
"""The labels that count, in the order of the class ids 0..18; the other ones of 0..33 are ignored."""
LABELS: Final = 34
PUBLISHED: Final = {"train": 2975, "val": 500}
"""How many pictures there are."""
PICTURES, MASKS = "leftImg8bit", "gtFine"


def load_cityscapes(data_dir: str | Path | None = None) -> SegmentationSet:
    """Find `data_dir/cityscapes/leftImg8bit/{train,val}/<city>/*_leftImg8bit.png` and the masks of the same names.

    The masks are `gtFine/{train,val}/<city>/*_gtFine_labelIds.png`, as the site packs them. Their 34 labels become the
    19 classes of the benchmark; the others are ignored (Cordts et al. 2016). The test split is `val`:
    labels of the real one are not public. Nothing is decoded before it is asked for: all pixels are 22 GB.

    Args:
        data_dir: The folder that holds `cityscapes`; `./data` when None. Nothing is downloaded: it needs an account.

    Raises:
        DataError: A folder, picture or mask is missing, or the first picture of a split cannot be decoded or has
            another size than that of the other one. Reading more raises it as they are asked for.

    Warns:
        DataWarning: Not as many pictures as were published.
    """
    root = Path(DEFAULT_DIR if data_dir is None else data_dir).expanduser().absolute() / "cityscapes"
    splits = {which: _split(root, which) for which in PUBLISHED}
    train, test = splits["train"], splits["val"]
    check_one_size((train.pictures[0], train.shape), (test.pictures[0], test.shape), TITLE)
    short = [f"{len(splits[which])} of {count} in {which}" for which, count in PUBLISHED.items()]
    if any(len(splits[which]) != count for which, count in PUBLISHED.items()):
        warnings.warn(f"{TITLE} in {root} is not as published: {' and '.join(short)}.", DataWarning, stacklevel=2)
    return SegmentationSet("cityscapes", tuple(TRAIN_IDS.values()), train, test)


def read_labels(path: Path) -> Tensor:
    """The class ids, uint8 (H, W), of a `labelIds` mask.

    Raises:
        DataError: A file that is missing or cannot be decoded, or a label outside 0..33.
    """
    return read_ids(path, TITLE, _IDS)


_IDS = id_table(dict.fromkeys(range(LABELS), IGNORE) | {label: i for i, label in enumerate(TRAIN_IDS)})


def _split(root: Path, which: str) -> LazyPairSplit:
    pictures, masks = root / PICTURES / which, root / MASKS / which
    cities = {folder: _folders(folder) for folder in (pictures, masks)}
    for here, there in ((pictures, masks), (masks, pictures)):
        if lone := [city for city in cities[here] if city not in cities[there]]:
            raise DataError(f"{TITLE}: there is {here / lone[0]}, but no {there / lone[0]}. Unpack both archives.")
    pairs = [pair for city in cities[pictures] for pair in _city(pictures / city, masks / city)]
    return LazyPairSplit(tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs), read_labels, root, TITLE)


def _folders(folder: Path) -> list[str]:
    try:
        names = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        reason = error.strerror or error
        raise DataError(
            f"{TITLE}: the folder {folder} cannot be read ({reason}). Expected there: a folder for each city, from "
            "leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip of the Cityscapes site. "
            "If you have them elsewhere, name the folder that holds cityscapes with --data-dir (data_dir=)."
        ) from None
    if not names:
        raise DataError(f"{TITLE}: the folder {folder} has no folder of a city.")
    return names


def _city(pictures: Path, masks: Path) -> list[tuple[Path, Path]]:
    ends = partial(by_stem, title=TITLE)
    here, there = ends(pictures, end=f"_{PICTURES}"), ends(masks, end=f"_{MASKS}_labelIds")
    for stem, path in here.items():
        if stem not in there:
            raise DataError(f"{TITLE}: {path} has no mask {masks / stem}_{MASKS}_labelIds.png. Unpack gtFine anew.")
    for stem, path in there.items():
        if stem not in here:
            raise DataError(f"{TITLE}: the mask {path} has no picture {pictures / stem}_{PICTURES}.png.")
    return [(path, there[stem]) for stem, path in here.items()]
