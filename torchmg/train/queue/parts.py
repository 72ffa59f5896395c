"""A folder as parts of limited size: what travels from machine to machine. No torch.

The parts, one after the other, are one tar archive; `index.json` names them with sizes and hashes. It is written last
and in one go, and no part is written over, so a kill while packing leaves the parts of before.
"""

import hashlib
import json
import os
import secrets
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, cast

from torchmg.errors import CheckpointError
from torchmg.train.files import read_text, write_json

LIMIT = 15 * 2**20
"""Bytes that a part has at most."""


def pack(source: Path, parts: Path, history: Sequence[str], keep: Callable[[str], bool], limit: int = LIMIT) -> None:
    """Write the files of `source` as parts, in the place of the parts that were there.

    Args:
        source: the folder to pack.
        parts: the folder of the parts; made if it is missing.
        history: goes into the index, see `Queue.history`.
        keep: which files to pack, by their path within `source`.
        limit: bytes of a part at most.
    """

    def portable(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        return entry if entry.isdir() or keep(entry.name) else None

    parts.mkdir(parents=True, exist_ok=True)
    cutter = _Cutter(parts, secrets.token_hex(4), limit)
    try:
        with tarfile.open(fileobj=cast(IO[bytes], cutter), mode="w|", bufsize=2**20) as archive:
            for path in sorted(source.iterdir()):
                archive.add(path, path.name, filter=portable)
    finally:
        cutter.close()
    write_json(parts / "index.json", {"format": 1, "history": list(history), "parts": cutter.index})
    current = {part["name"] for part in cutter.index}
    for path in parts.glob("*.part"):
        if path.name not in current:
            path.unlink()


def read_index(parts: Path) -> dict[str, Any] | None:
    """The index of the parts; None where there are none.

    Raises:
        CheckpointError: it is damaged, of another format, or parts lie there without it.
    """
    path = parts / "index.json"
    if not path.exists():
        if any(parts.glob("*.part")):
            raise CheckpointError(f"{path} is missing beside the parts that it belongs to. Copy it too.")
        return None
    try:
        index = json.loads(read_text(path))
        if index["format"] != 1:
            raise CheckpointError(f"{path} has another format than this torchmg reads (1).")
        plain = [Path(part["name"]).name == part["name"] for part in index["parts"]]
        known = [isinstance(part["bytes"], int) and isinstance(part["sha256"], str) for part in index["parts"]]
        if not all(plain + known + [isinstance(word, str) for word in index["history"]]):
            raise ValueError("a value of the wrong kind")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged ({error}). Copy all of {parts} again.") from error
    return index


def unpack(parts: Path, target: Path) -> None:
    """Put the files that are in the parts into the folder `target`, every part verified before it is used.

    Raises:
        CheckpointError: a part is missing or damaged (the message names it), or the archive is not one of ours.
    """
    index = read_index(parts)
    if index is None:
        raise CheckpointError(f"There are no parts in {parts}.")
    try:
        joined = _Joined(_verified(parts, index["parts"]))
        with tarfile.open(fileobj=cast(IO[bytes], joined), mode="r|") as archive:
            archive.extractall(target, filter="data")
    except (tarfile.TarError, OSError) as error:
        raise CheckpointError(f"The parts in {parts} cannot be unpacked: {error}.") from error


def _verified(parts: Path, listed: Sequence[dict[str, Any]]) -> Iterator[bytes]:
    for part in listed:
        path = parts / part["name"]
        if not path.is_file():
            raise CheckpointError(f"{path} is missing. Copy all of {parts} again; nothing was changed.")
        content = path.read_bytes()
        if len(content) != part["bytes"] or hashlib.sha256(content).hexdigest() != part["sha256"]:
            raise CheckpointError(f"{path} is damaged. Copy it again; nothing was changed.")
        yield content


class _Cutter:
    """A file to write to that becomes several, none longer than `limit` bytes."""

    def __init__(self, folder: Path, name: str, limit: int) -> None:
        self.folder, self.name, self.limit = folder, name, limit
        self.index: list[dict[str, Any]] = []
        self._part = bytearray()

    def write(self, content: bytes) -> int:
        self._part += content
        while len(self._part) >= self.limit:
            self._flush()
        return len(content)

    def close(self) -> None:
        if self._part:
            self._flush()

    def _flush(self) -> None:
        content, self._part = bytes(self._part[: self.limit]), self._part[self.limit :]
        path = self.folder / f"{self.name}-{len(self.index):03d}.part"
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        digest = hashlib.sha256(content).hexdigest()
        self.index.append({"name": path.name, "bytes": len(content), "sha256": digest})


class _Joined:
    """Blocks of bytes as one file to read from."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._rest = b""

    def read(self, size: int) -> bytes:
        while len(self._rest) < size and (block := next(self._blocks, b"")):
            self._rest += block
        content, self._rest = self._rest[:size], self._rest[size:]
        return content
