"""Meshes in OFF files, and points drawn from their surface."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from torchmg.errors import DataError, UsageError

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


def read_off(path: Path) -> tuple[Floats, Indices]:
    """Vertices (V, 3) and triangles (T, 3) of an OFF file, the format of ModelNet.

    The counts may stand on the header's line, even glued to it (`OFF490 518 0`), as in several of ModelNet's files.
    Polygons are cut into fans of triangles; comments (#), blank lines and colours behind a face are passed over.

    Raises:
        DataError: no such file, another format, bad counts, too few lines, numbers that are none, NaN or infinite
            coordinates, vertices that do not exist; the message names the file.
    """
    try:
        text = path.read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        what = "is not text" if isinstance(error, UnicodeDecodeError) else f"cannot be read ({error.strerror or error})"
        raise DataError(f"{path} {what}.") from None
    try:
        return parse_off(text)
    except ValueError as error:
        raise DataError(f"{path} is not a sound OFF file: {error}. Move it away, or copy it anew.") from None


def parse_off(text: str) -> tuple[Floats, Indices]:
    """The same from the text of a file.

    Raises:
        ValueError: as `read_off`; it continues the sentence that the file's name begins.
    """
    lines = [words for line in text.splitlines() if (words := line.partition("#")[0].split())]
    if not lines or not lines[0][0].startswith("OFF"):
        raise ValueError("it does not begin with OFF")
    glued = lines[0][0].removeprefix("OFF")
    head = [glued, *lines[0][1:]] if glued else lines[0][1:]
    body = 1 if head else 2
    head = head or (lines[1] if len(lines) > 1 else [])
    if len(head) not in (2, 3) or not all(word.isdigit() for word in head):
        raise ValueError(f"its counts are '{' '.join(head)[:40]}', not three whole numbers")
    vertex_count, face_count = int(head[0]), int(head[1])
    if not vertex_count or not face_count:
        raise ValueError(f"it has {vertex_count} vertices and {face_count} faces")
    if len(lines) - body < vertex_count + face_count:
        raise ValueError(
            f"it ends after {len(lines) - body:,} of {vertex_count + face_count:,} lines of vertices and faces"
        )
    vertices = _vertices(lines[body : body + vertex_count])
    faces = _triangles(lines[body + vertex_count :][:face_count])
    if faces.min() < 0 or faces.max() >= vertex_count:
        bad = int(faces.min()) if faces.min() < 0 else int(faces.max())
        raise ValueError(f"a face names vertex {bad}, outside 0..{vertex_count - 1}")
    return vertices, faces


def sample_surface(vertices: Floats, faces: Indices, points: int, seed: int | Sequence[int]) -> Floats:
    """Points drawn uniformly from the surface of triangles, (points, 3): a triangle by its area, then a place in it.

    The same numbers for the same seed in all releases of NumPy (see `torchmg.data.order`).

    Args:
        vertices: (V, 3).
        faces: (T, 3), indices of vertices.
        points: how many.
        seed: one or several whole numbers, at least 0.

    Raises:
        UsageError: points below 1.
        DataError: a surface without area, or with an infinite one.
    """
    if points < 1:
        raise UsageError(f"points must be a whole number, at least 1; got {points}.")
    corner, second, third = np.moveaxis(vertices[faces], 1, 0)
    with np.errstate(over="ignore", invalid="ignore"):
        areas = np.linalg.norm(np.cross(second - corner, third - corner), axis=1)
    reach = np.cumsum(areas)
    if not 0 < reach[-1] < np.inf:
        raise DataError(f"A surface of area {reach[-1] / 2} cannot be sampled.")
    random = np.random.RandomState(np.random.MT19937(np.random.SeedSequence(seed)))
    along, u, v = random.random_sample((3, points))
    chosen = np.minimum(np.searchsorted(reach, along * reach[-1], side="right"), len(reach) - 1)
    # The square root makes up for a triangle growing wider from its corner on.
    u = np.sqrt(u)
    weights = np.stack([1 - u, u * (1 - v), u * v])
    return (weights[..., None] * np.stack([corner, second, third])[:, chosen]).sum(0)


def normalised(points: Floats) -> Floats:
    """Points (P, 3) moved to zero mean and scaled to a largest distance of 1 from it; coinciding ones become zero."""
    points = points - points.mean(0)
    radius = np.linalg.norm(points, axis=1).max()
    return points / radius if radius > 0 else points


def _vertices(lines: list[list[str]]) -> Floats:
    wrong = next((line for line in lines if len(line) != 3), None)
    if wrong is not None:
        raise ValueError(f"a vertex is '{' '.join(wrong)[:40]}', not three coordinates")
    try:
        vertices = np.array(lines, np.float64)
    except ValueError as error:
        raise ValueError(f"a coordinate is no number ({error})") from None
    if not np.isfinite(vertices).all():
        raise ValueError("a coordinate is NaN or infinite")
    return vertices


def _triangles(lines: list[list[str]]) -> Indices:
    fans: list[list[str]] = []
    for line in lines:
        size = int(line[0]) if line[0].isdigit() else 0
        if size < 3 or len(line) <= size:
            raise ValueError(f"a face is '{' '.join(line)[:40]}', not a count from 3 on and as many vertices")
        fans.extend([line[1], line[i], line[i + 1]] for i in range(2, size))
    try:
        return np.array([[int(word) for word in fan] for fan in fans], np.int64)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"a vertex of a face is no index ({error})") from None
