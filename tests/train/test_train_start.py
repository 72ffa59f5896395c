"""Runs that start from given weights."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file, save_model
from torch import Tensor, nn
from training_runs import SMALL_MGIC, Stop, assert_same_run, equal, small_set, stop_at, tiny_recipe
from training_runs import weights as final

from torchmg.errors import DataError
from torchmg.models.options import ModelOptions
from torchmg.models.weights import digest
from torchmg.train.checkpoint import read_checkpoint
from torchmg.train.loop import fit
from torchmg.train.model import model_for
from torchmg.train.recipe import Recipe
from torchmg.train.start import start_from

pytestmark = pytest.mark.usefixtures("data")


def test_a_run_begins_with_the_weights_that_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = tiny_recipe(tmp_path, epochs=1)
    first = fit(plain, folder=tmp_path / "first", quiet=True).folder
    stop_at(monkeypatch, "torchmg.train.loop.order_hash", 1)
    with pytest.raises(Stop):
        fit(replace(plain, start_from=str(first), seed=3), folder=tmp_path / "next", checkpoint_seconds=0, quiet=True)
    begun = read_checkpoint(tmp_path / "next" / "last.ckpt")
    assert begun.progress.step == 0
    assert equal(begun.model, final(first))
    assert begun.progress.start == digest(final(first))


def test_the_file_is_not_needed_to_continue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = tiny_recipe(tmp_path)
    save_model(model_for(plain, small_set()), str(tmp_path / "begin.safetensors"))
    given = replace(plain, start_from=str(tmp_path / "begin.safetensors"))
    whole = fit(given, folder=tmp_path / "whole", quiet=True)
    with monkeypatch.context() as patch:
        stop_at(patch, "torchmg.train.loop.order_hash", 3)
        with pytest.raises(Stop):
            fit(given, folder=tmp_path / "run", checkpoint_seconds=0, quiet=True)
    start = digest(load_file(tmp_path / "begin.safetensors"))
    (tmp_path / "begin.safetensors").unlink()
    fit(given, folder=tmp_path / "run", quiet=True)
    assert_same_run(tmp_path / "run", whole.folder)
    assert whole.record["start"] == start


def test_shared_tensors_need_be_there_once(tmp_path: Path) -> None:
    def network() -> nn.Module:
        model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
        model[2].weight = model[0].weight  # pyright: ignore[reportArgumentType, reportAttributeAccessIssue]
        return model

    one, other = network(), network()
    save_model(one, str(tmp_path / "tied.safetensors"))
    assert len(load_file(tmp_path / "tied.safetensors")) == 3
    assert start_from(other, tmp_path / "tied.safetensors") == digest(one.state_dict())
    assert other[2].weight is other[0].weight  # pyright: ignore[reportIndexIssue]
    half = {name: tensor.half() for name, tensor in load_file(tmp_path / "tied.safetensors").items()}
    save_file(half, tmp_path / "half.safetensors", {"sha256": "of other types"})
    start_from(other, tmp_path / "half.safetensors")
    assert torch.allclose(other[0].bias, one[0].bias, rtol=1e-3)  # pyright: ignore


def held(folder: Path) -> dict[str, Tensor]:
    """A run's weights, no longer mapped from the file, which can then be overwritten."""
    return {name: tensor.clone() for name, tensor in final(folder).items()}


def without_head(folder: Path) -> None:
    kept = {name: tensor for name, tensor in held(folder).items() if not name.startswith("6.")}
    save_file(kept | {"more": torch.ones(1)}, folder / "last.safetensors")


def of_other_classes(folder: Path) -> None:
    save_file(held(folder) | {"6.weight": torch.ones(7, 8)}, folder / "last.safetensors")


def flipped(folder: Path) -> None:
    content = bytearray((folder / "last.safetensors").read_bytes())
    content[-5] ^= 1
    (folder / "last.safetensors").write_bytes(content)


def pickled(folder: Path) -> None:
    torch.save(held(folder), folder / "last.safetensors")


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (without_head, ["does not fit", "lacks 6.weight, 6.bias", "has no more"]),
        (of_other_classes, ["does not fit", "6.weight is (7, 8)", "(10, 8)"]),
        (flipped, ["damaged", "sha256"]),
        (pickled, ["not a readable safetensors file", "torch.save"]),
        (lambda folder: (folder / "last.safetensors").unlink(), ["no file", "last.safetensors"]),
    ],
)
def test_weights_that_do_not_fit_leave_no_folder(
    harm: Callable[[Path], object], words: list[str], tmp_path: Path
) -> None:
    plain = tiny_recipe(tmp_path, epochs=1)
    first = fit(plain, folder=tmp_path / "first", quiet=True).folder
    harm(first)
    with pytest.raises(DataError) as caught:
        fit(replace(plain, start_from=str(first)), folder=tmp_path / "run", quiet=True)
    for word in words:
        assert word in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_other_architectures_are_summed_up(tmp_path: Path) -> None:
    data = small_set()
    dense = model_for(Recipe(model="resnet20", options=ModelOptions(width=0.25)), data)
    save_model(dense, str(tmp_path / "dense.safetensors"))
    with pytest.raises(DataError, match=r"it lacks .*, .*, .* and \d+ more; the network has no .* and \d+ more"):
        start_from(model_for(Recipe(model="mgic_resnet20", options=SMALL_MGIC), data), tmp_path / "dense.safetensors")
