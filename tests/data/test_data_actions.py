"""Each operation against torchvision, which works on one picture at a time."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms import InterpolationMode
from torchvision.transforms.autoaugment import _apply_op

from torchmg.data.actions import Action, Actions
from torchmg.data.geometric import MOVES, places
from torchmg.data.photometric import histogram
from torchmg.errors import ShapeError

TORCHVISION = {
    "identity": "Identity",
    "shear_x": "ShearX",
    "shear_y": "ShearY",
    "translate_x": "TranslateX",
    "translate_y": "TranslateY",
    "rotate": "Rotate",
    "brightness": "Brightness",
    "color": "Color",
    "contrast": "Contrast",
    "sharpness": "Sharpness",
    "posterize": "Posterize",
    "solarize": "Solarize",
    "autocontrast": "AutoContrast",
    "equalize": "Equalize",
    "invert": "Invert",
}
FACTORS = ("brightness", "color", "contrast", "sharpness")
shapes = st.tuples(st.sampled_from([1, 3]), st.integers(1, 40), st.integers(1, 40))
changes = st.floats(-1, 1, width=32)


def theirs(picture, action):
    return _apply_op(picture, TORCHVISION[action.op], action.magnitude, InterpolationMode.NEAREST, None)


def ours(picture, action):
    """One picture, its action among others."""
    actions = Actions([Action("invert"), action], tuple(picture.shape))
    return actions(picture[None], torch.tensor([1]))[0]


@st.composite
def pictures(draw):
    """Smooth, noisy, dark, bright, flat, with few levels or many."""
    channels, height, width = draw(shapes)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    low = draw(st.integers(0, 255))
    high = draw(st.integers(low, 255))
    picture = torch.randint(low, high + 1, (channels, height, width), dtype=torch.uint8, generator=generator)
    if draw(st.booleans()):
        picture = picture.sort(dim=2).values.sort(dim=1).values
    picture[:, draw(st.integers(0, height - 1)) :] //= draw(st.integers(1, 4))
    return picture


@pytest.mark.parametrize("op", FACTORS)
@given(pictures(), changes)
def test_blends(op, picture, change):
    action = Action(op, change)
    assert torch.equal(ours(picture, action), theirs(picture, action))


@given(pictures(), st.integers(0, 8), st.floats(0, 255, width=32))
def test_posterize_solarize_and_those_without_strength(picture, bits, threshold):
    names = ("identity", "invert", "autocontrast", "equalize")
    for action in (Action("posterize", bits), Action("solarize", threshold), *map(Action, names)):
        assert torch.equal(ours(picture, action), theirs(picture, action)), action


@given(pictures(), st.sampled_from(["translate_x", "translate_y"]), st.floats(-45, 45))
def test_translations(picture, op, pixels):
    action = Action(op, pixels)
    assert torch.equal(ours(picture, action), theirs(picture, action))


def exact_source(op, magnitude, height, width):
    """Row and column that a pixel of the result comes from, before rounding; from torchvision's definition."""
    v, u = torch.meshgrid(torch.arange(height).double(), torch.arange(width).double(), indexing="ij")
    y, x = v - (height - 1) / 2, u - (width - 1) / 2
    if op == "shear_x":
        return v, u + magnitude * (v + 0.5)
    if op == "shear_y":
        return v + magnitude * (u + 0.5), u
    turn = torch.polar(torch.tensor(1.0).double(), torch.tensor(math.radians(magnitude)).double())
    source = turn * torch.complex(x, y)
    return source.imag + (height - 1) / 2, source.real + (width - 1) / 2


@pytest.mark.parametrize(("op", "most"), [("shear_x", 0.5), ("shear_y", 0.5), ("rotate", 180.0)])
@given(data=st.data(), picture=pictures())
def test_shears_and_rotations(op, most, data, picture):
    """Equal but where a pixel's source lies half way between two pixels, which float32 decides by its last bits."""
    action = Action(op, data.draw(st.floats(-most, most, width=32)))
    row, column = exact_source(*action, *picture.shape[1:])
    clear = torch.stack([row, column]).sub(0.5).frac().abs()
    clear = torch.minimum(clear, 1 - clear).amin(0) > 1e-4
    mine, other = ours(picture, action), theirs(picture, action)
    assert torch.equal(mine[:, clear], other[:, clear])


@given(st.integers(1, 9), st.integers(1, 9))
def test_pixels_at_rest(height, width):
    rest = torch.arange(height * width)
    for op in ("identity", *MOVES, "color"):
        assert torch.equal(places(op, 0.0, height, width), rest)
    assert torch.equal(places("translate_y", height, height, width), torch.full_like(rest, height * width))


@given(st.data(), st.sampled_from([1, 3]), st.integers(1, 12), st.integers(1, 12))
def test_a_batch_is_its_pictures_one_by_one(data, channels, height, width):
    """Every operation at once, each on several pictures and in any order."""
    strengths = {"posterize": 3.0, "solarize": 100.0, "rotate": 20.0, "translate_x": 2.0, "translate_y": -1.0}
    every = [Action(op, strengths.get(op, 0.3)) for op in TORCHVISION]
    actions = Actions(every, (channels, height, width))
    ids = torch.tensor(data.draw(st.permutations(list(range(len(every))) * 2)))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    batch = torch.randint(0, 256, (len(ids), channels, height, width), dtype=torch.uint8, generator=generator)
    before = batch.clone()
    changed = actions(batch, ids)
    assert torch.equal(batch, before)
    assert changed.dtype == torch.uint8
    for picture, index, got in zip(batch, ids.tolist(), changed, strict=True):
        assert torch.equal(actions(picture[None], torch.tensor([index]))[0], got)
        if every[index].op not in MOVES:
            assert torch.equal(theirs(picture, every[index]), got)
        if every[index].op == "identity":
            assert torch.equal(picture, got)


def test_histogram():
    batch = torch.randint(0, 256, (4, 3, 9, 7), dtype=torch.uint8)
    counts = histogram(batch)
    for b in range(4):
        for c in range(3):
            assert torch.equal(counts[b, c], torch.bincount(batch[b, c].flatten().long(), minlength=256))


def test_layout_of_memory_does_not_matter():
    batch = torch.randint(0, 256, (3, 3, 8, 6), dtype=torch.uint8)
    actions = Actions([Action("sharpness", 0.9), Action("equalize"), Action("rotate", 30.0)], (3, 8, 6))
    last = batch.contiguous(memory_format=torch.channels_last)
    assert torch.equal(actions(batch, torch.arange(3)), actions(last, torch.arange(3)))


def test_other_channels_are_refused():
    with pytest.raises(ShapeError, match=r"1 or 3 channels; got 2\. Use augment=crop_flip"):
        Actions([Action("identity")], (2, 8, 8))
