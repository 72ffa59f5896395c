"""What all pictures share: palette, set-up, and the three files that each is stored as."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchmg.errors import MissingExtraError, UsageError
from torchmg.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
"""Okabe and Ito's palette: told apart with colour-blind eyes; more than six families repeat it."""
MARKERS = ("s", "o", "^", "D", "v", "P")
"""One goes with each colour, so that the picture reads in grey too."""
INK, PALE = "#333333", "#999999"
"""For text and outlines; for lines that lead the eye."""
ENDINGS = ("png", "svg", "csv")


@dataclass(frozen=True)
class Picture:
    """A picture that was drawn: its files (PNG, SVG, CSV) and the rows behind it."""

    files: tuple[Path, ...]
    rows: Table


def appearance(index: int) -> dict[str, Any]:
    """Colour and marker of the `index`-th thing drawn; thirty-six pairs before one repeats."""
    turn, place = divmod(index, len(COLOURS))
    return {"color": COLOURS[place], "marker": MARKERS[(place + turn) % len(MARKERS)]}


@contextmanager
def drawing(width: float, height: float) -> "Iterator[Figure]":
    """A figure of the given size in inches, under settings that make the same picture of the same numbers everywhere.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    check_drawing()
    import matplotlib as mpl
    from matplotlib.figure import Figure

    settings: dict[Any, Any] = {
        "font.size": 10,
        "svg.hashsalt": "torchmg",
        "svg.fonttype": "none",
        "axes.formatter.useoffset": False,
    }
    with mpl.rc_context(settings), warnings.catch_warnings():
        # a name in a script that the font lacks: boxes in the PNG, the text itself in the SVG
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font")
        yield Figure(figsize=(width, height), layout="constrained")


def save(figure: "Figure", stem: Path, rows: Table) -> Picture:
    """Write `stem` with `.png`, `.svg` and `.csv` behind it.

    Raises:
        UsageError: the files cannot be written.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # it stands, for both files alike
    png, svg, csv = files = tuple(stem.with_name(f"{stem.name}.{ending}") for ending in ENDINGS)
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(png, dpi=160)
        figure.savefig(svg, metadata={"Date": None})
        csv.write_text(rows.csv(), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"The picture {stem} cannot be written: {error.strerror}.") from error
    return Picture(files, rows)


def check_stem(stem: str | Path, columns: Sequence[str]) -> Path:
    """The stem of a picture's files, of which an earlier picture may be replaced, but no table of somebody else's.

    Raises:
        UsageError: `stem`.csv exists and has other columns than the picture's.
    """
    stem = Path(stem)
    if stem.suffix.lstrip(".") in ENDINGS:
        stem = stem.with_suffix("")
    csv = stem.with_name(f"{stem.name}.csv")
    if csv.is_file():
        with csv.open("rb") as file:
            head = file.readline(10_000)
        if head.strip() != ",".join(columns).encode():
            raise UsageError(
                f"{csv} exists and is not the table of an earlier picture like this one. Name another --out."
            )
    return stem


def check_drawing() -> None:
    """Raise `MissingExtraError` when matplotlib is not installed: better before the work than after it."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("Drawing", "plot") from error


def tidy(axes: "Axes") -> None:
    """A light grid and no frame above and to the right."""
    axes.grid(alpha=0.25, which="both")
    axes.spines[["top", "right"]].set_visible(False)


def short(value: float) -> str:
    """1234567 as 1.23 M, 104890 as 105 k."""
    for size, unit in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def clipped(text: str, length: int) -> str:
    """`text` with its middle left out if it is longer than `length`; the CSV has the whole."""
    if len(text) <= length:
        return text
    head = length // 2
    return f"{text[:head]}…{text[len(text) - (length - head - 1) :]}"
