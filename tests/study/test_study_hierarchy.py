"""The study of the hierarchy: widths against brute force, what members are, records to tables, whole small studies."""

import csv
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

import torchmg
from torchmg.bench.timing import Timing
from torchmg.errors import CheckpointError, InterruptedRunError, ResumeError, UnknownNameError, UsageError
from torchmg.kernels.choice import pinned
from torchmg.nn import MGICBlock
from torchmg.study import HierarchyStudy, study_hierarchy
from torchmg.study.ablated import ablation, read_ablation, recorded
from torchmg.study.hierarchy import _checked
from torchmg.study.members import BASE, GROUP_SIZE, MEMBERS, QUESTIONS, REFERENCE
from torchmg.study.plan import Planned, make_plan, planned_as, read_plan, runs_of
from torchmg.study.widths import Steps, base_of_equal_cost, build, nearest, parameters
from torchmg.train.recipe import BASES

SHAPE = (1, 28, 28)
FITTED = [member for member in MEMBERS.values() if member.step]
RUNS = [run for member in MEMBERS.values() for run in runs_of(member)]


# Widths --------------------------------------------------------------------------------------------------------------


@given(
    rises=st.lists(st.floats(0, 5), min_size=1, max_size=40),
    start=st.floats(0.1, 5),
    wanted=st.floats(0.01, 100),
    least=st.integers(1, 5),
)
def test_bisection_finds_what_brute_force_finds(rises: list[float], start: float, wanted: float, least: int) -> None:
    asked: list[int] = []

    def cost(number: int) -> float:
        asked.append(number)
        known = rises[: number - 1]
        return start + sum(known) + 10 * max(0, number - 1 - len(rises))

    found = nearest(cost, wanted, least)
    assert len(asked) == len(set(asked)) <= 16
    ratios = [max(cost(n) / wanted, wanted / cost(n)) for n in range(least, len(rises) + 20)]
    assert max(cost(found) / wanted, wanted / cost(found)) == pytest.approx(min(ratios))


@settings(max_examples=20)
@given(member=st.sampled_from(FITTED), number=st.integers(2, 12))
def test_a_member_of_its_own_parameters_is_itself(member: Any, number: int) -> None:
    base = max(2.0, 8 * number if member.step < GROUP_SIZE else number * member.step)
    aim = torchmg.count(build(member, base, SHAPE), SHAPE).parameters
    assert parameters(member, base, SHAPE) == aim
    found = base_of_equal_cost(member, lambda base: parameters(member, base, SHAPE), aim)
    assert parameters(member, found, SHAPE) == aim


@pytest.mark.parametrize("member", FITTED, ids=lambda member: member.name)
def test_equal_parameters_are_nearly_equal_and_none_are_nearer(member: Any) -> None:
    aim = parameters(REFERENCE, BASE, SHAPE)
    base = base_of_equal_cost(member, lambda base: parameters(member, base, SHAPE), aim)
    error = abs(parameters(member, base, SHAPE) / aim - 1)
    assert error < (0.02 if member.question == "hierarchy" else 0.13)
    for other in (base - member.step, base + member.step):
        assert error <= abs(parameters(member, other, SHAPE) / aim - 1) + 1e-3  # ratios and differences part a little


def test_steps_are_timed_against_the_references(monkeypatch: pytest.MonkeyPatch) -> None:
    def counted(calls: Mapping[str, Callable[[], object]], *, rounds: int) -> dict[str, Timing]:
        """Products in place of time, which no test may depend on."""
        found = {}
        for name, call in calls.items():
            with pinned("aten"), FlopCounterMode(display=False) as counter:
                call()
            found[name] = Timing(*[rounds * counter.get_total_flops()] * 3)
        return found

    monkeypatch.setattr("torchmg.study.widths.interleaved", counted)
    steps = Steps(REFERENCE, BASE, replace(BASES["digits"], batch_size=8), (1, 8, 8))
    assert steps.ratio(REFERENCE, BASE) == 1
    assert 8 < steps.ratio(MEMBERS["full_1"], 4 * BASE) / steps.ratio(MEMBERS["full_1"], BASE) < 16


# Members -------------------------------------------------------------------------------------------------------------

LEVELS = {1: [1, 1, 1], 3: [1, 2, 3], 4: [2, 3, 4], 5: [3, 4, 5]}
"""Levels of the blocks of the three stages, by those of the last."""


def blocks(model: torch.nn.Module) -> list[MGICBlock]:
    return [module for module in model.modules() if isinstance(module, MGICBlock)]


@pytest.mark.parametrize("name", [name for name in MEMBERS if MEMBERS[name].model != "resnet8"])
@pytest.mark.parametrize("budget", ["width", "parameters"])
def test_members_have_the_levels_and_groups_that_they_say(name: str, budget: str) -> None:
    member, aim = MEMBERS[name], parameters(REFERENCE, BASE, SHAPE)
    base = float(BASE)
    if budget == "parameters" and member.step:
        base = base_of_equal_cost(member, lambda base: parameters(member, base, SHAPE), aim)
    rivals = [rival for rival in MEMBERS if MEMBERS[rival].question == "hierarchy" and rival != REFERENCE.name]
    last = int(name[-1]) if member.question == "levels" else 1 if name in (*rivals, "grouped_mixed") else 4
    found = blocks(build(member, base, SHAPE))
    assert [len(block.relax) for block in found] == LEVELS[last]
    coupling = member.options.get("coarsest_coupling", "full")
    for block in found:
        levels = block.hierarchy.levels
        if coupling not in ("grouped", "shuffle"):
            *levels, coarsest = levels
            assert coarsest.groups == 1
        # Halves of a width that is no multiple of eight have groups that are a little smaller.
        assert all(GROUP_SIZE / 2 <= level.group_size <= GROUP_SIZE for level in levels)
        assert all(level.group_size == GROUP_SIZE for level in levels[:1])


@pytest.mark.parametrize("name", [m.name for m in MEMBERS.values() if m.question in ("transfers", "cycle")])
def test_variants_differ_from_the_reference_in_their_transfers_alone(name: str) -> None:
    torch.manual_seed(0)
    own = dict(build(REFERENCE, BASE, SHAPE).named_parameters())
    torch.manual_seed(0)
    other = dict(build(MEMBERS[name], BASE, SHAPE).named_parameters())
    changed = {key for key in own.keys() | other.keys() if key not in own or key not in other}
    assert all(".restrict." in key or ".prolong." in key for key in changed)
    assert MEMBERS[name].options
    assert build(MEMBERS[name], BASE, SHAPE)(torch.randn(2, *SHAPE)).shape == (2, 10)


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_names_of_runs_are_read_back(run: Planned) -> None:
    found = planned_as(run.name)
    assert found is not None
    assert (found.member, found.budget, found.length) == (run.member, run.budget, run.length)


def test_runs_have_names_of_their_own_and_others_are_none() -> None:
    assert len({run.name for run in RUNS}) == len(RUNS)
    assert {member.question for member in MEMBERS.values()} == set(QUESTIONS)
    for name in ("", "mgic_time", "grouped", "mgic_x2", "mgic_twin", "grouped_time_x2", "plan", "grouped_tim"):
        assert planned_as(name) is None


# Records to tables ---------------------------------------------------------------------------------------------------


def record(run: Planned, seed: int, test: float) -> dict[str, Any]:
    """What a run would have left, as far as it is read."""
    recipe = run.recipe(replace(BASES["fashion_mnist"], epochs=4, subset=1000), seed)
    scores = {"train_accuracy": test + 1, "test_accuracy": test}
    count = parameters(MEMBERS[run.member], run.base, SHAPE)
    return {"recipe": recipe.to_json(), "parameters": count, "macs": 2 * count, **scores}


def write(folder: Path, run: Planned, seed: int, test: float) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{run.name}_s{seed}.json").write_text(json.dumps(record(run, seed, test)))


def test_rows_are_what_the_records_say(tmp_path: Path) -> None:
    folder = tmp_path / "records"
    planned = {
        run.name: run
        for run in (
            Planned("plain", step=1.01),
            Planned("mgic", step=1.0),
            Planned("grouped", "time", base=16.0, step=0.97),
            Planned("mgic_twin", length=2, base=16.0),
            Planned("mgic_twin", length=1, base=16.0),
        )
    }
    scores = {"plain": [90.0, 91.0], "mgic": [92.0, 92.5], "grouped_time": [88.0, 87.0], "mgic_twin_x1": [80.0, 81.0]}
    for name, values in scores.items():
        for seed, test in enumerate(values):
            write(folder, planned[name], seed, test)
    write(folder, planned["mgic_twin_x2"], 0, 83.0)
    (folder / "something_s0.json").write_text("{}")
    found = read_ablation(folder, planned)
    assert found is not None
    assert [row.run.name for row in found.rows] == ["mgic", "grouped_time", "plain", "mgic_twin_x1", "mgic_twin_x2"]
    assert found.title == "fashion_mnist, 4 epochs of 1,000 samples, 1 to 2 seeds"
    assert found.epochs == 4
    rows = [dict(zip(found.data().columns, row, strict=True)) for row in found.data().rows]
    for row in rows[:-1]:
        values = scores[row["run"]]
        assert (row["test_mean"], row["test_std"], row["seeds"]) == (mean(values), stdev(values), 2)
        assert row["train_mean"] == mean(values) + 1
        assert row["base"] == planned[row["run"]].base
        assert row["step"] == planned[row["run"]].step
    assert rows[-1]["test_std"] is None
    text = str(found.table())
    small = parameters(MEMBERS["grouped"], 16, SHAPE)
    own = parameters(REFERENCE, BASE, SHAPE)
    assert found.table().rows[1][4:6] == [small, round(small / own, 3)]
    for words in ("92.25 ± 0.35", f"{small:,}", "plain groups", QUESTIONS["cycle"], "2 times the"):
        assert words in text
    assert text.count(QUESTIONS["hierarchy"]) == 1
    picture = found.draw(tmp_path / "drawn")
    svg = (tmp_path / "drawn.svg").read_text()
    for words in ("at equal parameters", "at equal time", "plain groups", QUESTIONS["training"], ">8<"):
        assert words in svg
    assert picture.rows.rows == found.data().rows
    for file in folder.glob("plain*"):
        file.unlink()
    fewer = read_ablation(folder, {})
    assert fewer is not None
    assert "90.5" not in str(fewer.table())
    assert all(row.run.step is None for row in fewer.rows)


def test_questions_stand_for_their_members() -> None:
    assert _checked("digits", ["transpose", "cycle"], 1, 1) == ["mgic", "transpose", "plain", "no_norm", "both_norms"]
    assert _checked("digits", [], 1, 1) == list(MEMBERS)


def test_no_records_are_no_ablation(tmp_path: Path) -> None:
    assert read_ablation(tmp_path, {}) is None
    assert recorded(tmp_path, tmp_path / "plan.json") is None
    (tmp_path / "mgic_s0.json").write_text("{}")
    with pytest.raises(CheckpointError, match="mgic_s0"):
        read_ablation(tmp_path, {})


def test_accuracies_are_seeds_in_order() -> None:
    run = Planned("mgic")
    found = ablation({"mgic": {2: record(run, 2, 3.0), 0: record(run, 0, 1.0), 1: record(run, 1, 2.0)}}, {})
    assert found.rows[0].test == (1.0, 2.0, 3.0)


# Plans ---------------------------------------------------------------------------------------------------------------


class Stopwatch:
    """In the place of `Steps`: time is the base width over the reference's."""

    def __init__(self, *_: Any) -> None:
        self.asked: list[float] = []

    def ratio(self, member: Any, base: float) -> float:
        self.asked.append(base)
        return base / (BASE / 2) if member.step else 1.0


@pytest.fixture
def stopwatch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchmg.study.plan.Steps", Stopwatch)


@pytest.mark.usefixtures("stopwatch")
def test_a_plan_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, recipe = tmp_path / "plan.json", BASES["fashion_mnist"]
    said: list[str] = []
    first = make_plan(["mgic", "grouped"], recipe, SHAPE, file, said.append)
    assert list(first) == ["mgic", "grouped_parameters", "grouped_time"]
    assert first["grouped_time"].base == BASE / 2
    assert first["grouped_time"].step == 1.0
    assert len(said) == 3
    more = make_plan(["mgic", "union", "grouped"], replace(recipe, seed=3, model="resnet20"), SHAPE, file)
    assert {name: run for name, run in more.items() if "union" not in name} == first
    monkeypatch.setattr("torchmg.study.plan.Steps", None)
    assert make_plan(["mgic", "union", "grouped"], recipe, SHAPE, file) == more
    assert read_plan(file) == more
    with pytest.raises(ResumeError, match=r"lr 0.1 \(you asked for 0.5\)"):
        make_plan(["mgic"], replace(recipe, lr=0.5), SHAPE, file)
    file.write_text("{}")
    with pytest.raises(CheckpointError, match=r"plan.json is not the plan"):
        read_plan(file)


# Studies -------------------------------------------------------------------------------------------------------------

TINY: dict[str, Any] = {"data": "digits", "epochs": 1, "subset": 64, "quiet": True}


def content(file: Path) -> dict[str, Any]:
    """A record but for its seconds and the digest that covers them."""
    return {key: value for key, value in json.loads(file.read_text()).items() if key not in ("seconds", "sha256")}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> HierarchyStudy:
    pytest.importorskip("sklearn")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torchmg.study.plan.Steps", Stopwatch)
        out = tmp_path_factory.mktemp("study") / "out"
        return study_hierarchy(members=["union"], out=out, **TINY)


def test_a_study_leaves_records_table_and_picture(study: HierarchyStudy) -> None:
    names = ["mgic", "union_parameters", "union_time"]
    assert sorted(file.name for file in (study.folder / "records").iterdir()) == [f"{name}_s0.json" for name in names]
    with (study.folder / "hierarchy.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["run"] for row in rows] == names
    for row in rows:
        record = json.loads((study.folder / "records" / f"{row['run']}_s0.json").read_text())
        assert float(row["test_mean"]) == record["test_accuracy"]
        assert int(row["parameters"]) == record["parameters"]
        assert record["environment"]["threads"] == 1
        assert record["recipe"]["subset"] == 64
    assert rows[2]["base"] == "16.0"
    read = json.loads((study.folder / "hierarchy.json").read_text())
    assert read["recipe"]["epochs"] == 1
    assert [row["run"] for row in read["rows"]] == names
    assert study.found.title == "digits, 1 epochs of 64 samples, 1 seed"
    again = read_ablation(study.folder / "records", read_plan(study.folder / "plan.json"))
    assert again == study.found
    assert recorded(study.folder / "records", study.folder / "plan.json") == study.found
    bare = recorded(study.folder / "records", study.folder / "none.json")
    assert bare is not None
    assert [row.run.step for row in bare.rows] == [None, None, None]


@pytest.mark.usefixtures("stopwatch")
def test_a_study_goes_on_with_more_and_trains_nothing_twice(study: HierarchyStudy) -> None:
    records = {file: file.stat().st_mtime_ns for file in study.folder.glob("queue/*/*/record.json")}
    assert len(records) == 3
    more = study_hierarchy(members=["plain"], out=study.folder, **TINY)  # whose table keeps what was there
    assert [row.run.name for row in more.found.rows] == ["mgic", "union_parameters", "union_time", "plain"]
    assert more.found.rows[:3] == study.found.rows
    assert all(file.stat().st_mtime_ns == then for file, then in records.items())
    with pytest.raises(ResumeError, match=r"epochs 1 \(you asked for 2\)"):
        study_hierarchy(out=study.folder, **{**TINY, "epochs": 2})


@pytest.mark.usefixtures("stopwatch")
def test_an_interrupted_study_ends_with_the_same_records(study: HierarchyStudy, tmp_path: Path) -> None:
    def press() -> None:
        end = time.monotonic() + 60
        while not list(tmp_path.glob("out/queue/*/*/config.json")) and time.monotonic() < end:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press).start()
    out = tmp_path / "out"
    with pytest.raises(InterruptedRunError, match=rf"of 3 runs finished.* the same command with --out {out}"):
        study_hierarchy(members=["union"], out=out, **TINY)
    assert not (out / "hierarchy.csv").exists()
    again = study_hierarchy(members=["union"], out=out, **TINY)
    assert again.found == study.found
    for file in (out / "records").iterdir():
        assert content(file) == content(study.folder / "records" / file.name)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"data": "digit"}, UnknownNameError, "Did you mean digits"),
        ({"members": ["groupd"]}, UnknownNameError, "'groupd'.*Did you mean grouped"),
        ({"seeds": 0}, UsageError, "seeds must be .* got 0"),
        ({"parallel": 0}, UsageError, "parallel must be .* got 0"),
        ({"epochs": 0}, UsageError, "epochs must be"),
        ({"subset": -1}, UsageError, "subset must be"),
    ],
)
def test_what_is_wrong_is_named(change: dict, error: type[Exception], words: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=words):
        study_hierarchy(**{**TINY, "out": tmp_path / "out", **change})
    assert not (tmp_path / "out").exists()
