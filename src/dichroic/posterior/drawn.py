r"""Candidates drawn by stochastic denoisers, weighed by their joint likelihood: no Jacobian, no product with one.

Given the noisy copy :math:`x_t` of a source, `K` draws :math:`x_k \sim p(x \mid x_t)` are made of it. With weights
:math:`w_{kl} \propto \exp(-|x_k - x_l|^2 / 2 b_k^2)`, which reach as far as the nearest few, each stands for a Gaussian
of the mean and the covariance of its surroundings,

.. math:: \mathcal N\big(m_k + \sqrt{1 - h^2}\,(x_k - m_k),\; h^2 C_k\big), \qquad m_k = \sum_l w_{kl} x_l, \quad
    C_k = \sum_l w_{kl} (x_l - m_k)(x_l - m_k)^\top ,

which has their moments, however large `h` is (West 1993). Tuples of one candidate per source are weighed by
their joint likelihood (:mod:`dichroic.posterior.weighed`): `2 K` evaluations of two sources weigh :math:`K^2` tuples,
and their weighted mean is :math:`\mathrm E[x \mid x_t, y]` (Jayashankar's thesis, 9.2.2). Bare draws, `h = 0`,
degenerate where data are precise: a single one has all the weight, and does not meet the data either. One Gaussian with
the moments of all `K` is the other end, `rule = "ensemble"`.
"""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from pydantic import Field, PositiveInt

from dichroic.algebra.small import cholesky
from dichroic.diffusion import Cost, Decoupled
from dichroic.onestep import ExactDraws, Generator, Noisy, stochastic_denoiser
from dichroic.posterior.annealed import Stepped, leg
from dichroic.posterior.sampler import Build
from dichroic.posterior.weighed import TUPLES, Weighable, WeighedPosterior

__all__ = ["Drawn", "DrawnPosterior", "surroundings"]

_NEAREST = 4  # draws that the surroundings of one reach to
_FLOOR = 1e-3  # standard deviation of a candidate at least, in what the noise level leaves open

Rule = Literal["tuples", "ensemble"]


class DrawnPosterior(WeighedPosterior):
    """The joint posterior of one observation, by stochastic denoisers; a mean takes the same noise every time."""

    drawers: dict[str, Generator | ExactDraws]
    number: int = eqx.field(static=True)
    local: float = eqx.field(static=True)
    rule: Rule = eqx.field(static=True, default="tuples")

    def candidates(self, source, x_t, sigma, key):
        """Draws of one source with their surroundings, or their moments."""
        keys = jax.random.split(jax.random.key(0) if key is None else key, self.number)
        x = jax.vmap(lambda key: self.drawers[source].sample(key, Noisy(x_t, sigma)))(keys).reshape(self.number, -1)
        floor = _FLOOR * sigma / jnp.sqrt(1 + sigma**2)
        if self.rule == "ensemble":
            c = x - x.mean(0)
            root = cholesky(c.T @ c / (self.number - 1) + floor**2 * jnp.eye(x.shape[1], dtype=x.dtype))
            return Weighable(jnp.zeros(1, x.dtype), x.mean(0)[None], root[None])
        return Weighable(jnp.zeros(self.number, x.dtype), *surroundings(x, self.local, floor))

    @property
    def mean_cost(self) -> Cost:
        return Cost(self.number)

    @property
    def draw_cost(self) -> Cost:
        return Cost(self.number)


def surroundings(
    x: Float[Array, "K d"], h: float, floor: Float[Array, ""]
) -> tuple[Float[Array, "K d"], Float[Array, "K d d"]]:
    """Means and roots of covariances of the Gaussians that draws stand for; `floor`, a standard deviation that all have
    at least.
    """
    distances = jnp.sum((x[:, None] - x) ** 2, axis=-1)
    reach = jnp.sort(distances, axis=1)[:, min(_NEAREST, len(x) - 1)]
    w = jax.nn.softmax(-0.5 * distances / jnp.maximum(reach, floor**2)[:, None], axis=1)
    m = w @ x
    c = x - m[:, None]
    C = h**2 * jnp.einsum("kl,kli,klj->kij", w, c, c) + floor**2 * jnp.eye(x.shape[1], dtype=x.dtype)
    return m + jnp.sqrt(1 - h**2) * (x - m), jax.vmap(cholesky)(C)


class Drawn(Stepped):
    """Draws of stochastic denoisers, `candidates` of every source, weighed by their joint likelihood.

    For few sources of few numbers. Priors are generators with noise levels (`dichroic distill --levels`), or Gaussians
    and components, of which such draws are exact.
    """

    kind: Literal["drawn"] = "drawn"
    candidates: PositiveInt = 64
    """Draws of every source at every step."""
    tuples: PositiveInt = TUPLES
    """Combinations weighed at most at every step: of more than two sources there are fewer draws."""
    local: float = Field(0.7, ge=0, le=1)
    """Spread of what a draw stands for, over that of the draws around it."""
    rule: Rule = "tuples"
    """Every draw with its surroundings, or one Gaussian with the moments of all."""
    steps: PositiveInt = 7
    """Times that a draw from pure noise is noised anew."""

    def legs(self, task, high=None, low=None, *, afresh=False):
        found: dict[str, Generator | ExactDraws] = {}
        for s, prior in task.priors.items():
            drawer = stochastic_denoiser(prior)
            if drawer is None:
                raise ValueError(
                    f"method 'drawn' draws source {s!r} given a noisy copy of it, which its prior, of kind "
                    f"{prior.kind!r}, does not; 'dichroic distill --levels 4' makes one that does"
                )
            found[s] = drawer
        number = max(2, min(self.candidates, int(self.tuples ** (1 / len(found)) + 1e-9)))
        build = _Drawers(found, number, self.local, self.rule)
        return leg(build, Decoupled(), self, task.schedule, task.size, high, low, afresh=afresh), Cost()


class _Drawers(Build):
    """Stochastic denoisers of all sources."""

    drawers: dict[str, Generator | ExactDraws]
    number: int = eqx.field(static=True)
    local: float = eqx.field(static=True)
    rule: Rule = eqx.field(static=True)

    def __call__(self, observation, alike):
        known = {s: self.drawers[s] for s in observation.shapes}
        return DrawnPosterior(
            observation, observation.matrices(), observation.y, known, self.number, self.local, self.rule
        )
