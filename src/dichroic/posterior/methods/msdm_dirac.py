"""Separation by the probability flow, one source eliminated."""

from typing import ClassVar, Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray
from pydantic import NonNegativeFloat

from dichroic.algebra import Info
from dichroic.diffusion import Cost, Denoiser
from dichroic.posterior.annealed import Stepped, leg
from dichroic.posterior.constraint import Constrained, Constraint
from dichroic.posterior.methods.msdm import Churned
from dichroic.posterior.methods.pivot import pivot_of
from dichroic.posterior.modelled import Sources
from dichroic.posterior.sampler import Build
from dichroic.white import WhitenedObservation

__all__ = ["DiracMSDM"]


class DiracMSDM(Stepped):
    r"""Multi-source diffusion with a likelihood that is a point: a pivot `p` is what the data leave of it at every
    level, :math:`x_p = A_p^{-1} (y - \sum_b A_b x_b)`, and the others take the probability flow along

    .. math:: \nabla \log p_b(x_b; \sigma_t) - (A_p^{-1} A_b)^\top \nabla \log p_p(x_p; \sigma_t) ,

    before every step of which the noise may rise again by a share `churn`. For data without noise and a pivot whose
    operator is invertible; it is to be the strongest, for by :math:`\|A_p^{-1} A_b\|^2` the flow is stiffer. That the
    pivot has the noise of the others, not its own, is left out. One network evaluation a step, no product.

    Source: Mariani et al., ICLR 2024, arXiv 2302.02257, section 4.2 (there with gains of one).
    """

    takes_exact: ClassVar[bool] = True
    needs_exact: ClassVar[bool] = True
    stability: ClassVar[tuple[str, ...]] = ("steps", "churn", "pivot")

    kind: Literal["msdm_dirac"] = "msdm_dirac"
    churn: NonNegativeFloat = 0.0
    """Kinds msdm and msdm_dirac: rise of the noise before every step, as a share of it."""
    pivot: str | None = None
    """Kind msdm_dirac: the source that is eliminated (the last of a view by default)."""

    @property
    def walk(self) -> Churned:
        """The step that is taken from level to level."""
        return Churned(self.churn)

    def legs(self, task, high=None, low=None, *, afresh=False):
        build = _Eliminated(task.denoisers(self.kind), pivot_of(self.kind, self.pivot, task))
        return leg(build, self.walk, self, task.schedule, task.size, high, low, afresh=afresh), Cost()


class _Eliminated(Build):
    """Builds an `Eliminated`."""

    denoisers: dict[str, Denoiser]
    pivot: str = eqx.field(static=True)

    def __call__(self, observation: WhitenedObservation, alike: bool) -> "Eliminated":
        only = Constraint(observation, {self.pivot: jnp.ones((), observation.dtype)})
        return Eliminated({s: self.denoisers[s] for s in observation.shapes}, only, self.pivot)


class Eliminated(Constrained):
    """The sources of one observation but for the pivot, whose state is no part of what is moved: only the constraint
    moves it, and nothing else.
    """

    pivot: str = eqx.field(static=True)

    def mean(self, x_t: Sources, sigma: Float[Array, ""]) -> tuple[Sources, Info]:
        x, info = self.constraint(x_t)
        D = {s: denoiser(x[s], sigma) for s, denoiser in self.denoisers.items()}
        pull = self.constraint.observation.forward({self.pivot: D[self.pivot] - x[self.pivot]})
        v, new = self.constraint.solve(pull)
        back = self.constraint.observation.adjoint(v)
        return {s: d if s == self.pivot else d - back[s] for s, d in D.items()}, info.merge(new)

    def settled(self, x_s: Sources, sigma_s: Float[Array, ""], key: PRNGKeyArray) -> Sources:
        return self.constraint(x_s)[0]
