"""Linear algebra: small dense systems along the batch, and solves by products alone."""

from dichroic.algebra.krylov import Info, conjugate_gradient, lanczos_root
from dichroic.algebra.small import cholesky, gain, psd_part, solve_lower, solve_spd, solve_upper, symmetric_eigen

__all__ = [
    "Info",
    "cholesky",
    "conjugate_gradient",
    "gain",
    "lanczos_root",
    "psd_part",
    "solve_lower",
    "solve_spd",
    "solve_upper",
    "symmetric_eigen",
]
