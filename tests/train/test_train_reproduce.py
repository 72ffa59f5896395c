"""How many predictions may differ, and which predictions are looked at."""

import pytest
import torch
from torch import Tensor, nn

from torchmg.train.reproduce import allowed, predictions_of


@pytest.mark.parametrize(
    ("samples", "flips"), [(1, 1), (360, 1), (1000, 1), (5000, 1), (5001, 2), (10_000, 2), (10_001, 3), (26_032, 6)]
)
def test_two_of_ten_thousand_rounded_up(samples: int, flips: int) -> None:
    assert allowed(samples) == flips


def test_the_classes_of_every_batch_in_order() -> None:
    class Brightest(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean((2, 3))

    model = Brightest()
    batches = [torch.randn(size, 5, 2, 3) for size in (4, 1, 7)]
    with predictions_of(model) as found:
        for batch in batches:
            model(batch)
    model(batches[0])  # no longer looked at
    assert [part.tolist() for part in found] == [[int(image.mean((1, 2)).argmax()) for image in b] for b in batches]


def test_it_stops_looking_after_an_error_too() -> None:
    model = nn.Linear(2, 2)
    with pytest.raises(ZeroDivisionError), predictions_of(model) as found:
        raise ZeroDivisionError
    model(torch.ones(1, 2))
    assert found == []
