"""What comes back of feature maps that were coded in few channels (MGIC paper, Table 1 and Fig. 3)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from torchmg.errors import ShapeError, UsageError
from torchmg.plot.picture import INK, PALE, Picture, appearance, check_stem, clipped, drawing, save, tidy
from torchmg.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from torch import Tensor

PUBLISHED: Mapping[int, float] = MappingProxyType({32: 0.011, 16: 0.013, 8: 0.017, 4: 0.024})
"""Group size -> mean squared error, MGIC paper, Table 1: 64 channels of a pre-trained ResNet-50 coded in 8."""
SHOWN = 4
"""Channels in a picture of reconstructions, if none are named."""


@dataclass(frozen=True)
class CodeError:
    """What one group size loses: mean squared error, and its standard deviation over seeds, if several."""

    group_size: int
    mse: float
    deviation: float | None = None


def draw_reconstructions(
    originals: "Tensor",
    reconstructions: Mapping[str, "Tensor"],
    path_stem: str | Path,
    *,
    title: str = "",
    channels: Sequence[int] | None = None,
    sample: int = 0,
) -> Picture:
    """Draw some channels of one sample as they were, a column each, and below as they came back, a row for each way.

    All pictures share one scale of grey, so that what is equal looks equal. A row's mean squared error is over all
    samples and channels, that of each picture over its own pixels.

    Args:
        originals: float (N, C, H, W).
        reconstructions: name of each way, such as `group size 8` -> float (N, C, H, W).
        path_stem: file name without ending; `.png`, `.svg` and `.csv` are written, those of an earlier picture
            replaced. The CSV has the mean squared error over all samples of every channel, and of all (`all`).
        title: the network and the data belong in it.
        channels: which to show. None: the four that vary most over the sample, which are the hardest to give back.
        sample: which of the N to show.

    Raises:
        MissingExtraError: matplotlib is not installed.
        ShapeError: reconstructions of another shape than the originals, or no feature maps.
        UsageError: values that are not finite, no such channel or sample, nothing reconstructed, or files that cannot
            be written or would replace another table.
    """
    columns = ["reconstruction", "channel", "mse"]
    stem = check_stem(path_stem, columns)
    originals, ways = _checked(originals, reconstructions)
    shown = _channels(originals, channels, sample)
    errors = {name: (way - originals).square().mean((0, 2, 3)) for name, way in ways.items()}
    cells = [(name, str(c), error) for name in ways for c, error in enumerate(errors[name].tolist())]
    cells += [(name, "all", errors[name].mean().item()) for name in ways]
    pictures = {"original": originals, **ways}
    values = [way[sample, shown] for way in pictures.values()]
    low, high = min(v.min().item() for v in values), max(v.max().item() for v in values)
    height = 1.75 * max(0.4, min(originals.shape[2] / originals.shape[3], 2.5)) + 0.35
    with drawing(1.75 * len(shown) + 3.0, height * len(pictures) + 0.5) as figure:
        grid = figure.subplots(len(pictures), len(shown), squeeze=False)
        image = None
        for row, (name, way) in zip(grid, pictures.items(), strict=True):
            for axes, channel in zip(row, shown, strict=True):
                image = axes.imshow(way[sample, channel].numpy(), cmap="gray", vmin=low, vmax=high, aspect="equal")
                _bare(axes)
                mse = (way[sample, channel] - originals[sample, channel]).square().mean().item()
                axes.set_title(f"channel {channel}" if name == "original" else f"MSE {mse:.2g}", fontsize=9, color=INK)
            mse = "" if name == "original" else f"\nMSE {errors[name].mean().item():.3g}"
            row[0].set_ylabel(
                f"{clipped(name, 24)}{mse}", fontsize=9, parse_math=False, rotation=0, ha="right", va="center"
            )
        assert image is not None
        figure.colorbar(image, ax=grid.ravel().tolist(), shrink=0.6, pad=0.02, label="value")
        if title:
            figure.suptitle(title, fontsize=11, parse_math=False)
        return save(figure, stem, Table(columns, cells, title))


def draw_mse(
    points: Sequence[CodeError],
    path_stem: str | Path,
    *,
    title: str = "",
    published: Mapping[int, float] = PUBLISHED,
) -> Picture:
    """Draw the mean squared error over the group size (in powers of two), ours beside the published ones.

    Args:
        points: at least one, of different group sizes.
        path_stem: file name without ending; `.png`, `.svg` and `.csv` are written, those of an earlier picture
            replaced.
        title: the network and the data belong in it: errors of features of other scales cannot be compared.
        published: group size -> mean squared error; the paper's Table 1 unless given, empty for none.

    Raises:
        MissingExtraError: matplotlib is not installed.
        UsageError: no points, two of one group size, impossible values, or files that cannot be written or would
            replace another table.
    """
    columns = ["group_size", "mse", "deviation", "published_mse"]
    stem = check_stem(path_stem, columns)
    ours = {point.group_size: point for point in sorted(points, key=lambda point: point.group_size)}
    if not ours or len(ours) != len(points):
        raise UsageError(f"Give one point for each group size, at least one; got {[p.group_size for p in points]}.")
    for point in points:
        if point.group_size < 1 or not isfinite(point.mse) or point.mse < 0 or not isfinite(point.deviation or 0):
            raise UsageError(f"Group sizes are at least 1 and errors finite and not negative; got {point}.")
    sizes = sorted({*ours, *published})
    rows = [
        (size, ours[size].mse if size in ours else None, _deviation(ours.get(size)), published.get(size))
        for size in sizes
    ]
    with drawing(6, 4.2) as figure:
        axes = figure.add_subplot()
        bars = [point.deviation or 0.0 for point in ours.values()] if any(p.deviation for p in points) else None
        axes.errorbar(
            list(ours),
            [point.mse for point in ours.values()],
            yerr=bars,
            **appearance(0),
            markersize=7,
            linewidth=1.4,
            capsize=4,
            label="torchmg",
        )
        if published:
            known = sorted(published)
            axes.plot(
                known,
                [published[size] for size in known],
                color=PALE,
                marker="o",
                markersize=7,
                markerfacecolor="none",
                linestyle=(0, (4, 2)),
                label="published (MGIC, Table 1)" if published is PUBLISHED else "published",
            )
        axes.set_xscale("log", base=2)
        axes.set_xlim(sizes[0] / 1.3, sizes[-1] * 1.3)
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.minorticks_off()
        axes.set_ylim(bottom=0)
        axes.set_xlabel("group size (logarithmic)")
        axes.set_ylabel("mean squared error")
        axes.set_title(title, parse_math=False, fontsize=11)
        figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)  # no room is free for sure
        tidy(axes)
        return save(figure, stem, Table(columns, rows, title))


def _deviation(point: CodeError | None) -> float | None:
    return None if point is None else point.deviation


def _bare(axes: "Axes") -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def _checked(originals: "Tensor", reconstructions: Mapping[str, "Tensor"]) -> "tuple[Tensor, dict[str, Tensor]]":
    """All in float32 on the CPU."""
    if not reconstructions:
        raise UsageError("There is nothing to draw: give at least one reconstruction.")
    if originals.dim() != 4 or not originals.numel():
        raise ShapeError(f"Expected originals (N, C, H, W); got {tuple(originals.shape)}.")
    plain = {name: tensor.detach().cpu().float() for name, tensor in {"": originals, **reconstructions}.items()}
    for name, tensor in plain.items():
        what = f"The reconstruction '{name}'" if name else "The original"
        if tensor.shape != originals.shape:
            raise ShapeError(f"{what} is {tuple(tensor.shape)}, the original {tuple(originals.shape)}.")
        if not bool(tensor.isfinite().all()):
            raise UsageError(f"{what} holds values that are not finite.")
    return plain.pop(""), plain


def _channels(originals: "Tensor", channels: Sequence[int] | None, sample: int) -> list[int]:
    count, width = originals.shape[:2]
    if not 0 <= sample < count:
        raise UsageError(f"There are {count} samples, counted from 0; there is none {sample}.")
    if channels is None:
        spread = originals[sample].var((1, 2), correction=0)
        return sorted(spread.argsort(descending=True, stable=True)[:SHOWN].tolist())
    if not channels or not all(0 <= channel < width for channel in channels):
        raise UsageError(f"There are {width} channels, counted from 0; show some of them, not {list(channels)}.")
    return list(channels)
