"""Loggers: what they are given, that a continued run goes on in the same place, and what is said when they cannot."""

import json
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from training_runs import STEPS, Stop, log, stop_at, tiny_recipe

from torchmg.errors import MissingExtraError, TorchmgError, UnknownNameError
from torchmg.train import logs
from torchmg.train.loop import fit

pytestmark = pytest.mark.usefixtures("data")


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """Every curve in a run's event files: step -> value."""
    events = EventAccumulator(str(folder / "tb")).Reload()
    return {tag: {event.step: event.value for event in events.Scalars(tag)} for tag in events.Tags()["scalars"]}


def test_tensorboard_has_the_rows_of_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny_recipe(tmp_path)
    with monkeypatch.context() as patch:
        stop_at(patch, "torchmg.train.loop.order_hash", STEPS + 2)
        with pytest.raises(Stop):
            fit(recipe, folder=tmp_path / "run", loggers=("tensorboard",), quiet=True)
    fit(recipe, folder=tmp_path / "run", loggers=("tensorboard",), quiet=True)  # goes on in the same folder
    curves = scalars(tmp_path / "run")
    for row in log(tmp_path / "run"):
        for key in ("lr", "train_loss", "train_accuracy", "test_loss", "test_accuracy"):
            assert curves[key][int(row["epoch"])] == pytest.approx(float(row[key]), rel=1e-6)
    assert set(curves["test_loss"]) == {1, 2}


class Fake:
    """What a logger is asked to do."""

    name = logs.PROJECT

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.experiment = self

    def log_hyperparams(self, values: dict[str, Any]) -> None:
        self.calls.append(("recipe", values["model"]))

    def log_metrics(self, numbers: dict[str, float], step: int) -> None:
        self.calls.append((f"epoch {step}", sorted(numbers)))

    def save(self) -> None:
        self.calls.append(("save", None))

    def finalize(self, status: str) -> None:
        self.calls.append(("finalize", status))

    def finish(self) -> None:
        self.calls.append(("finish", None))


def test_a_logger_gets_recipe_epochs_and_end_and_its_id_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[Fake, str | None]] = []

    def opened(folder: Path, known: str | None) -> tuple[Fake, str]:
        assert folder == tmp_path / "run"
        made.append((Fake(), known))
        return made[-1][0], "the-id"

    monkeypatch.setattr(logs, "find_spec", lambda _: True)
    monkeypatch.setitem(logs._OPENED, "wandb", opened)  # pyright: ignore
    recipe = tiny_recipe(tmp_path)
    with monkeypatch.context() as patch:
        stop_at(patch, "torchmg.train.loop.order_hash", STEPS + 2)
        with pytest.raises(Stop):
            fit(recipe, folder=tmp_path / "run", loggers=("wandb",), quiet=True)
    fit(recipe, folder=tmp_path / "run", loggers=("wandb",), quiet=True)
    assert [known for _, known in made] == [None, "the-id"]
    assert json.loads((tmp_path / "run" / "loggers.json").read_text()) == {"wandb": "the-id"}
    keys = ["lr", "seconds", "step", "test_accuracy", "test_loss", "train_accuracy", "train_loss"]
    for (logger, _), epoch, status in zip(made, (1, 2), ("failed", "success"), strict=True):
        assert logger.calls == [
            ("recipe", recipe.model),
            (f"epoch {epoch}", keys),
            ("save", None),
            ("finalize", status),
            ("finish", None),
        ]


def test_what_cannot_log_is_said_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny_recipe(tmp_path)

    def refused(*_: object) -> None:
        raise RuntimeError("no such server")

    with pytest.raises(UnknownNameError, match="tensorboard"):
        fit(recipe, folder=tmp_path / "run", loggers=("tensorbord",), quiet=True)  # pyright: ignore
    monkeypatch.setattr(logs, "find_spec", lambda _: None)
    for name, extra in (("wandb", "wandb"), ("mlflow", "mlflow"), ("tensorboard", "train")):
        with pytest.raises(MissingExtraError, match=rf"torchmg\[{extra}\]"):
            fit(recipe, folder=tmp_path / "run", loggers=(name,), quiet=True)  # pyright: ignore
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr(logs, "find_spec", lambda _: True)
    monkeypatch.setitem(logs._OPENED, "mlflow", refused)  # pyright: ignore
    with pytest.raises(TorchmgError, match="Logging to mlflow cannot start: no such server"):
        fit(recipe, folder=tmp_path / "run", loggers=("mlflow",), quiet=True)


@pytest.mark.slow
def test_mlflow_keeps_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    recipe = tiny_recipe(tmp_path)
    with monkeypatch.context() as patch:
        stop_at(patch, "torchmg.train.loop.order_hash", STEPS + 2)
        with pytest.raises(Stop):
            fit(recipe, folder=tmp_path / "run", loggers=("mlflow",), quiet=True)
    fit(recipe, folder=tmp_path / "run", loggers=("mlflow",), quiet=True)
    client = mlflow.MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name(logs.PROJECT).experiment_id])
    assert run.info.status == "FINISHED"
    history = client.get_metric_history(run.info.run_id, "test_loss")
    assert [entry.step for entry in history] == [1, 2]


@pytest.mark.slow
def test_wandb_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    fit(tiny_recipe(tmp_path), folder=tmp_path / "run", loggers=("wandb",), quiet=True)
    assert [*(tmp_path / "run").glob("wandb/offline-run-*/*.wandb")]
