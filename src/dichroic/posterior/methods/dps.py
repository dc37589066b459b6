"""Diffusion posterior sampling."""

from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray
from pydantic import PositiveFloat

from dichroic.algebra import Info
from dichroic.diffusion import Ancestral, Cost, Step, Target
from dichroic.posterior.modelled import Sources
from dichroic.posterior.targets.guided import Guidance, Guided, sum_of

__all__ = ["DPS", "Nudged"]


class DPS(Guided):
    r"""Diffusion posterior sampling: a step of the priors' bridge, and one of length :math:`\zeta` towards the data,

    .. math:: x_s \leftarrow x_s + \zeta\, a^{-1} J^\top A^\top \frac{r}{\|r\|} , \qquad a^2 = \overline{\mathrm{diag}
        (A A^\top)} ,

    the gradient of :math:`-\zeta \|y - A D(x_t)\|`, in units of the data in which rows of `A` have unit length. As if
    :math:`x_0` were known from :math:`x_t`: the more steps, the stronger the pull, so that :math:`\zeta` belongs to a
    number of steps, and what is drawn is nearer to a mode than a draw. One network evaluation and one product a step.

    Source: Chung, Kim, McCann, Klasky and Ye, ICLR 2023, arXiv 2209.14687, algorithm 1.
    """

    evaluations: ClassVar[Cost] = Cost(1, 1)
    stability: ClassVar[tuple[str, ...]] = ("steps", "zeta")

    kind: Literal["dps"] = "dps"
    zeta: PositiveFloat = 1.0
    """Length of the move towards the data after every step, in standard deviations of a source."""

    @property
    def walk(self) -> Step:
        return Nudged(self.zeta)


class Nudged(Step):
    """A step of the bridge, and a move along the gradient of the residual's length at the state before."""

    zeta: float

    def __call__(
        self, target: Target, x_t: Sources, sigma_t: Float[Array, ""], sigma_s: Float[Array, ""], key: PRNGKeyArray
    ) -> tuple[Sources, Info]:
        assert isinstance(target, Guidance)
        D, back = target.linearised(x_t, sigma_t)
        x_s, info = Ancestral()(_Known(D), x_t, sigma_t, sigma_s, key)
        r = target.residual(D)
        length = jnp.sqrt(target.system.power * jnp.sum(r**2) + jnp.finfo(r.dtype).tiny)
        moved = back(self.zeta / sigma_t**2 * r / length)
        return sum_of(x_s, moved), info

    def cost(self, target: Target, steps: int, to_zero: bool = True) -> Cost:
        return target.mean_cost * (steps + 1)


class _Known(Target):
    """Estimates that have been made."""

    D: Sources

    def mean(self, x_t: Sources, sigma: Float[Array, ""]) -> tuple[Sources, Info]:
        return self.D, Info.none()

    def start(self, sigma: Float[Array, ""], key: PRNGKeyArray) -> Sources:
        return jax.tree.map(jnp.zeros_like, self.D)

    @property
    def mean_cost(self) -> Cost:
        return Cost()
