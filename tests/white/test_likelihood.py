"""Whatever the likelihood, what is closed or checked sees the Gaussian that stands for it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dichroic.design.data import whitened
from dichroic.diagnose.white import WhiteView
from dichroic.operators import DiagonalNoise, Likelihood, PerSample
from dichroic.problem import View
from dichroic.white.arrays import factored, stacked
from dichroic.white.layout import group_alike, has_weights


class Shot(Likelihood):
    """Counts, nearly: the variance is the mean; the Gaussian near the data is different for every observation."""

    def log_prob(self, y, m, observed=True):
        raise NotImplementedError

    def sample(self, key, m):
        return m + jnp.sqrt(m) * jax.random.normal(key, m.shape, m.dtype)

    def gaussian_at(self, y, m):
        return y, DiagonalNoise(jnp.sqrt(m))


class Wide(Likelihood):
    """Not Gaussian, and the Gaussian that stands for it is the same everywhere."""

    def log_prob(self, y, m, observed=True):
        raise NotImplementedError

    def sample(self, key, m):
        return m + jax.random.laplace(key, m.shape, m.dtype)

    def gaussian_at(self, y, m):
        return y, DiagonalNoise(2**0.5)


def test_the_gaussian_view_of_any_likelihood():
    """Closed forms, the design and what observations share see the noise that stands for the likelihood."""
    y = np.array([[4.0, 9.0], [4.0, 9.0], [16.0, np.nan]])
    shot = View(y, {"x": 1.0}, Shot()).bind({"x": (2,)})
    assert isinstance(shot.gaussian.noise, PerSample) and not shot.shared
    np.testing.assert_allclose(shot.gaussian.noise.value.std, [[2, 3], [2, 3], [4, 1]])
    assert [list(members) for members in group_alike(shot)] == [[0, 1], [2]]
    wide = View(y[:2], {"x": 1.0}, Wide()).bind({"x": (2,)})
    assert wide.gaussian.noise.std == pytest.approx(2**0.5) and wide.shared and has_weights(wide)
    for view in (shot, wide):
        same = View(view.y, view.mixing, view.gaussian.noise, view.observed).bind({"x": (2,)})
        assert same.gaussian is same
        parts = (jax.tree.leaves(factored(each, {"x": (2,)})) for each in (view, same))
        for found, expected in zip(*parts, strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-7)
        for found, expected in zip(stacked(view, {"x": (2,)}), stacked(same, {"x": (2,)}), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-6)
        np.testing.assert_allclose(whitened(view)[0], whitened(same)[0], rtol=1e-6)


def test_residuals_by_any_likelihood_are_standard_normal(rng):
    x = rng.uniform(20, 50, size=(2000, 2)).astype(np.float32)
    view = View(x + np.sqrt(x) * rng.normal(size=x.shape), {"x": 1.0}, Shot()).bind({"x": (2,)})
    r = WhiteView(view, {"x": (2,)}).residuals({"x": x}, rng)
    assert abs(r.mean()) < 5 / np.sqrt(r.size) and abs((r**2).mean() - 1) < 5 * np.sqrt(2 / r.size)
