"""Regularisation by denoising through noise levels: one estimate, no draw."""

from typing import ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float
from pydantic import PositiveFloat, PositiveInt

from dichroic.algebra import Info
from dichroic.diffusion import Cost, Denoiser, noise_like
from dichroic.posterior.annealed import Sampled
from dichroic.posterior.method import Method
from dichroic.posterior.modelled import System, isotropic
from dichroic.posterior.sampler import Sampler

__all__ = ["REDDiff"]


class REDDiff(Sampled):
    r"""The centre :math:`\mu` of a narrow Gaussian fitted to the posterior, by steps of Adam along

    .. math:: A^\top (A \mu - y) + \lambda\, \big(\mu - D(\mu + \sigma \epsilon, \sigma)\big) , \qquad
        \sigma \text{ falling} ,

    the second term a denoiser's estimate of the priors' gradient, weighed by the noise level as in the source, from the
    linear estimate for white sources. It seeks a mode: an *estimate*, with no spread about it. One network evaluation a
    step, no product.

    Source: Mardani, Song, Kautz and Vahdat, ICLR 2024, arXiv 2305.04391, algorithm 1.
    """

    returns: ClassVar[Literal["draws", "estimate"]] = "estimate"
    stability: ClassVar[tuple[str, ...]] = ("steps", "rate", "weight")

    kind: Literal["red_diff"] = "red_diff"
    steps: PositiveInt = 100
    """Kind red_diff: steps of the optimiser."""
    weight: PositiveFloat = 0.25
    """Kinds diffpir and red_diff: weight of the priors beside the data."""
    rate: PositiveFloat = 0.1
    """Kind red_diff: first length of a step, which falls to zero."""

    def sampler(self, task, *, afresh=False):
        levels = task.schedule.levels(self.steps).astype(np.float32)[: self.steps]
        return Descent(task.denoisers(self.kind), levels, self.weight, self.rate), Cost()

    @property
    def runs(self) -> tuple[int, int]:
        return self.steps, self.steps

    def counting(self, cold: int, warm: int, training: int = 1) -> Method:
        return self.model_copy(update={"steps": cold})


class Descent(Sampler):
    """The estimate of one observation."""

    denoisers: dict[str, Denoiser]
    levels: Float[np.ndarray, " n"]
    weight: float = eqx.field(static=True)
    rate: float = eqx.field(static=True)

    def draw(self, observation, last, warm, alike, *, key):
        levels, n = jnp.asarray(self.levels, observation.dtype), len(self.levels)
        adam = optax.adam(optax.linear_schedule(self.rate, 0, n), b1=0.9, b2=0.99)
        one = isotropic(observation.shapes, jnp.ones((), observation.dtype))
        mu, info = System.of(observation, alike).pull(one, observation.y)

        def body(k, state):
            mu, momenta = state
            noise = noise_like(jax.random.fold_in(key, k), mu)
            D = {s: self.denoisers[s](mu[s] + levels[k] * noise[s], levels[k]) for s in mu}
            data = observation.adjoint(observation.forward(mu) - observation.y)
            gradient = jax.tree.map(lambda g, m, d: g + self.weight * (m - d), data, mu, D)
            moves, momenta = adam.update(gradient, momenta)
            return optax.apply_updates(mu, moves), momenta

        mu, _ = jax.lax.fori_loop(0, n, body, (mu, adam.init(mu)))
        return mu, Info.none().merge(info)

    def cost(self, observation, warm, alike):
        return Cost(len(self.levels))

    @property
    def gains(self) -> bool:
        return True
