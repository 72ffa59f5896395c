"""The search for a recipe: which candidates go on, that nothing sees the test set, that a stopped one goes on."""

import json
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchmg import cli
from torchmg.data.digits import load_digits
from torchmg.data.holdout import hold_out
from torchmg.data.images import ImageSet, ImageSplit
from torchmg.errors import DivergedError, InterruptedRunError, ResumeError, UnknownNameError, UsageError
from torchmg.models.options import ModelOptions
from torchmg.study import study_recipe
from torchmg.study.recipe import RecipeStudy, rung_sizes, search_table, winning
from torchmg.study.search_page import search_text
from torchmg.study.space import SPACE, candidates, space_for
from torchmg.train import loop
from torchmg.train.recipe import BASES, Recipe

ROOT = Path(__file__).parents[2]
TINY: dict[str, Any] = {
    "model": "resnet20",
    "options": ModelOptions(width=0.25),
    "number": 3,
    "holdout": 50,
    "subset": 60,
    "final_epochs": 1,
    "device": "cpu",
    "quiet": True,
}
opened: Counter[str] = Counter()


@pytest.fixture(scope="module", autouse=True)
def _digits():
    """Some of the digits; counts who asks for test samples."""
    pytest.importorskip("sklearn")
    digits = load_digits()
    train, test = (ImageSplit(part.images[:200], part.labels[:200]) for part in (digits.train, digits.test))

    def load(*_: Any, holdout: int = 0, **__: Any) -> ImageSet:
        opened["training" if holdout else "test"] += 1
        if holdout:
            return hold_out("digits", digits.classes, train, holdout)
        return ImageSet("digits", digits.classes, train, test)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torchmg.train.model.load", load)
        yield


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, _digits: None) -> RecipeStudy:
    opened.clear()
    found = study_recipe(**TINY, out=tmp_path_factory.mktemp("search") / "out")
    assert opened["training"] == 3
    assert not opened["test"], "the search looked at the test set"
    return found


def lasting(record: dict[str, Any]) -> dict[str, Any]:
    """A record without what no two searches share."""
    kept = json.loads(json.dumps(record))
    for run in kept["runs"]:
        del run["seconds"]
    del kept["environment"]["date"]
    return kept


def test_the_record_holds_every_candidate_rung_and_score(study: RecipeStudy) -> None:
    record = json.loads((study.folder / "search.json").read_text())
    assert record == study.record
    assert [(run["candidate"], run["epochs"]) for run in record["runs"]] == [(0, 1), (1, 1), (2, 1)]
    for run in record["runs"]:
        own = json.loads((study.folder / f"rung0/c{run['candidate']:02}/record.json").read_text())
        assert (own["holdout_accuracy"], own["holdout_loss"], own["seconds"]) == (
            *(run["score"], run["loss"]),
            run["seconds"],
        )
        assert (own["recipe"]["holdout"], own["recipe"]["subset"], own["recipe"]["seed"]) == (50, 60, 0)
        assert {name: own["recipe"][name] for name in run["settings"]} == run["settings"]
    best = min(record["runs"], key=lambda run: (-run["score"], run["loss"]))
    assert record["winner"] == {key: best[key] for key in ("candidate", "settings")}
    assert record["runs"][0]["settings"] == {}
    text = str(study.table())
    assert all(f"{run['score']:.2f}" in text for run in record["runs"])
    assert f"{best['candidate']} " == text.splitlines()[3][:2]
    assert [row[0] for row in study.data().rows] == [0, 1, 2]


def test_the_winner_is_trained_on_everything(study: RecipeStudy) -> None:
    winner = study.winner
    assert (winner.holdout, winner.subset, winner.epochs) == (0, 0, 1)
    assert winner == winning(study.record)
    assert {name: getattr(winner, name) for name in study.record["winner"]["settings"]} == study.record["winner"][
        "settings"
    ]
    assert study.record["command"] == winner.command()
    assert "holdout" not in winner.command()


@pytest.mark.parametrize("calls", [2, 7])
def test_a_killed_search_continues_to_the_same_record(study: RecipeStudy, calls: int, tmp_path: Path) -> None:
    rate, made = loop.learning_rate, 0

    def stopping(*args: Any) -> float:
        nonlocal made
        made += 1
        if made == calls:
            raise KeyboardInterrupt
        return rate(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "learning_rate", stopping)
        with pytest.raises(InterruptedRunError, match=f"of 3 runs .* the same command with --out {tmp_path}"):
            study_recipe(**TINY, out=tmp_path)
    assert not (tmp_path / "search.json").exists()
    again = study_recipe(**TINY, out=tmp_path)
    assert lasting(again.record) == lasting(study.record)


def test_minutes_end_a_search_and_the_next_call_goes_on(study: RecipeStudy, tmp_path: Path) -> None:
    with pytest.raises(InterruptedRunError, match="Continue: the same command"):
        study_recipe(**TINY, minutes=1e-6, out=tmp_path)
    assert lasting(study_recipe(**TINY, out=tmp_path).record) == lasting(study.record)
    with pytest.raises(ResumeError, match="holdout"):
        study_recipe(**{**TINY, "holdout": 40}, out=tmp_path)


def test_the_final_runs_are_on_the_test_set_with_three_seeds(study: RecipeStudy) -> None:
    done = study_recipe(**TINY, final=True, out=study.folder)
    assert lasting(done.record) == lasting(study.record)
    assert [record["recipe"]["seed"] for record in done.final] == [0, 1, 2]
    for record in done.final:
        assert record["recipe"]["holdout"] == 0
        assert record["steps"] == -(-200 // record["recipe"]["batch_size"])
        assert f"{record['test_accuracy']:.4g}" in str(done.final_table())


def test_rungs_keep_the_best_and_a_diverged_candidate_is_last(tmp_path: Path) -> None:
    """Scores by hand in place of training: which candidates are trained how long."""
    trained: list[tuple[str, int]] = []
    scores = dict(zip(range(9), (50.0, 90.0, 90.0, 20.0, None, 70.0, 90.0, 10.0, 30.0), strict=True))

    def train_one(name: str, recipe: Recipe, *_: Any, **__: Any) -> dict[str, Any]:
        candidate = int(name.rpartition("c")[2])
        trained.append((name, recipe.epochs))
        score = scores[candidate]
        if score is None:
            raise DivergedError("too large a rate")
        # of those that are equal in the first rung, the second has the lower loss; later the last wins
        values = {"holdout_accuracy": score + (candidate if recipe.epochs > 2 else 0), "holdout_loss": 9.0 - candidate}
        return {
            **values,
            "train_accuracy": 99.0,
            "seconds": 2.0,
            "parameters": 1,
            "macs": 2,
            "environment": {},
            "data": {},
        }

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torchmg.study.recipe.train_one", train_one)
        found = study_recipe(**{**TINY, "number": 9, "epochs": 2}, out=tmp_path)
    assert trained == [
        *((f"rung0/c{i:02}", 2) for i in range(9)),
        *((f"rung1/c{i:02}", 6) for i in (1, 2, 6)),
    ]
    assert found.record["winner"]["candidate"] == 6
    first = [line.split()[0] for line in str(found.table()).splitlines()[3:12]]
    assert first == ["6", "2", "1", "5", "0", "8", "3", "7", "4"]
    assert "diverged" in str(found.table())
    scores.update(dict.fromkeys(range(9)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torchmg.study.recipe.train_one", train_one)
        with pytest.raises(DivergedError, match="Every candidate diverged"):
            study_recipe(**{**TINY, "number": 9}, out=tmp_path)


@given(st.integers(2, 300), st.integers(2, 5))
def test_rungs_shrink_to_one(number: int, keep: int) -> None:
    sizes = rung_sizes(number, keep)
    assert sizes[0] == number
    assert all(keep * (later - 1) < size <= keep * later for size, later in pairwise(sizes))
    assert 1 < sizes[-1] <= keep


@settings(max_examples=20)
@given(st.integers(2, 40), st.integers(0, 40), st.integers(0, 2**40))
def test_a_longer_list_of_candidates_begins_with_a_shorter_one(number: int, more: int, seed: int) -> None:
    space = space_for("fashion_mnist", zero_init=True)
    base = BASES["fashion_mnist"]
    drawn = candidates(base, space, number, seed)
    assert candidates(base, space, number + more, seed)[:number] == drawn
    assert drawn[0] == {}
    for one in drawn:
        assert all(value in SPACE[name] for name, value in one.items())
        assert all(getattr(base, name) != value for name, value in one.items())
        replace(base, holdout=5000, **one)


def test_every_value_of_the_space_is_drawn_and_may_be_trained_with() -> None:
    base = BASES["fashion_mnist"]
    drawn = candidates(base, space_for("fashion_mnist", zero_init=True), 200, 0)
    for name, values in SPACE.items():
        assert {one.get(name, getattr(base, name)) for one in drawn[1:]} == set(values)
    assert space_for("digits", zero_init=False)["augment"] == ("none", "crop")
    assert "zero_init" not in space_for("digits", zero_init=False)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"model": "resnt20"}, UnknownNameError, "resnet20"),
        ({"data": "mnist"}, UnknownNameError, "fashion_mnist"),
        ({"data": "imagenet"}, UsageError, "labelled pictures in memory"),
        ({"number": 1}, UsageError, "number must be a whole number, at least 2"),
        ({"keep": 1}, UsageError, "keep must be"),
        ({"epochs": 0}, UsageError, "epochs must be"),
        ({"holdout": 0}, UsageError, "holdout must be"),
        ({"minutes": 0.0}, UsageError, "minutes must be above 0"),
        ({"device": "gpu"}, UsageError, "no device 'gpu'"),
    ],
)
def test_what_is_wrong_is_named(change: dict, error: type[Exception], words: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=words):
        study_recipe(**{**TINY, **change}, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = "study recipe resnet20 --width 0.25 --candidates 2 --keep 2 --holdout 50 --subset 60 --final-epochs 1"
    assert cli.run([*words.split(), "--device", "cpu", "--quiet", "--out", str(tmp_path / "o"), "--json"]) == 0
    read = json.loads(capsys.readouterr().out)
    assert [row["candidate"] for row in read["rows"]] == [0, 1]
    assert cli.run([*words.split(), "--device", "cpu", "--quiet", "--out", str(tmp_path / "o")]) == 0
    out = capsys.readouterr().out.splitlines()
    assert read["command"] in out
    assert out[-1] == str(tmp_path / "o" / "search.json")


# ---- the page and the named recipes


def test_the_page_shows_a_record(study: RecipeStudy) -> None:
    assert "<!-- results/search/fashion_mnist: written by" in (ROOT / "docs" / "recipes.md").read_text()
    record = {**study.record, "data": "fashion_mnist", "options": {}}
    text = search_text(record)
    assert search_table(record).markdown() in text
    assert winning(record).command() in text


def test_named_modern_recipes_are_the_winners_of_the_recorded_searches() -> None:
    """`BASES["modern_<data>"]` and results/search/<data>.json: neither without the other, and both the same."""
    records = {path.stem: json.loads(path.read_text()) for path in (ROOT / "results" / "search").glob("*.json")}
    named = {name.removeprefix("modern_"): base for name, base in BASES.items() if name.startswith("modern_")}
    assert set(named) == set(records)
    assert all(f"<!-- results/search/{data}: " in (ROOT / "docs" / "recipes.md").read_text() for data in records)
    for data, base in named.items():
        assert base == replace(winning(records[data]), model=base.model, options=base.options)
