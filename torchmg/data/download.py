"""Downloading through torchvision, so that only whole and checked files ever appear in their place."""

import os
import socket
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

TIMEOUT = 30.0
"""Seconds without an answer after which the network counts as absent."""


def fetch(torchvision_name: str, folder: str, names: Iterable[str], root: Path) -> str:
    """Let torchvision download a data set, and move what is absent from `root/folder` into place.

    The download happens in a temporary folder beside the target: one that breaks off leaves nothing behind
    that could be taken for data, and files that are already there are never touched.

    Args:
        torchvision_name: The class in torchvision.datasets.
        folder: The folder of the data set under its root.
        names: File names worth keeping; those that the download does not have are skipped.
        root: The data directory; made if absent.

    Returns:
        What happened, as the end of a sentence; whether a file is still absent is for the caller to see.
    """
    import torchvision

    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=root) as temporary, _impatient():
            getattr(torchvision.datasets, torchvision_name)(temporary, download=True)
            _move(Path(temporary) / folder, root / folder, names)
    # Whatever goes wrong inside a downloader (name look-up, TLS, tar, md5, disk) means one thing here.
    except Exception as error:
        return f"the download failed ({type(error).__name__}: {' '.join(str(error).split())[:300]})"
    return "the download does not contain it"


def _move(source: Path, target: Path, names: Iterable[str]) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for name in names:
        if (source / name).is_file() and not os.path.lexists(target / name):
            os.replace(source / name, target / name)


@contextmanager
def _impatient() -> Iterator[None]:
    """Connections of torchvision have no time limit; a silent network would hang for minutes."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
