"""Epoch metrics to TensorBoard, W&B and MLflow, through Fabric's loggers; `log.csv` is written in any case."""

import json
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, get_args
from uuid import uuid4

from torchmg.errors import MissingExtraError, TorchmgError
from torchmg.hierarchy import check_choice
from torchmg.train.files import read_text, write_json
from torchmg.train.settings import LoggerName

if TYPE_CHECKING:
    from lightning.fabric.loggers.logger import Logger

PROJECT = "torchmg"
"""W&B's project and MLflow's experiment."""


class Logs:
    """The loggers of one run, open while it trains; each gets every finished epoch.

    A continued run goes on in the same W&B run, MLflow run and TensorBoard folder: the ids that need keeping lie in
    `loggers.json` of the run folder.

    Args:
        names: which loggers, already checked.
        folder: the run folder.
        recipe: what the run is.

    Raises:
        TorchmgError: on entering, when a logger cannot be opened; the message carries its reason.
    """

    def __init__(self, names: Sequence[LoggerName], folder: Path, recipe: Mapping[str, Any]) -> None:
        self._names, self._folder, self._recipe = tuple(names), folder, recipe
        self._loggers: list[Logger] = []

    def __enter__(self) -> Self:
        kept = self._folder / "loggers.json"
        ids: dict[str, str] = json.loads(read_text(kept)) if kept.exists() else {}
        for name in self._names:
            try:
                logger, ids[name] = _OPENED[name](self._folder, ids.get(name))
                logger.log_hyperparams(dict(self._recipe))
            except Exception as error:
                raise TorchmgError(f"Logging to {name} cannot start: {error}") from error
            self._loggers.append(logger)
        if self._names:
            write_json(kept, ids)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        for logger in self._loggers:
            logger.finalize("success" if kind is None else "failed")
            if finish := getattr(getattr(logger, "experiment", None), "finish", None):
                finish()  # W&B holds on to its run, and would give it to the next

    def epoch(self, row: Mapping[str, Any]) -> None:
        """A finished epoch, a row of `log.csv`; the epoch, from 1, is the loggers' step."""
        for logger in self._loggers:
            logger.log_metrics({key: value for key, value in row.items() if key != "epoch"}, step=row["epoch"])
            logger.save()


def check_loggers(names: Sequence[str]) -> None:
    """Raise for a logger that is unknown or not installed: better before the work than after it.

    Raises:
        UnknownNameError: no such logger; the message names the nearest.
        MissingExtraError: its package is not installed.
    """
    for name in names:
        check_choice("loggers", name, get_args(LoggerName))
        if find_spec(name) is None:
            raise MissingExtraError(f"Logging to {name}", "train" if name == "tensorboard" else name)


def _tensorboard(folder: Path, known: str | None) -> "tuple[Logger, str]":
    from lightning.fabric.loggers.tensorboard import TensorBoardLogger

    return TensorBoardLogger(folder, name="tb", version="", default_hp_metric=False), "tb"


def _wandb(folder: Path, known: str | None) -> "tuple[Logger, str]":
    from lightning.pytorch.loggers import WandbLogger

    name = known or uuid4().hex[:12]
    return WandbLogger(folder.name, save_dir=folder, id=name, project=PROJECT, resume="allow"), name


def _mlflow(folder: Path, known: str | None) -> "tuple[Logger, str]":
    from lightning.pytorch.loggers import MLFlowLogger

    # the logger's own default is a store that MLflow has given up
    where = import_module("mlflow").get_tracking_uri()
    logger = MLFlowLogger(PROJECT, folder.name, where, run_id=known, synchronous=True)
    return logger, known or str(logger.run_id)


_OPENED = {"tensorboard": _tensorboard, "wandb": _wandb, "mlflow": _mlflow}
