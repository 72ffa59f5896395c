"""A folded network as a module of torch: what exporters write."""

from dataclasses import replace

from torch import Tensor, nn

from torchmg.inference.graph import Network, Step
from torchmg.inference.plan import fold
from torchmg.inference.torch_run import run_network


class Folded(nn.Module):
    """A folded network of plain convolutions and sums: (batch, *shape) -> what the model makes of it.

    Attributes:
        weights: of the steps that have some, in order.
        biases: the same.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self._network = network
        self.weights = nn.ParameterDict(_named(network.steps, "weight"))
        self.biases = nn.ParameterDict(_named(network.steps, "bias"))

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """The output for a batch."""
        steps = [self._held(step) for step in self._network.steps]
        return run_network(replace(self._network, steps=steps), input)

    def _held(self, step: Step) -> Step:
        name = str(step.output)
        weight = self.weights.get(name)
        bias = self.biases.get(name)
        return step if weight is None and bias is None else replace(step, weight=weight, bias=bias)


def folded(model: nn.Module, shape: tuple[int, ...]) -> Folded:
    """A model in evaluation mode on the CPU, folded for float32 images of `shape` (channels, height, width).

    Raises:
        CannotOptimizeError: it is no graph with a free batch size, one tensor in and one out.
    """
    return Folded(fold(model, shape)).eval()


def _named(steps: list[Step], kind: str) -> dict[str, nn.Parameter]:
    tensors = {str(step.output): getattr(step, kind) for step in steps}
    return {name: nn.Parameter(tensor, False) for name, tensor in tensors.items() if tensor is not None}
