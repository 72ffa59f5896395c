"""The examples run, and what they compute is right."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

EXAMPLES = Path(__file__).parents[1] / "examples"


def example(name: str) -> ModuleType:
    """An example as a module; what stands under `__main__` does not run."""
    spec = spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Cubic(nn.Module):
    """x^3 y + y^2, with Laplacian 6 x y + 2."""

    def forward(self, points: Tensor) -> Tensor:
        x, y = points.T
        return x**3 * y + y**2


def test_poisson_is_solved(capsys: pytest.CaptureFixture[str]) -> None:
    """The error falls from about 1 to below 2 % in 300 steps."""
    poisson = example("poisson")
    points = torch.rand(5, 2)
    x, y = points.T
    assert torch.allclose(poisson.laplace(Cubic(), points), 6 * x * y + 2, atol=1e-5)
    assert poisson.error(poisson.Solution()) > 0.5
    u = poisson.solve(steps=300)
    assert poisson.error(u) < 0.02
    assert "step  100" in capsys.readouterr().out
    edge = torch.tensor([[0.0, 0.3], [1.0, 0.7], [0.2, 0.0], [0.9, 1.0]])
    assert not u(edge).any()
