"""The training loop: a recipe in, a run folder out, and everything in between in plain sight.

Sample order and augmentation are functions of (seed, epoch, index), and the learning rate of the step. So a run's
state is its weights, its momentum and its position; that is what a checkpoint holds, and why a continued run equals
an unbroken one bit for bit on a CPU.

The device is asked for what it measured only at some steps, so that a GPU is never waited for in between.
"""

import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from torchmg.counting.report import count
from torchmg.data.batches import Batches
from torchmg.data.order import order_hash
from torchmg.errors import InterruptedRunError, LostProcessError, UsageError
from torchmg.train.announce import Place, after_a_loss, continuing, header
from torchmg.train.average import Average
from torchmg.train.checkpoint import Trained
from torchmg.train.engine import engine, pick_device
from torchmg.train.environment import environment
from torchmg.train.evaluate import Mirrored, evaluate_batches
from torchmg.train.folder import RunFolder
from torchmg.train.interrupt import InterruptRequest
from torchmg.train.keeper import Keeper
from torchmg.train.launch import launch, launched
from torchmg.train.layout import pick_layout
from torchmg.train.logs import Logs, check_loggers
from torchmg.train.model import begin, compile_in_place, data_for, model_for, placed, preparation_for
from torchmg.train.progress import ProgressLine
from torchmg.train.ranks import Ranks
from torchmg.train.recipe import Recipe
from torchmg.train.resume import resume
from torchmg.train.schedule import learning_rate, sgd
from torchmg.train.scores import score_of
from torchmg.train.settings import LoggerName
from torchmg.train.step import Step
from torchmg.train.tasks import Metrics, task_of
from torchmg.train.teacher import Imitation, check_pair, teacher_for

LOOK_EVERY = {"cpu": 1, "cuda": 50}
"""Steps between two looks at the loss, the clock and Ctrl-C. A look makes a GPU wait for the host."""


class Run(NamedTuple):
    """A finished run: where it lies, and its record."""

    folder: Path
    record: dict[str, Any]


def fit(
    recipe: Recipe,
    out: str | Path = "runs",
    *,
    folder: str | Path | None = None,
    data_dir: str | Path | None = None,
    device: str = "auto",
    devices: int = 1,
    loggers: Sequence[LoggerName] = (),
    checkpoint_seconds: float = 60.0,
    deadline: float = math.inf,
    quiet: bool = False,
) -> Run:
    """Train a recipe to its end, from wherever its folder says it stopped.

    Args:
        recipe: what to train.
        out: a new run folder is made in here ...
        folder: ... unless this names the run folder itself: missing, it is made; unfinished, it is continued;
            finished, its record is returned at once.
        data_dir: where data sets lie (not needed for the digits).
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        devices: processes on this machine that share every batch, one GPU each or parts of the CPU; a script that
            asks for several needs the guard `if __name__ == "__main__":`. Under torchrun, what it started.
        loggers: of `tensorboard`, `wandb` and `mlflow`; `log.csv` is written in any case.
        checkpoint_seconds: a kill loses at most this much work, or an epoch if that is less; 0 saves at every step.
        deadline: the reading of `time.monotonic()` at which to save and stop, as if by Ctrl-C. A step or an
            evaluation in progress is finished, so stop early enough.
        quiet: no progress on standard error.

    Raises:
        DataError: the data or the weights to start from cannot be read, or do not fit.
        ResumeError: `folder` holds a run of another recipe, on other data, or of a teacher with other weights.
        UsageError: a teacher whose outputs or feature maps cannot be compared with the network's.
        DivergedError: the loss stopped being finite; the last checkpoint is from before.
        InterruptedRunError: Ctrl-C or the deadline; the run is saved and the message names the command that
            continues it.
        LostProcessError: one of several processes was killed; the message names the command that continues.
    """
    named = None if folder is None else Path(folder)
    known = RunFolder.open(recipe, named) if named is not None and RunFolder(named).config.exists() else None
    if known is not None and (record := known.record()):
        ProgressLine(recipe.epochs, quiet).say(f"{known.path} is finished: nothing to train")
        return Run(known.path, record)
    check_loggers(loggers)
    if launched():
        devices = int(os.environ.get("LOCAL_WORLD_SIZE", os.environ.get("WORLD_SIZE", "1")))
    place = Place(data_dir, device, devices)
    if devices < 2 or launched():
        return _train(recipe, Path(out), named, place, loggers, checkpoint_seconds, deadline, quiet)
    _check_several(recipe, devices, device)
    named = named or RunFolder.free(recipe, Path(out))
    try:
        return launch(_train, devices, recipe, Path(out), named, place, loggers, checkpoint_seconds, deadline, quiet)
    except LostProcessError as error:
        raise LostProcessError(f"{error} {after_a_loss(RunFolder(named), place)}") from error


def _check_several(recipe: Recipe, devices: int, device: str) -> None:
    """Raise `UsageError` for what several processes cannot do, before they are started."""
    if recipe.sync_norm and pick_device(device).type != "cuda":
        raise UsageError("sync_norm works on GPUs only. Leave it out: each process then norms its part of a batch.")
    if recipe.batch_size < 2 * devices:
        raise UsageError(
            f"Each of {devices} processes needs two samples of every batch; got batch_size={recipe.batch_size}. "
            f"Use batch_size={2 * devices} or more."
        )


def _train(
    recipe: Recipe,
    out: Path,
    named: Path | None,
    place: Place,
    loggers: Sequence[LoggerName],
    checkpoint_seconds: float,
    deadline: float,
    quiet: bool,
) -> Run:
    """`fit` in one process, alone or one of several."""
    # ---- set-up
    data = data_for(recipe, place.data_dir)
    fabric = engine(place.device, recipe.precision, place.devices)
    ranks = Ranks(fabric)
    teacher = teacher_for(recipe, data)
    torch.manual_seed(recipe.seed)
    model = model_for(recipe, data)
    # a run that has begun has its weights in its checkpoint
    fresh = named is None or not RunFolder(named).saved
    start = begin(model, recipe, data) if fresh else ""
    costs = count(model, data.shape)
    if teacher:
        check_pair(model, teacher, recipe, data.shape)
    # only now, so that data, devices and models that do not work leave no empty folder behind
    path = fabric.broadcast(named or RunFolder.free(recipe, out))
    if ranks.first:
        RunFolder.open(recipe, path)
    ranks.wait()
    run = RunFolder.open(recipe, path)
    layout = fabric.broadcast(run.layout() or pick_layout(recipe, model, data.shape, fabric.device))
    model = placed(model, recipe, layout, fabric.device, ranks.world)
    network, optimizer = fabric.setup(model, sgd(model, recipe))
    average = Average(model, recipe.ema) if recipe.ema else None
    trained = Trained(model, optimizer, average, fabric.strategy.precision)
    tested = model if average is None else average.module
    compile_in_place(model, recipe, fabric.device)

    task = task_of(data)
    drawn: dict[str, Any] = {"device": fabric.device, "channels_last": layout == "channels_last"}
    drawn |= {"rank": ranks.rank, "world": ranks.world}
    augmented, plain = preparation_for(recipe, data), data.preparation()
    train = Batches(data.train, augmented, batch_size=recipe.batch_size, seed=recipe.seed, **drawn)
    test = Batches(data.test, plain, batch_size=task.batch, shuffle=False, **drawn)
    imitation = None
    if teacher:
        imitation = Imitation(model, placed(teacher.network, recipe, layout, fabric.device, 1), task, recipe)
    step = Step(fabric, ranks, model, network, optimizer, task, recipe, average, train, imitation)
    hashes, here = data.hashes(), environment(fabric.device, ranks.world) | {"layout": layout}
    taught = teacher.digest if teacher else ""
    at = ranks.one_by_one(lambda: resume(run, trained, train, hashes, here, taught))
    at.start = at.start or start
    identity = {"recipe": recipe.to_json(), "environment": here, "data": hashes, "teacher": taught}
    keeper = Keeper(run, ranks, at, trained, step, identity)
    if ranks.first:
        run.write_environment(here)
    if ranks.rank and not at.step:
        torch.manual_seed(recipe.seed + 1_000_003 * ranks.rank)  # models that draw numbers draw others elsewhere

    def measured(batches: Batches, network: nn.Module = tested) -> Metrics:
        ranks.share(tested)
        return evaluate_batches(network, batches, task, recipe.precision, ranks.sum)

    def stopped() -> InterruptedRunError:
        where = f"epoch {at.epoch + 1}, batch {at.batch}" if at.epoch < recipe.epochs else "after the last epoch"
        return InterruptedRunError(f"Stopped at step {at.step} ({where}) and saved. Continue: {continuing(run, place)}")

    # ---- training
    look_every = LOOK_EVERY[fabric.device.type]
    with (
        InterruptRequest() as interrupt,
        ProgressLine(recipe.epochs, quiet or not ranks.first, score_of(recipe.data)) as line,
        Logs(loggers if ranks.first else (), run.path, recipe.to_json()) as logs,
    ):
        line.say(header(run, recipe, at, costs, here))
        saved, metrics = -math.inf, None
        while at.epoch < recipe.epochs:
            network.train()
            started, rate = time.monotonic(), learning_rate(recipe, max(at.step - 1, 0), len(train))
            for plan in train.plan(at.epoch, start=at.batch):
                stopping, looking = False, at.step % look_every == 0
                if looking:
                    stopping, due = ranks.any(
                        interrupt.requested or started >= deadline, started - saved >= checkpoint_seconds
                    )
                    if stopping or due:
                        saved = keeper.stage(rate)
                    if at.step == 0:
                        keeper.commit()  # there is nothing before the first weights

                rate = learning_rate(recipe, at.step, len(train))
                step(plan, rate)
                if looking:
                    keeper.collect(rate)
                    keeper.commit()  # the staged weights have just had a finite loss
                if stopping:
                    raise stopped()

                now = time.monotonic()
                at.add(now - started)
                at.order = order_hash(at.order, plan.everyone)
                started = now
                if looking and line.due():
                    line.step(at.epoch, at.batch, len(train), task.metrics(at.sums), rate)

            keeper.collect(rate)
            metrics = measured(test)
            keeper.check(f"The test loss became {metrics.loss}", math.isfinite(metrics.loss), rate)
            row = at.close_epoch(rate, task.metrics(at.sums), metrics, recipe.scored_on)
            line.epoch(row)
            saved = keeper.stage(rate)
            if ranks.first:
                run.write_log(at.history)
                run.write_weights(tested)
                logs.epoch(row)
            keeper.commit()

        # ---- the record: both splits measured alike, in evaluation mode and without augmentation
        if any(ranks.any(interrupt.requested or time.monotonic() >= deadline)):
            raise stopped()
        line.say("measuring the training set ...")
        whole = Batches(data.train, plain, batch_size=task.batch, shuffle=False, **drawn)
        fitted = measured(whole)
        held_out = metrics or measured(test)  # a run that was continued after its last epoch has not measured it
        mirrored = measured(test, Mirrored(tested)) if recipe.flip_test else None
        if any(ranks.any(interrupt.requested)):
            raise stopped()
    record = {
        "recipe": recipe.to_json(),
        "command": recipe.command(),
        "parameters": costs.parameters,
        "macs": costs.macs,
        "input": list(data.shape),
        **fitted.values("train"),
        **held_out.values(recipe.scored_on),
        **({"test_classes": dict(held_out.classes)} if held_out.classes else {}),
        **(mirrored.values(f"{recipe.scored_on}_flip") if mirrored else {}),
        "seconds": round(at.seconds, 1),
        "steps": at.step,
        "data": hashes,
        **({"teacher": taught} if taught else {}),
        **({"start": at.start} if at.start else {}),
        "environment": here,
    }
    if ranks.first:
        run.write_record(record)
    ranks.wait()
    return Run(run.path, record)
