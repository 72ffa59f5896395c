"""What tests of cards and shipped weights share: a finished run without training, and the tool that ships."""

import importlib.util
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from torchmg.counting.report import count
from torchmg.models.options import ModelOptions
from torchmg.train.environment import environment
from torchmg.train.evaluate import evaluate
from torchmg.train.folder import RunFolder
from torchmg.train.model import data_for, model_for
from torchmg.train.recipe import Recipe, recipe

ROOT = Path(__file__).resolve().parent.parent
SMALL = replace(recipe("digits_mgiad20"), options=ModelOptions(width=0.25, group_size=2, coarsest=4))
"""Few channels of MGiaD, on the digits."""


def finished_run(folder: Path, made: Recipe = SMALL, **changes: Any) -> Path:
    """A run folder as a finished run leaves it, of a network with random weights; `changes` are to its record."""
    data = data_for(made)
    torch.manual_seed(7)
    model = model_for(made, data)
    run = RunFolder.open(made, folder)
    run.write_weights(model)
    costs = count(model, data.shape)
    record = {
        "recipe": made.to_json(),
        "command": made.command(),
        "parameters": costs.parameters,
        "macs": costs.macs,
        "input": list(data.shape),
        **evaluate(model, data, "train").values("train"),
        **evaluate(model, data, "test").values("test"),
        "seconds": 1.5,
        "steps": 900,
        "data": data.hashes(),
        "environment": environment(torch.device("cpu")),
    }
    run.write_record({**record, **changes})
    return folder


def ship_tool() -> ModuleType:
    """tools/ship.py as a module."""
    spec = importlib.util.spec_from_file_location("ship", ROOT / "tools" / "ship.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
