"""The names a user can type, importable without torch so that `--help` and `list` answer at once."""

from typing import Final

DATASETS: Final[dict[str, str]] = {
    "digits": "1,797 handwritten digits at 16 x 16 that come with scikit-learn; 10 classes; nothing to download",
    "fashion_mnist": "70,000 grey pictures of clothes at 28 x 28; 10 classes; 30 MB",
    "cifar10": "60,000 colour photographs at 32 x 32; 10 classes; 170 MB",
    "cifar100": "60,000 colour photographs at 32 x 32; 100 classes; 170 MB",
}

AUGMENTATIONS: Final[dict[str, str]] = {
    "none": "the pictures as they are",
    "crop": "shifted by up to an eighth of the side each way (4 of 32 pixels), the margin filled with the mean colour",
    "crop_flip": "shifted as in crop, and mirrored left to right half of the time",
    "autoaugment": "changed by AutoAugment's policy for CIFAR-10, then as in crop_flip",
    "randaugment": "changed by two operations of RandAugment at strength 9 of 30, then as in crop_flip",
}
