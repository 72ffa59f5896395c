"""Building blocks: convolutions, couplings, graphs, transfers, relaxations, cycles, steps, and what is made of them."""

from torchmg.nn import coupling
from torchmg.nn.certified import Bounded, certify
from torchmg.nn.conv import (
    ConvBuilder,
    GroupedConv1d,
    GroupedConv2d,
    GroupedConv3d,
    GroupedLinear,
    grouped_conv,
)
from torchmg.nn.conv_norm_act import ConvNormAct
from torchmg.nn.coupling import ChannelCoupling, channel_coupling, conv_builder
from torchmg.nn.cycle import descend, fas_cycle
from torchmg.nn.diffusion import ImplicitDiffusion
from torchmg.nn.edge_conv import DiffConv, EdgeConv, GraphMGIC
from torchmg.nn.ghost import Ghost, GhostBottleneck
from torchmg.nn.grid import GridProlongation, GridRestriction
from torchmg.nn.integrators import Hamiltonian, HamiltonianStep, Leapfrog
from torchmg.nn.inverted_residual import InvertedResidual, SqueezeExcite
from torchmg.nn.knn import NeighbourGraph, gather_neighbours, knn_graph
from torchmg.nn.mgic import MGICBlock, MGICOptions
from torchmg.nn.mgnet import DataFeature, coarsen
from torchmg.nn.polynomial import PolynomialFeature
from torchmg.nn.reaction import DiffusionReaction
from torchmg.nn.relax import Bottleneck, FeedForward, RelaxationFactory, Residual, ResNeXtBottleneck, WideBottleneck
from torchmg.nn.shortcut import LightShortcut
from torchmg.nn.sic import SiC, SiCOptions
from torchmg.nn.smoothers import Smoother, SymmetricSmoother
from torchmg.nn.steps import DoubleStep, SymmetricStep
from torchmg.nn.time_steps import TimeSteps, refined, time_smoothness
from torchmg.nn.transfer import Prolongation, Restriction, Transfer

__all__ = [
    "Bottleneck",
    "Bounded",
    "ChannelCoupling",
    "ConvBuilder",
    "ConvNormAct",
    "DataFeature",
    "DiffConv",
    "DiffusionReaction",
    "DoubleStep",
    "EdgeConv",
    "FeedForward",
    "Ghost",
    "GhostBottleneck",
    "GraphMGIC",
    "GridProlongation",
    "GridRestriction",
    "GroupedConv1d",
    "GroupedConv2d",
    "GroupedConv3d",
    "GroupedLinear",
    "Hamiltonian",
    "HamiltonianStep",
    "ImplicitDiffusion",
    "InvertedResidual",
    "Leapfrog",
    "LightShortcut",
    "MGICBlock",
    "MGICOptions",
    "NeighbourGraph",
    "PolynomialFeature",
    "Prolongation",
    "RelaxationFactory",
    "ResNeXtBottleneck",
    "Residual",
    "Restriction",
    "SiC",
    "SiCOptions",
    "Smoother",
    "SqueezeExcite",
    "SymmetricSmoother",
    "SymmetricStep",
    "TimeSteps",
    "Transfer",
    "WideBottleneck",
    "certify",
    "channel_coupling",
    "coarsen",
    "conv_builder",
    "coupling",
    "descend",
    "fas_cycle",
    "gather_neighbours",
    "grouped_conv",
    "knn_graph",
    "refined",
    "time_smoothness",
]
