"""The small vision transformer: attention against torch's own, places, sizes, and what becomes multigrid."""

import pytest
import torch
from torch import nn

import torchmg
from torchmg.errors import UsageError
from torchmg.models.vit import TransformerLayer, places
from torchmg.nn import FeedForward, MGICBlock


def test_attention_is_multi_head_attention() -> None:
    layer, x = TransformerLayer(12, nn.Identity()), torch.randn(2, 7, 12)
    theirs = nn.MultiheadAttention(12, 3, batch_first=True)
    weights = {
        "in_proj_weight": layer.query_key_value.weight,
        "in_proj_bias": layer.query_key_value.bias,
        "out_proj.weight": layer.project.weight,
        "out_proj.bias": layer.project.bias,
    }
    theirs.load_state_dict({key: value.detach() for key, value in weights.items()})
    assert torch.allclose(layer.attention(x), theirs(x, x, x, need_weights=False)[0], atol=1e-6)


def test_a_layer_is_two_residual_steps() -> None:
    torch.manual_seed(0)
    layer, x = TransformerLayer(12, FeedForward(12)), torch.randn(2, 12, 3, 4)
    tokens = x.permute(0, 2, 3, 1).reshape(2, 12, 12)
    tokens = tokens + layer.attention(layer.norm(tokens))
    expected = torch.stack([layer.feed_forward(sample) for sample in tokens])
    assert torch.allclose(layer(x), expected.view(2, 3, 4, 12).permute(0, 3, 1, 2), atol=1e-6)


def test_places_tell_all_patches_apart() -> None:
    code = places(torch.zeros(1, 48, 8, 8)).flatten(1).T
    assert torch.cdist(code, code).fill_diagonal_(1).min() > 0.1
    assert code.abs().max() <= 1
    assert places(torch.zeros(1, 6, 2, 3)).shape == (6, 2, 3)


@pytest.mark.parametrize("name", ["vit_cifar", "mgic_vit_cifar"])
def test_order_of_patches_matters(name: str) -> None:
    model = torchmg.create(name, width=0.25).eval()
    x = torch.randn(1, 3, 16, 16)
    assert not torch.allclose(model(x), model(x.roll(4, 3)), atol=1e-4)


def test_only_feed_forward_layers_become_multigrid() -> None:
    dense, multigrid = torchmg.create("vit_cifar"), torchmg.create("mgic_vit_cifar")
    assert sum(isinstance(m, MGICBlock) for m in multigrid.modules()) == len(multigrid.layers) == 6
    attention = [
        sum(p.numel() for name, p in model.named_parameters() if "feed_forward" not in name)
        for model in (dense, multigrid)
    ]
    assert attention[0] == attention[1]
    roles = {label: parameters for label, parameters, _ in torchmg.count(multigrid).by("role")}
    assert {"stem", "attention", "relax", "coarsest", "restrict", "prolong", "head"} == set(roles)


def test_widths_that_heads_do_not_divide_are_explained() -> None:
    with pytest.raises(UsageError, match=r"width=0.3 makes 58 channels.*width=0.296875 \(57\) or width=0.3125 \(60\)"):
        torchmg.create("vit_cifar", width=0.3)
