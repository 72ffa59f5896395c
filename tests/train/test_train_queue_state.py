"""The state folder: which of two copies is ahead, and that nothing is lost when one takes the other's place."""

import json
import shutil
from pathlib import Path

import pytest

from torchmg.errors import CheckpointError, UsageError
from torchmg.models.options import ModelOptions
from torchmg.train.queue.report import rows
from torchmg.train.queue.scripts import run_script
from torchmg.train.queue.state import State, locked
from torchmg.train.recipe import recipe

RECIPE = recipe("digits_resnet20")


@pytest.fixture
def state(tmp_path: Path) -> State:
    """One run that has begun and is packed."""
    state = State(tmp_path / "here")
    state.queue.add_recipe(RECIPE)
    reach(state, "one")
    state.pack()
    return state


def reach(state: State, where: str) -> None:
    """As if the run had gone on until `where`."""
    folder = state.folder(state.queue.jobs[0])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(RECIPE.to_json()))
    (folder / "last.ckpt").write_text(where)


def reached(state: State) -> str:
    return (state.folder(state.queue.jobs[0]) / "last.ckpt").read_text()


def travel(state: State, root: Path) -> State:
    """Copy the parts to `root` and open it."""
    shutil.rmtree(root / "parts", ignore_errors=True)
    shutil.copytree(state.parts, root / "parts")
    return State(root)


def test_the_copy_that_went_on_takes_the_place(state: State, tmp_path: Path) -> None:
    there = travel(state, tmp_path / "there")
    assert (reached(there), there.queue.jobs[0].recipe) == ("one", RECIPE)
    reach(there, "two")
    there.pack()
    reach(state, "lost by a kill")  # went on here too, but was never packed
    back = travel(there, state.root)
    assert reached(back) == "two"
    assert (state.root / "replaced" / back.queue.jobs[0].name / "last.ckpt").read_text() == "lost by a kill"
    assert back.queue.history == there.queue.history


def test_parts_that_are_behind_change_nothing(state: State, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(state.parts, old / "parts")
    reach(state, "two")
    assert reached(State(state.root)) == "two"  # as after a kill: newer than its own parts
    state.pack()
    reach(state, "three")
    shutil.rmtree(state.parts)
    shutil.copytree(old / "parts", state.parts)
    assert reached(State(state.root)) == "three"
    assert not (state.root / "replaced").exists()


def test_copies_that_went_on_separately_are_not_mixed(state: State, tmp_path: Path) -> None:
    there = travel(state, tmp_path / "there")
    there.pack()
    there.pack()
    state.pack()
    with pytest.raises(CheckpointError, match="went on separately"):
        travel(there, state.root)
    assert reached(state) == "one"
    shutil.move(state.work, tmp_path / "away")
    assert State(state.root).queue.history == there.queue.history


def test_a_damaged_part_changes_nothing(state: State, tmp_path: Path) -> None:
    there = travel(state, tmp_path / "there")
    there.pack()
    (part,) = there.parts.glob("*.part")
    part.write_bytes(part.read_bytes()[:-5])
    with pytest.raises(CheckpointError, match=f"{part.name} is damaged"):
        travel(there, state.root)
    assert reached(state) == "one"
    assert sorted(path.name for path in state.root.iterdir()) == ["parts", "work"]


@pytest.mark.parametrize("moment", ["replaced", "work"])
def test_killed_while_restoring_it_restores_again(
    moment: str, state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = travel(state, tmp_path / "there")
    reach(there, "two")
    there.pack()
    rename = Path.rename

    def die(path: Path, target: Path) -> Path:
        if target.name == moment:
            raise KeyboardInterrupt
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", die)
        with pytest.raises(KeyboardInterrupt):
            travel(there, state.root)
    assert reached(State(state.root)) == "two"
    assert (state.root / "replaced" / "digits_resnet20_s0" / "last.ckpt").read_text() == "one"


def test_a_damaged_queue_is_an_error(state: State) -> None:
    path = state.work / "queue.json"
    for text in ("{", "[]", "{}", path.read_text().replace('"lr"', '"lrr"')):
        path.write_text(text)
        with pytest.raises(CheckpointError, match=r"queue\.json is damaged"):
            State(state.root)
    path.unlink()
    with pytest.raises(CheckpointError, match=r"has no queue\.json"):
        State(state.root)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_text("")
    with pytest.raises(UsageError, match=r"it holds photo\.jpg"):
        State(tmp_path)
    with pytest.raises(UsageError, match="is a file"):
        State(tmp_path / "photo.jpg")
    with pytest.raises(CheckpointError, match="cannot be used"), locked(tmp_path / "photo.jpg" / "state"):
        pass


def test_only_one_at_a_time(tmp_path: Path) -> None:
    with locked(tmp_path / "state"):
        with pytest.raises(CheckpointError, match="Another torchmg queue is at work"), locked(tmp_path / "state"):
            pass
        assert not State(tmp_path / "state").queue.jobs  # looking is allowed
    with locked(tmp_path / "state"):
        pass


def test_rows_say_what_is_left(tmp_path: Path) -> None:
    state = State(tmp_path)
    for seed in range(3):
        state.queue.add_recipe(recipe("digits_resnet20", seed=seed, epochs=10))
    state.queue.add_recipe(RECIPE)
    header = "epoch,test_accuracy,seconds\n"
    log = header + "".join(f"{epoch},{90 + epoch},{2.0 * epoch}\n" for epoch in range(1, 5))
    first, second = state.queue.jobs[:2]
    for job in (first, second):
        state.folder(job).mkdir(parents=True)
        (state.folder(job) / "config.json").write_text("{}")
    (state.folder(first) / "log.csv").write_text(log)
    (state.folder(second) / "log.csv").write_text(log)
    first.seconds = 40.0  # with set-up and evaluation: ten for each of four epochs
    found = {row.job: row for row in rows(state)}
    assert found[first.name][2:8] == ("running", 4, 10, 94.0, 40.0, 60.0)
    assert found[second.name].left == 2 * 6
    assert found[state.queue.jobs[2].name][2:8] == ("waiting", 0, 10, None, 0.0, 10 * (40 + 8) / 8)
    assert found["digits_resnet20_s0"].left is None
    state.queue.add_recipe(recipe("digits_mgiad20", options=ModelOptions(group_size=2, coarsest=4)))
    assert [row.options for row in rows(state) if row.options] == ["group_size 2, coarsest 4"]
    assert found[first.name].words()[2] == "running at epoch 4 of 10"


# ---- scripts

SCRIPT = """
import json, sys
from pathlib import Path
out = Path(sys.argv[sys.argv.index("--out") + 1])
assert not list(out.glob("*.json"))
print("hello")
(out / "times.json").write_text(json.dumps({"median": 3}))
"""


def test_a_script_leaves_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("time.py").write_text(SCRIPT)
    for _ in range(2):  # what was there before is removed
        assert run_script("time.py", tmp_path / "job", {"device": "cpu"}) is None
    record = json.loads((tmp_path / "job" / "record.json").read_text())
    assert (record["results"], record["exit_code"], record["environment"]) == (
        {"times": {"median": 3}},
        0,
        {"device": "cpu"},
    )
    assert record["seconds"] < 60
    assert (tmp_path / "job" / "stdout.txt").read_text() == "hello\n"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("raise SystemExit(3)", "exit code 3"),
        ("raise ValueError('no')", "exit code 1: ValueError: no"),
        ("from pathlib import Path; Path('job/out/record.json').write_text('{}'); raise SystemExit(1)", "exit code 1"),
        (SCRIPT.replace('json.dumps({"median": 3})', '"{"'), "a JSON file that it wrote cannot be read"),
    ],
)
def test_a_script_that_fails_leaves_none(text: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("time.py").write_text(text)
    assert str(run_script("time.py", tmp_path / "job", {})).startswith(why)
    assert not (tmp_path / "job" / "record.json").exists()
