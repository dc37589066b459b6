r"""A denoiser of a source given the observation, trained on pairs simulated from a pool.

With an estimate `e` of the source from the observation, whose errors on simulated pairs have variance
:math:`\tau^2`,

.. math:: D(x_t, \sigma, y) = \frac{x_t / \sigma^2 + e / \tau^2}{1 / \sigma^2 + 1 / \tau^2}
    + \frac{F(x_t, y, e, \log\sigma)}{\sqrt{1 / \sigma^2 + 1 / \tau^2}} ,

so that what `F` has to predict is of order one at every noise level: the preconditioning of EDM (arXiv 2206.00364) with
a second estimate beside :math:`x_t`. The loss is weighted by :math:`1 / \sigma^2 + 1 / \tau^2`. A quarter of every
batch is at the highest level, where `D` is the posterior mean.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from dichroic.diffusion.denoiser import trainable_in
from dichroic.diffusion.networks.conv import ConvConfig
from dichroic.law.contrast import Contrast
from dichroic.law.descent import Descent, Report, descend, half
from dichroic.law.regression import Regression, channels, convolutional, estimates

__all__ = ["Known", "ViewDenoiser", "evidence"]

_HIGHEST = 4  # one sample of so many is at the highest level


class Known(eqx.Module):
    """What is known of some observations before a network is asked, in the scaled units of the source.

    **Fields:** `back`, what the data say of the source, shape `(n, ...)`; `estimate`, the first estimate; `weight`, how
    much of each entry the data see; `kind`, shape `(n,)`.
    """

    back: Float[Array, "n ..."]
    estimate: Float[Array, "n ..."]
    weight: Float[Array, "n ..."]
    kind: Array


@eqx.filter_jit
def _backs(contrast: Contrast, y: Array, signal: Array, rows: Array) -> tuple[Array, Array, Array]:
    def one(y, s, i):
        x, weight = contrast.back(s, i)
        return contrast.back(y, i)[0], contrast.clip(x), weight

    return jax.vmap(one)(y, signal, rows)


def evidence(contrast: Contrast, regression: Regression, y: Any, rows: Any, *, times: int, key: PRNGKeyArray) -> Known:
    """Of observations `y` of the kinds of `rows`."""
    signal = estimates(regression, contrast, y, rows, times=times, key=key)
    rows = jnp.asarray(rows)
    found = [
        _backs(contrast, jnp.asarray(y)[at], signal[at], rows[at])
        for at in (np.minimum(np.arange(b, b + 256), len(rows) - 1) for b in range(0, len(rows), 256))
    ]
    back, estimate, weight = (jnp.concatenate(parts)[: len(rows)] for parts in zip(*found, strict=True))
    return Known(back, estimate, weight, contrast.kind[rows])


class ViewDenoiser(eqx.Module):
    """The denoiser of one source of one view; `tau`, shape `(kinds,)`."""

    network: Any
    tau: Float[Array, " kinds"]
    low: Float[Array, ""]
    high: Float[Array, ""]
    precise: bool = eqx.field(static=True)

    @classmethod
    def create(cls, contrast: Contrast, config: ConvConfig, *, precise: bool, key: PRNGKeyArray) -> "ViewDenoiser":
        """With a fresh network, and no idea of `tau` yet."""
        one = jnp.zeros(contrast.shape)
        network = convolutional(config, contrast).build(channels(one, one, one, one).shape, key=key, out_scale=0.1)
        kinds = len(contrast.count)
        return cls(network, jnp.ones(kinds), contrast.low, contrast.high, precise)

    def __call__(self, x_t: Array, sigma: Array, known: Known) -> Array:
        """The posterior mean of one source given `x_t` and one observation."""
        tau = self.tau[known.kind]
        precision = sigma**-2 + tau**-2
        inputs = channels(x_t / jnp.sqrt(1 + sigma**2), known.back, known.estimate, known.weight)
        network = self.network if self.precise else half(self.network)
        out = network(inputs.astype(jnp.float32 if self.precise else jnp.bfloat16), sigma)
        out = out[..., : out.shape[-1] // 4].astype(x_t.dtype).reshape(x_t.shape)
        return (x_t / sigma**2 + known.estimate / tau**2) / precision + out / jnp.sqrt(precision)

    def trained(
        self,
        x: Float[Array, "n ..."],
        known: Known,
        levels: tuple[float, float],
        how: Descent,
        *,
        batch: int,
        key: PRNGKeyArray,
        report: Report | None = None,
    ) -> tuple["ViewDenoiser", Array]:
        """On simulated pairs of a source `x` and what is known of its observation."""
        kinds = len(self.tau)
        error = (x - known.estimate) ** 2
        each = jax.ops.segment_sum(error, known.kind, kinds)
        count = jnp.bincount(known.kind, length=kinds).reshape(-1, *[1] * (x.ndim - 1))
        # one number for all entries: those where little is wrong would count for as much as the others
        tau = jnp.sqrt((each / jnp.maximum(count, 1)).mean(tuple(range(1, x.ndim))))
        tau = jnp.where(tau > 0, tau, jnp.max(tau))
        model = eqx.tree_at(lambda m: m.tau, self, tau)
        data = (x, known, jnp.log(jnp.asarray(levels)), jnp.zeros(batch))
        return descend(model, _loss, data, how, key=key, report=report)

    def trainable(self) -> "ViewDenoiser":
        """The network alone."""
        return trainable_in(self, lambda m: m.network)

    def draw(self, known: Known, levels: Float[np.ndarray, " steps"], keys: Array) -> tuple[Array, Array]:
        """Ancestral draws from the first of the levels to the last, and the posterior means.

        Level by level: convolutions are slow within loops on a CPU.
        """
        x, mean = _start(self, known, jnp.asarray(levels[0], jnp.float32), keys), None
        for k, t in enumerate(levels):
            s = levels[k + 1] if k + 1 < len(levels) else 0.0
            x, now = _ancestral(self, known, x, jnp.asarray([t, s], jnp.float32), jnp.asarray(k + 1), keys)
            mean = now if mean is None else mean
        return jnp.clip(x, self.low, self.high), jnp.clip(mean, self.low, self.high)  # pyright: ignore


@eqx.filter_jit
def _start(model: ViewDenoiser, known: Known, level: Array, keys: Array) -> Array:
    shape = known.estimate.shape[1:]
    return level * jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, 0), shape))(keys)


@eqx.filter_jit
def _ancestral(
    model: ViewDenoiser, known: Known, x: Array, levels: Array, number: Array, keys: Array
) -> tuple[Array, Array]:
    t, s = levels
    share = 1 - (s / t) ** 2

    def one(known: Known, x: Array, key: PRNGKeyArray) -> tuple[Array, Array]:
        mean = model(x, t, known)
        noise = jax.random.normal(jax.random.fold_in(key, number), x.shape)
        return x - share * (x - mean) + s * jnp.sqrt(share) * noise, mean

    return jax.vmap(one)(known, x, keys)


def _loss(model: ViewDenoiser, data: tuple[Array, Known, Array, Array], key: PRNGKeyArray) -> Array:
    x, known, (low, high), batch = data
    highest = jnp.arange(len(batch)) < len(batch) // _HIGHEST

    def one(highest: Array, key: PRNGKeyArray) -> Array:
        pick, level, noise = jax.random.split(key, 3)
        i = jax.random.randint(pick, (), 0, len(x))
        sigma = jnp.exp(jnp.where(highest, high, jax.random.uniform(level, (), minval=low, maxval=high)))
        of = jax.tree.map(lambda a: a[i], known)
        x_t = x[i] + sigma * jax.random.normal(noise, x[i].shape)
        return jnp.mean((model(x_t, sigma, of) - x[i]) ** 2 * (sigma**-2 + model.tau[of.kind] ** -2))

    return jax.vmap(one)(highest, jax.random.split(key, len(batch))).mean()
