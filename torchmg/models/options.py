"""The options of catalogue models as one flat value, for recipes and command lines. No torch."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from torchmg.hierarchy import (
    Correction,
    CouplingName,
    CycleKind,
    GridInit,
    GridTransferKind,
    GroupBy,
    GroupRule,
    NormUses,
    Share,
    ShortcutKind,
    SmootherKind,
    StopRule,
    TransferGroups,
    TransferInit,
    TransferNorm,
    TransferWeights,
)
from torchmg.hierarchy.diffusion import DiffusionBackend, DiffusionInit

Preset = Literal["paper", "table5", "reference_code", "two_level"]
"""Where the hierarchy's rules come from. `paper`: the text (`le`, `ceil`), the default; `table5`: the rules that
come nearest to the paper's Table 5 (`le1`, `ceil`); `reference_code`: what the authors' published ResNet file
computes, to the last parameter and MAC (`lt1`, `floor`) though not its initialisation, which overwrites the transfers;
`two_level`: one coarsening in every block whatever its width (`le1` with `coarsest` = the widest stage, 64 in the
CIFAR networks), with groups of 8 the nearest to the 0.41 M parameters of the paper's Table 3."""

MobilePreset = Literal["paper", "table13", "budget_140m"]
"""Presets of MGIC-MobileNetV3. `paper`: the text and its Table 6, squeeze and excitation on all levels (5.95 M
parameters and 174 M MACs at width 1, where Table 7 prints 5.2 M and 145 M); `table13`: what comes nearest to the
parameters of Tables 7 and 13: `ceil_down` groups, squeeze to 1/8, a head that follows the width;
`budget_140m`: what has about Table 7's 5.2 M and 140 M at width 1, though not with its sizes: groups and coarsest
width of 32, squeeze and excitation on the finest level only."""
PDEPreset = Literal["cifar10", "cifar100", "stl10"]
"""Widths and classes of the PDE networks for these data sets (Ruthotto and Haber's drivers)."""
ActOrder = Literal["post", "pre"]
"""Residual blocks: a ReLU after the sum (`post`), or norm and ReLU before each convolution and none after (`pre`)."""
Stencil = Literal["9", "5", "3", "3h", "3v"]
"""Taps of a lean coupling, of which the centre belongs to its 1x1 part: all nine of 3x3, the star of five, three in a
row (`3h`) or in a column (`3v`); `3` takes turns, a row first, so that two convolutions cover 3x3."""
Dynamics = Literal["parabolic", "hamiltonian", "second_order"]
"""What the steps of a PDE network discretise: y' = F(y) by explicit Euler, y' = F1(z) and z' = -F2(y) on two halves of
the channels by Verlet's method, or y'' = F(y) by leapfrog (spec 2.1)."""
Layer = Literal["symmetric", "double"]
"""F of a step: K^T act(N(K y)), one coupling and its exact adjoint; or K2 act(N(K1 y)), two, at the same MACs."""
SignWord = Literal["minus", "plus"]
"""Sign of F: minus damps symmetric layers, plus is IMEXnet's released code."""
Scheme = Literal["explicit", "split", "imex", "lie", "imexnet", "strang"]
"""How a diffusion-reaction step treats diffusion; `torchmg.nn.reaction.ReactionScheme` says what each is."""
StepNorm = Literal["batch", "nonnegative", "tv", "none"]
"""Norms inside of time steps; `torchmg.nn.step_norm` says what each is."""
PointwisePart = Literal["full", "circulant"]
"""The 1x1 part of a lean coupling."""
Evaluation = Literal["dense", "channel_fft"]
"""How circulant couplings are computed."""
Activation = Literal["hswish", "relu"]
SELevels = Literal["all", "finest"]
GraphOf = Literal["features", "positions"]
"""What neighbours are near in: `features`, the input of each graph convolution, as in DGCNN, so that graphs change as
the network learns; `positions`, the coordinates, one graph for the whole network."""
HeadScale = Literal["wide", "always"]
"""`wide`: the classifier's inner layer follows the width multiplier above 1 only, as in MobileNetV3's code; `always`:
below 1, too."""

GraphConvName = Literal["edge", "diff"]
"""Convolutions of point clouds: `edge` of DGCNN (Wang et al. 2019), `diff` of DiffGCN (Eliasof, Treister 2020)."""


@dataclass(frozen=True)
class ModelOptions:
    """What to change about a model; None leaves the model's own default."""

    group_size: int | None = None
    """Channels per group above the coarsest level (MGIC, MGiaD; default 8, for ImageNet 32), or on every one (MgNet;
    default all)."""
    coarsest: int | None = None
    """Width at which channels are fully coupled (MGIC models; default 16, for ImageNet 64; MGiaD: 64 for mgiad18,
    16 for mgiad20)."""
    width: float | None = None
    """Multiplier on every stage's width (default 1)."""
    channels: int | None = None
    """Width where a model has one: the last of a network for functions, a power of two from 16; of the feature maps
    that transfers code (default 64)."""
    output_stride: int | None = None
    """Size of the pictures over that of the coarsest map, 8, 16 or 32 (segmentation; default 16)."""
    conv: GraphConvName | None = None
    """Graph convolution of the networks for clouds (default edge)."""
    graph_of: GraphOf | None = None
    """What neighbours are near in: features (default; each layer's own graph) or positions (one graph, faster)."""
    neighbours: int | None = None
    """Neighbours of a point in a graph, itself excluded (point clouds; default 20)."""
    preset: Preset | MobilePreset | PDEPreset | None = None
    """Where the hierarchy's rules come from (MGIC models; default paper), or the widths (PDE networks; default
    cifar10)."""
    shortcut: ShortcutKind | None = None
    """How MGIC models change width and resolution (default depthwise)."""
    stop: StopRule | None = None
    """When to stop coarsening; overrides the preset."""
    group_rule: GroupRule | None = None
    """How many groups where sizes do not divide; overrides the preset."""
    group_by: GroupBy | None = None
    """Which width of a bottleneck the sizes are measured on."""
    transfer_init: TransferInit | None = None
    """First values of the transfers' rows (default random, positive with sum 1; gaussian has either sign)."""
    transfer_weights: TransferWeights | None = None
    """Whether a prolongation has its own weights (default own), its restriction's, transposed, or neither is trained
    (fixed)."""
    transfer_groups: TransferGroups | None = None
    """Which fine channels a coarse one averages (default neighbour)."""
    transfer_norm: TransferNorm | None = None
    """Which transfers are normalised (default prolong)."""
    cycle: CycleKind | None = None
    """How often coarser levels are visited (default V: once)."""
    pre: int | None = None
    """Relaxations of a level before its restriction (default 0)."""
    post: int | None = None
    """Relaxations of a level after its correction (default 1)."""
    recompute: bool | None = None
    """Train in less memory by computing coarser levels again in the backward pass (MGIC models; default no)."""
    eta_pre: int | None = None
    """Smoothing steps before a correction (MGiaD; default 1)."""
    eta_post: int | None = None
    """Smoothing steps after a correction (MGiaD; default 1)."""
    act: Activation | None = None
    """Activation of MGIC-MobileNetV3 (default hswish, where the paper's table has it)."""
    se_levels: SELevels | None = None
    """Levels with squeeze and excitation (MGIC-MobileNetV3; default all, or the preset's)."""
    se_ratio: float | None = None
    """Inner width of squeeze and excitation over the hidden width (MGIC-MobileNetV3; default 0.25)."""
    head_scale: HeadScale | None = None
    """Whether the classifier's inner layer follows width below 1 (MGIC-MobileNetV3; default wide: no)."""
    steps: int | None = None
    """Steps on each resolution: of smoothing (MgNet; default 2 for mgnet18, 3 for mgnet20), or in time (PDE networks;
    default 3)."""
    share: Share | None = None
    """Which maps the smoothing steps of a level share (MgNet, MGiaD; default level: A and B)."""
    norms: NormUses | None = None
    """Whether each smoothing step has norms of its own (MgNet, MGiaD; default use: it has)."""
    smoother: SmootherKind | None = None
    """What the feature map B is: a convolution, or a polynomial in A (MgNet, MGiaD; default conv)."""
    degree: int | None = None
    """Degree of a polynomial B, 1 to 4 (default 1)."""
    correction: Correction | None = None
    """What of a coarser level's result is prolonged (MGIC, MGiaD; default fas: the difference)."""
    correction_act: bool | None = None
    """ReLU on the prolonged correction (MGiaD; default no)."""
    fas: bool | None = None
    """Full approximation scheme between resolutions (MgNet, MGiaD; default yes)."""
    channel_fas: bool | None = None
    """Full approximation scheme between widths (MGiaD; default yes)."""
    grid_transfer: GridTransferKind | None = None
    """Transfers between resolutions (MgNet, MGiaD; default depthwise)."""
    grid_init: GridInit | None = None
    """First values of the transfers between resolutions (default random)."""
    grid_norm: bool | None = None
    """Batch norm and ReLU after the transfers between resolutions (default no)."""
    residual_act: bool | None = None
    """ReLU on the residual before it changes resolution (default no)."""

    coupling: CouplingName | None = None
    """Channel coupling of every layer (PDE networks; default full), or of all levels but the coarsest (MGIC-
    ResNets, MgNets; default grouped)."""
    coarsest_coupling: CouplingName | None = None
    """Channel coupling of the coarsest level (MGIC-ResNets, MGiaD; default full; grouped cuts it as the others)."""
    stencil: Stencil | None = None
    """Taps of lean couplings (default 5 in lean ResNets, else 9)."""
    pointwise: PointwisePart | None = None
    """1x1 part of lean couplings (default full)."""
    block: int | None = None
    """Width of circulant blocks (default: as wide as the widths allow)."""
    evaluate: Evaluation | None = None
    """How circulant couplings are computed (default dense)."""
    radius: int | None = None
    """Neighbours on each side in chain and block_chain couplings (default 1)."""
    lattice_neighbours: int | None = None
    """Neighbours of a channel, itself counted, in lattice couplings: 5 or 9 (default 5)."""
    periodic: bool | None = None
    """Close chains and lattices to rings and tori (default no)."""
    act_order: ActOrder | None = None
    """Norm and ReLU after or before the convolutions of a residual block (coupled ResNets; default post)."""
    layer: Layer | None = None
    """Layer of a time step (PDE networks; default symmetric)."""
    norm: StepNorm | None = None
    """Norm inside of time steps (PDE networks; default batch, nonnegative where certified)."""
    h: float | None = None
    """Time step (PDE networks; default 1)."""
    sign: SignWord | None = None
    """Sign of a layer (PDE networks; default minus if symmetric, plus if double)."""
    rescale: bool | None = None
    """Shrink the first weights of symmetric layers below the bound of stability (PDE networks; default no)."""
    certified: bool | None = None
    """Bound the couplings so that time steps never expand (parabolic PDE networks; default no)."""
    scheme: Scheme | None = None
    """How time steps treat diffusion (parabolic PDE networks; default explicit, imex for diffusion-reaction)."""
    backend: DiffusionBackend | None = None
    """How implicit diffusion is solved (default fourier)."""
    diffusion_init: DiffusionInit | None = None
    """First values of implicit diffusion (default smooth; spread in IMEXnet)."""
    released: bool | None = None
    """Steps exactly as in IMEXnet's released code (default no)."""

    def given(self) -> dict[str, Any]:
        """Only what was set, as keyword arguments for `torchmg.create`."""
        return {name: value for name, value in asdict(self).items() if value is not None}
