"""The sizes that a layer or block can have, with what each costs and what it is estimated to lose."""

from collections.abc import Sequence
from math import isfinite, log

import torch
from torch import Tensor, nn

from torchmg.conversion.budget import Choice
from torchmg.conversion.observe import Inputs, Seen, call, evaluating, first_tensor, place, to_device
from torchmg.conversion.regress import relative_error
from torchmg.conversion.schemes import Scheme
from torchmg.conversion.sites import Site
from torchmg.conversion.surgery import replace_modules
from torchmg.conversion.units import build, cost, dense_cost, width_of
from torchmg.conversion.warm_start import estimated_errors, project
from torchmg.errors import DivergedError, TorchmgError


class Losses:
    """Estimated loss of a setting: -log(1 - e^2), e the relative error of the projected weights, times a weight.

    1 - e^2 is the share of a kernel's energy that is kept; over layers one after another such shares multiply, so their
    logarithms add up, and a layer that keeps next to nothing costs much. Without data the weight is 1. With data it is
    how far the network's output moves, squared and relative to itself, when that layer alone is projected onto a middle
    size, over that projection's own loss: a sensitivity pass of one forward pass a layer.

    Args:
        model: the network; units are put in and taken out again.
        batches: inputs, of which the first is used; None for weights of 1, as for networks without values.

    Raises:
        DivergedError: an output that is not finite.
    """

    def __init__(self, model: nn.Module, batches: Sequence[Inputs] | None) -> None:
        self.model = model
        self.batch = None if not batches else to_device(batches[0], place(model))
        self._output = None if self.batch is None else self._run(model)

    def weight(self, site: Site, module: nn.Module, setting: Scheme) -> float:
        """What a loss of 1 in this layer does to the output, measured with `setting`."""
        if self.batch is None or self._output is None:
            return 1.0
        unit = build(site, module, setting)
        loss = lost([project(site, module, unit)])
        net, undo = replace_modules(self.model, {site.paths: unit})
        try:
            moved = relative_error(self._run(net), self._output).item()
        finally:
            undo.undo(net)
        if not isfinite(moved):
            raise DivergedError(f"With '{site.path}' projected, the network's output on `data` is not finite.")
        return moved / max(loss, 1e-12)

    def _run(self, net: nn.Module) -> Tensor:
        assert self.batch is not None
        with torch.no_grad(), evaluating(net):
            output = first_tensor(call(net, self.batch)).float().clone()
        if not bool(torch.isfinite(output).all()):
            raise DivergedError("The network's output on `data` is not finite. Are there NaNs in the data?")
        return output


def lost(errors: Sequence[float]) -> float:
    """Sum of -log(1 - e^2) over relative errors, each at most that of one thousandth kept."""
    return sum(-log(max(1 - error**2, 1e-3)) for error in errors)


def menu(site: Site, module: nn.Module, scheme: Scheme, seen: Seen | None, losses: Losses) -> list[Choice]:
    """All choices of a site, cheapest first, the dense original last; of equal costs only the least loss is kept.

    MACs are in it where `seen` is given.
    """
    dense = dense_cost(site, module, seen)
    best: dict[tuple[int, int], tuple[Scheme, float]] = {}
    for setting in scheme.settings(width_of(site)):
        try:
            own = cost(site, module, setting, seen)
        except TorchmgError:  # sizes that this block cannot be cut into
            continue
        if own.params >= dense.params:
            continue
        loss = lost(estimated_errors(site, module, setting))
        key = (own.params, own.macs)
        if key not in best or loss < best[key][1]:
            best[key] = (setting, loss)
    weight = losses.weight(site, module, sorted(best.items())[len(best) // 2][1][0]) if best else 1.0
    choices = [Choice(*key, weight * loss, setting) for key, (setting, loss) in sorted(best.items())]
    return [*choices, Choice(dense.params, dense.macs, 0.0, None)]
