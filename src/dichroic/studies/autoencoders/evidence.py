r"""The evidence of a decoder by annealed importance sampling (Neal 2001; Wu et al., arXiv 1611.04273).

From the prior :math:`z \sim \mathcal N(0, I)` to the posterior by Hamiltonian steps on :math:`p(z)\, p(x|z)^\beta`,
with weights :math:`\log w = \sum_t (\beta_t - \beta_{t-1}) \log p(x|z_{t-1})`, whose mean is the evidence.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

__all__ = ["annealed_evidence"]

_HALF_WIDTH, _ACCEPTED, _CHANGE = 4.0, 0.65, 1.02  # of the schedule; wanted; of the length of steps, after each


def annealed_evidence(
    log_likelihood: Callable[[Float[Array, " d"]], Float[Array, ""]],
    size: int,
    *,
    key: PRNGKeyArray,
    chains: int = 16,
    levels: int = 1000,
    leapfrog: int = 10,
) -> Float[Array, ""]:
    r"""An estimate of :math:`\log p(x)`, below it on average, of one observation.

    **Arguments:** `log_likelihood`, of a code; `size`, of codes; `chains`, whose weights are averaged; `levels`, of
    :math:`\beta`, dense at both ends; `leapfrog`, steps of a proposal.
    """
    ends = jax.nn.sigmoid(jnp.linspace(-_HALF_WIDTH, _HALF_WIDTH, levels + 1))
    beta = (ends - ends[0]) / (ends[-1] - ends[0])
    both = jax.vmap(jax.value_and_grad(log_likelihood))
    start_key, walk_key = jax.random.split(key)
    z = jax.random.normal(start_key, (chains, size))

    def anneal(carried, given):
        z, (value, slope), step, log_w = carried
        before, now, key = given
        log_w += (now - before) * value
        momentum_key, accept_key = jax.random.split(key)
        p = jax.random.normal(momentum_key, z.shape)

        def leap(_, moved):
            z, p, value, slope = moved
            p = p + 0.5 * step * (now * slope - z)
            z = z + step * p
            value, slope = both(z)
            return z, p + 0.5 * step * (now * slope - z), value, slope

        def energy(z, p, value):
            return now * value - 0.5 * jnp.sum(z**2 + p**2, axis=1)

        new, p_new, value_new, slope_new = jax.lax.fori_loop(0, leapfrog, leap, (z, p, value, slope))
        gain = energy(new, p_new, value_new) - energy(z, p, value)
        taken = jnp.log(jax.random.uniform(accept_key, gain.shape)) < gain
        z = jnp.where(taken[:, None], new, z)
        value, slope = jnp.where(taken, value_new, value), jnp.where(taken[:, None], slope_new, slope)
        step = step * jnp.where(jnp.mean(taken) > _ACCEPTED, _CHANGE, 1 / _CHANGE)
        return (z, (value, slope), step, log_w), None

    first = z, both(z), jnp.asarray(0.2), jnp.zeros(chains)
    (_, _, _, log_w), _ = jax.lax.scan(anneal, first, (beta[:-1], beta[1:], jax.random.split(walk_key, levels)))
    return jax.nn.logsumexp(log_w) - jnp.log(chains)
