r"""The linear latent-variable model of one observation, shared by the linear baselines.

Every source is affine in its own unit normal latents, :math:`x_s = m_s + W_s z_s`. With whitened operators (unit noise)
and :math:`M = [A_1 W_1 \cdots A_S W_S]`, the data is normal,

.. math:: r = y - \textstyle\sum_s A_s m_s \sim \mathcal N(0, I + M M^\top), \qquad
    z \mid y \sim \mathcal N\big(M^\top (I + M M^\top)^{-1} r,\; (I + M^\top M)^{-1}\big) .

All of it goes through the smaller of the two systems. DDPRISM (arXiv 2510.05205), eqs. 20 to 26, are this with one or
two sources.
"""

from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from dichroic.algebra import cholesky, gain, matheron, solve_lower
from dichroic.problem import Observation
from dichroic.white import WhitenedObservation

__all__ = ["FactorModel", "ScaledLikelihood", "log_normal"]


class FactorModel(eqx.Module):
    """Means, shape `(...)`, and loadings, shape `(q, ...)`, of some sources, in the user's units."""

    means: dict[str, Float[Array, "..."]]
    loadings: dict[str, Float[Array, "q ..."]]

    def log_likelihood(self, observation: Observation) -> Float[Array, ""]:
        r"""Log-density of the whitened data of one observation, less :math:`\tfrac12 \log 2\pi` per observed value."""
        return log_normal(*self._system(observation))

    def mean(self, observation: Observation) -> dict[str, Array]:
        """Posterior mean of the sources that enter the observation."""
        M, r = self._system(observation)
        return self._sources(observation, gain(M, r))

    def draw(self, observation: Observation, key: PRNGKeyArray) -> dict[str, Array]:
        """Posterior draw, by Matheron's rule: a prior draw, moved by the gain of what it fails to explain."""
        M, r = self._system(observation)
        m, q = M.shape
        # where nothing is observed M and r have zero rows, and the noise drawn there has no effect
        z, n = jnp.split(jax.random.normal(key, (q + m,), M.dtype), [q])
        return self._sources(observation, matheron(z, r, n, lambda z: M @ z, lambda r: (gain(M, r), None))[0])

    def __call__(self, observation: Observation, key: PRNGKeyArray | None) -> dict[str, Array]:
        """A draw; the mean without a key."""
        return self.mean(observation) if key is None else self.draw(observation, key)

    def _system(self, observation: Observation) -> tuple[Float[Array, "m q"], Float[Array, " m"]]:
        w = WhitenedObservation.unscaled(observation, {s: jnp.shape(m) for s, m in self.means.items()})
        columns = [jax.vmap(lambda e, s=s: w.forward({s: e}))(jnp.asarray(self.loadings[s], w.dtype)) for s in w.shapes]
        r = w.y - w.forward({s: jnp.asarray(self.means[s], w.dtype) for s in w.shapes})
        return jnp.concatenate(columns).T, r

    def _sources(self, observation: Observation, z: Float[Array, " q"]) -> dict[str, Array]:
        out, begin = {}, 0
        for s in (s for s in self.means if s in observation.mixing):
            W = jnp.asarray(self.loadings[s], z.dtype)
            out[s] = self.means[s] + jnp.tensordot(z[begin : begin + len(W)], W, 1)
            begin += len(W)
        return out


class ScaledLikelihood:
    """The log-likelihood of parameters in units of the sources, so that a fit does not depend on the user's.

    `parameters` are the fields of a `FactorModel`, each divided by the scale of its source.
    """

    def __init__(self, scales: Mapping[str, float]):
        self.scales = dict(scales)

    def __call__(self, parameters: dict[str, dict[str, Array]], observation: Observation) -> Float[Array, ""]:
        scaled = {part: {s: self.scales[s] * a for s, a in sources.items()} for part, sources in parameters.items()}
        return FactorModel(**scaled).log_likelihood(observation)


def log_normal(M: Float[Array, "m q"], r: Float[Array, " m"]) -> Float[Array, ""]:
    r""":math:`-\tfrac12 \big[ r^\top C^{-1} r + \log\det C \big]` with :math:`C = I + M M^\top`."""
    m, q = M.shape
    if m <= q:
        L = cholesky(jnp.eye(m, dtype=M.dtype) + M @ M.T)
        a = solve_lower(L, r)
        return -0.5 * a @ a - jnp.sum(jnp.log(jnp.diagonal(L)))
    L = cholesky(jnp.eye(q, dtype=M.dtype) + M.T @ M)
    a = solve_lower(L, M.T @ r)
    return -0.5 * (r @ r - a @ a) - jnp.sum(jnp.log(jnp.diagonal(L)))
