"""What networks make of pictures: image, label and one column for each model, a colour for each class."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from torchmg.data.samples import IGNORE
from torchmg.errors import ShapeError, UsageError
from torchmg.plot.picture import COLOURS, INK, Picture, check_stem, clipped, drawing, save
from torchmg.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = ("picture", "model", "pixel_accuracy", "mean_iou")
WIDTH = 2.4
"""Of one column, in inches."""
_LEVELS = (0, 36, 73, 109, 146, 182, 219, 255)
"""What a channel of a colour beyond the palette can be."""


def draw_segmentation(
    images: Tensor,
    labels: Tensor,
    predictions: Mapping[str, Tensor],
    classes: Sequence[str],
    path_stem: str | Path,
) -> Picture:
    """Draw a row for each sample: the image, its label, and what every model predicts, under a legend of the classes.

    A class has the same colour in every picture (`class_colours`). Ignored pixels are black in the label and in the
    predictions, where nothing can be right or wrong. The CSV has, for each sample and model, the share of pixels that
    are right and the mean over the classes in label or prediction of intersection over union, both in percent.

    Args:
        images: uint8 (N, 3, H, W), or (N, 1, H, W) in grey, as stored, not normalised; about six rows fill a page.
        labels: (N, H, W), class ids of any integer type, 255 where a pixel is ignored.
        predictions: For each model its class ids, (N, H, W); there may be none.
        classes: The name of each class, by id.
        path_stem: File name without ending; `.png`, `.svg` and `.csv` are written.

    Raises:
        ShapeError: Images, labels and predictions that do not belong together, or none.
        UsageError: Images that are not uint8, ids without a class, or files that cannot be written.
        MissingExtraError: matplotlib is not installed.
    """
    stem = check_stem(path_stem, COLUMNS)
    columns = [(name, ids.cpu()) for name, ids in (("label", labels), *predictions.items())]
    images = images.cpu()
    _check(images, columns, len(classes))
    ignored = columns[0][1] == IGNORE
    columns = [(name, torch.where(ignored, IGNORE, ids.long())) for name, ids in columns]
    palette = torch.tensor([*class_colours(len(classes)), *[(0, 0, 0)] * (256 - len(classes))], dtype=torch.uint8)
    shown = [
        ("image", images.expand(-1, 3, -1, -1).permute(0, 2, 3, 1)),
        *((name, palette[ids]) for name, ids in columns),
    ]
    present = torch.stack([ids for _, ids in columns]).unique().tolist()
    rows, width = len(images), WIDTH * len(shown)
    height = rows * (WIDTH * images.shape[2] / images.shape[3] + 0.06) + 0.3
    across = max(2, int(1.5 * len(shown)))
    height += 0.22 * -(-len(present) // across) + 0.3
    with drawing(width, height) as figure:
        grid = figure.subplots(rows, len(shown), squeeze=False)
        for column, (name, pictures) in enumerate(shown):
            grid[0, column].set_title(clipped(name, 28), parse_math=False, fontsize=10)
            for axes, picture in zip(grid[:, column], pictures, strict=True):
                axes.imshow(picture.numpy(), interpolation="nearest")
                axes.set_axis_off()
        _legend(figure, present, classes, across)
        return save(figure, stem, _scores(columns, len(classes)))


@cache
def class_colours(count: int) -> tuple[tuple[int, int, int], ...]:
    """Red, green and blue, 0..255, of the classes 0..count - 1.

    First the palette of all pictures, then one by one the colour that is farthest from all before it, from black and
    from white, in OKLab (Ottosson 2020), where distances are about as the eye sees them. So a class has the same
    colour however many there are.

    Raises:
        UsageError: More than 255 classes or fewer than none.
    """
    if not 0 <= count <= IGNORE:
        raise UsageError(f"There can be 0..{IGNORE} classes, because {IGNORE} is no class; got {count}.")
    palette = torch.tensor([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in COLOURS])
    choices = torch.cartesian_prod(*[torch.tensor(_LEVELS)] * 3)
    taken = torch.cat([torch.tensor([[0, 0, 0], [255, 255, 255]]), palette])
    distance = torch.cdist(_oklab(choices), _oklab(taken)).amin(1)
    found = palette.tolist()
    while len(found) < count:
        best = int(distance.argmax())
        found.append(choices[best].tolist())
        distance = torch.minimum(distance, torch.cdist(_oklab(choices), _oklab(choices[best : best + 1]))[:, 0])
    return tuple((red, green, blue) for red, green, blue in found[:count])


def _oklab(colours: Tensor) -> Tensor:
    """Lightness and two axes of colour, float64 (n, 3), of sRGB values 0..255."""
    values = colours.double() / 255
    linear = torch.where(values > 0.04045, ((values + 0.055) / 1.055) ** 2.4, values / 12.92)
    cones = [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566]]
    cones.append([0.0883024619, 0.2817188376, 0.6299787005])
    axes = [[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099]]
    axes.append([0.0259040371, 0.7827717662, -0.8086757660])
    lms = (linear @ torch.tensor(cones, dtype=torch.float64).T) ** (1 / 3)
    return lms @ torch.tensor(axes, dtype=torch.float64).T


def _check(images: Tensor, columns: Sequence[tuple[str, Tensor]], count: int) -> None:
    if images.ndim != 4 or images.shape[1] not in (1, 3) or not images.numel():
        raise ShapeError(f"Expected images (N, 3, H, W) or (N, 1, H, W), at least one; got {tuple(images.shape)}.")
    if images.dtype != torch.uint8:
        raise UsageError(f"Expected uint8 images (0..255), not normalised; got {images.dtype}.")
    wanted = (len(images), *images.shape[2:])
    for name, ids in columns:
        if tuple(ids.shape) != wanted:
            got = tuple(ids.shape)
            raise ShapeError(f"Expected ids {wanted} of {name}, one for each pixel of the images; got {got}.")
        if ids.is_floating_point() or ids.dtype == torch.bool:
            raise UsageError(f"Expected class ids of {name}; got {ids.dtype}. Of scores, take argmax(1).")
        ids = ids.long()
        wrong = ids[(ids < 0) | ((ids >= count) & (ids != IGNORE))]
        if wrong.numel():
            raise UsageError(f"Id {int(wrong[0])} of {name} has no name: there are {count} classes, from 0.")


def _scores(columns: Sequence[tuple[str, Tensor]], count: int) -> Table:
    """The rows of the CSV; a sample whose pixels are all ignored has no scores."""
    labels, rows = columns[0][1], []
    for sample, wanted in enumerate(labels):
        valid = wanted != IGNORE
        for name, ids in columns[1:]:
            pairs = torch.bincount(256 * wanted[valid] + ids[sample][valid], minlength=256 * 256).view(256, 256)
            right = pairs.diagonal()[:count].double()
            either = pairs.sum(0)[:count] + pairs.sum(1)[:count] - right
            accuracy = 100 * float(right.sum() / pairs.sum()) if valid.any() else None
            iou = 100 * float((right / either)[either > 0].mean()) if valid.any() else None
            rows.append((sample, name, accuracy, iou))
    return Table(COLUMNS, rows)


def _legend(figure: "Figure", present: Sequence[int], classes: Sequence[str], across: int) -> None:
    """Name the colours that occur, `across` of them beside each other."""
    from matplotlib.patches import Patch

    colours = class_colours(len(classes))
    patches = []
    for i in present:
        name = "ignored" if i == IGNORE else clipped(classes[i], 18)
        red, green, blue = (0, 0, 0) if i == IGNORE else colours[i]
        colour = (red / 255, green / 255, blue / 255)
        patches.append(Patch(facecolor=colour, edgecolor=INK, linewidth=0.4, label=name))
    legend = figure.legend(handles=patches, loc="outside lower center", ncols=across, frameon=False, fontsize=9)
    for text in legend.get_texts():
        text.set_parse_math(False)
