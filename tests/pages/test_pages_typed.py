"""No number that a record has is typed, and the tool that looks for such numbers finds them."""

from pathlib import Path

import pytest

import results
from pages import typed

ROOT = Path(__file__).parents[2]


def test_no_number_is_typed_in_this_repository() -> None:
    assert results.numbers_typed(ROOT) == []


@pytest.mark.parametrize(
    "text",
    [
        "It reaches 91.2 % here.",
        "It reaches 91 % here.",
        "ends at 91.2\n% on the test samples",
        "(low rank 90.80, Taylor 90.56)",
        "three seeds: 93.0 each",
        "0.4 points below",
        "51 points",
        "2.5 percent",
        "| mgiad20 | 92.01 | yes |",
        "| mgiad20 | **9.5** |",
        "| mgiad20 | 92.0 (0.1) |",
        "```\nresnet20    98.61\n```",
        "between <!-- a comment --> 91.2 % and",
    ],
)
def test_a_typed_number_is_found(text: str) -> None:
    assert typed.in_page(text)


@pytest.mark.parametrize(
    "text",
    [
        "<!--= {a:test} -->91.2<!--/--> % of all",
        "<!--@ torchmg/x.py -->2.2 %<!--/--> too large",
        "<!-- results/short: written by tools/results.py -->\n| a | 91.22 |\n<!-- end of results -->",
        "torch 2.15, Python 3.11 and arXiv 2011.09128",
        "`--ema 0.999`, 1,024 points, 15.1 M parameters, 60 of 200 epochs",
        "the share of the kernel that is kept",
    ],
)
def test_other_numbers_may_be_typed(text: str) -> None:
    assert typed.in_page(text) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('"""Reaches 92.1 % on CIFAR-10."""', True),
        ("x = 1\n'''0.4 points better.'''", True),
        ("x = 1  # 92.1 % in a run", True),
        ('def f() -> None:\n    """Within 0.5 percent."""', True),
        ('NOTE = "within 3.5 %"', False),
        ("x = 92.1 % 7", False),
        ('"""A rate of 0.1, momentum 0.99."""', False),
    ],
)
def test_docstrings_and_comments_are_read(tmp_path: Path, source: str, found: bool) -> None:
    (tmp_path / "m.py").write_text(source)
    assert bool(typed.in_module(tmp_path / "m.py")) is found
