"""Decoupled annealing about the end of the probability flow."""

from typing import ClassVar, Literal

import equinox as eqx
import jax
from jaxtyping import Array, Float, PRNGKeyArray
from pydantic import PositiveInt

from dichroic.algebra import Info, matheron
from dichroic.diffusion import DDIM, Cost, Denoiser, MomentTarget, noise_like, pure_noise
from dichroic.posterior.annealed import Annealed
from dichroic.posterior.modelled import Sources, System, isotropic
from dichroic.posterior.targets.guided import sum_of
from dichroic.posterior.targets.split_gibbs import from_level
from dichroic.white import WhitenedObservation

__all__ = ["DAPS"]


class DAPS(Annealed):
    r"""Decoupled annealing posterior sampling: :math:`p(x_0 \mid x_t)` is taken for a round Gaussian about where the
    probability flow gets to, and drawn from together with the likelihood,

    .. math:: x_0 \sim \mathcal N\big(x_0; \hat x(x_t), \sigma_t^2 I\big)\, \mathcal N(y; A x_0, I) , \qquad
        x_s = x_0 + \sigma_s\, \epsilon ,

    exactly where the source has Langevin steps. The decoupled form of split Gibbs sampling: the noise of the next level
    comes after the data, not before. `inner_steps` network evaluations a step, no product.

    Source: Zhang et al., CVPR 2025, arXiv 2407.01521, algorithm 1 (with the spread that they recommend).
    """

    draws: ClassVar[bool] = True

    kind: Literal["annealed"] = "annealed"
    target: Literal["daps"] = "daps"
    """How the likelihood enters."""
    inner_steps: PositiveInt = 5
    """Targets split_gibbs and daps: steps of the priors' own diffusion behind one draw of theirs."""

    def build(self, denoisers, observation, alike):
        return FlowEnd(denoisers, observation, System.of(observation, alike), self.inner_steps)

    def gains(self, denoisers: dict[str, Denoiser]) -> bool:
        return True


class FlowEnd(MomentTarget):
    """The joint posterior of one observation; the state is a dict of the sources that enter it."""

    denoisers: dict[str, Denoiser]
    observation: WhitenedObservation
    system: System
    inner_steps: int = eqx.field(static=True)

    def mean(self, x_t: Sources, sigma: Float[Array, ""]) -> tuple[Sources, Info]:
        return self._given(self._end(x_t, sigma), sigma, 0.0)

    def draw(self, x_t: Sources, sigma: Float[Array, ""], key: PRNGKeyArray) -> tuple[Sources, Info]:
        latent_key, noise_key = jax.random.split(key)
        scattered = jax.tree.map(lambda e: sigma * e, noise_like(latent_key, x_t))
        n = self.observation.observed * jax.random.normal(noise_key, self.observation.y.shape, self.observation.dtype)
        return self._given(sum_of(self._end(x_t, sigma), scattered), sigma, n)

    def _end(self, x_t: Sources, sigma: Array) -> Sources:
        return from_level(self.denoisers, DDIM(), x_t, sigma, self.inner_steps, jax.random.key(0))  # nothing is random

    def _given(self, x: Sources, sigma: Array, n: Array | float) -> tuple[Sources, Info]:
        models = isotropic(self.observation.shapes, sigma**2)
        return matheron(x, self.observation.y, n, self.observation.forward, lambda r: self.system.pull(models, r))

    def start(self, sigma: Float[Array, ""], key: PRNGKeyArray) -> Sources:
        return pure_noise(key, self.observation.shapes, sigma, self.observation.dtype)

    @property
    def mean_cost(self) -> Cost:
        return Cost(self.inner_steps)

    @property
    def draw_cost(self) -> Cost:
        return Cost(self.inner_steps)
