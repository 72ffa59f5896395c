"""Transfers keep positive rows with sum 1 in a whole model, whatever popular pass re-initialises the rest."""

import itertools
from collections.abc import Callable

import pytest
import torch
from helpers import matrix
from torch import nn

import torchmg
from torchmg.nn import Transfer


def kaiming_on_convolutions(model: nn.Module) -> None:
    """torchvision's ResNet."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
            nn.init.constant_(module.weight, 1)
            nn.init.constant_(module.bias, 0)


def normal_on_class_names(model: nn.Module) -> None:
    """The DCGAN tutorial's `weights_init`."""

    def weights_init(module: nn.Module) -> None:
        name = type(module).__name__
        if "Conv" in name and hasattr(module, "weight"):
            nn.init.normal_(module.weight, 0.0, 0.02)
        elif "BatchNorm" in name:
            nn.init.normal_(module.weight, 1.0, 0.02)
            nn.init.constant_(module.bias, 0)

    model.apply(weights_init)


def normal_on_everything_with_a_weight(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(getattr(module, "weight", None), torch.Tensor):
            nn.init.normal_(module.weight)


def xavier_on_matrices(model: nn.Module) -> None:
    """The annotated Transformer."""
    for parameter in model.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)


def xavier_on_names_with_weight(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if "weight" in name and parameter.dim() > 1:
            nn.init.xavier_normal_(parameter)
        elif "weight" in name:
            nn.init.ones_(parameter)
        elif "bias" in name:
            nn.init.zeros_(parameter)


def reset_everything(model: nn.Module) -> None:
    for module in model.modules():
        if callable(reset := getattr(module, "reset_parameters", None)):
            reset()


def truncated_normal(model: nn.Module) -> None:
    """timm's vision transformers and ConvNeXt."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def orthogonal_on_convolutions_and_linears(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.modules.conv._ConvNd | nn.Linear):
            nn.init.orthogonal_(module.weight)


def nothing(model: nn.Module) -> None:
    """Only what building does."""


PASSES = [
    nothing,
    kaiming_on_convolutions,
    normal_on_class_names,
    normal_on_everything_with_a_weight,
    xavier_on_matrices,
    xavier_on_names_with_weight,
    reset_everything,
    truncated_normal,
    orthogonal_on_convolutions_and_linears,
]
OPTIONS = [
    dict(zip(("transfer_init", "transfer_weights", "transfer_groups"), values, strict=True))
    for values in itertools.product(("random", "uniform"), ("own", "transpose"), ("neighbour", "interleaved"))
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(options.values()))
@pytest.mark.parametrize("initialise", PASSES, ids=lambda function: function.__name__)
def test_rows_stay_positive_with_sum_1(initialise: Callable[[nn.Module], None], options: dict[str, str]) -> None:
    model = torchmg.create("mgic_resnet20", **options)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    initialise(model)
    changed = [not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True)]
    assert any(changed) or initialise is nothing, "the pass must have touched something"
    transfers = [module for module in model.modules() if isinstance(module, Transfer)]
    assert len(transfers) == 3 * 2 * (1 + 2)
    for transfer in transfers:
        dense = matrix(transfer)
        assert (dense >= 0).all()
        assert ((dense > 0).sum(1) == transfer.in_channels // transfer.groups).all()
        assert torch.allclose(dense.sum(1), torch.ones(len(dense), dtype=torch.float64), atol=1e-6)
        assert torch.equal(transfer.dense_weight().double(), dense)
