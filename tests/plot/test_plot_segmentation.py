"""The picture of predictions: which colour stands where, what the legend says, and the scores behind it."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_runs import capture, texts
from matplotlib.image import imread

from torchmg.errors import ShapeError, UsageError
from torchmg.plot.picture import COLOURS
from torchmg.plot.segmentation import class_colours, draw_segmentation

NAMES = ("sky", "$road$", "car <&>")


def sample(n: int = 2, height: int = 12, width: int = 16) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n, 3, height, width), generator=random, dtype=torch.uint8)
    labels = torch.randint(0, 3, (n, height, width), generator=random)
    labels[:, 0] = 255
    models = {name: torch.randint(0, 3, labels.shape, generator=random) for name in ("label", "mgic_unet")}
    return images, labels, models


def test_every_pixel_has_the_colour_of_its_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = capture(monkeypatch, "segmentation")
    images, labels, models = sample()
    draw_segmentation(images, labels.to(torch.uint8), models, NAMES, tmp_path / "s")
    panels = figures[0].axes
    assert [axes.get_title() for axes in panels[:4]] == ["image", "label", "label", "mgic_unet"]
    colours = np.array([*class_colours(3), (0, 0, 0)])
    for i, axes in enumerate(panels):
        row, column = divmod(i, 4)
        shown = np.asarray(axes.images[0].get_array())
        if column == 0:
            assert np.array_equal(shown, images[row].permute(1, 2, 0).numpy())
        else:
            ids = torch.stack([labels, *models.values()])[column - 1, row].where(labels[row] != 255, 3)
            assert np.array_equal(shown, colours[ids.numpy()])


def test_three_files_with_names_and_scores(tmp_path: Path) -> None:
    images, labels, models = sample()
    models["perfect"] = labels
    labels[1] = 255
    png, svg, table = draw_segmentation(images, labels, models, NAMES, tmp_path / "new" / "s.png").files
    assert (png.name, svg.name, table.name) == ("s.png", "s.svg", "s.csv")
    assert imread(png).shape[1] == round(2.4 * 5 * 160)
    words = texts(svg)
    for word in ("image", "label", "mgic_unet", "perfect", *NAMES, "ignored"):
        assert word in words
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [(row["picture"], row["model"]) for row in rows] == [(str(i), name) for i in (0, 1) for name in models]
    for row in rows:
        if row["picture"] == "1":
            assert row["pixel_accuracy"] == row["mean_iou"] == ""
            continue
        wanted, got = (x[0][labels[0] != 255] for x in (labels, models[row["model"]]))
        share = [((wanted == k) & (got == k)).sum() / ((wanted == k) | (got == k)).sum() for k in range(3)]
        assert float(row["pixel_accuracy"]) == pytest.approx(100 * float((wanted == got).double().mean()))
        assert float(row["mean_iou"]) == pytest.approx(100 * float(torch.stack(share).mean()), rel=1e-5)


def test_only_classes_that_occur_are_in_the_legend(tmp_path: Path) -> None:
    images, labels, _ = sample(1)
    names = tuple(f"class{i}" for i in range(200))
    words = texts(draw_segmentation(images, labels.clamp(max=150), {}, names, tmp_path / "s").files[1])
    assert set(words.split()) & set(names) == {"class0", "class1", "class2", "class150"}
    assert "ignored" not in words


def test_colours_are_fixed_and_far_apart() -> None:
    every = class_colours(255)
    assert class_colours(6) == tuple(tuple(bytes.fromhex(colour[1:])) for colour in COLOURS)
    for count in (0, 1, 6, 11, 19, 150):
        assert class_colours(count) == every[:count]
    assert len({*every, (0, 0, 0)}) == 256
    first = np.array([*class_colours(19), (0, 0, 0)], float)
    gaps = np.linalg.norm(first[:, None] - first[None], axis=-1) + 999 * np.eye(20)
    assert gaps.min() > 45
    with pytest.raises(UsageError, match=r"0\.\.255 classes"):
        class_colours(256)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"images": torch.zeros(2, 3, 12, 16)}, UsageError, "uint8 images"),
        ({"images": torch.zeros(2, 12, 16, 3, dtype=torch.uint8)}, ShapeError, r"\(N, 3, H, W\)"),
        ({"images": torch.zeros(0, 3, 12, 16, dtype=torch.uint8)}, ShapeError, "at least one"),
        ({"labels": torch.zeros(2, 12, 15, dtype=torch.uint8)}, ShapeError, r"ids \(2, 12, 16\) of label"),
        ({"predictions": {"net": torch.zeros(2, 3, 12, 16)}}, ShapeError, "of net"),
        ({"predictions": {"net": torch.zeros(2, 12, 16)}}, UsageError, r"of net.*argmax"),
        ({"predictions": {"net": torch.full((2, 12, 16), 3)}}, UsageError, "Id 3 of net has no name: there are 3"),
        ({"predictions": {"net": torch.full((2, 12, 16), -1)}}, UsageError, "Id -1 of net"),
    ],
)
def test_wrong_arguments(tmp_path: Path, change, error, words) -> None:
    images, labels, models = sample()
    arguments = {"images": images, "labels": labels, "predictions": models, **change}
    with pytest.raises(error, match=words):
        draw_segmentation(**arguments, classes=NAMES, path_stem=tmp_path / "s")
    assert not list(tmp_path.iterdir())


def test_somebody_elses_table_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("a,b\n")
    with pytest.raises(UsageError, match="not the table of an earlier picture"):
        draw_segmentation(*sample(), NAMES, tmp_path / "s")
