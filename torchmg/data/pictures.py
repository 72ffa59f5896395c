"""Picture files as tensors, whatever their colour mode, and stacks of them that are decoded when asked for."""

import hashlib
import os
import struct
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from torchmg.errors import DataError

THREADS = 8
"""Pictures decoded at once; Pillow's decoders leave the interpreter free for each other."""


def open_picture(path: Path, title: str) -> Image.Image:
    """A decoded picture in RGB, upright.

    Grey, palette and CMYK pictures are converted; transparency is dropped, not laid over a background.

    Args:
        path: the file.
        title: of the data set, for messages.

    Raises:
        DataError: no such file, not a picture, cut off, or of an absurd size; the message names the file.
    """
    picture = _decoded(path, title)
    if picture.mode.startswith("I;16"):
        picture = picture.point(lambda value: value / 256).convert("L")
    with suppress(OSError, SyntaxError, ValueError, struct.error):  # damaged EXIF: the pixels are sound as they lie
        picture = ImageOps.exif_transpose(picture)
    return picture.convert("RGB")


def read_picture(path: Path, title: str) -> Tensor:
    """`open_picture` as uint8 (3, H, W)."""
    return torch.from_numpy(np.array(open_picture(path, title))).permute(2, 0, 1).contiguous()


def read_mask(path: Path, title: str) -> Tensor:
    """A picture of class ids, uint8 (H, W): one channel of 8 bits, grey or palette, whose values are taken as they are.

    Raises:
        DataError: as `open_picture`; or a file of several channels, which has colours and not ids.
    """
    picture = _decoded(path, title)
    if picture.mode not in ("L", "P", "1"):
        raise DataError(
            f"{title}: {path} has mode {picture.mode}; a mask has one channel of 8 bits whose values are class ids. "
            "Convert its colours to ids, and save as grey or palette PNG."
        )
    return torch.from_numpy(np.array(picture.convert("L") if picture.mode == "1" else picture)).to(torch.uint8)


def stacked(paths: Sequence[Path], read: Callable[[Path], Tensor]) -> Tensor:
    """What `read` makes of every file, several at once, as one tensor (N, ...); all must have one shape.

    Raises:
        DataError: from `read`; or two files of different shapes, both named.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        tensors = list(pool.map(read, paths))
    for path, tensor in zip(paths, tensors, strict=True):
        if tensor.shape != tensors[0].shape:
            sizes = [" x ".join(map(str, t.shape[-2:])) for t in (tensors[0], tensor)]
            raise DataError(f"{paths[0]} is {sizes[0]} (height x width), {path} is {sizes[1]}; all must have one size.")
    return torch.stack(tensors)


def listing_hash(paths: Sequence[Path], root: Path) -> str:
    """Sha256 (hex) over name and size of every file: what stands for pixels that are too many to be read at once."""
    digest = hashlib.sha256()
    start = len(str(root)) + 1
    for name in map(str, paths):
        digest.update(f"{name[start:].replace(os.sep, '/')}\t{os.stat(name).st_size}\n".encode())
    return digest.hexdigest()


def _decoded(path: Path, title: str) -> Image.Image:
    try:
        with Image.open(path) as picture:
            picture.load()
            return picture
    except FileNotFoundError:
        raise DataError(f"{title}: {path} is missing.") from None
    except UnidentifiedImageError:
        raise DataError(f"{title}: {path} is not a picture that Pillow can read.") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{title}: {path} cannot be decoded ({error}). Copy the file anew, or move it away.") from None
