"""The moving average against torch's own, and where the two differ on purpose."""

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import torchmg
from torchmg.train.average import Average


def shaken(model: nn.Module, generator: torch.Generator) -> None:
    """Change every parameter and floating-point buffer in place."""
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                tensor.add_(torch.randn(tensor.shape, generator=generator))
            else:
                tensor.add_(1)


@pytest.mark.parametrize("decay", [0.5, 0.999])
def test_it_equals_torchs_average_of_weights_and_statistics(decay: float) -> None:
    generator = torch.Generator().manual_seed(0)
    model = torchmg.create("mgic_resnet20", width=0.25, group_size=2, coarsest=4)
    ours = Average(model, decay)
    theirs = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    for _ in range(5):
        shaken(model, generator)
        ours.update(model)
        theirs.update_parameters(model)
    state = theirs.module.state_dict()
    for key, value in ours.module.state_dict().items():
        if value.is_floating_point():
            assert not value.equal(model.state_dict()[key]), key
            torch.testing.assert_close(value, state[key], rtol=0, atol=0)
        else:
            assert value.equal(model.state_dict()[key]), key


class Indexed(nn.Module):
    """Holds a table of indices, a shared weight, and a buffer that each forward replaces."""

    index: Tensor
    last: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("index", torch.arange(100))
        self.register_buffer("last", torch.zeros(3))
        self.one = nn.Parameter(torch.randn(3))
        self.other = self.one

    def forward(self, x: Tensor) -> Tensor:
        self.last = x
        return x


def test_indices_stay_whole_ties_stay_tied_and_replaced_buffers_are_followed() -> None:
    model = Indexed()
    average = Average(model, 0.9)
    assert average.module.one is average.module.other
    assert not average.module.one.requires_grad
    for value in (1.0, 3.0):
        model(torch.full((3,), value))
        average.update(model)
    assert average.module.index.equal(torch.arange(100))
    torch.testing.assert_close(average.module.last, torch.full((3,), 0.9 * 1.0 + 0.1 * 3.0))
    assert average.module.one.equal(model.one)


def test_a_saved_average_goes_on() -> None:
    generator = torch.Generator().manual_seed(0)
    model = nn.Linear(3, 3)
    whole, broken = Average(model, 0.7), Average(model, 0.7)
    for step in range(4):
        shaken(model, generator)
        whole.update(model)
        broken.update(model)
        saved = broken.state_dict()
        broken = Average(nn.Linear(3, 3), 0.7)
        broken.load_state_dict(saved)
        assert broken.updates == step + 1
    assert broken.module.weight.equal(whole.module.weight)
