"""torchmg: multigrid neural networks for PyTorch, CNNs whose parameters grow linearly with width.

Public names load on first use, so that `import torchmg` needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torchmg import nn
    from torchmg.comparison import compare
    from torchmg.conversion.convert import apply_plan, convert, convert_stepwise
    from torchmg.conversion.hub import push_to_hub
    from torchmg.conversion.report import Report
    from torchmg.conversion.schemes import MGIC, Circulant, Lean
    from torchmg.conversion.share import from_pretrained, save_pretrained
    from torchmg.counting.report import Count, count
    from torchmg.data.sets import load
    from torchmg.errors import TorchmgError
    from torchmg.exporting.export import export
    from torchmg.hierarchy import Hierarchy
    from torchmg.inference.optimized import Optimized, optimize
    from torchmg.models.info import info
    from torchmg.models.registry import create, list_models
    from torchmg.models.timm_bridge import register_with_timm
    from torchmg.train.evaluate import evaluate
    from torchmg.train.loop import fit
    from torchmg.train.recipe import Recipe, recipe

__version__ = "0.1.0"

_HOMES = {
    "Circulant": "conversion.schemes",
    "Count": "counting.report",
    "Hierarchy": "hierarchy",
    "Lean": "conversion.schemes",
    "MGIC": "conversion.schemes",
    "Optimized": "inference.optimized",
    "Recipe": "train.recipe",
    "TorchmgError": "errors",
    "Report": "conversion.report",
    "apply_plan": "conversion.convert",
    "compare": "comparison",
    "convert": "conversion.convert",
    "convert_stepwise": "conversion.convert",
    "count": "counting.report",
    "create": "models.registry",
    "evaluate": "train.evaluate",
    "export": "exporting.export",
    "fit": "train.loop",
    "from_pretrained": "conversion.share",
    "info": "models.info",
    "list_models": "models.registry",
    "load": "data.sets",
    "optimize": "inference.optimized",
    "push_to_hub": "conversion.hub",
    "recipe": "train.recipe",
    "save_pretrained": "conversion.share",
    "register_with_timm": "models.timm_bridge",
}

__all__ = [
    "MGIC",
    "Circulant",
    "Count",
    "Hierarchy",
    "Lean",
    "Optimized",
    "Recipe",
    "Report",
    "TorchmgError",
    "__version__",
    "apply_plan",
    "compare",
    "convert",
    "convert_stepwise",
    "count",
    "create",
    "evaluate",
    "export",
    "fit",
    "from_pretrained",
    "info",
    "list_models",
    "load",
    "nn",
    "optimize",
    "push_to_hub",
    "recipe",
    "register_with_timm",
    "save_pretrained",
]


def __getattr__(name: str) -> Any:
    if name == "nn":
        return import_module("torchmg.nn")
    if name in _HOMES:
        return getattr(import_module(f"torchmg.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'torchmg' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
