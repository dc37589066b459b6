r"""Data about noisy states, which are taken for samples with so much noise of their own.

.. math:: x_t + \sigma_t^2 \nabla \log p(x_t; \sigma_t) + \sigma_t^2 A^\top G^{-1} (y - A x_t) , \qquad
    G = \Sigma + \gamma^2 \sigma_t^2 A A^\top \quad\text{or}\quad G = \Sigma + \gamma^2 \sigma_t^2 a_1^2 I ,

the first, with :math:`\gamma = 1`, what independent noise of all sources adds to that of the data, :math:`\Sigma` (zero
where they have none), the second what is published: one width for all data, in units of the first source, of mean
squared gain :math:`a_1^2`.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from dichroic.algebra import Info
from dichroic.diffusion import Cost, Denoiser, Target, noise_like, pure_noise
from dichroic.posterior.constraint import squared_gains
from dichroic.posterior.modelled import Sources, System, isotropic
from dichroic.posterior.sampler import Build
from dichroic.posterior.targets.guided import sum_of
from dichroic.white import WhitenedObservation

__all__ = ["Soft", "SoftTarget"]

_ROUNDS = 16  # of the power iteration


class Soft(Build):
    """Builds a `SoftTarget`.

    **Fields:** `names`, of the sources in the order of their view, which compiled programs do not keep; `gains_count`,
    whether the width is that of the noise of all sources, or one for all data; `gamma`, what it is in noise levels;
    `exact`, whether the data have no noise.
    """

    denoisers: dict[str, Denoiser]
    names: tuple[str, ...] = eqx.field(static=True)
    gains_count: bool = eqx.field(static=True)
    gamma: float = eqx.field(static=True)
    exact: bool = eqx.field(static=True)

    def __call__(self, observation: WhitenedObservation, alike: bool) -> "SoftTarget":
        first = next(s for s in self.names if s in observation.shapes)
        return SoftTarget(
            {s: self.denoisers[s] for s in observation.shapes},
            observation,
            System.of(observation, alike),
            squared_gains(observation)[first],
            _largest(observation),
            self.gains_count,
            self.gamma,
            self.exact,
        )

    @property
    def gains(self) -> bool:
        return self.gains_count


class SoftTarget(Target):
    r"""One observation; `unit` is :math:`a_1^2`, `largest` the largest eigenvalue of :math:`A A^\top`."""

    denoisers: dict[str, Denoiser]
    observation: WhitenedObservation
    system: System
    unit: Float[Array, ""]
    largest: Float[Array, ""]
    gains_count: bool = eqx.field(static=True)
    gamma: float = eqx.field(static=True)
    exact: bool = eqx.field(static=True)

    def mean(self, x_t: Sources, sigma: Float[Array, ""]) -> tuple[Sources, Info]:
        D = {s: denoiser(x_t[s], sigma) for s, denoiser in self.denoisers.items()}
        r = self.observation.y - self.observation.forward(x_t)
        if not self.gains_count:
            share = sigma**2 / self._width(sigma)
            return sum_of(D, jax.tree.map(lambda u: share * u, self.observation.adjoint(r))), Info.none()
        if self.exact:
            moved, info = self.system.project(r)
        else:
            moved, info = self.system.pull(isotropic(self.observation.shapes, (self.gamma * sigma) ** 2), r)
        return sum_of(D, jax.tree.map(lambda u: u / self.gamma**2, moved)), info

    def stiffness(self, sigma: Float[Array, ""]) -> Float[Array, ""]:
        """Largest curvature of the data's term, in units of that of the priors' where they are narrow."""
        if not self.gains_count:
            return sigma**2 * self.largest / self._width(sigma)
        spread = sigma**2 * self.largest
        return jnp.full_like(sigma, self.gamma**-2) if self.exact else spread / (1 + self.gamma**2 * spread)

    def _width(self, sigma: Array) -> Array:
        return (self.gamma * sigma) ** 2 * self.unit + (not self.exact)

    def start(self, sigma: Float[Array, ""], key: PRNGKeyArray) -> Sources:
        return pure_noise(key, self.observation.shapes, sigma, self.observation.dtype)

    @property
    def mean_cost(self) -> Cost:
        return Cost(1)


def _largest(observation: WhitenedObservation) -> Float[Array, ""]:
    r"""The largest eigenvalue of :math:`A A^\top`, by a power iteration."""
    zeros = {s: jnp.zeros(shape, observation.dtype) for s, shape in observation.shapes.items()}

    def once(_, state: tuple[Sources, Array]) -> tuple[Sources, Array]:
        v, _ = state
        v = observation.adjoint(observation.forward(v))
        length = jnp.sqrt(sum(jnp.sum(u**2) for u in v.values()))
        return jax.tree.map(lambda u: u / jnp.maximum(length, jnp.finfo(u.dtype).tiny), v), length

    begin, _ = once(0, (noise_like(jax.random.key(0), zeros), jnp.zeros((), observation.dtype)))
    return jax.lax.fori_loop(0, _ROUNDS, once, (begin, jnp.zeros((), observation.dtype)))[1]
