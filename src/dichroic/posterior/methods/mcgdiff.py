"""Particles guided along singular vectors."""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from dichroic.diffusion import Cost, Denoiser
from dichroic.posterior.methods.particles import Filter, Particles
from dichroic.posterior.methods.spectral import Spectrum, check_size

__all__ = ["MCGDiff"]


class MCGDiff(Particles):
    r"""Monte-Carlo guided diffusion: data are states of the noise level at which a state has their error. In the
    coordinates of the singular vectors :math:`\bar y = \bar x_0 + e z` has the law of :math:`\bar x` at level `e`, so
    that potentials need no network,

    .. math:: \psi_t(x_t) = \prod_{e < \sigma_t} \mathcal N(\bar x_t; \bar y, \sigma_t^2 - e^2) ,

    and the bridge's Gaussian times the next potential (:math:`\mathcal N(\bar y; \bar x_s, e^2 - \sigma_s^2)` for the
    coordinates whose level is passed) is moved by and weighed with exactly. Exact for many particles (see
    `dichroic.posterior.methods.particles`); one is drawn. `particles` network evaluations a step, no product; a
    decomposition as for DDRM.

    Source: Cardoso, Janati, Le Corff and Moulines, ICLR 2024, arXiv 2308.07983, algorithm 1.
    """

    kind: Literal["mcgdiff"] = "mcgdiff"

    def sampler(self, task, *, afresh=False):
        check_size(self.kind, task)
        levels = task.schedule.levels(self.steps).astype(np.float32)
        return SpectralFilter(levels, self.particles, denoisers=task.denoisers(self.kind)), Cost()


class SpectralFilter(Filter):
    """The particles of `MCGDiff`; potentials are part of the moves' factors."""

    denoisers: dict[str, Denoiser] = eqx.field(kw_only=True)

    def prepared(self, observation, alike) -> Spectrum:
        return Spectrum.of({s: self.denoisers[s] for s in observation.shapes}, observation)

    def first(self, target, sigma, key):
        return target.start(sigma, key), (), jnp.zeros((), target.y.dtype)

    def moved(self, target, particle, sigma_t, sigma_s, key):
        x_t, _, _ = particle
        D, _ = target.mean(x_t, sigma_t)
        x, D = target.into(x_t), target.into(D)
        tau = 1 - (sigma_s / sigma_t) ** 2
        m, v = x - tau * (x - D), sigma_s**2 * tau
        ahead = target.seen & (target.e < sigma_t)  # a coordinate whose level has been passed has had its data
        q = jnp.where(ahead, jnp.abs(sigma_s**2 - target.e**2), 1)
        weight = jnp.where(ahead, v / (v + q), 0)
        noise = jnp.sqrt(v * (1 - weight)) * jax.random.normal(key, m.shape, m.dtype)
        before = jnp.where(ahead, sigma_t**2 - target.e**2, 1)
        factor = _log_normal(target.y - m, v + q) - _log_normal(target.y - x, before)
        x_s = target.back(m + weight * (target.y - m) + noise)
        return (x_s, (), jnp.zeros_like(factor[0])), jnp.sum(jnp.where(ahead, factor, 0))

    def last(self, target, particle, sigma_t, key):
        (x, _, _), factor = self.moved(target, particle, sigma_t, jnp.zeros_like(sigma_t), key)
        return x, factor

    @property
    def move_cost(self) -> Cost:
        return Cost(1)

    @property
    def gains(self) -> bool:
        return True


def _log_normal(r, variance):
    return -(r**2 / variance + jnp.log(variance)) / 2
