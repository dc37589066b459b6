"""Separation by the probability flow, data about noisy states."""

from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from pydantic import NonNegativeFloat, PositiveFloat

from dichroic.diffusion import DDIM, Cost, Step, Target, noise_like
from dichroic.posterior.annealed import Stepped, leg
from dichroic.posterior.methods.soft import Soft

__all__ = ["MSDM", "Churned"]


class MSDM(Stepped):
    r"""Multi-source diffusion with a Gaussian likelihood: the probability flow along

    .. math:: \nabla \log p(x_t; \sigma_t) + A^\top G^{-1} (y - A x_t) , \qquad
        G = \Sigma + \gamma^2 \sigma_t^2 A A^\top ,

    before every step of which the noise may rise again by a share `churn`. Published is `width = "level"`,
    :math:`G = \Sigma + \gamma^2 \sigma_t^2 a_1^2 I`, whatever the gains: the flow is then stiffer by
    :math:`\|A\|^2 / a_1^2`, and diverges where steps are fewer. The smaller :math:`\gamma`, the nearer draws are to the
    data. A draw with the noise of its start alone, where nothing is churned. One network evaluation a step, no product.

    Source: Mariani et al., ICLR 2024, arXiv 2302.02257, section 4.2, with one prior a source; the Euler steps with
    churn of Karras et al., arXiv 2206.00364, algorithm 2.
    """

    takes_exact: ClassVar[bool] = True
    stability: ClassVar[tuple[str, ...]] = ("steps", "gamma", "width", "churn")

    kind: Literal["msdm"] = "msdm"
    gamma: PositiveFloat = 1.0
    """Kind msdm: width of the data about noisy states, in noise levels."""
    width: Literal["gains", "level"] = "gains"
    """Kinds basis and msdm: how uncertain data are about noisy states: by the gains of all sources, or by the level
    alone."""
    churn: NonNegativeFloat = 0.0
    """Kinds msdm and msdm_dirac: rise of the noise before every step, as a share of it."""

    @property
    def walk(self) -> "Churned":
        """The step that is taken from level to level."""
        return Churned(self.churn)

    def legs(self, task, high=None, low=None, *, afresh=False):
        denoisers = task.denoisers(self.kind)
        build = Soft(denoisers, tuple(denoisers), self.width == "gains", self.gamma, task.exact)
        return leg(build, self.walk, self, task.schedule, task.size, high, low, afresh=afresh), Cost()


class Churned(Step):
    """A DDIM step from a state that has been given some more noise."""

    churn: float

    def __call__(self, target, x_t, sigma_t, sigma_s, key):
        risen = (1 + self.churn) * sigma_t
        fresh = jnp.sqrt(risen**2 - sigma_t**2)
        x = jax.tree.map(lambda x, e: x + fresh * e, x_t, noise_like(key, x_t))
        return DDIM()(target, x, risen, sigma_s, key)

    def cost(self, target: Target, steps: int, to_zero: bool = True) -> Cost:
        return target.mean_cost * (steps + 1)
