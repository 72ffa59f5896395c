"""The names a user can type, importable without torch so that `--help` and `list` answer at once."""

from typing import Final, Literal, NamedTuple

from torchmg.errors import UsageError

AUGMENTATIONS: Final[dict[str, str]] = {
    "none": "the pictures as they are",
    "crop": "shifted by up to an eighth of the side each way (4 of 32 pixels), the margin filled with the mean colour",
    "crop_flip": "shifted as in crop, and mirrored left to right half of the time",
    "autoaugment": "changed by AutoAugment's policy for CIFAR-10, then as in crop_flip",
    "randaugment": "changed by two operations of RandAugment at strength 9 of 30, then as in crop_flip",
}
"""For labelled pictures of one size."""

OTHER_AUGMENTATIONS: Final[dict[str, str]] = {
    "inception": "a random part of 8 to 100 % of the picture, scaled to the network's size, mirrored half of the time",
    "scale_crop_flip": "picture and mask scaled by 0.5 to 2, cut to size, and mirrored half of the time",
    "clouds": "points turned about the vertical axis, jittered, and up to 7 of 8 left out",
}
"""For data of other kinds."""

PICTURE_AUGMENTATIONS: Final = tuple(AUGMENTATIONS)
"""What labelled pictures in memory take."""
FOLDER_AUGMENTATIONS: Final = ("none", "inception")
"""What folders of labelled pictures take: the evaluation crop for training too, or Inception's crop and mirror."""
PAIR_AUGMENTATIONS: Final = ("none", "scale_crop_flip")
"""What pictures with masks take."""
CLOUD_AUGMENTATIONS: Final = ("none", "clouds")
"""What point clouds take."""

TASKS: Final[dict[str, str]] = {
    "classify": "classify images",
    "segment": "segment images",
    "points": "classify point clouds",
    "regress": "give numbers",
}
"""Task -> what it is to do, in words."""


class SetInfo(NamedTuple):
    """What is known of a data set without reading it."""

    text: str
    task: Literal["classify", "segment", "points", "regress"]
    """classify, segment, points or regress, see `torchmg.models.catalog.Task`."""
    terms: str
    """On which terms it may be used, for cards; what its publishers say, no legal advice."""
    augmentations: tuple[str, ...] = ("none",)


CIFAR_TERMS = (
    "no licence is stated; its author asks that Krizhevsky, Learning Multiple Layers of Features, 2009 is cited"
)
MODELNET_TERMS = "for academic research; the rights in the shapes are their authors', says ModelNet's notice"
YOURS = "those of your pictures' owners"
MADE = "made by torchmg; nobody else has rights in it"

SETS: Final[dict[str, SetInfo]] = {
    "digits": SetInfo(
        "1,797 handwritten digits at 16 x 16 that come with scikit-learn; 10 classes; nothing to download",
        "classify",
        "Optical Recognition of Handwritten Digits (Alpaydin and Kaynak, UCI repository 1998), CC BY 4.0",
        PICTURE_AUGMENTATIONS,
    ),
    "fashion_mnist": SetInfo(
        "70,000 grey pictures of clothes at 28 x 28; 10 classes; 30 MB",
        "classify",
        "MIT, Zalando SE 2017 (Xiao, Rasul, Vollgraf)",
        PICTURE_AUGMENTATIONS,
    ),
    "cifar10": SetInfo(
        "60,000 colour photographs at 32 x 32; 10 classes; 170 MB", "classify", CIFAR_TERMS, PICTURE_AUGMENTATIONS
    ),
    "cifar100": SetInfo(
        "60,000 colour photographs at 32 x 32; 100 classes; 170 MB", "classify", CIFAR_TERMS, PICTURE_AUGMENTATIONS
    ),
    "stl10": SetInfo(
        "13,000 colour photographs at 96 x 96; 10 classes; 2.6 GB",
        "classify",
        "no licence is stated; from ImageNet; its authors ask that Coates, Lee, Ng, AISTATS 2011 is cited",
        PICTURE_AUGMENTATIONS,
    ),
    "imagenet": SetInfo(
        "1.3 million photographs in folders imagenet/train and imagenet/val, a folder a class; read as needed",
        "classify",
        "research and education without commerce, by ImageNet's terms of access",
        FOLDER_AUGMENTATIONS,
    ),
    "image_folder": SetInfo(
        "your own pictures in folders train and val (or test), a folder a class; read as needed",
        "classify",
        YOURS,
        FOLDER_AUGMENTATIONS,
    ),
    "camvid": SetInfo(
        "road scenes with masks in SegNet's folders; 11 classes",
        "segment",
        "no licence is known to torchmg; its authors ask that Brostow, Fauqueur, Cipolla 2009 is cited",
        PAIR_AUGMENTATIONS,
    ),
    "cityscapes": SetInfo(
        "5,000 street scenes with fine masks in Cityscapes' own folders; 19 classes; read as needed",
        "segment",
        "without commerce and after registration, by Cityscapes' licence agreement",
        PAIR_AUGMENTATIONS,
    ),
    "mask_folder": SetInfo(
        "your own pictures and masks in folders train and val (or test), images and masks in each",
        "segment",
        YOURS,
        PAIR_AUGMENTATIONS,
    ),
    "qtips": SetInfo(
        "bars at 64 x 64, classed by the markers at both ends, made here; nothing to download", "segment", MADE
    ),
    "modelnet10": SetInfo(
        "4,899 shapes of ModelNet, as points or OFF meshes; 10 classes", "points", MODELNET_TERMS, CLOUD_AUGMENTATIONS
    ),
    "modelnet40": SetInfo(
        "12,311 shapes of ModelNet, as points or OFF meshes; 40 classes", "points", MODELNET_TERMS, CLOUD_AUGMENTATIONS
    ),
    "functions": SetInfo(
        "values of a smooth function of two variables, made here; nothing to download", "regress", MADE
    ),
    "signed_distance": SetInfo("signed distances to a star's outline, made here; nothing to download", "regress", MADE),
    "features": SetInfo(
        "feature maps that torchmg study features wrote; target and input are the same",
        "regress",
        "those of the pictures that the features are of",
    ),
}
"""What is known of every data set."""

DATASETS: Final[dict[str, str]] = {name: info.text for name, info in SETS.items()}
"""Name -> description."""


def check_pictures(what: str, data: str) -> None:
    """That a set is of labelled pictures in memory: those can be held out, mixed, mirrored and whitened.

    Args:
        what: asks for it.
        data: a name in `SETS`.

    Raises:
        UsageError: it is of another kind; the message has the sets that would do.
    """
    able = [name for name, info in SETS.items() if info.augmentations == PICTURE_AUGMENTATIONS]
    if data not in able:
        raise UsageError(f"{what} is for labelled pictures in memory ({', '.join(able)}), not for {data}.")
