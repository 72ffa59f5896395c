"""A whitening start: what the first convolution gives of training patches, and that a run keeps it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from training_runs import STEPS, Stop, assert_same_run, small_set, stop_at, tiny_recipe

import torchmg
from torchmg.data.images import ImageSet, ImageSplit
from torchmg.errors import UsageError
from torchmg.models.options import ModelOptions
from torchmg.train.checkpoint import read_checkpoint
from torchmg.train.loop import fit
from torchmg.train.model import model_for
from torchmg.train.recipe import Recipe, recipe
from torchmg.train.whiten import principal_components, whiten


def textured(channels: int, count: int = 60) -> ImageSet:
    """Smooth pictures whose channels go together: patches far from white, but with variance in all directions."""
    generator = torch.Generator().manual_seed(channels)
    noise = torch.randn(count, channels, 14, 14, generator=generator)
    smooth = F.avg_pool2d(noise, 3, 1) * 2 + 0.4 * noise[:, :, 1:-1, 1:-1] + noise[:, :1, 1:-1, 1:-1]
    images = (128 + 40 * smooth).clamp(0, 255).to(torch.uint8)
    split = ImageSplit(images, torch.arange(count) % 10)
    return ImageSet("digits", tuple("0123456789"), split, split)


def responses(conv: nn.Conv2d, data: ImageSet) -> Tensor:
    """What the convolution gives of every patch of the training pictures, (patches, filters), in float64."""
    pictures, _ = data.preparation()(data.train.images, data.train.labels, None)
    with torch.no_grad():
        maps = F.conv2d(pictures.double(), conv.weight.double())
    return maps.transpose(0, 1).flatten(1).T


@pytest.mark.parametrize(("channels", "size", "filters"), [(1, 3, 16), (1, 3, 30), (3, 3, 16), (3, 3, 64), (1, 5, 8)])
def test_the_responses_to_training_patches_are_white(channels: int, size: int, filters: int) -> None:
    data = textured(channels)
    conv = nn.Conv2d(channels, filters, size, bias=False)
    first = conv.weight.detach().clone()
    whiten(nn.Sequential(conv, nn.ReLU()), data)
    half = min(channels * size * size, filters // 2)
    found = responses(conv, data)
    covariance = np.cov(found[:, :half].numpy(), rowvar=False, bias=True)
    assert covariance == pytest.approx(np.eye(half), abs=2e-3)
    assert torch.equal(conv.weight[half : 2 * half], -conv.weight[:half])
    assert torch.equal(conv.weight[2 * half :], first[2 * half :])


def test_components_are_numpys_of_all_patches() -> None:
    data = textured(2)
    variances, vectors = principal_components(data, (3, 2))
    pictures = data.preparation()(data.train.images, data.train.labels, None)[0].double().numpy()
    patches = np.lib.stride_tricks.sliding_window_view(pictures, (3, 2), (2, 3)).transpose(0, 2, 3, 1, 4, 5)
    covariance = np.cov(patches.reshape(-1, 12), rowvar=False, bias=True)
    assert vectors.T.numpy() @ covariance @ vectors.numpy() == pytest.approx(np.diag(variances.numpy()), abs=1e-9)
    assert variances.tolist() == sorted(variances.tolist(), reverse=True)
    assert np.trace(covariance) == pytest.approx(float(variances.sum()))


def test_flat_directions_are_not_blown_up() -> None:
    """Pictures of one level each: their patches vary in one direction only."""
    levels = torch.arange(0, 240, 4, dtype=torch.uint8)
    split = ImageSplit(levels[:, None, None, None].expand(60, 1, 8, 8).contiguous(), torch.arange(60) % 10)
    conv = nn.Conv2d(1, 8, 3, bias=False)
    data = ImageSet("digits", tuple("0123456789"), split, split)
    whiten(conv, data)
    assert conv.weight.isfinite().all()
    assert conv.weight.flatten(1).norm(dim=1).max() <= 1.01 / (9 * 1e-4) ** 0.5


@pytest.mark.parametrize("model", ["mgiad20", "mgic_resnet20", "resnet20"])
def test_networks_keep_their_counts(model: str) -> None:
    data = textured(1)
    options = ModelOptions(group_size=8, coarsest=16) if model != "resnet20" else ModelOptions()
    network = model_for(Recipe(model=model, options=options), data)
    before = torchmg.count(network, input=data.shape)
    stem = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    whiten(network, data)
    assert torchmg.count(network, input=data.shape) == before
    assert np.cov(responses(stem, data)[:, :8].numpy(), rowvar=False) == pytest.approx(np.eye(8), abs=2e-3)
    assert stem.weight.requires_grad


@pytest.mark.parametrize(
    "network", [nn.Linear(4, 4), nn.Conv2d(1, 1, 3), nn.Sequential(nn.Conv2d(4, 4, 3), nn.Conv2d(1, 8, 3))]
)
def test_a_network_without_such_a_convolution_is_refused(network: nn.Module) -> None:
    with pytest.raises(UsageError, match="whiten needs a network that begins with"):
        whiten(network, textured(1))


@pytest.mark.parametrize("name", ["whiten", "zero_init"])
def test_weights_to_start_from_would_be_lost(name: str) -> None:
    with pytest.raises(UsageError, match=f"start_from gives the weights that {name} would replace"):
        recipe("digits", **{name: True, "start_from": "runs/one"})
    with pytest.raises(UsageError, match=f"archive:some gives the weights that {name} would replace"):
        recipe("digits", **{name: True, "model": "archive:some"})


@pytest.mark.usefixtures("data")
def test_a_run_begins_white_and_continues_as_if_it_had_never_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tiny_recipe(tmp_path, whiten=True)
    whole = fit(made, folder=tmp_path / "whole", quiet=True)
    with monkeypatch.context() as patch:
        stop_at(patch, "torchmg.train.loop.order_hash", 1)
        with pytest.raises(Stop):
            fit(made, folder=tmp_path / "run", checkpoint_seconds=0, quiet=True)
    expected = model_for(made, small_set())
    whiten(expected, small_set())
    begun = read_checkpoint(tmp_path / "run" / "last.ckpt")
    assert begun.progress.step == 0
    assert torch.equal(begun.model["0.weight"], expected.state_dict()["0.weight"])
    with monkeypatch.context() as patch:
        stop_at(patch, "torchmg.train.loop.order_hash", STEPS + 2)
        with pytest.raises(Stop):
            fit(made, folder=tmp_path / "run", checkpoint_seconds=0, quiet=True)
    monkeypatch.setattr("torchmg.train.model.whiten", lambda *_: pytest.fail("it whitens again"))
    fit(made, folder=tmp_path / "run", quiet=True)
    assert_same_run(tmp_path / "run", whole.folder)
    plain = fit(replace(made, whiten=False, epochs=1), folder=tmp_path / "plain", quiet=True)
    assert plain.record["train_loss"] != whole.record["train_loss"]
