r"""A prior as a mixture of Gaussians, from its own draws.

For any noise level :math:`\sigma_b` a source obeys :math:`p(x_0) = \mathrm E_{x_b}\, p(x_0 \mid x_b)`, with
:math:`x_b = x_0 + \sigma_b z`. Where :math:`\sigma_b` is so small that :math:`p(x_0 \mid x_b)` is close to a Gaussian,
its moments are the denoiser's (`exact_moments`), and draws :math:`x_b` of the prior make a mixture

.. math:: p(x_0) \approx \frac1B \sum_b \mathcal N\big(D(x_b, \sigma_b),\; V(x_b, \sigma_b)\big) .

It costs some thousand network evaluations, once for all observations, and then gives draws of
:math:`p(x_0 \mid x_t)` at any :math:`x_t` for none: the stochastic denoiser that candidates are taken from.
"""

from math import prod

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from dichroic.algebra.small import symmetric_eigen
from dichroic.diffusion.denoiser import EXACT_SIZE, ComponentsDenoiser, Denoiser, exact_moments
from dichroic.diffusion.sampler import Cost, PriorTarget, run_sampler
from dichroic.diffusion.schedule import Schedule
from dichroic.diffusion.steps import Heun

__all__ = ["COMPONENTS_LEVEL", "components_cost", "components_of", "own_share"]

COMPONENTS_LEVEL = 0.1  # noise level, in standard deviations, at which a source is made of Gaussians
_STEPS = 32


@eqx.filter_jit
def components_of(
    denoiser: Denoiser,
    schedule: Schedule,
    *,
    key: PRNGKeyArray,
    size: int = 512,
    level: float = COMPONENTS_LEVEL,
    steps: int = _STEPS,
) -> ComponentsDenoiser:
    r"""The components of a prior, from `size` of its draws.

    **Arguments:** `level`, :math:`\sigma_b`; `steps` of `Heun` behind every draw. `components_cost` says what it
    costs.

    **Raises:** `ValueError` for sources of more than `EXACT_SIZE` numbers, whose covariances are not formed.
    """
    d = prod(denoiser.shape)
    if d > EXACT_SIZE:
        raise ValueError(f"components are made of sources of up to {EXACT_SIZE} numbers, this one has {d}")
    target, levels = PriorTarget({"x": denoiser}), schedule.levels(steps)

    def component(key: PRNGKeyArray) -> tuple[Array, Array, Array]:
        draw_key, noise_key = jax.random.split(key)
        x_0 = run_sampler(target, Heun(), levels, key=draw_key)[0]["x"]
        sigma = jnp.asarray(level, x_0.dtype)
        mean, V, _ = exact_moments(denoiser, x_0 + sigma * jax.random.normal(noise_key, x_0.shape, x_0.dtype), sigma)
        values, basis = symmetric_eigen(V)
        return mean, basis, jnp.maximum(values, 0)

    means, bases, values = jax.vmap(component)(jax.random.split(key, size))
    return ComponentsDenoiser(jnp.full(size, -np.log(size), values.dtype), means, bases, values)


def components_cost(denoiser: Denoiser, size: int, steps: int = _STEPS) -> Cost:
    """Network evaluations of `components_of`, for all observations together."""
    return Cost(2 * steps + 2, prod(denoiser.shape)) * size


@jax.jit
def own_share(components: ComponentsDenoiser, sigma: Float[Array, ""] | float) -> Float[Array, ""]:
    r"""How far components are on their own: the mean over `b` of the responsibility of component `b`
    for its own mean, seen at noise level `sigma`.

    Near zero many components cover every place, and any draw of the source has company. Near one each of them stands
    alone, and there are too few.
    """
    log_weights, means, bases, values = (
        jnp.asarray(a) for a in (components.log_weights, components.means, components.bases, components.values)
    )
    means = means.reshape(len(log_weights), -1)
    noisy = values + jnp.asarray(sigma, values.dtype) ** 2
    constant = log_weights - 0.5 * jnp.log(noisy).sum(1)

    def own(b: Array) -> Array:
        coordinates = jnp.einsum("kij,ki->kj", bases, means[b] - means)
        return jax.nn.softmax(constant - 0.5 * (coordinates**2 / noisy).sum(1))[b]

    return jax.lax.map(own, jnp.arange(len(means))).mean()
