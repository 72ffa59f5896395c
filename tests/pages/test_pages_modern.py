"""The recipe that a search found, beside the paper's."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pages import modern
from pages.tree import Tree
from torchmg.models.options import ModelOptions
from torchmg.train import recipe as recipes
from torchmg.train.recipe import BASES, Recipe, recipe

PAPER = recipe("mgiad_fashion_mnist_mgiad20", options=ModelOptions(group_size=8, coarsest=16), epochs=7)
FOUND = Recipe(model="mgiad20", data="fashion_mnist", options=PAPER.options, epochs=7, lr=0.2, cutmix=0.5, ema=0.99)


@pytest.fixture(autouse=True)
def named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The recipe that a search found has a name."""
    bases = {**BASES, "modern_fashion_mnist": replace(FOUND, model="resnet20", options=ModelOptions(), epochs=99)}
    monkeypatch.setattr(recipes, "BASES", bases)


def put(root: Path, made: Recipe, test: float, **more: float) -> None:
    folder = root / "results"
    folder.mkdir(exist_ok=True)
    values = {"recipe": made.to_json(), "parameters": 36_858, "macs": 1, "test_accuracy": test, "train_accuracy": 98.0}
    (folder / f"{len(list(folder.iterdir()))}.json").write_text(json.dumps({**values, **more}))


def lines(root: Path) -> list[list[str]]:
    text = modern.both(Tree(root))
    return [[cell.strip() for cell in line.strip("|").split("|")][:9] for line in text.splitlines()[2:]]


def test_both_recipes_of_a_network_stand_together_and_mirror_images_apart(tmp_path: Path) -> None:
    put(tmp_path, PAPER, 90.0)
    for seed, test in enumerate((91.0, 93.0)):
        put(tmp_path, replace(FOUND, seed=seed), test, test_flip_accuracy=test + 0.5)
    name = "mgiad20, group_size=8, coarsest=16"
    assert lines(tmp_path) == [
        [name, "mgiad_fashion_mnist", "36,858", "7", "1", "98.00", "90.00", "8.00", "-"],
        [name, "modern_fashion_mnist", "36,858", "7", "2", "98.00 (0.00)", "92.00 (1.41)", "6.00", "92.50 (1.41)"],
    ]


@pytest.mark.parametrize(
    "other", [{"epochs": 12}, {"subset": 100}, {"model": "mgnet20"}, {"options": ModelOptions(group_size=4)}]
)
def test_other_networks_and_lengths_do_not(other: dict, tmp_path: Path) -> None:
    put(tmp_path, replace(PAPER, **other), 90.0)
    assert lines(tmp_path) == []
    put(tmp_path, FOUND, 91.0)
    assert [line[1] for line in lines(tmp_path)] == ["modern_fashion_mnist"]
