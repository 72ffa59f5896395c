"""Whether the library's modules are multigrid: with a known problem's operators in place of learned ones they solve it.

Norms and activations become identities; A, B, R, Pi and P become a discretised operator, damped Jacobi, full weighting
and interpolation. What is left of `DataFeature`, `coarsen`, `fas_cycle` and `SiC` is then a solver, which gains as much
with each cycle as pyamg's does with the same operators.
"""

from torchmg.paper.verify.checks import Check, Verification, verify

__all__ = ["Check", "Verification", "verify"]
