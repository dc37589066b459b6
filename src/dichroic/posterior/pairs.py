"""Simulated pairs of sources and data, to train a conditional denoiser on and to measure its errors with."""

from abc import abstractmethod
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from dichroic.diffusion import Batch, GaussianDenoiser, Schedule
from dichroic.posterior.amortised import Conditional, ErrorRatios
from dichroic.posterior.gaussian import LinearModel

__all__ = ["EnergyScore", "PairObjective", "Pairs", "measure_ratios"]

_LEVELS, _PAIRS, _CHUNK = 24, 1024, 64
_TINY = 1e-6  # under the root of a squared length in units of the estimate's error, whose gradient is then finite


class Pair(NamedTuple):
    """Sources and data simulated for one observation.

    **Fields:** `x_t`, the noisy sources at the level `sigma`; `B` and `posterior`, the estimate and the posterior of
    Gaussian sources; `basis` and `root`, of the covariance `C` of its error; `target`, :math:`C^{-1/2} (x_0 - B)` along
    that basis.
    """

    x_t: Array
    sigma: Array
    B: Array
    posterior: GaussianDenoiser
    basis: Array
    target: Array


class Pairs(eqx.Module):
    r"""An objective on simulated pairs. A pair is a draw of every source, taken independently of each other, mixed by
    the operators of one observation, with noise.

    **Arguments:** `draws`, `{source: (n, ...)}` in scaled units, every source with a number of its own; `models`, of
    all observations, with a leading axis, or of the one that stands for all.
    """

    draws: dict[str, Float[Array, "n ..."]]
    models: LinearModel
    shared: bool = eqx.field(static=True)

    def init(self, denoiser: Any, key: PRNGKeyArray) -> None:
        return None

    def loss(
        self, denoiser: Conditional, state: None, batch: Batch, key: PRNGKeyArray
    ) -> tuple[Float[Array, " n"], None]:
        """See `Objective`; a sample is the number of an observation."""

        def one(index: Array, key: PRNGKeyArray) -> Float[Array, ""]:
            level_key, pair_key, own_key = jax.random.split(key, 3)
            pair = self.pair(denoiser, self.level(batch.schedule, level_key), index, pair_key)
            return self.of_pair(denoiser, pair, own_key)

        return jax.vmap(one)(batch.x, batch.keys), state

    def level(self, schedule: Schedule, key: PRNGKeyArray) -> Float[Array, ""]:
        """A noise level to train at."""
        return schedule.training_sigma(key)

    @abstractmethod
    def of_pair(self, denoiser: Conditional, pair: Pair, key: PRNGKeyArray) -> Float[Array, ""]:
        """The loss of one pair."""

    def pair(self, conditional: Conditional, sigma: Float[Array, ""], index: Array, key: PRNGKeyArray) -> Pair:
        """A pair of an observation."""
        source_key, data_key, noise_key = jax.random.split(key, 3)
        model = self.models if self.shared else jax.tree.map(lambda a: a[index], self.models)
        keys = dict(zip(self.draws, jax.random.split(source_key, len(self.draws)), strict=True))
        x = conditional.stack({s: a[jax.random.randint(keys[s], (), 0, len(a))] for s, a in self.draws.items()})
        y = model.A @ x + jax.random.normal(data_key, model.A.shape[:1], x.dtype)
        posterior = model.posterior(y)
        sigma = sigma.astype(x.dtype)
        x_t = x + sigma * jax.random.normal(noise_key, x.shape, x.dtype)
        basis, values, _ = posterior.moments_given(sigma)
        B = posterior(x_t, sigma)
        # nothing is left to predict along a direction without variance
        known = values <= 1e-12 * sigma**2
        target = jnp.where(known, 0, basis.T @ (x - B) / jnp.sqrt(jnp.where(known, 1, values)))
        return Pair(x_t, sigma, B, posterior, basis, target)


class PairObjective(Pairs):
    r"""Denoising score matching on simulated pairs, in units of the linear estimate's error:
    :math:`\overline{(F - C^{-1/2}(x_0 - B))^2}`, the bar a mean over directions; 1 is the linear estimate itself.
    """

    def of_pair(self, denoiser: Conditional, pair: Pair, key: PRNGKeyArray) -> Float[Array, ""]:
        return jnp.mean(self.left(denoiser, pair, key) ** 2)

    def error(
        self,
        conditional: Conditional,
        sigma: Float[Array, ""],
        index: Array,
        key: PRNGKeyArray,
        dropout_key: PRNGKeyArray | None = None,
    ) -> Float[Array, " d"]:
        r"""Of one pair, :math:`C^{-1/2} (x_0 - D)` along the eigenbasis of `C`."""
        return self.left(conditional, self.pair(conditional, sigma, index, key), dropout_key)

    def left(self, conditional: Conditional, pair: Pair, dropout_key: PRNGKeyArray | None) -> Float[Array, " d"]:
        """What the network leaves of the target."""
        if conditional.network is None:
            return pair.target
        F = conditional.correction(pair.x_t, pair.sigma, pair.B, pair.posterior, dropout_key)
        return pair.target - pair.basis.T @ F


class EnergyScore(Pairs):
    r"""The energy score of what a stochastic denoiser draws, :math:`v_k = z_k + F(x_t, B, z_k)` for
    :math:`e = C^{-1/2}(x_0 - B)`,

    .. math:: \frac1K \sum_k |e - v_k| - \frac1{2 K (K - 1)} \sum_{k \ne l} |v_k - v_l| .

    It is strictly proper: its expectation is smallest for draws of the posterior alone, and one that leaves a mode out
    pays for it (Gneiting and Raftery 2007; for denoisers De Bortoli et al. 2025, arXiv 2502.02483). There is no
    adversary and no critic.

    **Arguments:** `levels`, those that will be drawn at; `members`, `K`.
    """

    levels: Float[Array, " L"]
    members: int = eqx.field(static=True, default=2)

    def level(self, schedule: Schedule, key: PRNGKeyArray) -> Float[Array, ""]:
        return self.levels[jax.random.randint(key, (), 0, len(self.levels))]

    def of_pair(self, denoiser: Conditional, pair: Pair, key: PRNGKeyArray) -> Float[Array, ""]:
        K = self.members
        z = jax.random.normal(key, (K, len(pair.target)), pair.target.dtype)
        F = jax.vmap(lambda z: denoiser.correction(pair.x_t, pair.sigma, pair.B, pair.posterior, None, z))(z)
        v = (z + F) @ pair.basis
        i, j = np.triu_indices(K, 1)
        return _length(pair.target - v).mean() - _length(v[i] - v[j]).mean() / 2


def _length(a: Float[Array, "*n d"]) -> Float[Array, "*n"]:
    return jnp.sqrt(jnp.sum(a**2, axis=-1) + _TINY)


@eqx.filter_jit
def measure_ratios(
    conditional: Conditional, objective: PairObjective, schedule: Schedule, count: int, *, key: PRNGKeyArray
) -> ErrorRatios:
    """What is left of the linear estimate's errors, on simulated pairs of `count` observations."""
    levels = schedule.sigma(jnp.linspace(0, 1, _LEVELS))

    def chunk(inputs: tuple[Array, PRNGKeyArray]) -> Array:
        sigma, key = inputs
        index_key, pair_key = jax.random.split(key)
        indices = jax.random.randint(index_key, (_CHUNK,), 0, count)
        keys = jax.random.split(pair_key, _CHUNK)
        return jnp.mean(jax.vmap(lambda i, k: objective.error(conditional, sigma, i, k))(indices, keys) ** 2, axis=0)

    chunks = _PAIRS // _CHUNK
    keys = jax.random.split(key, (_LEVELS, chunks))
    values = jax.lax.map(
        lambda one: jnp.mean(jax.lax.map(chunk, (jnp.full(chunks, one[0]), one[1])), axis=0), (levels, keys)
    )
    return ErrorRatios(jnp.log(levels), jnp.maximum(values, 1e-6))
