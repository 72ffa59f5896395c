"""Feature maps B that are polynomials in the data map A, so that a level needs the weights of A only."""

from collections.abc import Callable
from math import comb, log

import torch
from torch import Tensor, nn

from torchmg.errors import UsageError
from torchmg.hierarchy import SmootherKind, check_choice

POLYNOMIALS = ("jacobi", "chebyshev", "learned")
"""The kinds of B that are polynomials in A."""

SPECTRUM = 8**0.5
"""Norm of a wide convolution with Kaiming-normal weights: at every frequency its symbol is a random matrix whose
entries have variance 2 / width, so its eigenvalues lie within sqrt(2) and its norm tends to 2 sqrt(2)."""


class PolynomialFeature(nn.Module):
    """B = p(A) with p of degree d: one smoothing step u + p(A)(f - A u) is d + 1 sweeps of a classical iteration.

    With e the error of u, the step leaves (I - A p(A)) e. The forms, with the parameters they train:

        jacobi       I - A p(A) = (I - w A)^(d+1); the damping w > 0
        chebyshev    I - A p(A) = T_{d+1}((t - A) / h) / T_{d+1}(t / h), t = (b + a) / 2, h = (b - a) / 2: smallest over
                     [a, b]; the ends 0 < a < b
        learned      p(A) = c_0 + c_1 A + ... + c_d A^d, every c_k; the Jacobi form's at first

    A is applied d times and enters as a map, so nothing of it is stored here. At the start w = 1 / rho, and [a, b]
    is [0.3, 1.1] rho as is usual for smoothers, with rho the norm to be expected of a new convolution (`SPECTRUM`).

    The MGiaD paper names such a B as future work; the forms are those of classical smoothers (Saad, "Iterative Methods
    for Sparse Linear Systems", 2003, section 12.3).

    Args:
        kind: see `SmootherKind`, one of `POLYNOMIALS`.
        degree: 1 to 4, d above.

    Raises:
        UsageError: a degree outside 1 to 4.
        UnknownNameError: an unknown kind; the message names the nearest.
    """

    def __init__(self, kind: SmootherKind, degree: int = 1) -> None:
        super().__init__()
        check_choice("smoother", kind, POLYNOMIALS)
        if not isinstance(degree, int) or not 1 <= degree <= 4:
            raise UsageError(f"degree must be 1, 2, 3 or 4; got {degree!r}.")
        self.kind: SmootherKind = kind
        self.degree = degree
        self.coefficients = nn.Parameter(torch.empty({"jacobi": 1, "chebyshev": 2, "learned": degree + 1}[kind]))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Set the first coefficients; nothing is random."""
        w, sweeps = 1 / SPECTRUM, self.degree + 1
        start = {
            "jacobi": [log(w)],
            "chebyshev": [log(0.3 * SPECTRUM), log(0.8 * SPECTRUM)],
            "learned": [(-1) ** k * comb(sweeps, k + 1) * w ** (k + 1) for k in range(sweeps)],
        }
        self.coefficients.copy_(torch.tensor(start[self.kind]))

    def forward(self, r: Tensor, data_map: Callable[[Tensor], Tensor]) -> Tensor:
        """p(A) r, of the shape of r."""
        return {"jacobi": self._jacobi, "chebyshev": self._chebyshev, "learned": self._learned}[self.kind](r, data_map)

    def _jacobi(self, r: Tensor, data_map: Callable[[Tensor], Tensor]) -> Tensor:
        w = self.coefficients[0].exp()
        y = w * r
        for _ in range(self.degree):
            y = y + w * (r - data_map(y))
        return y

    def _chebyshev(self, r: Tensor, data_map: Callable[[Tensor], Tensor]) -> Tensor:
        lower, length = self.coefficients.exp()
        half = length / 2
        middle = lower + half
        sigma = middle / half
        rho = 1 / sigma
        step = r / middle
        y = step
        for _ in range(self.degree):
            following = 1 / (2 * sigma - rho)
            step = following * rho * step + 2 * following / half * (r - data_map(y))
            y, rho = y + step, following
        return y

    def _learned(self, r: Tensor, data_map: Callable[[Tensor], Tensor]) -> Tensor:
        y = self.coefficients[-1] * r
        for k in range(self.degree - 1, -1, -1):
            y = self.coefficients[k] * r + data_map(y)
        return y

    def extra_repr(self) -> str:
        """Form and degree."""
        return f"{self.kind}, degree={self.degree}"
