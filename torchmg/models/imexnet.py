"""Dense prediction at full resolution by diffusion-reaction steps: IMEXnet.

Widths 64, 128, 256, each with a 3x3 convolution that opens it and three steps; no pooling, because an implicit step
of diffusion sees the whole picture; a 1x1 classifier for every pixel. `released=True` is the network of the authors'
code (Haber, Lensink, Treister, Ruthotto, "IMEXnet: A Forward Stable Deep Neural Network", ICML 2019, arXiv 1903.02639;
spec 2.8), otherwise steps are those of the library, damping and narrower.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Unpack

from torch import Tensor, nn

from torchmg.errors import UsageError
from torchmg.hierarchy import CouplingName
from torchmg.models.pde_steps import EXPLICIT, CouplingOptions, DiffusionOptions, StepOptions, time_steps
from torchmg.models.resnet import Staged
from torchmg.models.sizes import FeatureInfo, check_sizes, scaled
from torchmg.nn.conv_norm_act import ConvNormAct
from torchmg.nn.coupling import channel_coupling
from torchmg.nn.diffusion import ImplicitDiffusion
from torchmg.nn.imexnet import IMEXnetCodeStep
from torchmg.nn.mgic import Part
from torchmg.nn.time_steps import TimeSteps

WIDTHS = (64, 128, 256)
"""As released."""
STEPS = 3
"""At each width, as released."""
CLASSES = 4
"""Of the released synthetic task, "Q-tips": background and three kinds of bars."""
LIGHT = 0.25
"""Width multiplier of the library's form: the released widths cost 22 GMACs on 64 x 64 pixels."""


class IMEXNet(Staged):
    """Images (batch, in_channels, H, W) -> logits (batch, num_classes, H, W), without a change of resolution.

    `forward_features` returns what leaves each width.

    Args:
        block: builds the steps of a width.
        widths: one or more.
        num_classes: classes of a pixel.
        in_channels: channels of the images.

    Raises:
        UsageError: no width, sizes below 1.
    """

    def __init__(
        self, block: Callable[[int], nn.Module], widths: Sequence[int] = WIDTHS, *, num_classes: int, in_channels: int
    ) -> None:
        check_sizes(num_classes=num_classes, in_channels=in_channels)
        if not widths:
            raise UsageError("An IMEXnet needs at least one width; got none. The released ones are 64, 128, 256.")
        stem, stages = ConvNormAct(in_channels, widths[0]), [nn.Sequential()]
        stages[0].add_module("steps", block(widths[0]))
        for before, width in pairwise(widths):
            stages.append(nn.Sequential())
            stages[-1].add_module("opening", ConvNormAct(before, width))
            stages[-1].add_module("steps", block(width))
        info = [FeatureInfo(num_chs=width, reduction=1, module=f"stages.{i}") for i, width in enumerate(widths)]
        super().__init__(stem, stages, info)
        self.head = nn.Conv2d(widths[-1], num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of every pixel."""
        return self.head(self.forward_features(x)[-1])

    def parts(self) -> Iterator[Part]:
        """Roles: steps are relaxations on the finest level of channels; openings after the first are shortcuts."""
        yield Part("stem", "stem")
        yield Part("head", "head")
        for index in range(len(self.stages)):
            yield Part(f"stages.{index}.steps", "relax", 0)
            if index > 0:
                yield Part(f"stages.{index}.opening", "shortcut")


class IMEXNetOptions(StepOptions, CouplingOptions, DiffusionOptions, total=False):
    """Options of the library's form."""

    coupling: CouplingName
    """K of the reaction (default full)."""


def imexnet(
    *,
    num_classes: int = CLASSES,
    in_channels: int = 3,
    width: float | None = None,
    released: bool = False,
    **options: Unpack[IMEXNetOptions],
) -> IMEXNet:
    """IMEXnet. With `scheme="explicit"` it is its baseline, the same network without the solve.

    Args:
        num_classes: classes of a pixel.
        in_channels: channels of the images; the released network has 1.
        width: multiplier on the released widths; 1 with `released`, else a quarter.
        released: steps as in the authors' code: a full coupling whose stencils are shifted to a mean of zero, the plus
            sign, one batch norm in two places, stencils of diffusion drawn uniformly. Of the options it takes
            `steps`, `h` and `scheme`, `imex` or `explicit`.
        **options: as in `time_steps`; `scheme` is `imex` unless given, and diffusion starts `spread` where it is solved
            exactly: with the mild smoothing of `smooth` a network of few steps stays as blind to what is far as without
            (`results/lowcost/reach`).

    Raises:
        UsageError: sizes below 1, options that the released form does not have, and as `time_steps`.
        UnknownNameError: an unknown choice; the message names the nearest.
    """
    options = {"scheme": "imex", **options}
    if not released and options["scheme"] not in EXPLICIT and options.get("backend") != "sweeps":
        options = {"diffusion_init": "spread", **options}
    block = partial(_released_steps, **options) if released else partial(time_steps, **options)
    if width is None:
        width = 1.0 if released else LIGHT
    return IMEXNet(block, scaled(WIDTHS, width), num_classes=num_classes, in_channels=in_channels)


class _NoDiffusion(nn.Module):
    """What the baseline has in place of the solve."""

    h = 1.0

    def forward(self, y: Tensor) -> Tensor:
        return y

    def operator(self, y: Tensor) -> Tensor:
        return y.new_zeros(()) * y


def _released_steps(
    channels: int, *, steps: int = STEPS, h: float = 1.0, scheme: str = "imex", **others: object
) -> TimeSteps:
    if others or scheme not in ("imex", "explicit") or steps < 1:
        given = {"steps": steps, "scheme": scheme, **others}
        raise UsageError(
            "released=True takes steps from 1, h, and scheme='imex' or 'explicit'; got "
            f"{', '.join(f'{name}={value!r}' for name, value in given.items())}. Leave the others or released out."
        )

    def step() -> IMEXnetCodeStep:
        coupling = channel_coupling("full", channels, channels)
        for weight, _ in coupling.variances():
            nn.init.uniform_(weight, 0, 1e-3)
        solve = ImplicitDiffusion(channels, h=h, init="imexnet") if scheme == "imex" else _NoDiffusion()
        return IMEXnetCodeStep(coupling, solve, h=h)

    return TimeSteps(*(step() for _ in range(steps)))
