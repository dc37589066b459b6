"""Annealed importance sampling where the evidence is known."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from dichroic.studies.autoencoders import annealed_evidence


def test_the_evidence_of_a_linear_gaussian_decoder(rng):
    """log N(y; 0, W W^T + s^2 I), for three observations of a posterior that is far narrower than the prior."""
    W, s = rng.normal(size=(6, 2)), 0.3
    covariance = W @ W.T + s**2 * np.eye(6)
    y = rng.multivariate_normal(np.zeros(6), covariance, size=3)
    half = 0.5 * np.linalg.slogdet(2 * np.pi * covariance)[1]
    want = -0.5 * np.sum(y * np.linalg.solve(covariance, y.T).T, axis=1) - half

    def log_likelihood(y, z):
        return -0.5 * jnp.sum((y - W @ z) ** 2) / s**2 - 3 * jnp.log(2 * jnp.pi * s**2)

    @jax.jit
    def estimated(y, keys):
        def one(y, key):
            return annealed_evidence(partial(log_likelihood, y), 2, key=key, chains=512, levels=400, leapfrog=5)

        return jax.vmap(one)(y, keys)

    found = estimated(y, jax.random.split(jax.random.key(0), 3))
    np.testing.assert_allclose(found, want, atol=0.1)
