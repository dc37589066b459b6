"""Sources that are one of a few atoms: the posterior is a finite sum, and exact draws follow it."""

import jax
import numpy as np

from dichroic.diffusion import Empirical
from dichroic.posterior import Auto, observation_keys
from dichroic.problem import View

N = 4000


def test_two_empirical_sources_are_drawn_from_their_exact_posterior(rng):
    atoms = {s: rng.normal(size=(6, 2)).astype(np.float32) for s in "ab"}
    weights = np.array([1, 2, 1, 1, 3, 1]) / 9
    y = np.tile([[0.3, -0.2]], (N, 1)).astype(np.float32)
    view = View(y, {"a": 1.0, "b": 0.7}, 0.4).bind({s: (2,) for s in "ab"})
    bound = Auto().bind(view, {s: Empirical.of(a, weights) for s, a in atoms.items()}, key=jax.random.key(0))
    assert bound.exact
    x = bound.draw(observation_keys(jax.random.key(1), N)).samples
    residual = y[0] - atoms["a"][:, None] - 0.7 * atoms["b"][None]
    joint = np.outer(weights, weights) * np.exp(-(residual**2).sum(-1) / (2 * 0.4**2))
    joint /= joint.sum()
    found = np.zeros((6, 6))
    for i, j in zip(*(np.abs(x[s][:, None] - atoms[s]).max(-1).argmin(1) for s in "ab"), strict=True):
        found[i, j] += 1 / N
    assert np.abs(found - joint).max() < 4.5 * (0.25 / N) ** 0.5
    assert max(np.abs(x[s][:, None] - atoms[s]).max(-1).min(1).max() for s in "ab") < 1e-3
