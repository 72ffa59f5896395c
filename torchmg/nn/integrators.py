"""Second-order forms of residual networks: leapfrog, and the Hamiltonian one, which can be run backwards.

Source: Ruthotto and Haber, arXiv:1804.04272, and Chang et al., 2018; lowcost spec 2.1 (the authors' toolbox [F]).
"""

from typing import NoReturn

import torch
from torch import Tensor

from torchmg.errors import UsageError
from torchmg.nn.conv import check_input
from torchmg.nn.steps import ExplicitStep, SymmetricForm, TimeStep
from torchmg.nn.time_steps import TimeSteps


class Leapfrog(TimeSteps):
    """y'' = F(y), "second order": y_{j+1} = 2 y_j - y_{j-1} + h^2 F_j(y_j), started with y_{-1} = y_0.

    (batch, channels, *spatial) -> the same, y_n. It has the parameters of the same steps by explicit Euler. With
    symmetric terms it is a wave equation with a nonlinear spring: it oscillates rather than damps.

    Args:
        *steps: `ExplicitStep`s, of which only the rate F and h are used.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
        """All steps."""
        y = before = input
        for step in self.steps():
            if not isinstance(step, ExplicitStep):
                raise UsageError(f"Leapfrog needs steps with a rate of change; got a {type(step).__name__}.")
            y, before = torch.add(2 * y - before, step.term(y), alpha=step.sign * step.h**2), y
        return y

    def certify(self, **_: object) -> NoReturn:
        """Not possible: leapfrog conserves, it does not damp.

        Raises:
            UsageError: always.
        """
        raise UsageError("Leapfrog steps cannot be certified: they conserve and do not damp. Use TimeSteps.")


class HamiltonianStep(TimeStep):
    """On a state of two halves (y, z) of the channels: y+ = y + h F1(z), then z+ = z - h F2(y+).

    (batch, 2 channels, *spatial) -> the same. `inverse` recovers the input, so that activations need not be kept.
    With symmetric terms of the same sign, F = -+ grad of a convex Phi, this is the Verlet method for the Hamiltonian
    Phi1(z) + Phi2(y): y' = -+ grad Phi1(z), z' = +- grad Phi2(y). The minus sign is that of the toolbox's layers,
    sign=+1 gives Chang et al.'s form; both conserve.

    Args:
        first, second: the steps whose rates are F1 and F2; width is half that of the state, h the same.

    Raises:
        UsageError: steps of different width or h, or that do not have a rate.
    """

    def __init__(self, first: ExplicitStep, second: ExplicitStep) -> None:
        if not isinstance(first, ExplicitStep) or not isinstance(second, ExplicitStep):
            raise UsageError("The two halves of a Hamiltonian step need a rate of change each. Use SymmetricStep.")
        if (first.channels, first.h) != (second.channels, second.h):
            raise UsageError(
                f"The two halves of a Hamiltonian step must have the same width and h; got {first.channels} channels, "
                f"h={first.h:g} and {second.channels}, h={second.h:g}."
            )
        super().__init__(first.h)
        self.first, self.second = first, second
        self.channels = 2 * first.channels

    def forward(self, state: Tensor) -> Tensor:
        """One step."""
        y, z = self._halves(state)
        y = torch.add(y, self.first.term(z), alpha=self.first.sign * self.h)
        z = torch.add(z, self.second.term(y), alpha=-self.second.sign * self.h)
        return torch.cat([y, z], 1)

    def inverse(self, state: Tensor) -> Tensor:
        """The state that the step leads to `state` from; with batch norms in evaluation only."""
        y, z = self._halves(state)
        z = torch.add(z, self.second.term(y), alpha=self.second.sign * self.h)
        y = torch.add(y, self.first.term(z), alpha=-self.first.sign * self.h)
        return torch.cat([y, z], 1)

    def _halves(self, state: Tensor) -> tuple[Tensor, Tensor]:
        if isinstance(self.first, SymmetricForm):
            check_input(state, self.channels, self.first.coupling.dims)
        y, z = state.chunk(2, 1)
        return y, z

    def _follow_h(self) -> None:
        self.first.h = self.second.h = self.h


class Hamiltonian(TimeSteps):
    """`HamiltonianStep`s in order, with an inverse."""

    def inverse(self, state: Tensor) -> Tensor:
        """What the block leads to `state` from."""
        for step in reversed(list(self.steps())):
            if not isinstance(step, HamiltonianStep):
                raise UsageError(f"Only Hamiltonian steps can be run backwards; got a {type(step).__name__}.")
            state = step.inverse(state)
        return state
