"""Transfers that are not trained, and transfers drawn without sign or sum."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from torchmg.nn import MGICBlock, Prolongation, Restriction
from torchmg.nn.coupling import channel_coupling

OPTIONS: dict[str, Any] = {"group_size": 4, "coarsest": 8}


def trained(block: MGICBlock, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """What the block has after two steps with decay and momentum."""
    optimizer = torch.optim.SGD(block.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        block(x).square().mean().backward()
        optimizer.step()
    return {name: value.detach().clone() for name, value in block.state_dict().items()}


@pytest.mark.parametrize("init", ["uniform", "random", "gaussian"])
@pytest.mark.parametrize("norm", ["prolong", "none"])
@pytest.mark.parametrize("cycle", ["V", "W"])
def test_fixed_transfers_stay_as_drawn_while_the_rest_learns(init: Any, norm: Any, cycle: Any) -> None:
    how: dict[str, Any] = {**OPTIONS, "transfer_init": init, "transfer_norm": norm, "cycle": cycle}
    block = MGICBlock(32, **how, transfer_weights="fixed")
    before = {name: value.clone() for name, value in block.state_dict().items()}
    after = trained(block, torch.randn(4, 32, 6, 6))
    names = {name for name, _ in block.named_parameters()}
    rows = {f"{kind}.{level}.rows" for kind in ("restrict", "prolong") for level in (0, 1)}
    assert {name for name in names if not torch.equal(before[name], after[name])} == names - rows


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_other_gradients_are_those_of_a_block_whose_transfers_learn(layout: torch.memory_format) -> None:
    """In either layout, so with the fused kernels and without them."""
    own, fixed = MGICBlock(32, **OPTIONS), MGICBlock(32, **OPTIONS, transfer_weights="fixed")
    fixed.load_state_dict(own.state_dict())
    x = torch.randn(4, 32, 6, 6).contiguous(memory_format=layout)
    for block in (own, fixed):
        block(x).square().mean().backward()
    for (name, one), (_, other) in zip(own.named_parameters(), fixed.named_parameters(), strict=True):
        assert one.grad is not None
        assert one.grad.any()
        if name.endswith("rows"):
            assert other.grad is None
        else:
            torch.testing.assert_close(other.grad, one.grad, rtol=1e-4, atol=1e-6)
    assert own.costs() == fixed.costs()


@given(
    half=st.integers(200, 400),
    order=st.sampled_from(["neighbour", "interleaved", "pair", "linear"]),
    seed=st.integers(0, 99),
)
def test_gaussian_rows_have_the_averages_weights_as_variances(half: int, order: Any, seed: int) -> None:
    torch.manual_seed(seed)
    groups = half if order in ("pair", "linear") else 1
    for kind in (Restriction, Prolongation):
        drawn, average = (kind(2 * half, groups, init=init, order=order) for init in ("gaussian", "uniform"))
        unit = (drawn.rows / average.rows.sqrt()).detach()
        error = unit.numel() ** -0.5
        assert abs(unit.mean()) < 5 * error
        assert abs(unit.square().mean() - 1) < 5 * 2**0.5 * error
        # A third of a normal's numbers lies beyond one deviation, with this deviation of its own.
        assert abs((unit.abs() > 1).float().mean() - 0.3173) < 5 * 0.4655 * error


def test_gaussian_prolongations_may_be_transposes() -> None:
    block = MGICBlock(32, **OPTIONS, transfer_init="gaussian", transfer_weights="transpose")
    down, up = block.restrict[0], block.prolong[0]
    assert isinstance(down, Restriction)
    assert isinstance(up, Prolongation)
    assert torch.equal(up.dense_weight(), 2 * down.dense_weight().T)
    assert (down.rows < 0).any()


def test_multigrid_couplings_keep_the_variance_with_gaussian_transfers() -> None:
    """Twice that of independent inputs, on the average over draws, as `he` promises."""
    found = []
    for _ in range(40):
        coupling = channel_coupling("multigrid", 64, 64, padding="circular", transfer_init="gaussian", group_size=16)
        with torch.no_grad():
            found.append(coupling(torch.randn(4, 64, 6, 6)).var())
    assert torch.stack(found).mean().item() == pytest.approx(2, abs=0.2)
