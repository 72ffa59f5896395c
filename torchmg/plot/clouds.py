"""Clouds of points with what networks take them for."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from torchmg.errors import ShapeError
from torchmg.plot.picture import COLOURS, INK, Picture, check_stem, clipped, drawing, save
from torchmg.tables import Table

if TYPE_CHECKING:
    from mpl_toolkits.mplot3d import Axes3D

COLUMNS = ("cloud", "label", "model", "prediction", "share")
WIDTH = 2.2
"""Of one cloud, in inches."""
ACROSS = 4
"""Clouds in a row."""
RIGHT, WRONG = COLOURS[2], COLOURS[1]


def draw_clouds(
    clouds: Tensor, labels: Tensor, logits: Mapping[str, Tensor], classes: Sequence[str], path_stem: str | Path
) -> Picture:
    """Draw each cloud under its class, and below it what every model takes it for and how surely.

    A prediction is green where it is right and red where not; the words say so too. Points are shaded by height.

    Args:
        clouds: float (N, points, 3), the third coordinate upwards; eight fill a page.
        labels: int64 (N,).
        logits: for each model (N, classes).
        classes: the name of each class, by label.
        path_stem: file name without ending; `.png`, `.svg` and `.csv` are written.

    Raises:
        ShapeError: clouds, labels and logits that do not belong together, or none.
        UsageError: files that cannot be written.
        MissingExtraError: matplotlib is not installed.
    """
    stem = check_stem(path_stem, COLUMNS)
    count = len(clouds)
    shapes = {name: tuple(values.shape) for name, values in logits.items()}
    if clouds.dim() != 3 or clouds.shape[2] != 3 or not count or tuple(labels.shape) != (count,):
        raise ShapeError(f"Expected clouds (N, points, 3), N labels; got {tuple(clouds.shape)}, {tuple(labels.shape)}.")
    if any(shape != (count, len(classes)) for shape in shapes.values()):
        raise ShapeError(f"Expected logits ({count}, {len(classes)}), one for each class of each cloud; got {shapes}.")
    across, down = min(ACROSS, count), -(-count // ACROSS)
    rows = []
    with drawing(WIDTH * across, (WIDTH + 0.25 + 0.2 * len(logits)) * down) as figure:
        for index in range(count):
            axes: Axes3D = figure.add_subplot(down, across, index + 1, projection="3d")  # pyright: ignore
            x, y, z = clouds[index].cpu().float().unbind(1)
            axes.scatter(x.numpy(), y.numpy(), z.numpy(), c=z.numpy(), s=2, cmap="viridis", linewidths=0)  # pyright: ignore
            axes.set_axis_off()
            axes.set_box_aspect((1, 1, 1), zoom=1.5)  # pyright: ignore[reportArgumentType]
            axes.set(xlim=(-1, 1), ylim=(-1, 1), zlim=(-1, 1))
            truth = int(labels[index])
            axes.set_title(classes[truth], fontsize=10, color=INK, parse_math=False)
            for line, (name, values) in enumerate(logits.items()):
                share, guess = (float(v) for v in values[index].float().softmax(0).max(0))
                said, right = classes[int(guess)], int(guess) == truth
                text = f"{clipped(name, 20)}: {said} {100 * share:.0f} %" + ("" if right else " (wrong)")
                colour = RIGHT if right else WRONG
                axes.text2D(
                    *(0.5, -0.02 - 0.11 * line, text),
                    transform=axes.transAxes,
                    ha="center",
                    fontsize=8,
                    color=colour,
                    parse_math=False,
                )
                rows.append((index, classes[truth], name, said, share))
        return save(figure, stem, Table(COLUMNS, rows))
