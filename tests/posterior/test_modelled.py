"""Systems of data whose operators multiply entry by entry: the same answers without a matrix."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dichroic.operators import AsComplex, Composition, Dense, DenseNoise, DiagonalNoise, Downsample, Mask, Scale
from dichroic.posterior.modelled import System, isotropic
from posterior_cases import whiten

PAIRS = (3, 2)


def entrywise(rng):
    """Complex data, one of them missing: a turned source and a masked one."""
    mixing = {
        "a": Composition(Scale(0.6 + 0.8j, (3,)), AsComplex(PAIRS)),
        "b": Composition(Composition(Mask(rng.uniform(0.5, 2, 3)), Scale(3.0, (3,))), AsComplex(PAIRS)),
    }
    y, observed = rng.normal(size=3) + 1j * rng.normal(size=3), np.array([True, False, True])
    return whiten(np.where(observed, y, 0), mixing, DiagonalNoise(rng.uniform(0.5, 2, 3)), observed=observed)


@pytest.mark.usefixtures("float64")
def test_entries_are_solved_one_by_one_as_the_matrix_says(rng):
    r = jnp.asarray(rng.normal(size=6)) * jnp.array([1, 0, 1, 1, 0, 1])

    @eqx.filter_jit
    def both(observation):
        system = System.of(observation, True)
        assert system.gains is not None
        models = isotropic(observation.shapes, jnp.asarray(0.7))
        models["b"] = models["b"]._replace(rest=jnp.asarray(0.2))
        ways = (system, replace(system, gains=None))
        return [(w.powers(), w.power, w.pull(models, r)[0], w.project(r)[0]) for w in ways]

    ours, theirs = both(entrywise(rng))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12), ours, theirs)


def test_what_does_more_than_multiply_has_no_such_gains(rng):
    unit = DiagonalNoise(1.0)
    assert whiten(np.ones(3), {"a": Scale(2.0, (3,))}, unit).squared_gains() is not None
    # a real source in complex data, a mixing matrix, averages, correlated noise
    assert whiten(np.ones(3) + 1j, {"a": Scale(1j, (3,))}, unit).squared_gains() is None
    assert whiten(np.ones(3), {"a": Scale(2.0, (3,)), "b": Dense(np.eye(3))}, unit).squared_gains() is None
    assert whiten(np.ones((1, 1)), {"a": Downsample(2, (2, 2))}, unit).squared_gains() is None
    correlated = DenseNoise.from_covariance(np.eye(3) + 0.5)
    assert whiten(np.ones(3), {"a": Scale(2.0, (3,))}, correlated).squared_gains() is None
