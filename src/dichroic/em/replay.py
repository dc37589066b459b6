r"""Replay: does what the priors generate look like held-out data?

Draw every source from its prior, push the draws through the operators of held-out observations, add their noise, and
compare with the observations themselves. The comparison is made on a fixed summary of an observation, its Wiener
estimate

.. math:: w(y, A) = \mathrm E_{\text{Gaussian stage}}[x_1, \ldots, x_S \mid y, A] ,

which lives in the space of the sources whatever the operators, by the energy distance

.. math:: 2\, \mathrm E|w - w'| - \mathrm E|w - w''| - \mathrm E|w' - w'''| ,

zero when simulated and real observations have the same law. It needs no truth; it is the distribution that EM fits,
seen on data that EM has not seen. The random numbers are the same at every lap, so that laps can be compared.
"""

from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from dichroic.diffusion import Ancestral, Prior
from dichroic.em.config import SamplingConfig
from dichroic.operators import take
from dichroic.posterior import WhitenedObservation, joint_posterior
from dichroic.problem import View

__all__ = ["energy_score", "replay_score"]

_STEPS = 32
_FAR = 1e3  # a noise level at which only the Gaussian prior and the data speak


def replay_score(
    view: View,
    priors: Mapping[str, Prior],
    reference: Mapping[str, Prior],
    sampling: SamplingConfig,
    *,
    key: PRNGKeyArray,
) -> tuple[float, float]:
    """Energy distance between simulated and real held-out observations of a view, and its standard error.

    **Arguments:** `reference`, the Gaussian priors that define the summary.
    """
    n = len(view)
    names = list(view.mixing)
    source_keys = dict(zip(names, jax.random.split(jax.random.fold_in(key, 0), len(names)), strict=True))
    simulated = {s: priors[s].sample(n, key=source_keys[s], step=Ancestral(), steps=_STEPS) for s in names}
    reference = {s: reference[s] for s in names}
    batch = sampling.batch_size({s: priors[s].shape for s in names})
    real, fake = [], []
    for begin in range(0, n, batch):
        members = np.minimum(np.arange(begin, begin + batch), n - 1)
        w, w_sim = _summaries(
            {s: p.denoiser for s, p in reference.items()},
            {s: p.scaling for s, p in reference.items()},
            view.select(members).observations,
            {s: x[members] for s, x in simulated.items()},
            jax.random.fold_in(key, 1),
            members,
            sampling.method(view),
        )
        real.append(np.asarray(w)[: n - begin])
        fake.append(np.asarray(w_sim)[: n - begin])
    return energy_score(np.concatenate(real), np.concatenate(fake))


def energy_score(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "n d"]) -> tuple[float, float]:
    """Energy distance of two samples of the same size, with its jackknife-like standard error over pairs of points.

    The kernel is `h(i, j) = |a_i - b_j| + |a_j - b_i| - |a_i - a_j| - |b_i - b_j|`, averaged over `i != j`, which is
    unbiased.
    """

    def distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        square = (x**2).sum(1)[:, None] + (y**2).sum(1)[None, :] - 2 * x @ y.T
        return np.sqrt(np.maximum(square, 0))

    cross = distances(a, b)
    h = cross + cross.T - distances(a, a) - distances(b, b)
    np.fill_diagonal(h, 0)
    n = len(a)
    rows = h.sum(1) / (n - 1)
    return float(rows.mean()), float(2 * rows.std() / np.sqrt(n))


@eqx.filter_jit
def _summaries(denoisers, scalings, observations, simulated, key, indices, method):
    shapes = {s: denoiser.shape for s, denoiser in denoisers.items()}

    def summary(observation):
        target = joint_posterior(denoisers, WhitenedObservation.of(observation, scalings, shapes), *method)
        zeros = {s: jnp.zeros(shape) for s, shape in shapes.items()}
        mean, _ = target.mean(zeros, jnp.asarray(_FAR))
        return jnp.concatenate([mean[s].reshape(-1) for s in shapes])

    def one(i, index):
        observation = take(observations, i)
        mixed = sum(observation.mixing[s](simulated[s][i]) for s in shapes)
        y = jnp.asarray(observation.y)
        white = _white(jax.random.fold_in(key, index), y)
        fake_y = (mixed + observation.noise.unwhiten(white)).astype(y.dtype)
        if observation.observed is not None:
            fake_y = jnp.where(observation.observed, fake_y, 0)
        fake = eqx.tree_at(lambda o: o.y, observation, fake_y)
        return summary(observation), summary(fake)

    return jax.vmap(one)(jnp.arange(len(indices)), indices)


def _white(key, y):
    if not jnp.iscomplexobj(y):
        return jax.random.normal(key, y.shape, y.dtype)
    real, imaginary = jax.random.normal(key, (2, *y.shape), y.real.dtype)
    return real + 1j * imaginary
