"""Our counts of the papers' rows, on the meta device: no numbers are drawn, no memory is taken."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from types import MappingProxyType
from typing import get_args

import torch
from torch import nn

from torchmg.counting.report import count
from torchmg.errors import HierarchyWarning
from torchmg.hierarchy import Hierarchy
from torchmg.models.imexnet import IMEXNet
from torchmg.models.mgnet import MgNet
from torchmg.models.options import PDEPreset
from torchmg.models.registry import create
from torchmg.nn.diffusion import ImplicitDiffusion
from torchmg.nn.norm import NORMS
from torchmg.paper.rows import Network, Row, Term

INPUTS = MappingProxyType(
    {
        "cifar10": (3, 32, 32),
        "cifar100": (3, 32, 32),
        "fashion_mnist": (1, 28, 28),
        "stl10": (3, 96, 96),
        "imagenet": (3, 224, 224),
        "cityscapes": (3, 1024, 2048),
        "qtips": (1, 64, 64),
    }
)
"""Data set -> (channels, height, width) of its images; parameters depend on the channels only."""
CLASSES = MappingProxyType(
    {
        "cifar10": 10,
        "cifar100": 100,
        "fashion_mnist": 10,
        "stl10": 10,
        "imagenet": 1000,
        "cityscapes": 19,
        "qtips": 4,
    }
)


@dataclass(frozen=True)
class Counts:
    """What we count for one row."""

    effective: int
    """Parameters of our model, all of which a forward pass uses."""
    terms: Mapping[Term, int] = field(default_factory=lambda: MappingProxyType({}))
    """What the published count holds besides; below 0 what it leaves out."""
    macs: int | None = None

    @property
    def published(self) -> int:
        """Our count in the convention of the paper."""
        return self.effective + sum(self.terms.values())


def counts(row: Row) -> Counts | None:
    """The counts of a row, MACs where the paper prints them; None for what is not built yet."""
    if row.ours is None:
        return None
    if isinstance(row.ours, Hierarchy):
        return Counts(sum(level.restrict.weights + level.prolong.weights for level in row.ours.costs()))
    return _network(row.ours, row.terms, with_macs=row.macs is not None)


def by_the_text(row: Row) -> int | None:
    """Parameters under the rules of the MGIC paper's text (`--preset paper`); None for other rows.

    They are what a reader of the paper would build, whichever preset comes nearest to the printed number.
    """
    if not isinstance(row.ours, Network) or row.ours.options.preset in (None, *get_args(PDEPreset)):
        return None
    read = replace(row.ours, options=replace(row.ours.options, preset="paper"))
    return _network(read, (), with_macs=False).effective


@cache
def _network(network: Network, terms: tuple[Term, ...], with_macs: bool) -> Counts:
    shape = INPUTS[network.data]
    with torch.device("meta"), warnings.catch_warnings():
        # The paper chose these sizes, so whoever asks for its table cannot act on advice about them.
        warnings.simplefilter("ignore", HierarchyWarning)
        model = create(
            network.model, num_classes=CLASSES[network.data], in_channels=shape[0], **network.options.given()
        )
    macs = count(model, shape, network.model).macs if with_macs else None
    parameters = sum(parameter.numel() for parameter in set(model.parameters()))
    return Counts(parameters, {term: _size(term, model) for term in terms}, macs)


def _size(term: Term, model: nn.Module) -> int:
    if term == "left out by the rule of the released code":
        assert isinstance(model, IMEXNet)
        norms = [norm for norm in model.modules() if isinstance(norm, NORMS)]
        solves = [module for module in model.modules() if isinstance(module, ImplicitDiffusion)]
        return -sum(p.numel() for module in [*norms, model.head, *solves[-1:]] for p in module.parameters())
    assert isinstance(model, MgNet), "only MgNet and MGiaD were published with unused tensors"
    widths = [level["num_chs"] for level in model.feature_info]
    return 18 * widths[0] if term == "first-level transfers, never called" else 4 * sum(widths)
