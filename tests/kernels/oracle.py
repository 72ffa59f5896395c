"""Comparison with what was computed in float64."""

from torch import Tensor


def near(found: Tensor | None, wanted: Tensor | None, tolerance: float = 1e-4) -> None:
    """Every number is right to `tolerance`, as a share of the largest one."""
    assert found is not None
    assert wanted is not None
    scale = max(float(wanted.detach().abs().max()), 1e-2)
    assert float((found.double() - wanted.double()).detach().abs().max()) <= tolerance * scale
