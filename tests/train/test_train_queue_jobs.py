"""What is in a queue, under which names, and what is wanted next."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchmg.errors import UsageError
from torchmg.models.options import ModelOptions
from torchmg.train.queue.allowance import FLOOR, allowance
from torchmg.train.queue.jobs import Job, Queue, wanted
from torchmg.train.recipe import recipe

NAMES = ["digits_resnet20", "cifar10_mgic_resnet20", "fashion_mnist_resnet20"]


def job(name: str, seed: int) -> Job:
    return Job(f"{name}_s{seed}", recipe=recipe(name, seed=seed))


def test_wants_in_the_order_that_is_documented() -> None:
    a, b = NAMES[:2]
    jobs = [job(a, 0), job(a, 1), job(a, 2), job(b, 0), Job("startup", script="startup.py"), job(b, 1), job(b, 2)]
    order = [found.name for found in wanted(jobs, {f"{b}_s2", f"{a}_s1"})]
    assert order == ["startup", f"{a}_s1", f"{b}_s2", f"{a}_s0", f"{b}_s0", f"{b}_s1", f"{a}_s2"]


@given(st.lists(st.tuples(st.sampled_from([*NAMES, None]), st.integers(0, 3)), unique=True), st.data())
def test_wants_are_all_jobs_by_rank_and_else_in_their_order(what: list, data: st.DataObject) -> None:
    jobs = [Job(f"script{n}", script=f"script{n}.py") if name is None else job(name, n) for name, n in what]
    begun = {found.name for found in jobs if found.recipe and data.draw(st.booleans())}
    order = wanted(jobs, begun)
    assert sorted(found.name for found in order) == sorted(found.name for found in jobs)
    for first, second in pairwise(order):
        earlier = jobs.index(first) < jobs.index(second)
        if second.recipe is None:
            assert first.recipe is None
            assert earlier
        elif second.name in begun:
            assert first.recipe is None or (first.name in begun and earlier)
        elif first.recipe is not None and first.name not in begun:
            assert (first.recipe.seed, 0) <= (second.recipe.seed, int(earlier))


def test_names_are_stable_and_tell_recipes_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, queue = recipe("cifar10_resnet56", seed=3), Queue()
    others = [
        replace(plain, lr=0.2),
        replace(plain, lr=0.3),
        replace(plain, options=ModelOptions(width=0.5)),
        replace(plain, model="a.py:net"),
        replace(plain, model="b.py:net"),
    ]
    for changed in (plain, *others, plain, *others):
        queue.add_recipe(changed)
    names = [job.name for job in queue.jobs]
    assert len(names) == len(set(names)) == 6  # the second time they were there
    assert names[0] == "cifar10_resnet56_s3"
    assert all(name.startswith("cifar10_resnet56_s3-") for name in names[1:4])
    assert all(name.startswith("cifar10_net_s3-") for name in names[4:])
    again = Queue()
    for changed in reversed(others):
        again.add_recipe(changed)
    assert [job.name for job in again.jobs] == names[:0:-1]
    monkeypatch.chdir(tmp_path)
    for script in (Path("time.py"), Path("more") / "time.py"):
        script.parent.mkdir(exist_ok=True)
        script.write_text("")
        queue.add_script(script)
        queue.add_script(script)
    assert [job.name.partition("-")[0] for job in queue.jobs[6:]] == ["time", "time"]
    assert Queue.from_json(queue.to_json()) == queue


def test_a_name_that_means_another_recipe_by_now_is_not_taken_for_it() -> None:
    queue = Queue()
    queue.add_recipe(recipe("digits_resnet20"))
    queue.jobs[0].recipe = recipe("digits_resnet20", epochs=7)  # as if the defaults had changed since
    queue.add_recipe(recipe("digits_resnet20"))
    assert [job.recipe and job.recipe.epochs for job in queue.jobs] == [7, 20]
    assert queue.jobs[1].name.startswith("digits_resnet20_s0-")


def test_what_exists_on_one_machine_only_is_refused(tmp_path: Path) -> None:
    (tmp_path / "time.py").write_text("")
    queue = Queue()
    with pytest.raises(UsageError, match="exists on this machine only"):
        queue.add_recipe(recipe("digits", model=f"{tmp_path / 'net.py'}:net"))
    with pytest.raises(UsageError, match="exists on this machine only"):
        queue.add_script(tmp_path / "time.py")
    with pytest.raises(UsageError, match=r"There is no Python file missing\.py"):
        queue.add_script(Path("missing.py"))
    with pytest.raises(UsageError, match="cannot be the name of a folder"):
        queue.add_recipe(recipe("digits", model="net.py:../../net"))
    assert not queue.jobs


@given(
    seconds=st.floats(0, 1e5),
    size=st.integers(0, 10**10),
    packing=st.floats(0, 100),
    overrun=st.none() | st.floats(0, 1e4),
)
def test_an_allowance_keeps_time_for_stopping_and_saving(
    seconds: float, size: int, packing: float, overrun: float | None
) -> None:
    time = allowance(seconds, 1000.0, size, packing, overrun)
    assert time.deadline <= time.limit <= time.end - FLOOR
    assert time.end == 1000.0 + seconds
    assert time.end - time.limit >= 2 * packing
    if overrun is not None:
        assert time.limit - time.deadline >= min(overrun, seconds / 5) - 1e-6


def test_without_an_allowance_there_is_no_end() -> None:
    assert allowance(None, 5.0, 10**12).deadline == float("inf")
