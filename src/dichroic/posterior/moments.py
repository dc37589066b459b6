r"""Moment matching: :math:`p(x_0 \mid x_t)` is taken for the Gaussian with its moments; given that, it is exact.

With the means :math:`D_s` and covariances :math:`V_s` of the sources given their noisy states, and white data,

.. math:: \mathrm E[x_s \mid x_t, y] = D_s + V_s A_s^\top \Big(I + \sum_c A_c V_c A_c^\top\Big)^{-1}
    \Big(y - \sum_c A_c D_c\Big),

and a draw comes from one of :math:`\mathcal N(D, V)` by Matheron's rule. This is MMPS (arXiv 2405.13712) and, over
several sources, DDPRISM's eq. 17 (arXiv 2510.05205). Exact for Gaussian sources.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import NonNegativeInt, PositiveInt, field_validator

from dichroic.diffusion import Denoiser
from dichroic.posterior.annealed import Annealed
from dichroic.posterior.covariance import COVARIANCES, Covariance, Moments
from dichroic.white import WhitenedObservation

__all__ = ["MomentMatching", "covariance_for"]


def covariance_for(name: str, denoisers: Mapping[str, Denoiser]) -> type[Covariance]:
    """The way to a covariance of that name, or the first that suits the sources."""
    if name in COVARIANCES:
        return COVARIANCES[name]
    return next(cls for cls in COVARIANCES.values() if cls.suits(denoisers))


class MomentMatching(Annealed):
    """Annealing with the moments of the priors at every noise level.

    `covariance` is how their covariances are had, one of `COVARIANCES`: "exact", full Jacobians; "surrogate", measured
    ones; "krylov", Jacobian products, with `iterations` of the solver and `root_iterations` of the square root that
    draws need; "auto", the first of them that suits the sources.
    """

    draws: ClassVar[bool] = True

    kind: Literal["annealed"] = "annealed"
    target: Literal["moments"] = "moments"
    """How the likelihood enters."""
    covariance: str = "auto"
    """Covariances of the sources given a noisy state."""
    iterations: PositiveInt = 4
    """Covariance krylov: iterations of a solve."""
    root_iterations: PositiveInt = 4
    """Covariance krylov: iterations of a matrix root."""
    mcmc: NonNegativeInt | None = None
    """Turns of Hamiltonian Monte Carlo at every noise level, where sources are not mixed linearly or noise is not
    Gaussian; none said, 4 where sources enter by a function of several, and 0 elsewhere."""

    @field_validator("covariance")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in ("auto", *COVARIANCES):
            raise ValueError(f"unknown covariance {name!r}; known: auto, {', '.join(COVARIANCES)}")
        return name

    def build(self, denoisers: dict[str, Denoiser], observation: WhitenedObservation, alike: bool) -> "Moments":
        way = covariance_for(self.covariance, denoisers)
        return Moments(way.create(denoisers, observation, alike, self.iterations, self.root_iterations), observation.y)

    @property
    def turns(self) -> int | None:
        return self.mcmc

    def gains(self, denoisers: dict[str, Denoiser]) -> bool:
        return covariance_for(self.covariance, denoisers).gains()
