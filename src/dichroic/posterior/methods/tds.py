"""The twisted diffusion sampler."""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from pydantic import field_validator

from dichroic.diffusion import Cost, noise_like
from dichroic.posterior.annealed import TARGETS
from dichroic.posterior.methods.particles import Filter, Particles
from dichroic.posterior.modelled import Sources
from dichroic.posterior.sampler import Build
from dichroic.posterior.targets.guided import Guidance, ModelledTarget

__all__ = ["TDS"]


class TDS(Particles):
    r"""Twisted diffusion: particles that are moved by the guided bridge and weighed by what guides them,

    .. math:: x_s \sim \mathcal N\big(x_t - \tau (x_t - D - \sigma_t^2 \nabla \log q(y \mid x_t)),\; \sigma_s^2 \tau
        I\big) , \qquad \psi_t(x_t) = q(y \mid x_t) = \mathcal N\big(y; A D(x_t), C(\sigma_t)\big) ,

    with the covariance `C` of a target of annealing, `twist`. Exact for many particles (see
    `dichroic.posterior.methods.particles`); one is drawn. `particles` network evaluations and as many products a step.

    Source: Wu, Trippe, Naesseth, Blei and Cunningham, NeurIPS 2023, arXiv 2306.17775, algorithm 1.
    """

    kind: Literal["tds"] = "tds"
    twist: str = "pigdm"
    """Kind tds: the target whose guidance moves the particles, pigdm or opc."""

    @field_validator("twist")
    @classmethod
    def _known(cls, name: str) -> str:
        known = [target for target, found in TARGETS.items() if issubclass(found, ModelledTarget)]
        if name not in known:
            raise ValueError(f"unknown twist {name!r}; targets that say how likely data are: {', '.join(known)}")
        return name

    def sampler(self, task, *, afresh=False):
        target = TARGETS[self.twist]()  # pyright: ignore[reportCallIssue]
        (leg,), shared = target.legs(task)
        levels = task.schedule.levels(self.steps).astype(np.float32)
        return Twisted(levels, self.particles, build=leg.build), shared


class Twisted(Filter):
    """The particles of `TDS`; what has been evaluated at a state is the priors' estimate and what it is moved by."""

    build: Build = eqx.field(kw_only=True)

    def prepared(self, observation, alike) -> Guidance:
        found = self.build(observation, alike)
        assert isinstance(found, Guidance)
        return found

    def first(self, target, sigma, key):
        return self._seen(target, target.start(sigma, key), sigma)

    def moved(self, target, particle, sigma_t, sigma_s, key):
        x_t, (D, moved), before = particle
        tau = 1 - (sigma_s / sigma_t) ** 2
        std = sigma_s * jnp.sqrt(tau)
        noise = noise_like(key, x_t)
        x_s = jax.tree.map(lambda x, d, g, e: x - tau * (x - d - g) + std * e, x_t, D, moved, noise)
        found = self._seen(target, x_s, sigma_s)
        # of the two Gaussians of one width, the bridge and the move, the latter's centre is off by tau times the pull
        pull = jax.tree.map(lambda g: tau / std * g, moved)
        log_ratio = -_dot(pull, noise) - _dot(pull, pull) / 2
        return found, log_ratio + found[2] - before

    def last(self, target, particle, sigma_t, key):
        _, (D, _), before = particle
        return D, -jnp.sum(target.residual(D) ** 2) / 2 - before

    def _seen(self, target: Guidance, x: Sources, sigma: Array):
        assert isinstance(target.method, ModelledTarget)
        D, moved, log_q, _ = target.method.twist(target, x, sigma)
        return x, (D, moved), log_q

    @property
    def move_cost(self) -> Cost:
        return Cost(1, 1)

    @property
    def gains(self) -> bool:
        return True


def _dot(u: Sources, v: Sources) -> Array:
    return sum(jnp.sum(u[s] * v[s]) for s in u)  # pyright: ignore
