"""Recomputing coarse levels: gradients and running statistics stay bit for bit, and autograd keeps less."""

import copy

import pytest
import torch
from torch import Tensor, nn

import torchmg
from torchmg.nn import MGICBlock
from torchmg.nn.recompute import without_statistics
from torchmg.nn.relax import Residual


def kept_by_autograd(block: nn.Module, x: Tensor) -> int:
    """Bytes of the distinct tensors that a forward pass saves, parameters apart."""
    own = {p.untyped_storage().data_ptr() for p in block.parameters()}
    seen: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        kept = block(x)  # alive, so that no two storages share an address
    assert kept.shape == x.shape
    return sum(seen.values())


def trained(block: nn.Module, x: Tensor, steps: int = 2) -> tuple[list[Tensor], list[Tensor]]:
    """Gradients of the last of some steps, of the input first, and all buffers."""
    x = x.clone().requires_grad_()
    for _ in range(steps):
        block.zero_grad()
        block(x).square().sum().backward()
    return [x.grad, *(p.grad for p in block.parameters())], list(block.buffers())  # pyright: ignore


@pytest.mark.parametrize(
    "options",
    [{}, {"cycle": "W", "pre": 1, "coarsest": 8}, {"cycle": "F", "coarsest": 4}, {"transfer_weights": "transpose"}],
    ids=str,
)
@pytest.mark.parametrize("training", [True, False])
def test_gradients_and_statistics_are_the_same_bits(options: dict, training: bool) -> None:
    torch.manual_seed(1)
    plain = MGICBlock(64, **options).train(training)
    again = copy.deepcopy(plain)
    again.recompute = True
    x = torch.randn(2, 64, 6, 5)
    for ours, theirs in zip(trained(again, x), trained(plain, x), strict=True):
        assert len(ours) == len(theirs)
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    norms = [m for m in again.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {int(m.num_batches_tracked) for m in norms if m.num_batches_tracked is not None} == {2 if training else 0}


def test_autograd_keeps_little_more_than_of_the_dense_twin() -> None:
    torch.manual_seed(1)
    x = torch.randn(2, 256, 8, 8)
    dense, plain, again = Residual(256), MGICBlock(256), MGICBlock(256, recompute=True)
    kept = [kept_by_autograd(block, x) for block in (dense, again, plain)]
    # The finest level's input, the sum of it and the correction, and the norm of P are what a dense block has not.
    assert kept[0] < kept[1] <= 1.3 * kept[0]
    assert kept[2] >= 1.7 * kept[0]


def test_without_gradients_nothing_is_kept_and_results_agree() -> None:
    block = MGICBlock(32, recompute=True).eval()
    x = torch.randn(1, 32, 4, 4)
    with torch.no_grad():
        quiet = block(x)
    assert torch.equal(quiet, block(x))


def test_statistics_come_back_after_an_error() -> None:
    norm = nn.BatchNorm2d(3)
    before = dict(norm.named_buffers())
    with pytest.raises(RuntimeError, match="stop"), without_statistics(norm):  # noqa: PT012
        norm(torch.randn(2, 3, 4, 4))
        assert norm.num_batches_tracked == 1
        raise RuntimeError("stop")
    assert norm.num_batches_tracked == 0
    assert all(norm.get_buffer(name) is buffer for name, buffer in before.items())


def test_a_whole_network_of_points_and_one_of_images() -> None:
    for name, shape in (("mgic_dgcnn", (2, 3, 32)), ("mgic_resnet20", (2, 3, 8, 8))):
        x = torch.randn(shape)
        results = []
        for recompute in (False, True):
            torch.manual_seed(3)
            model = torchmg.create(name, recompute=recompute)
            torch.manual_seed(4)  # of dropout
            model(x).square().sum().backward()
            results.append([p.grad for p in model.parameters()] + list(model.buffers()))
        assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
