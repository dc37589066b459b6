"""Simulated pairs of sources and data, to train a conditional denoiser on and to measure its errors with."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from dichroic.diffusion import Batch, Schedule
from dichroic.posterior.amortised import Conditional, ErrorRatios
from dichroic.posterior.gaussian import LinearModel

__all__ = ["PairObjective", "measure_ratios"]

_LEVELS, _PAIRS, _CHUNK = 24, 1024, 64


class PairObjective(eqx.Module):
    r"""Denoising score matching on simulated pairs, in units of the linear estimate's error:
    :math:`\overline{(F - C^{-1/2}(x_0 - B))^2}`, the bar a mean over directions; 1 is the linear estimate itself.

    A pair is a draw of every source, taken independently of each other, mixed by the operators of one observation, with
    noise.

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
            level_key, pair_key, dropout_key = jax.random.split(key, 3)
            sigma = batch.schedule.training_sigma(level_key)
            return jnp.mean(self.error(denoiser, sigma, index, pair_key, dropout_key) ** 2)

        return jax.vmap(one)(batch.x, batch.keys), state

    def error(
        self,
        conditional: Conditional,
        sigma: Float[Array, ""],
        index: Array,
        key: PRNGKeyArray,
        dropout_key: PRNGKeyArray | None = None,
    ) -> Float[Array, " d"]:
        r"""Of one pair, :math:`C^{-1/2} (x_0 - D)` along the eigenbasis of `C`."""
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
        if conditional.network is None:
            return target
        return target - basis.T @ conditional.correction(x_t, sigma, B, posterior, dropout_key)


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
