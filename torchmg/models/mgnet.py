"""MgNet and MGiaD: multigrid in resolution, and in resolution and channels.

Both walk down the resolutions once, and on every one solve A u = f approximately for the features u of the data f:
MgNet by smoothing steps, MGiaD by a cycle over widths (`SiC`). The features of the coarsest resolution are classified.
Widths follow ResNet-18 (64, 128, 256, 256: He and Xu keep the last at 256) and ResNet-20 (16, 32, 64).

Sources: van Betteray, Rottmann, Kahl, "MGiaD: Multigrid in all dimensions", Algorithms 1 to 3; He, Xu, "MgNet", 2019.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, TypedDict, TypeVar, Unpack, cast

from torch import Tensor, nn

from torchmg.errors import UsageError
from torchmg.hierarchy import GridInit, GridTransferKind, NormUses, Share, divisors
from torchmg.models.classifier import Classifies
from torchmg.models.sizes import FeatureInfo, check_sizes, scaled
from torchmg.nn.conv import check_input
from torchmg.nn.conv_norm_act import ConvNormAct
from torchmg.nn.cycle import descend
from torchmg.nn.grid import GridRestriction
from torchmg.nn.mgic import Part
from torchmg.nn.mgnet import DataFeature, RelationOptions, coarsen
from torchmg.nn.sic import SiC, SiCOptions

WIDTHS = {18: (64, 128, 256, 256), 20: (16, 32, 64)}
"""Depth of the ResNet that a model stands beside -> widths of its resolutions."""
STEPS = {18: 2, 20: 3}
"""Depth -> smoothing steps on every resolution of MgNet, the blocks of a ResNet's stage."""
COARSEST = {18: 64, 20: 16}
"""Depth -> width of full coupling in MGiaD: the narrowest resolution's own."""


class GridOptions(TypedDict, total=False):
    """How resolutions are connected; meanings in `MgNet`."""

    fas: bool
    grid_transfer: GridTransferKind
    grid_init: GridInit
    grid_norm: bool
    residual_act: bool


class MgNetOptions(RelationOptions, GridOptions, total=False):
    """Options of MgNet models beside their sizes."""


class MGiaDOptions(SiCOptions, GridOptions, total=False):
    """Options of MGiaD models beside their sizes."""


Options = TypeVar("Options", RelationOptions, SiCOptions, GridOptions)


class MgNet(Classifies):
    """Stem, a smoother on every resolution with transfers between them, head: images to logits.

    With f = stem(x), u = 0, on each resolution u <- smoother(u, f), and to the next one

        u_c = Pi u,    f_c = R(f - A u) + A_c u_c        (`fas`, the default: full approximation scheme)
        u_c = 0,       f_c = R(f - A u)                  (Algorithm 1 as printed)

    Args:
        smoothers: one for each resolution, finest first: `DataFeature` or `SiC`.
        widths: channels of each.
        num_classes, in_channels: of the head and of the images.
        fas: see above.
        grid_transfer: see `GridTransferKind`.
        grid_init: see `GridInit`.
        grid_norm: batch norm and ReLU after R and Pi (He and Xu).
        residual_act: ReLU on f - A u before R.
    """

    def __init__(
        self,
        smoothers: Sequence[DataFeature | SiC],
        widths: Sequence[int],
        *,
        num_classes: int,
        in_channels: int,
        fas: bool = True,
        grid_transfer: GridTransferKind = "depthwise",
        grid_init: GridInit = "random",
        grid_norm: bool = False,
        residual_act: bool = False,
    ) -> None:
        super().__init__()
        transfer = partial(GridRestriction, kind=grid_transfer, init=grid_init, norm=grid_norm)
        self.stem = ConvNormAct(in_channels, widths[0])
        self.smoothers = nn.ModuleList(smoothers)
        self.restrict = nn.ModuleList(transfer(c, d, rectify=residual_act) for c, d in pairwise(widths))
        self.project = nn.ModuleList(transfer(c, d) for c, d in pairwise(widths) if fas)
        self.head = nn.Linear(widths[-1], num_classes)
        self.feature_info = [
            FeatureInfo(num_chs=width, reduction=2**i, module=f"smoothers.{i}") for i, width in enumerate(widths)
        ]

    def forward_features(self, x: Tensor) -> list[Tensor]:
        """The features u of every resolution, (batch, num_chs, H / reduction, W / reduction) each."""
        check_input(x, self.stem.conv.in_channels)
        f = self.stem(x)
        relations = [s.finest for s in self.smoothers if isinstance(s, DataFeature | SiC)]
        project = self.project if len(self.project) else [None] * len(self.restrict)
        down = [
            partial(coarsen, fine=fine, coarse=coarse, restrict=r, project=pi)
            for (fine, coarse), r, pi in zip(pairwise(relations), self.restrict, project, strict=True)
        ]
        return descend(relations[0].zero(f), f, down, list(self.smoothers))

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (batch, num_classes)."""
        return self.head(self.forward_features(x)[-1].mean((2, 3)))

    def parts(self) -> Iterator[Part]:
        """Roles of what is not inside a SiC; an MgNet level is one relaxation on the finest width."""
        yield Part("stem", "stem")
        yield Part("head", "head")
        yield from (Part(name, "grid transfer") for name in ("restrict", "project"))
        for index, smoother in enumerate(self.smoothers):
            if isinstance(smoother, DataFeature):
                yield Part(f"smoothers.{index}", "relax", 0)


def _plan(depth: int, width: float) -> list[int]:
    if depth not in WIDTHS:
        raise UsageError(f"depth must be one of {', '.join(map(str, WIDTHS))}; got {depth}.")
    return scaled(WIDTHS[depth], width)


def mgnet(
    depth: int,
    *,
    num_classes: int = 10,
    in_channels: int = 3,
    width: float = 1.0,
    steps: int | None = None,
    group_size: int | None = None,
    **options: Unpack[MgNetOptions],
) -> MgNet:
    """MgNet (MGiaD paper, Algorithm 1 with the full approximation scheme).

    Args:
        depth: 18 or 20, the ResNet whose widths it has.
        num_classes: classes of the linear head.
        in_channels: channels of the images.
        width: multiplier on every width.
        steps: smoothing steps on each resolution, nu; default 2 for 18 and 3 for 20.
        group_size: channels per group of A and B (Table VI); None couples all of them.
        **options: of `DataFeature` and of `MgNet`. `share="level"`, the default, is the paper's MgNet^{A,B}, `"A"` its
            MgNet^A; `norms="level"` fits the published counts of Tables III and VI.

    Raises:
        UsageError: sizes below 1, a `group_size` that does not divide a wider width, no steps, a degree outside 1 to 4.
        UnknownNameError: an unknown choice; the message names the nearest.
    """
    check_sizes(num_classes=num_classes, in_channels=in_channels)
    widths = _plan(depth, width)
    steps = STEPS[depth] if steps is None else steps
    relation = _those_of(RelationOptions, options)
    levels = [DataFeature(c, groups_of(c, group_size), steps=steps, **relation) for c in widths]
    grid = _those_of(GridOptions, options)
    return MgNet(levels, widths, num_classes=num_classes, in_channels=in_channels, **grid)


def hexu(
    *,
    num_classes: int = 10,
    in_channels: int = 3,
    width: float = 1.0,
    steps: int = 2,
    share: Share = "level",
    norms: NormUses = "use",
) -> MgNet:
    """MgNet as He and Xu build it: one width, dense transfers with norm and ReLU.

    Args:
        num_classes: classes of the linear head.
        in_channels: channels of the images.
        width: multiplier on the 256 channels that u and f have on every resolution.
        steps: smoothing steps on each of the four resolutions.
        share: see `Share`.
        norms: see `NormUses`.

    Raises:
        UsageError: sizes below 1.
    """
    check_sizes(num_classes=num_classes, in_channels=in_channels)
    widths = scaled([256] * 4, width)
    relations = [DataFeature(channels, steps=steps, share=share, norms=norms) for channels in widths]
    options = GridOptions(grid_transfer="dense", grid_norm=True)
    return MgNet(relations, widths, num_classes=num_classes, in_channels=in_channels, **options)


def mgiad(
    depth: int,
    *,
    num_classes: int = 10,
    in_channels: int = 3,
    width: float = 1.0,
    **options: Unpack[MGiaDOptions],
) -> MgNet:
    """MGiaD (MGiaD paper, Algorithm 3): MgNet whose resolutions are each solved by a cycle over widths.

    Args:
        depth: 18 or 20, the ResNet whose widths it has.
        num_classes: classes of the linear head.
        in_channels: channels of the images.
        width: multiplier on every width, the paper's lambda; parameters grow about linearly.
        **options: of `SiC`, such as `group_size=8`, `coarsest` (default here: 64 for 18, 16 for 20) and `eta_post=1`,
            and of `MgNet`. `channel_fas` is the full approximation scheme between widths, `fas` between resolutions.

    Raises:
        UsageError: sizes below 1, no smoothing steps, a degree outside 1 to 4.
        UnknownNameError: an unknown choice; the message names the nearest.
    """
    check_sizes(num_classes=num_classes, in_channels=in_channels)
    widths = _plan(depth, width)
    cycle: SiCOptions = {"coarsest": COARSEST[depth], **_those_of(SiCOptions, options)}
    grid = _those_of(GridOptions, options)
    return MgNet([SiC(c, **cycle) for c in widths], widths, num_classes=num_classes, in_channels=in_channels, **grid)


def _those_of(kind: type[Options], options: Mapping[str, Any]) -> Options:
    """The options that `kind` declares."""
    return cast(Options, {name: value for name, value in options.items() if name in kind.__annotations__})


def groups_of(channels: int, group_size: int | None) -> int:
    """Groups of `group_size` channels; one where that is None or at least the width.

    Raises:
        UsageError: a size below 1 or one that does not divide the width; the message names the nearest that does.
    """
    if group_size is None:
        return 1
    if not isinstance(group_size, int) or group_size < 1:
        raise UsageError(f"group_size must be a whole number of channels, at least 1; got {group_size!r}.")
    if group_size >= channels:
        return 1
    if channels % group_size:
        near = min(divisors(channels), key=lambda d: abs(d - group_size))
        raise UsageError(
            f"group_size={group_size} does not divide a width of {channels}; the nearest that does: {near}."
        )
    return channels // group_size
