"""Disturbed networks against dense linear algebra, the theorem of symmetric steps, and closed forms."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from torchmg.errors import UsageError
from torchmg.models.registry import create
from torchmg.study.disturbed import disturb, ranges, sites
from torchmg.study.rounding import Quantiser


class Linear(nn.Module):
    """Blocks y -> A y over the channels, logits by means over the pixels."""

    def __init__(self, matrices: list[Tensor]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            [nn.Sequential(*(nn.Conv2d(a.shape[1], a.shape[0], 1, bias=False) for a in matrices))]
        )
        self.feature_info = [{"num_chs": len(matrices[-1]), "reduction": 1, "module": "stages.0"}]
        for conv, a in zip(self.stages[0], matrices, strict=True):  # pyright: ignore[reportArgumentType]
            conv.weight.data = a[:, :, None, None].clone()

    def forward(self, x: Tensor) -> Tensor:
        return self.stages[0](x).mean((2, 3))


def given(*shape: int, seed: int = 0, batches: int = 2) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(batches):
        x, direction = torch.randn(2, *shape, generator=generator)
        yield x, torch.zeros(len(x), dtype=torch.int64), direction


def test_a_linear_network_grows_as_its_matrices_say() -> None:
    generator = torch.Generator().manual_seed(1)
    matrices = [torch.randn(4, 4, generator=generator) for _ in range(3)]
    found = disturb(Linear(matrices), names := sites(Linear(matrices)), given(5, 4, 3, 3), perturbations=(1e-3, 0.05))
    assert names == ("stages.0.0", "stages.0.1", "stages.0.2")
    assert found.images == 10
    ratios, steps = [], []
    for x, _, d in given(5, 4, 3, 3):
        e = (d * x.flatten(1).norm(dim=1).view(-1, 1, 1, 1) / d.flatten(1).norm(dim=1).view(-1, 1, 1, 1)).double()
        u, v, below = x.double(), e, [e]
        lengths = []
        for a in matrices:
            u, v = (torch.einsum("oi,nihw->nohw", a.double(), w) for w in (u, v))
            lengths.append([w.flatten(1).norm(dim=1) for w in (v, u)])
            below.append(v)
        lengths.append([w.mean((2, 3)).norm(dim=1) for w in (v, u)])
        ratios.append(torch.stack([one / other for one, other in lengths]))
        sizes = torch.stack([w.flatten(1).norm(dim=1) for w in below])
        steps.append(sizes[1:] / sizes[:-1])
    growth, expansion = torch.cat(ratios, 1), torch.cat(steps, 1)
    for size, tolerance in ((1e-3, 2e-3), (0.05, 1e-4)):
        assert found.growth[size].mean == pytest.approx(growth.mean(1).tolist(), rel=tolerance)
        assert found.growth[size].largest == pytest.approx(growth.amax(1).tolist(), rel=tolerance)
        assert found.expansion[size].mean == pytest.approx(expansion.mean(1).tolist(), rel=tolerance)
        assert found.expansion[size].largest == pytest.approx(expansion.amax(1).tolist(), rel=tolerance)


def test_doubled_rotations_grow_by_one_and_expand_by_two() -> None:
    generator = torch.Generator().manual_seed(1)
    turns = [2 * torch.linalg.qr(torch.randn(6, 6, generator=generator)).Q for _ in range(4)]
    found = disturb(Linear(turns), sites(Linear(turns)), given(3, 6, 1, 1), perturbations=(0.01,))
    assert found.growth[0.01].largest == pytest.approx([1.0] * 5, rel=1e-4)
    assert found.expansion[0.01].mean == pytest.approx([2.0] * 4, rel=1e-4)


@pytest.mark.parametrize("scheme", ["explicit", "imex"])
def test_certified_symmetric_steps_never_expand_and_larger_ones_do(scheme: str) -> None:
    torch.manual_seed(3)
    how = {"num_classes": 10, "in_channels": 1, "width": 0.25, "norm": "none", "scheme": scheme}
    nets = {kept: create("parabolic", certified=kept, **how).eval() for kept in (True, False)}
    worst = {}
    for kept, net in nets.items():
        with torch.no_grad():
            for name, weight in net.named_parameters():
                if ".steps." in name and "diffusion" not in name:
                    weight.mul_(40)  # far beyond h ||K||^2 = 2, but where the certificate keeps it
        found = disturb(net, sites(net), given(4, 1, 12, 12), perturbations=(1e-2,))
        worst[kept] = max(found.expansion[1e-2].largest)
    assert worst[True] <= 1 + 1e-4
    assert worst[False] > 2


def test_rounding_errors_are_those_of_the_rounded_tensors_and_vanish_with_bits() -> None:
    eye = torch.eye(3)
    net = Linear([eye, 2 * eye])
    names = sites(net)
    limits = ranges(net, names, (x for x, _, _ in given(5, 3, 4, 4)))
    every = torch.cat([x for x, _, _ in given(5, 3, 4, 4)])
    low, high = every.min().item(), every.max().item()
    assert limits == [(low, high), (2 * low, 2 * high)]
    found = disturb(net, names, given(5, 3, 4, 4), bits=(4, 8, 16), limits=limits)
    for bits in (4, 8):
        once = Quantiser(low, high, bits)(every)
        # twice as large values on a grid twice as wide: the second rounding moves nothing
        expected = (once - every).square().sum() / every.square().sum()
        assert found.error[bits][:2] == pytest.approx([expected.item()] * 2, rel=1e-4)
        errors = (once - every).mean((2, 3)).square().sum() / every.mean((2, 3)).square().sum()
        assert found.error[bits][2] == pytest.approx(errors.item(), rel=1e-3)
    assert max(found.error[16]) < 1e-7
    assert found.same[16] == 100
    chosen = torch.cat([net(x).argmax(1) for x, _, _ in given(5, 3, 4, 4)])
    assert found.accuracy == pytest.approx(100 * (chosen == 0).float().mean().item())
    assert found.rounded_accuracy[16] == found.accuracy


@pytest.mark.parametrize(
    ("model", "options", "expected"),
    [
        ("parabolic", {}, [f"stages.{i}.steps.{j}" for i in range(3) for j in range(3)]),
        ("hamiltonian", {"steps": 1}, [f"stages.{i}.steps.0" for i in range(3)]),
        ("second_order", {}, [f"stages.{i}.steps" for i in range(3)]),
        (
            "parabolic",
            {"scheme": "imex", "steps": 2},
            [f"stages.{i}.steps.{j}" for i in range(3) for j in range(2)],
        ),
        ("resnet20", {}, [f"stages.{i}.{j}" for i in range(3) for j in range(3)]),
        ("mgic_resnet20", {}, None),
        ("mgnet20", {}, None),
        ("vit_cifar", {}, None),
    ],
)
def test_every_kind_of_network_is_looked_at_in_the_order_of_its_depth(
    model: str, options: dict, expected: list[str] | None
) -> None:
    from torchmg.models.catalog import find

    channels, *size = find(model).input
    net = create(model, num_classes=4, width=0.5, **options).eval()
    names = sites(net)
    assert expected is None or list(names) == expected
    batches = list(given(2, channels, *size, batches=1))
    found = disturb(net, names, batches, perturbations=(0.01,), bits=(8,), limits=ranges(net, names, [batches[0][0]]))
    assert len(found.growth[0.01].mean) == len(found.error[8]) == len(names) + 1
    assert min(found.growth[0.01].mean) > 0
    assert 0 < min(found.error[8][:-1]) <= max(found.error[8]) < 0.5
    # no hook is left behind
    assert not any(module._forward_hooks for module in net.modules())


def test_what_cannot_be_measured_is_named() -> None:
    with pytest.raises(UsageError, match=r"Flatten has neither time steps nor feature_info.*resnet20"):
        sites(nn.Flatten())
    net = Linear([torch.eye(2)] * 2)
    net.unused = nn.Identity()
    with pytest.raises(UsageError, match="does not pass unused exactly once"):
        ranges(net, ("stages.0.0", "unused"), [torch.ones(1, 2, 1, 1)])
    with pytest.raises(UsageError, match="no images"):
        disturb(net, sites(net), [], perturbations=(0.1,))
    broken = Linear([torch.full((2, 2), float("nan"))])
    with pytest.raises(UsageError, match="not finite"):
        disturb(broken, sites(broken), given(1, 2, 1, 1), perturbations=(0.1,))
