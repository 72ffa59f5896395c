"""The training loop: a recipe in, a run folder out, and everything in between in plain sight.

Sample order and augmentation are functions of (seed, epoch, index), and the learning rate of the step. So a run's
state is its weights, its momentum and its position; that is what a checkpoint holds, and why a continued run equals
an unbroken one bit for bit on a CPU.
"""

import math
import shlex
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.nn import functional as F

from torchmg.counting.report import count
from torchmg.data.batches import Batches
from torchmg.data.order import order_hash
from torchmg.data.sets import load
from torchmg.errors import DivergedError, InterruptedRunError
from torchmg.train.checkpoint import Checkpoint, Checkpointer, Progress, finite, rng_states
from torchmg.train.engine import engine
from torchmg.train.environment import environment
from torchmg.train.evaluate import evaluate_batches
from torchmg.train.folder import RunFolder
from torchmg.train.interrupt import InterruptRequest
from torchmg.train.model import model_for
from torchmg.train.progress import ProgressLine
from torchmg.train.recipe import Recipe
from torchmg.train.resume import resume
from torchmg.train.schedule import learning_rate, sgd


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
        checkpoint_seconds: a kill loses at most this much work, or an epoch if that is less; 0 saves at every step.
        deadline: the reading of `time.monotonic()` at which to save and stop, as if by Ctrl-C. A step or an
            evaluation in progress is finished, so stop early enough.
        quiet: no progress on standard error.

    Raises:
        DataError: the data cannot be read.
        ResumeError: `folder` holds a run of another recipe, or on other data.
        DivergedError: the loss stopped being finite; the last checkpoint is from before.
        InterruptedRunError: Ctrl-C or the deadline; the run is saved and the message names the command that continues it.
    """
    named = None if folder is None else Path(folder)
    known = RunFolder.open(recipe, named) if named is not None and RunFolder(named).config.exists() else None
    if known is not None and (record := known.record()):
        ProgressLine(recipe.epochs, quiet).say(f"{known.path} is finished: nothing to train")
        return Run(known.path, record)

    # ---- set-up
    data = load(recipe.data, data_dir)
    fabric = engine(device, recipe.precision)
    layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
    torch.manual_seed(recipe.seed)
    model = model_for(recipe, data)
    costs = count(model, data.shape)
    # only now, so that data, devices and models that do not work leave no empty folder behind
    run = known or (RunFolder.create(recipe, Path(out)) if named is None else RunFolder.open(recipe, named))
    model = model.to(memory_format=layout)  # pyright: ignore[reportCallIssue]
    network, optimizer = fabric.setup(model, sgd(model, recipe))
    place: dict[str, Any] = {"device": fabric.device, "channels_last": recipe.channels_last}
    statistics = {"mean": data.mean, "std": data.std}
    train = Batches(
        data.train, batch_size=recipe.batch_size, seed=recipe.seed, augment=recipe.augment, **statistics, **place
    )
    test = Batches(data.test, batch_size=500, shuffle=False, **statistics, **place)
    hashes, here = data.hashes(), environment(fabric.device)
    run.write_environment(here)
    checkpointer = Checkpointer(run.checkpoint)
    at = resume(run, model, optimizer, train, hashes, here)

    def diverged(what: str, rate: float) -> DivergedError:
        checkpointer.discard()
        return DivergedError(
            f"{what} at step {at.step} (epoch {at.epoch + 1}, batch {at.batch}), learning rate {rate:.6g}. "
            f"{run.checkpoint} is from before it. Train again with a lower lr or a longer warmup_epochs."
        )

    def stage(rate: float) -> float:
        if not finite(model):
            raise diverged("The weights or running statistics stopped being finite", rate)
        states = model.state_dict(), optimizer.state_dict()
        checkpointer.stage(Checkpoint(at, *states, recipe.to_json(), here, hashes, rng_states()))
        return time.monotonic()

    def stopped() -> InterruptedRunError:
        where = f"epoch {at.epoch + 1}, batch {at.batch}" if at.epoch < recipe.epochs else "after the last epoch"
        return InterruptedRunError(
            f"Stopped at step {at.step} ({where}) and saved. Continue: {_continuing(run, data_dir, device)}"
        )

    # ---- training
    with InterruptRequest() as interrupt, ProgressLine(recipe.epochs, quiet) as line:
        line.say(_header(run, recipe, at, costs.parameters, costs.macs, here))
        saved = -math.inf
        while at.epoch < recipe.epochs:
            network.train()
            started, rate = time.monotonic(), 0.0
            for images, labels, indices in train.epoch(at.epoch, start=at.batch):
                stopping = interrupt.requested or started >= deadline
                if stopping or started - saved >= checkpoint_seconds:
                    saved = stage(rate)
                if at.step == 0:
                    checkpointer.commit()  # there is nothing before the first weights

                rate = learning_rate(recipe, at.step, len(train))
                for group in optimizer.param_groups:
                    group["lr"] = rate
                logits = network(images)
                loss = F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
                if not math.isfinite(value := loss.item()):
                    raise diverged(f"The loss became {value}", rate)
                checkpointer.commit()  # the staged weights have just had a finite loss
                if stopping:
                    raise stopped()
                fabric.backward(loss)
                optimizer.step()
                optimizer.zero_grad()

                now = time.monotonic()
                at.add(value, int((logits.argmax(1) == labels).sum()), len(labels), now - started)
                at.order = order_hash(at.order, indices)
                started = now
                if line.due():
                    line.step(at.epoch, at.batch, len(train), at.numbers(rate))

            metrics = evaluate_batches(network, test)
            if not math.isfinite(metrics.loss):
                raise diverged(f"The test loss became {metrics.loss}", rate)
            line.epoch(at.close_epoch(rate, metrics))
            saved = stage(rate)
            run.write_log(at.history)
            run.write_weights(model)
            checkpointer.commit()

        # ---- the record: both splits measured alike, in evaluation mode and without augmentation
        if interrupt.requested or time.monotonic() >= deadline:
            raise stopped()
        line.say("measuring the training set ...")
        plain = Batches(data.train, batch_size=500, shuffle=False, **statistics, **place)
        fitted, held_out = evaluate_batches(network, plain), evaluate_batches(network, test)
        if interrupt.requested:
            raise stopped()
    record = {
        "recipe": recipe.to_json(),
        "command": recipe.command(),
        "parameters": costs.parameters,
        "macs": costs.macs,
        "input": list(data.shape),
        "train_accuracy": fitted.accuracy,
        "train_loss": fitted.loss,
        "test_accuracy": held_out.accuracy,
        "test_loss": held_out.loss,
        "seconds": round(at.seconds, 1),
        "steps": at.step,
        "data": hashes,
        "environment": here,
    }
    run.write_record(record)
    return Run(run.path, record)


def _continuing(run: RunFolder, data_dir: str | Path | None, device: str) -> str:
    """The command that continues a run, from the same folder, as a shell takes it."""
    where = [] if data_dir is None else ["--data-dir", str(data_dir)]
    place = [] if device == "auto" else ["--device", device]
    return shlex.join(["torchmg", "train", "--resume", str(run.path), *where, *place])


def _header(run: RunFolder, recipe: Recipe, at: Progress, parameters: int, macs: int, here: dict[str, Any]) -> str:
    options = " ".join(f"{key}={value}" for key, value in recipe.options.given().items())
    lines = [
        f"recipe  {recipe.name} (our settings: batch {recipe.batch_size}, lr {recipe.lr:g} {recipe.schedule}, "
        f"weight decay {recipe.weight_decay:g}, {recipe.epochs} epochs, augment {recipe.augment}, seed {recipe.seed})",
        f"model   {recipe.model} {options}  parameters {parameters:,}  MACs {macs:,}",
        f"engine  torch {here['torch']}, {here['device']}, {here['threads']} threads, {recipe.precision}",
        f"run     {run.path}" + (f", continued at step {at.step}" if at.step else ""),
    ]
    return "\n".join(lines)
