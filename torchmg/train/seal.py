"""Digests by which a file shows that it is as it was written: torch does not notice a flipped bit."""

import hashlib
import os
from pathlib import Path

MARK = b"sha256:"
LENGTH = len(MARK) + 64
"""Bytes of a seal: the mark, then the digest in hex."""


def write_sealed(path: Path, content: bytes | memoryview) -> None:
    """Write `content` and, behind it, its seal; zip readers, torch's too, look past it."""
    with path.open("wb") as file:
        file.write(content)
        file.write(MARK + hashlib.sha256(content).hexdigest().encode())


def read_sealed(path: Path) -> bytes:
    """What `write_sealed` wrote.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no regular file, has no seal, or is not what was sealed.
    """
    if not path.is_file():  # opening a pipe would wait for somebody to write into it
        raise ValueError("it is not a regular file")
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END) - LENGTH
        file.seek(max(size, 0))
        seal = file.read()
        if size < 0 or not seal.startswith(MARK):  # before the rest is read: it may be a file of any size
            raise ValueError("it does not end in a digest of its content")
        file.seek(0)
        content = file.read(size)
    if seal != MARK + hashlib.sha256(content).hexdigest().encode():
        raise ValueError("its content is not what its sha256 says")
    return content
