"""Folded networks compute what the networks do, and have as few steps as they should."""

from collections import Counter

import pytest
import torch
from torch import Tensor, nn

from tests.inference.norm_statistics import randomised
from torchmg.inference.channels import block_weight, blocks, diagonal, selection
from torchmg.inference.graph import Network
from torchmg.inference.plan import fold
from torchmg.inference.torch_run import run_network
from torchmg.nn import MGICBlock
from torchmg.nn.mgnet import DataFeature


def folded(model: nn.Module, shape: tuple[int, ...]) -> Network:
    """The folded network, after its outputs were compared with the model's in double precision."""
    randomised(model)
    network = fold(model, shape)
    x = torch.randn(3, *shape)
    with torch.no_grad():
        wanted = model.double()(x.double())
        got = run_network(network, x)
    assert got.shape == wanted.shape
    assert (got - wanted).abs().max() <= 1e-5 * wanted.abs().max()
    return network


def kinds(network: Network) -> Counter[str]:
    return Counter(step.kind for step in network.steps)


def test_norm_and_activation_become_part_of_the_convolution() -> None:
    network = folded(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()), (3, 9, 8))
    assert kinds(network) == {"conv": 1}


def test_a_norm_of_what_two_read_is_a_convolution_of_its_own() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            return y.relu() + self.norm(y)

    assert kinds(folded(Twice(), (4, 7, 7)))["conv"] == 2


@pytest.mark.parametrize("order", ["neighbour", "interleaved", "pair", "linear", "lattice"])
@pytest.mark.parametrize("weights", ["own", "transpose"])
def test_transfers_of_every_order_are_convolutions(order: str, weights: str) -> None:
    if order == "linear" and weights == "transpose":
        pytest.skip("there is no such transfer")
    block = MGICBlock(32, group_size=8, coarsest=8, transfer_groups=order, transfer_weights=weights)  # pyright: ignore
    # Two restrictions, two prolongations, six convolutions; two differences; every norm, sum and ReLU is in them.
    # What interleaved groups of a prolongation return is put in its order by another one.
    convolutions = 12 if order == "interleaved" else 10
    assert kinds(folded(block, (32, 6, 5))) == {"conv": convolutions, "binary": 2}


def test_the_residual_of_a_data_feature_relation_is_one_step() -> None:
    class Relation(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.relation = DataFeature(8, 2, steps=2)

        def forward(self, f: Tensor) -> Tensor:
            return self.relation(torch.zeros_like(f), f)

    network = folded(Relation(), (8, 6, 6))
    # A of zero is not computed. A norm and ReLU of f - A u is a scale of each channel beside A; u + relu(N B) is in B.
    assert kinds(network) == {"conv": 5}


def test_what_is_not_known_is_left_to_torch_with_its_neighbours_right() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.scale = nn.Conv2d(4, 6, 1), nn.Parameter(torch.randn(6, 5, 5))

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x) * self.scale
            y = torch.cat([y[:, 1:3].relu(), y.flip(1)[:, ::2].tanh()], 1)
            return (y - y.mean(0, keepdim=True)).flatten(1)

    network = folded(Odd(), (4, 5, 5))
    names = {step.name for step in network.steps if step.kind == "torch"}
    assert {"mul", "flip", "tanh", "mean"} <= names


def test_matrices_of_channels() -> None:
    rows = torch.zeros(4, 6, dtype=torch.float64)
    rows[:2, :3], rows[2:, 3:] = torch.randn(2, 3), torch.randn(2, 3)
    assert blocks(rows) == 2
    assert torch.equal(block_weight(rows, 2)[..., 0, 0], torch.cat([rows[:2, :3], rows[2:, 3:]]))
    assert selection(torch.eye(5)[1:3]) == 1
    assert selection(torch.eye(5)[[2, 1]]) is None
    values = diagonal(torch.diag(torch.tensor([2.0, 0.0, 1.0])))
    assert values is not None
    assert values.tolist() == [2.0, 0.0, 1.0]
    assert diagonal(torch.ones(2, 2)) is None
