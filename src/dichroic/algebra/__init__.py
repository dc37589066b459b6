"""Linear algebra: Gaussians, small dense systems along the batch, and solves by products alone."""

from dichroic.algebra.components import Components
from dichroic.algebra.gaussian import Gaussian
from dichroic.algebra.krylov import Info, conjugate_gradient, lanczos_root, solve_products
from dichroic.algebra.linear import conditional, matheron, root
from dichroic.algebra.small import cholesky, gain, psd_part, solve_lower, solve_spd, solve_upper, symmetric_eigen

__all__ = [
    "Components",
    "Gaussian",
    "Info",
    "cholesky",
    "conditional",
    "conjugate_gradient",
    "gain",
    "lanczos_root",
    "matheron",
    "psd_part",
    "root",
    "solve_lower",
    "solve_products",
    "solve_spd",
    "solve_upper",
    "symmetric_eigen",
]
