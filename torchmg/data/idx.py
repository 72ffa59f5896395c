"""The IDX format of MNIST and its successors: a big-endian header, then the bytes of one array."""

import gzip
import io
import math
import zlib

import numpy as np
from numpy.typing import NDArray


def gunzip(data: bytes, limit: int) -> bytes:
    """Unpack gzip data of which at most `limit` bytes are wanted; a longer result is cut at `limit` + 1.

    Raises:
        ValueError: Not gzip, or damaged; the text continues "file ...".
    """
    try:
        # Stopping behind the limit keeps a small file from filling the memory.
        return gzip.GzipFile(fileobj=io.BytesIO(data)).read(limit + 1)
    except EOFError:
        raise ValueError("is cut off: the gzip stream has no end") from None
    except (OSError, zlib.error) as error:
        raise ValueError(f"is not a sound gzip file ({error})") from None


def idx_size(shape: tuple[int, ...]) -> int:
    """Bytes of an IDX file that holds uint8 values of this shape."""
    return 4 + 4 * len(shape) + math.prod(shape)


def parse_idx(data: bytes, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The uint8 array in an IDX file, which must have the shape expected.

    Raises:
        ValueError: Another magic number, other sizes, or too few or too many bytes; continues "file ...".
    """
    magic = bytes([0, 0, 8, len(shape)])
    if data[:4] != magic:
        raise ValueError(f"begins with {data[:4].hex() or 'nothing'}, not with {magic.hex()} (uint8 IDX)")
    start = 4 + 4 * len(shape)
    sizes = tuple(int.from_bytes(data[i : i + 4], "big") for i in range(4, start, 4))
    if len(data) >= start and sizes != shape:
        raise ValueError(f"says it holds {_times(sizes)} values, not {_times(shape)}")
    if len(data) < idx_size(shape):
        raise ValueError(f"is cut off: {len(data):,} of {idx_size(shape):,} bytes")
    if len(data) > idx_size(shape):
        raise ValueError(f"goes on behind its {idx_size(shape):,} bytes")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape).copy()


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
