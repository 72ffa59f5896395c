"""What tests of data-feature relations share: modules without norms and activations, and hypothesis strategies."""

from typing import Any, TypeVar

from hypothesis import strategies as st
from torch import nn

from torchmg.nn.norm import NORMS

Kind = TypeVar("Kind", bound=nn.Module)

RELATION_OPTIONS: dict[str, st.SearchStrategy[Any]] = {
    "share": st.sampled_from(["level", "A", "none"]),
    "norms": st.sampled_from(["use", "level"]),
    "smoother": st.sampled_from(["conv", "jacobi", "chebyshev", "learned"]),
    "degree": st.integers(1, 4),
}


def linear(module: Kind) -> Kind:
    """The module in float64 with its norms and activations replaced by identities."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, (*NORMS, nn.ReLU)):
                parent.add_module(name, nn.Identity())
    return module.double()
