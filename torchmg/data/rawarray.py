"""NumPy arrays as pickles describe them, checked before any memory is taken for them."""

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


class RefusedError(ValueError):
    """A pickle that is damaged or asks for more than data; the text continues "file ..."."""


@dataclass
class Dtype:
    """Stands in for numpy.dtype: plain numbers only.

    Raises:
        RefusedError: Objects, structures, text, dates.
    """

    code: str | bytes
    """Kind and bytes, such as u1."""
    order: str | bytes = "|"
    """Byte order: < or > or | for neither."""

    def __post_init__(self) -> None:
        self.code = text(self.code)
        if not re.fullmatch("[biuf][1248]", self.code):
            raise RefusedError(f"holds an array of type {self.code[:20]!r}, not of plain numbers")

    def build(self, state: Any) -> None:
        """Take the byte order from (version, order, sub-array, names, fields, ...)."""
        _, order, *structure = state
        self.order = text(order)
        if self.order not in ("|", "<", ">", "=") or any(part is not None for part in structure[:3]):
            raise RefusedError("holds an array of structures")

    def numpy(self) -> np.dtype[Any]:
        """The type that it names."""
        return np.dtype(text(self.order) + text(self.code))


@dataclass
class RawArray:
    """Stands in for numpy.ndarray while a file is read."""

    dtype: Any = None
    shape: Any = ()
    fortran: Any = False
    data: Any = b""

    def build(self, state: Any) -> None:
        """Take what NumPy pickles: (version, shape, dtype, whether in Fortran's order, content)."""
        _, self.shape, self.dtype, self.fortran, self.data = state

    def numpy(self) -> NDArray[Any]:
        """The array, read-only.

        Raises:
            RefusedError: The parts do not make an array.
        """
        # Python 2 writes its bytes as text of one byte a letter.
        data = self.data.encode("latin-1", "replace") if isinstance(self.data, str) else self.data
        plain = isinstance(self.dtype, Dtype) and isinstance(data, bytes | bytearray)
        if not (plain and isinstance(self.shape, tuple) and len(self.shape) <= 4):
            raise RefusedError("holds an array without a plain shape, type and content")
        dtype = self.dtype.numpy()
        if not all(type(size) is int and 0 <= size <= len(data) for size in self.shape) or (
            math.prod(self.shape) * dtype.itemsize != len(data)
        ):
            raise RefusedError(f"holds an array of shape {str(self.shape)[:60]} in {len(data):,} bytes")
        return np.frombuffer(bytes(data), dtype).reshape(self.shape, order="F" if self.fortran else "C")


def text(value: Any) -> str:
    """A name that Python 2 or 3 pickled."""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, str):
        return value
    raise RefusedError(f"has a {type(value).__name__} where a name belongs")
