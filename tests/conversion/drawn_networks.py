"""Random networks to convert, and what is asked of them."""

from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from torchmg import MGIC, Circulant, Lean
from torchmg.conversion.convert import convert
from torchmg.conversion.schemes import Scheme
from torchmg.errors import UsageError

CONVS: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED: dict[int, Any] = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
BATCH_NORMS: dict[int, Any] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
WIDTHS = (7, 8, 12, 16, 20, 24)
Drawn = tuple[nn.Module, Tensor]


class Plus(nn.Module):
    """A user's skip connection."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


class Residual(nn.Module):
    """A user's residual block, recognised as one."""

    def __init__(self, width: int, hidden: int, dims: int = 2) -> None:
        super().__init__()
        self.a = CONVS[dims](width, hidden, 3, padding=1, bias=False)
        self.norm = BATCH_NORMS[dims](hidden)
        self.b = CONVS[dims](hidden, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.b(torch.relu(self.norm(self.a(x)))))


def same_size(draw: st.DrawFn, dims: int, width: int, wide: int) -> nn.Module:
    """A dense layer that keeps the resolution."""
    bias = draw(st.booleans())
    if dims == 0:
        return nn.Linear(width, wide, bias=bias)
    kind, kernel = draw(st.sampled_from([CONVS, TRANSPOSED])), draw(st.sampled_from([1, 3]))
    return kind[dims](width, wide, kernel, padding=kernel // 2, bias=bias)


def resizing(draw: st.DrawFn, dims: int, width: int, wide: int) -> nn.Module:
    """A dense layer of any geometry."""
    if dims == 0:
        return nn.Linear(width, wide)
    if draw(st.booleans()):
        return TRANSPOSED[dims](width, wide, 2, stride=2)
    mode = draw(st.sampled_from(["zeros", "circular", "replicate"]))
    return CONVS[dims](
        width, wide, (3,) + (1,) * (dims - 1), stride=2, padding=(1,) + (0,) * (dims - 1), padding_mode=mode
    )


def norm(dims: int, width: int, flat: bool) -> nn.Module:
    if dims == 0:
        return nn.BatchNorm1d(width) if flat else nn.LayerNorm(width)
    return BATCH_NORMS[dims](width)


@st.composite
def networks(draw: st.DrawFn) -> Drawn:
    """A network with at least one layer that can be converted, trained statistics included, and what it takes."""
    dims, flat = draw(st.integers(0, 3)), draw(st.booleans())
    torch.manual_seed(draw(st.integers(0, 2**16)))
    width = first = draw(st.sampled_from(WIDTHS))
    parts: list[nn.Module] = []
    shared: dict[int, nn.Module] = {}
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["wide", "resize", "plus", "nest", "shared", "residual"]))
        if kind == "wide":
            wide = draw(st.sampled_from(WIDTHS))
            parts += [same_size(draw, dims, width, wide), norm(dims, wide, flat), nn.ReLU(inplace=True)]
            width = wide
        elif kind == "resize":
            wide = draw(st.sampled_from(WIDTHS))
            parts.append(resizing(draw, dims, width, wide))
            width = wide
        elif kind == "plus":
            parts.append(Plus(nn.Sequential(norm(dims, width, flat), same_size(draw, dims, width, width), nn.GELU())))
        elif kind == "nest":
            parts.append(nn.Sequential(nn.Sequential(same_size(draw, dims, width, width)), nn.Tanh()))
        elif kind == "shared":
            if width not in shared:
                shared[width] = same_size(draw, dims, width, width)
            parts.append(shared[width])
        elif dims:
            parts.append(Residual(width, draw(st.sampled_from([8, 12, 16])), dims))
    parts += [same_size(draw, dims, width, 16), nn.Sequential(same_size(draw, dims, 16, 8))]
    net = nn.Sequential(*parts)
    x = torch.randn(3, first, *(4,) * dims) if dims else torch.randn(3, first) if flat else torch.randn(2, 3, first)
    with torch.no_grad():
        net(x)
    return net.train(draw(st.booleans())), x


SCHEMES = st.one_of(
    st.builds(MGIC, st.sampled_from([2, 4, None]), st.sampled_from([4, 6, 8]), st.booleans(), st.booleans()),
    st.builds(Lean, st.sampled_from(["9", "5", None]), st.sampled_from([1, 2, None])),
    st.builds(Circulant, st.sampled_from([2, 4, None])),
)


@torch.no_grad()
def run(net: nn.Module, x: Any) -> Tensor:
    """Output in evaluation mode; the modes are as before."""
    modes = {module: module.training for module in net.modules()}
    try:
        return net.eval()(x).clone()
    finally:
        for module, training in modes.items():
            module.training = training


def state(net: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}


def unchanged(net: nn.Module, modules: dict[str, nn.Module], before: dict[str, Tensor]) -> bool:
    """Whether a network has the same objects and the same numbers."""
    now = dict(net.named_modules(remove_duplicate=False))
    tensors = net.state_dict()
    same = now.keys() == modules.keys() and all(now[name] is module for name, module in modules.items())
    return same and tensors.keys() == before.keys() and all(torch.equal(tensors[k], v) for k, v in before.items())


def converted(net: nn.Module, scheme: Scheme | None = None, **options: Any) -> tuple[nn.Module, Any] | None:
    """The conversion of everything; None where the scheme has nothing to offer this network."""
    try:
        return convert(net, scheme, stem=True, head=True, **options)
    except UsageError as error:
        assert "What matches" in str(error)  # noqa: PT017
        return None
