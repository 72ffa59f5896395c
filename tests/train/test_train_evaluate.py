"""`evaluate` against a computation by hand."""

import math

import pytest
import torch
from torch import Tensor, nn
from training_runs import small_set

from torchmg import create, evaluate
from torchmg.data.images import ImageSet, ImageSplit
from torchmg.errors import UnknownNameError


class Brightness(nn.Module):
    """Logits that a person can compute: (mean, 0)."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        mean = self.scale * x.mean((1, 2, 3))
        return torch.stack([mean, torch.zeros_like(mean)], 1)


def flat_set() -> ImageSet:
    """Pictures of one grey level each: mean 3/5, deviation sqrt(0.24) of the training part, where 255 is 1."""
    images = torch.tensor([0, 255, 255, 0, 255], dtype=torch.uint8)[:, None, None, None].expand(5, 1, 2, 2)
    split = ImageSplit(images.contiguous(), torch.tensor([1, 0, 1, 1, 0]))
    return ImageSet("flat", ("light", "dark"), split, ImageSplit(images[:3].contiguous(), torch.tensor([1, 0, 1])))


def test_by_hand() -> None:
    dark, light = -0.6 / math.sqrt(0.24), 0.4 / math.sqrt(0.24)

    def loss(logit: float, label: int) -> float:
        return math.log(math.exp(logit) + 1) - (logit if label == 0 else 0)

    right = [loss(dark, 1), loss(light, 0), loss(light, 1), loss(dark, 1), loss(light, 0)]
    found = evaluate(Brightness(), flat_set(), "train")
    assert (found.loss, found.accuracy) == pytest.approx((sum(right) / 5, 80.0), rel=1e-6)
    found = evaluate(Brightness(), flat_set())
    assert (found.loss, found.accuracy) == pytest.approx((sum(right[:3]) / 3, 200 / 3), rel=1e-6)


@pytest.mark.parametrize("batch_size", [1, 7, 89, 90, 1000])
def test_the_batch_size_does_not_matter(batch_size: int) -> None:
    data = small_set()
    model = create("mgic_resnet20", in_channels=1, width=0.25, group_size=2, coarsest=4)
    whole = evaluate(model, data, batch_size=45)
    found = evaluate(model, data, batch_size=batch_size)
    assert found.accuracy == whole.accuracy
    assert found.loss == pytest.approx(whole.loss, rel=1e-6)


def test_every_mode_is_put_back_and_nothing_is_changed() -> None:
    model = create("resnet20", in_channels=1, width=0.25).train()
    model.stages[1].eval()  # somebody froze a stage's norms
    before = {name: module.training for name, module in model.named_modules()}
    state = {key: value.clone() for key, value in model.state_dict().items()}
    evaluate(model, small_set())
    assert {name: module.training for name, module in model.named_modules()} == before
    assert all(value.equal(state[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_mode_is_put_back_after_an_error_too() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3, 10)).train()
    with pytest.raises(RuntimeError):
        evaluate(model, small_set())
    assert model.training
    assert all(module.training for module in model)


def test_it_is_in_evaluation_mode() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.9), nn.Linear(256, 10)).train()
    assert evaluate(model, small_set()) == evaluate(model, small_set())


@pytest.mark.parametrize("channels_last", [True, False])
def test_the_memory_layout_changes_rounding_at_most(channels_last: bool) -> None:
    model = create("resnet20", in_channels=1, width=0.25)
    found = evaluate(model, small_set(), channels_last=channels_last)
    assert found.loss == pytest.approx(evaluate(model, small_set()).loss, rel=1e-6)


def test_an_unknown_split() -> None:
    with pytest.raises(UnknownNameError, match="train"):
        evaluate(Brightness(), small_set(), "trian")  # pyright: ignore
