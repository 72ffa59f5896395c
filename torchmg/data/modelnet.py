"""ModelNet10 and ModelNet40 (Wu et al., "3D ShapeNets", CVPR 2015) as point clouds, from arrays or from meshes."""

import io
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from torchmg.data.clouds import CloudSet, CloudSplit
from torchmg.data.files import DEFAULT_DIR
from torchmg.data.meshes import normalised, read_off, sample_surface
from torchmg.errors import DataError, DataWarning, UnknownNameError, UsageError, did_you_mean

ModelNetName = Literal["modelnet10", "modelnet40"]
TITLES = {"modelnet10": ("ModelNet10", 10), "modelnet40": ("ModelNet40", 40)}
"""Title, which is also the meshes' folder, and number of classes of each."""
UNITS = 2047
"""How many make 1 where coordinates are stored as whole numbers."""
SPLITS = ("train", "test")
_REMEDY = "Move it away, or copy it anew."

Clouds = NDArray[np.float32]
Labels = NDArray[np.int64]


def load_modelnet(
    data_dir: str | Path | None = None, name: ModelNetName = "modelnet10", points: int = 1024, seed: int = 0
) -> CloudSet:
    """Read ModelNet from the first of these that is in `data_dir`, NAME being `name`; nothing is downloaded.

    1. NAME/NAME_1024pts.npz: `train_delta`, int16 (N, P, 3), differences from point to point in units of 1/2047,
       `train_labels`, the same of `test`, and `classes`.
    2. NAME/NAME.npz or NAME.npz: `train_points`, float (N, P, 3), `train_labels`, the same of `test`, and `classes`.
    3. NAME/train_points.npy, NAME/train_labels.npy, the same of `test`, and NAME/classes.txt, a name a line.
    4. ModelNet10/CLASS/train/*.off and CLASS/test/*.off, the official meshes (ModelNet40 likewise): their surfaces are
       sampled, and each cloud is moved to zero mean and scaled into the unit ball.

    Clouds of arrays are taken as they are, but each is put into a random order of its own, so that its first points
    are a fair part of it: files may hold points in the order of a space-filling curve, which packs better.

    Args:
        data_dir: `./data` when None.
        name: "modelnet10" or "modelnet40".
        points: of each cloud.
        seed: of order and sampling; 0 or more.

    Raises:
        UnknownNameError: another name.
        UsageError: fewer than 1 point, more than there are, or a negative seed.
        DataError: no files, or damaged ones; the message names them.

    Warns:
        DataWarning: meshes were sampled, which takes minutes and is done anew at every load.
    """
    if name not in TITLES:
        raise UnknownNameError(f"Unknown data set '{name}'.{did_you_mean(name, TITLES)}")
    if not isinstance(points, int) or points < 1 or not isinstance(seed, int) or seed < 0:
        raise UsageError(f"points must be at least 1 and seed at least 0, whole numbers; got {points!r} and {seed!r}.")
    root = Path(DEFAULT_DIR if data_dir is None else data_dir).expanduser().absolute()
    title, count = TITLES[name]
    arrays = [root / name / f"{name}_1024pts.npz", root / name / f"{name}.npz", root / f"{name}.npz"]
    for path in [*arrays, root / name / "train_points.npy"]:
        if path.is_file():
            return _from_arrays(path, name, points, seed)
    if (root / title).is_dir():
        return _from_meshes(root / title, name, count, points, seed)
    raise DataError(
        f"{title}: none of {', '.join(str(path) for path in arrays)}, {root / name}/train_points.npy or the folder "
        f"{root / title} of meshes is there. The meshes come from the ModelNet page of Princeton University. "
        "If you have them elsewhere, name the folder that holds them with --data-dir (data_dir=)."
    )


def _from_arrays(path: Path, name: str, points: int, seed: int) -> CloudSet:
    title, count = TITLES[name]
    try:
        arrays = _read(path)
        classes = tuple(str(word) for word in arrays["classes"])
        if len(classes) != count or len(set(classes)) != count:
            raise ValueError(f"has {len(set(classes))} different classes, not {count}")
        parts = [_parsed(arrays, split, count) for split in SPLITS]
    except KeyError as error:
        raise DataError(f"{title}: {path} has no array {error}. {_REMEDY}") from None
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{title}: {path} {str(error) or 'is cut off'}. {_REMEDY}") from None
    for clouds, _ in parts:
        if points > clouds.shape[1]:
            raise UsageError(f"{title}: {path} holds {clouds.shape[1]} points a cloud; got points={points}.")
    splits = [_split(_part(clouds, points, (seed, which)), labels) for which, (clouds, labels) in enumerate(parts)]
    return CloudSet(name, classes, *splits)


def _read(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays that matter, read as data: nothing pickled."""
    if path.suffix == ".npy":
        folder = path.parent
        names = [f"{split}_{what}" for split in SPLITS for what in ("points", "labels")]
        arrays = {name: _array(lambda name=name: _loaded(folder / f"{name}.npy")) for name in names}
        return arrays | {"classes": _array(lambda: (folder / "classes.txt").read_text("utf-8").splitlines())}
    opened = _array(lambda: _loaded(path))
    if not isinstance(opened, np.lib.npyio.NpzFile):
        raise ValueError("is not an archive of arrays (.npz)")
    with opened as file:
        return {key: _array(lambda key=key: file[key]) for key in file.files if not key.endswith("_names")}


def _loaded(path: Path) -> Any:
    # From memory, because NumPy leaves a damaged archive open.
    return np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)


def _array(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except FileNotFoundError as error:
        raise ValueError(f"has no {Path(error.filename).name} beside it") from None
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"cannot be read as arrays ({str(error).rstrip('.')})") from None


def _parsed(arrays: Mapping[str, NDArray[Any]], split: str, count: int) -> tuple[Clouds, Labels]:
    if f"{split}_delta" in arrays:
        delta = arrays[f"{split}_delta"]
        if delta.dtype != np.int16:
            raise ValueError(f"has {split}_delta of {delta.dtype}, not int16")
        clouds = np.cumsum(delta, axis=1, dtype=np.int16).astype(np.float32) / np.float32(UNITS)
    else:
        clouds = arrays[f"{split}_points"]
    if clouds.ndim != 3 or clouds.shape[2] != 3 or not clouds.size or clouds.dtype.kind != "f":
        raise ValueError(f"has clouds for {split} of {clouds.dtype} {clouds.shape}, not floats (clouds, points, 3)")
    if not np.isfinite(clouds).all():
        raise ValueError(f"holds NaN or infinite coordinates for {split}")
    labels = arrays[f"{split}_labels"]
    if labels.shape != clouds.shape[:1] or labels.dtype.kind not in "iu":
        raise ValueError(f"has {split}_labels of {labels.dtype} {labels.shape}, not {len(clouds)} whole numbers")
    if labels.min() < 0 or labels.max() >= count:
        raise ValueError(f"has labels {labels.min()}..{labels.max()}, not within 0..{count - 1}")
    return clouds.astype(np.float32), labels.astype(np.int64)


def _part(clouds: Clouds, points: int, seed: tuple[int, int]) -> Clouds:
    """The first points of every cloud in a random order of its own."""
    random = np.random.RandomState(np.random.MT19937(np.random.SeedSequence(seed)))
    order = random.random_sample(clouds.shape[:2]).argsort(1, kind="stable")[:, :points]
    return np.take_along_axis(clouds, order[..., None], 1)


def _from_meshes(folder: Path, name: str, count: int, points: int, seed: int) -> CloudSet:
    classes = tuple(sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")))
    if len(classes) != count:
        raise DataError(f"{folder} has {len(classes)} folders of classes, not {count}. Unpack the whole archive there.")
    splits, total = [], 0
    for split in SPLITS:
        files = {kind: sorted((folder / kind / split).glob("*.off")) for kind in classes}
        if absent := [kind for kind, paths in files.items() if not paths]:
            raise DataError(f"{folder / absent[0] / split} has no .off files. Unpack the whole archive anew.")
        clouds = [_sampled(path, folder, points, seed) for kind in classes for path in files[kind]]
        labels = [label for label, kind in enumerate(classes) for _ in files[kind]]
        splits.append(_split(np.stack(clouds), np.array(labels, np.int64)))
        total += len(clouds)
    warnings.warn(
        f"{folder.name}: {total:,} meshes in {folder} were sampled at {points} points each (seed {seed}); this is done "
        f"anew at every load. To have it once, save the clouds as {name}.npz beside that folder.",
        DataWarning,
        stacklevel=3,
    )
    return CloudSet(name, classes, *splits)


def _sampled(path: Path, folder: Path, points: int, seed: int) -> Clouds:
    """A mesh's own random numbers follow from its name, so they do not depend on which other files are there."""
    number = zlib.crc32(path.relative_to(folder).as_posix().encode())
    vertices, faces = read_off(path)
    try:
        return normalised(sample_surface(vertices, faces, points, (seed, number))).astype(np.float32)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _split(clouds: Clouds, labels: Labels) -> CloudSplit:
    return CloudSplit(torch.from_numpy(clouds), torch.from_numpy(labels))
