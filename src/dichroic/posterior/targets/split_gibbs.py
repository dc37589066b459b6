"""Prior and likelihood in turn."""

from typing import ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray
from pydantic import PositiveInt

from dichroic.algebra import Info, matheron
from dichroic.diffusion import Ancestral, Cost, Denoiser, MomentTarget, PriorTarget, Step, pure_noise, run_sampler
from dichroic.posterior.annealed import Annealed
from dichroic.posterior.modelled import Sources, System, isotropic
from dichroic.white import WhitenedObservation

__all__ = ["SplitGibbs", "from_level"]


class SplitGibbs(Annealed):
    r"""Split Gibbs sampling: with a copy `z` of the sources that the data see, coupled to them by
    :math:`\mathcal N(z; x, \rho^2 I)`, in turn

    .. math:: x \sim p(x \mid x + \rho\, \epsilon = z) , \qquad
        z \sim \mathcal N(z; x, \rho^2 I)\, \mathcal N(y; A z, I) \quad\text{(a Gaussian, drawn from exactly)}.

    The coupling is the noise level, which falls from step to step; the first draw is one of the priors by
    `inner_steps` of their own diffusion, and no likelihood is approximated. Right where the coupling goes to zero and
    at every level long enough: with one round a level it lags behind precise data. `inner_steps` network evaluations a
    step, no product.

    Source: Wu et al. (PnP-DM), arXiv 2405.18782, algorithm 1; Coeurdoux et al., IEEE TIP 2024, arXiv 2304.11134.
    """

    draws: ClassVar[bool] = True

    kind: Literal["annealed"] = "annealed"
    target: Literal["split_gibbs"] = "split_gibbs"
    """How the likelihood enters."""
    inner_steps: PositiveInt = 8
    """Targets split_gibbs and daps: steps of the priors' own diffusion behind one draw of theirs."""

    def build(self, denoisers, observation, alike):
        return Split(denoisers, observation, System.of(observation, alike), self.inner_steps)

    def gains(self, denoisers: dict[str, Denoiser]) -> bool:
        return True


class Split(MomentTarget):
    """The posterior of one observation; the state is what the data see, `z`."""

    denoisers: dict[str, Denoiser]
    observation: WhitenedObservation
    system: System
    inner_steps: int = eqx.field(static=True)

    def mean(self, x_t: Sources, sigma: Float[Array, ""]) -> tuple[Sources, Info]:
        return PriorTarget(self.denoisers).mean(x_t, sigma)

    def draw(self, x_t: Sources, sigma: Float[Array, ""], key: PRNGKeyArray) -> tuple[Sources, Info]:
        return from_level(self.denoisers, Ancestral(), x_t, sigma, self.inner_steps, key), Info.none()

    def settled(self, x_s: Sources, sigma_s: Float[Array, ""], key: PRNGKeyArray) -> Sources:
        # the state is a draw of N(x, sigma_s^2 I) already: what is left to do is Matheron's rule
        models, y = isotropic(self.observation.shapes, sigma_s**2), self.observation.y
        n = self.observation.observed * jax.random.normal(key, y.shape, y.dtype)
        return matheron(x_s, y, n, self.observation.forward, lambda r: self.system.pull(models, r))[0]

    def start(self, sigma: Float[Array, ""], key: PRNGKeyArray) -> Sources:
        return pure_noise(key, self.observation.shapes, sigma, self.observation.dtype)

    @property
    def mean_cost(self) -> Cost:
        return Cost(1)

    @property
    def draw_cost(self) -> Cost:
        return Cost(self.inner_steps)


def from_level(
    denoisers: dict[str, Denoiser], step: Step, x_t: Sources, sigma: Float[Array, ""], steps: int, key: PRNGKeyArray
) -> Sources:
    r"""Where the priors' own diffusion gets to from a noisy state, in so many evaluations, at levels that fall evenly
    in :math:`\arctan\sigma`: in it sources of variance one lose their noise evenly.
    """
    levels = jnp.tan(jnp.arctan(sigma) * (1 - jnp.arange(steps) / steps)).astype(sigma.dtype)
    return run_sampler(PriorTarget(denoisers), step, levels, key=key, start=x_t)[0]
