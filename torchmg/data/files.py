"""Finding and reading the files of a data set, with errors that say what was wrong and the way out."""

import hashlib
import stat
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torchmg.data.download import fetch
from torchmg.errors import DataError, DataWarning

DEFAULT_DIR = "data"


@dataclass(frozen=True)
class Source:
    """Where a data set lives: on disk, in torchvision, and in public."""

    title: str
    """The name people know it by."""
    folder: str
    """Its folder under the data directory; torchvision's layout."""
    files: str
    """Its files, in words, for messages."""
    origin: str
    """Where the public finds it, in words."""
    torchvision_name: str
    """The class in torchvision.datasets that downloads it."""


def find(source: Source, data_dir: str | Path | None, wanted: Sequence[Sequence[str]], download: bool) -> list[Path]:
    """The absolute path of each wanted file; what is absent is downloaded first.

    Args:
        source: The data set.
        data_dir: The folder that holds `source.folder`; `./data` when None.
        wanted: For each file its possible names, the preferred one first.
        download: Whether absent files may be fetched.

    Raises:
        DataError: A file is absent and was not, or could not be, downloaded.
    """
    root = Path(DEFAULT_DIR if data_dir is None else data_dir).expanduser().absolute()
    folder = root / source.folder
    reason = "downloading was switched off"
    if download and (absent := _absent(folder, wanted)):
        names = [name for names in absent for name in names]
        reason = fetch(source.torchvision_name, source.folder, names, root)
    if absent := _absent(folder, wanted):
        raise DataError(_missing(source, folder, wanted, absent, reason))
    return [next(folder / name for name in names if _present(folder / name)) for names in wanted]


def read_bytes(path: Path, limit: int, source: Source) -> bytes:
    """The whole file.

    Raises:
        DataError: A folder or device in its place, no permission, or more than `limit` bytes.
    """
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise damaged(path, "is a folder, not a file", source)
        if not stat.S_ISREG(status.st_mode):
            raise damaged(path, "is not a regular file", source)
        if status.st_size > limit:
            raise damaged(path, f"has {status.st_size:,} bytes, more than the {limit:,} it can have", source)
        return path.read_bytes()
    except OSError as error:
        raise damaged(path, f"cannot be read ({error.strerror or error})", source) from None


def md5(data: bytes) -> str:
    """The md5 (hex) that data sets are published with; it finds accidents, not attackers."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def damaged(path: Path, what: str, source: Source) -> DataError:
    """The error for a file that is there and no good: `what` continues the sentence that its name begins."""
    return DataError(
        f"{source.title}: {path} {what}. "
        f"Move it away, then load again to download it, or copy in the one from {source.origin}."
    )


def warn_if_not_published(source: Source, folder: Path, others: Sequence[str]) -> None:
    """Warn (`DataWarning`, once for all) of sound files that are not the published ones; to be called by a loader."""
    if others:
        text = f"{source.title} in {folder} is sound but not as published (md5): {', '.join(others)}."
        warnings.warn(text, DataWarning, stacklevel=4)


def _present(path: Path) -> bool:
    # A dangling link counts as present: it is somebody's, and reading it tells what is wrong.
    try:
        path.lstat()
    except OSError:
        return False
    return True


def _absent(folder: Path, wanted: Sequence[Sequence[str]]) -> list[Sequence[str]]:
    return [names for names in wanted if not any(_present(folder / name) for name in names)]


def _missing(
    source: Source,
    folder: Path,
    wanted: Sequence[Sequence[str]],
    absent: Sequence[Sequence[str]],
    reason: str,
) -> str:
    names = ", ".join(names[0] for names in absent)
    here = len(wanted) - len(absent)
    partly = f" ({here} of {len(wanted)} files are there)" if here else ""
    return (
        f"{source.title}: {folder} lacks {names}{partly}, and {reason}. "
        f"Expected there: {source.files}. They come from {source.origin}. "
        f"If you have them elsewhere, name the folder that holds {source.folder} with --data-dir (data_dir=)."
    )
