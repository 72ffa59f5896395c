"""What a model is made of, in words."""

import torch
from torch import nn

import torchmg


def test_runs_of_equal_blocks_are_shown_once_in_the_order_of_the_network() -> None:
    text = torchmg.info(torchmg.create("mgic_resnet20"))
    tables = text.split("\n\n")
    assert [table.splitlines()[0] for table in tables] == [
        "stages.0.0 to stages.0.2",
        "stages.1.1 to stages.1.3",
        "stages.2.1 to stages.2.3",
    ]
    for table, channels in zip(tables, (16, 32, 64), strict=True):
        assert table.split("\n", 1)[1] == str(torchmg.Hierarchy(channels))


def test_a_single_block_names_itself_and_a_dense_model_says_so() -> None:
    model = nn.Sequential(nn.Conv2d(3, 32, 1), torchmg.nn.MGICBlock(32))
    assert torchmg.info(model).splitlines()[0] == "1"
    assert "no multigrid blocks" in torchmg.info(torchmg.create("resnet20"))
    assert torch.is_grad_enabled()
