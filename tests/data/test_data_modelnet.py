"""ModelNet from each of its layouts: what is read back, and what damaged files are answered with."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torchmg.data.meshes import normalised, parse_off, read_off, sample_surface
from torchmg.data.modelnet import load_modelnet
from torchmg.errors import DataError, DataWarning, UnknownNameError, UsageError

CLASSES = np.array([f"kind_{i}" for i in range(10)])
CUBE = """OFF
8 6 0
0 0 0
1 0 0
1 1 0
0 1 0
0 0 1
1 0 1
1 1 1
0 1 1
4 0 3 2 1
4 4 5 6 7
4 0 1 5 4
4 1 2 6 5
4 2 3 7 6
4 3 0 4 7
"""


def arrays(points: int = 12) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    units = {split: random.integers(-2047, 2048, (size, points, 3)) for split, size in (("train", 20), ("test", 10))}
    labels = {f"{split}_labels": (np.arange(len(units[split])) % 10).astype(np.uint8) for split in units}
    return {f"{split}_units": value for split, value in units.items()} | labels | {"classes": CLASSES}


def as_delta(data: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    delta = {f"{s}_delta": np.diff(data[f"{s}_units"], axis=1, prepend=0).astype(np.int16) for s in ("train", "test")}
    return delta | {key: value for key, value in data.items() if not key.endswith("units")}


def as_points(data: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    points = {f"{s}_points": (data[f"{s}_units"] / np.float32(2047)).astype(np.float32) for s in ("train", "test")}
    return points | {key: value for key, value in data.items() if not key.endswith("units")}


def write_delta(root: Path, data: dict[str, Any]) -> None:
    (root / "modelnet10").mkdir()
    np.savez(root / "modelnet10" / "modelnet10_1024pts.npz", **data)


def write_npy(root: Path, data: dict[str, Any]) -> None:
    (root / "modelnet10").mkdir()
    for key, value in data.items():
        if key != "classes":
            np.save(root / "modelnet10" / f"{key}.npy", value)
    (root / "modelnet10" / "classes.txt").write_text("\n".join(data["classes"]) + "\n")


LAYOUTS: dict[str, Callable[[Path], None]] = {
    "delta": lambda root: write_delta(root, as_delta(arrays())),
    "floats": lambda root: np.savez(root / "modelnet10.npz", **as_points(arrays())),
    "npy": lambda root: write_npy(root, as_points(arrays())),
}


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_every_layout_of_arrays_holds_the_same_clouds(layout: str, tmp_path: Path) -> None:
    LAYOUTS[layout](tmp_path)
    data = load_modelnet(tmp_path, points=12)
    assert (data.name, data.classes, data.shape) == ("modelnet10", tuple(CLASSES), (3, 12))
    assert data.train.targets.tolist() == [*range(10), *range(10)]
    for split, units in ((data.train, arrays()["train_units"]), (data.test, arrays()["test_units"])):
        rounded = (split.inputs * 2047).round().int().numpy()
        assert [sorted(map(tuple, c)) for c in rounded.tolist()] == [sorted(map(tuple, c)) for c in units.tolist()]
        assert not (rounded == units).all(2).all(1).any(), "no cloud in the order of the file"
    part = load_modelnet(tmp_path, points=5)
    assert torch.equal(part.train.inputs, data.train.inputs[:, :5])
    assert load_modelnet(tmp_path, points=12).hashes() == data.hashes()
    assert not torch.equal(load_modelnet(tmp_path, points=12, seed=1).train.inputs, data.train.inputs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": CLASSES[:9]}, "9 different classes, not 10"),
        ({"train_delta": np.zeros((20, 12, 3), np.int32)}, "train_delta of int32, not int16"),
        ({"test_delta": np.zeros((10, 12, 2), np.int16)}, r"\(10, 12, 2\), not floats \(clouds, points, 3\)"),
        ({"test_labels": np.full(10, 10, np.uint8)}, r"labels 10\.\.10, not within 0\.\.9"),
        ({"test_labels": np.zeros(3, np.uint8)}, "not 10 whole numbers"),
        ({"train_labels": None}, "no array 'train_labels'"),
        ({"classes": np.array([print] * 10, object)}, "cannot be read as arrays .*allow_pickle"),
    ],
)
def test_damaged_arrays_are_explained(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    data = as_delta(arrays()) | change
    write_delta(tmp_path, {key: value for key, value in data.items() if value is not None})
    with pytest.raises(DataError, match=rf"ModelNet10: .*modelnet10_1024pts\.npz .*{message}"):
        load_modelnet(tmp_path, points=12)


def test_files_that_are_no_archives_are_explained(tmp_path: Path) -> None:
    LAYOUTS["floats"](tmp_path)
    path = tmp_path / "modelnet10.npz"
    whole = path.read_bytes()
    for bad in (b"", b"nonsense", whole[: len(whole) // 2], whole[:200] + b"\0" * 40 + whole[240:]):
        path.write_bytes(bad)
        with pytest.raises(DataError, match=r"modelnet10\.npz .*Move it away, or copy it anew"):
            load_modelnet(tmp_path, points=12)
    np.save(path.with_suffix(".npy"), np.zeros(3))
    path.with_suffix(".npy").rename(path)
    with pytest.raises(DataError, match="not an archive of arrays"):
        load_modelnet(tmp_path, points=12)


def test_nan_a_missing_neighbour_and_wrong_requests_are_explained(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"ModelNet10: none of .*modelnet10_1024pts\.npz.*--data-dir"):
        load_modelnet(tmp_path)
    data = as_points(arrays())
    data["test_points"][3, 2, 1] = np.nan
    write_npy(tmp_path, data)
    with pytest.raises(DataError, match="NaN or infinite coordinates for test"):
        load_modelnet(tmp_path, points=12)
    (tmp_path / "modelnet10" / "test_points.npy").unlink()
    with pytest.raises(DataError, match=r"has no test_points\.npy beside it"):
        load_modelnet(tmp_path, points=12)
    np.save(tmp_path / "modelnet10" / "test_points.npy", np.zeros((10, 12, 3), np.float32))
    with pytest.raises(UsageError, match="holds 12 points a cloud; got points=13"):
        load_modelnet(tmp_path, points=13)
    with pytest.raises(UsageError, match="points must be at least 1"):
        load_modelnet(tmp_path, points=0)
    with pytest.raises(UnknownNameError, match="modelnet10"):
        load_modelnet(tmp_path, "modelnet")  # pyright: ignore[reportArgumentType]


def write_meshes(root: Path) -> None:
    for i, kind in enumerate(CLASSES):
        for split in ("train", "test"):
            folder = root / "ModelNet10" / kind / split
            folder.mkdir(parents=True)
            for number in range(1 + (split == "train")):
                (folder / f"{kind}_{number}.off").write_text(CUBE.replace("1 1 1", f"1 1 {2 + i}"))


def test_meshes_are_sampled_and_said_to_be(tmp_path: Path) -> None:
    write_meshes(tmp_path)
    with pytest.warns(DataWarning, match="ModelNet10: 30 meshes .* sampled at 32 points"):
        data = load_modelnet(tmp_path, points=32)
    assert (len(data.train), len(data.test), data.classes) == (20, 10, tuple(CLASSES))
    assert data.train.targets.tolist() == [i for i in range(10) for _ in range(2)]
    assert data.train.inputs.mean(1).abs().max() < 1e-6
    assert torch.allclose(data.train.inputs.norm(dim=2).amax(1), torch.ones(20))
    (tmp_path / "ModelNet10" / "kind_0" / "train" / "kind_0_0.off").unlink()
    with pytest.warns(DataWarning, match="29 meshes"):
        fewer = load_modelnet(tmp_path, points=32)
    assert torch.equal(fewer.train.inputs, data.train.inputs[1:]), "a mesh's points are its own"
    broken = tmp_path / "ModelNet10" / "kind_3" / "test" / "kind_3_0.off"
    broken.write_text("OFF\n3 1 0\n0 0 0\n1 1 1\n2 2 2\n3 0 1 2\n")
    with pytest.raises(DataError, match=r"kind_3_0\.off: A surface of area 0"):
        load_modelnet(tmp_path, points=32)
    broken.unlink()
    with pytest.raises(DataError, match=r"test has no \.off files"):
        load_modelnet(tmp_path, points=32)


def test_headers_comments_and_polygons_are_understood(tmp_path: Path) -> None:
    vertices, faces = parse_off(CUBE)
    assert vertices.shape == (8, 3)
    assert faces.shape == (12, 3)
    assert faces[:2].tolist() == [[0, 3, 2], [0, 2, 1]]
    variants = [
        CUBE.replace("OFF\n8", "OFF8"),
        CUBE.replace("OFF\n8", "OFF 8"),
        CUBE.replace("\n", "\r\n"),
        "# made by hand\n\n" + CUBE.replace("4 4 5 6 7", "4 4 5 6 7 255 0 0 # red\n\n") + "\n# end\n",
        CUBE.replace("8 6 0", "8 6"),
    ]
    for text in variants:
        path = tmp_path / "cube.off"
        path.write_bytes(text.encode())
        read = read_off(path)
        assert np.array_equal(read[0], vertices)
        assert np.array_equal(read[1], faces)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "does not begin with OFF"),
        ("PLY\n1 1 0", "does not begin with OFF"),
        ("OFF\n", "counts are ''"),
        ("OFF\n8 -6 0\n", "counts are '8 -6 0'"),
        ("OFF8.5 6 0\n", "counts are '8.5 6 0'"),
        ("OFF\n0 0 0\n", "0 vertices and 0 faces"),
        (CUBE[:-20], r"ends after \d+ of 14 lines"),
        (CUBE.replace("8 6 0", "99999999999 6 0"), "ends after 14 of 100,000,000,005"),
        (CUBE.replace("4 3 0 4 7", "4 3 0 4 8"), r"names vertex 8, outside 0\.\.7"),
        (CUBE.replace("4 3 0 4 7", "4 3 0 4 -1"), "names vertex -1"),
        (CUBE.replace("4 3 0 4 7", "4 3 0 4"), "a face is '4 3 0 4'"),
        (CUBE.replace("4 3 0 4 7", "2 3 0"), "a face is '2 3 0'"),
        (CUBE.replace("4 3 0 4 7", "4 3 0 4 x"), "no index"),
        (CUBE.replace("1 1 1", "1 nan 1"), "NaN or infinite"),
        (CUBE.replace("1 1 1", "1 1e999 1"), "NaN or infinite"),
        (CUBE.replace("1 1 1", "1 one 1"), "no number"),
        (CUBE.replace("1 1 1", "1 1"), "not three coordinates"),
    ],
)
def test_damaged_meshes_are_explained(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.off"
    path.write_text(text)
    with pytest.raises(DataError, match=rf"bad\.off .*{message}"):
        read_off(path)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.off cannot be read"):
        read_off(tmp_path / "none.off")
    (tmp_path / "binary.off").write_bytes(b"OFF\xff\xfe")
    with pytest.raises(DataError, match=r"binary\.off is not text"):
        read_off(tmp_path / "binary.off")


@settings(max_examples=60, deadline=None)
@given(st.text("OF0123456789 .-#\nne", max_size=60))
def test_any_text_is_a_mesh_or_an_explained_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        vertices, faces = parse_off("OFF\n" + text)
        assert faces.max() < len(vertices)


def test_points_are_uniform_on_the_surface() -> None:
    vertices, faces = parse_off(CUBE)
    points = sample_surface(vertices, faces, 60_000, 5)
    on = np.stack([np.isclose(points, 0), np.isclose(points, 1)])
    assert on.any((0, 2)).all(), "all on a side of the cube"
    assert np.abs(on.sum(1) / 60_000 - 1 / 6).max() < 0.01
    top = points[on[1, :, 2]][:, :2]
    cells = np.histogram2d(*top.T, bins=5)[0].ravel()
    assert ((cells - cells.mean()) ** 2 / cells.mean()).sum() < 60, "24 degrees of freedom"
    assert np.array_equal(points, sample_surface(vertices, faces, 60_000, 5))
    assert not np.array_equal(points, sample_surface(vertices, faces, 60_000, 6))
    wide = sample_surface(
        np.array([[0, 0, 0], [3, 0, 0], [0, 1, 0], [-1, 0, 0.0]]), np.array([[0, 1, 2], [0, 2, 3]]), 40_000, 0
    )
    assert abs((wide[:, 0] > 0).mean() - 0.75) < 0.01, "triangles by their area"
    with pytest.raises(UsageError, match="at least 1"):
        sample_surface(vertices, faces, 0, 0)


def test_normalising_makes_zero_mean_and_radius_one() -> None:
    points = normalised(np.random.default_rng(0).normal(7, 3, (50, 3)))
    assert np.abs(points.mean(0)).max() < 1e-12
    assert np.linalg.norm(points, axis=1).max() == pytest.approx(1)
    assert not normalised(np.ones((4, 3))).any()
