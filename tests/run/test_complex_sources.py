"""Complex sources come out complex: posterior draws in memory and on disk, samples, scores."""

import jax
import numpy as np

from dichroic.closed import gaussian_em
from dichroic.diffusion import Schedule
from dichroic.operators import AsComplex, Dense
from dichroic.problem import Problem, Source, View, as_pairs
from dichroic.run import Separation, separate
from dichroic.run.summary import view_scores


def test_draws_are_those_of_the_pairs(tmp_path):
    rng = np.random.default_rng(2)

    def draw(*shape):
        return rng.normal(size=shape) + 1j * rng.normal(size=shape)

    A, x = draw(4, 3), draw(20, 3)
    y = (x @ A.T + 0.1 * draw(20, 4)).astype(np.complex64)
    new = Problem({"x": Source((3,), dtype=complex)}, {"v": View(y, {"x": Dense(A)}, 0.1, truth={"x": x})})
    old = Problem(
        {"x": Source((3, 2))}, {"v": View(y, {"x": Dense(A) @ AsComplex((3, 2))}, 0.1, truth={"x": as_pairs(x)})}
    )
    prior = {"x": gaussian_em(new).prior("x", (3, 2), Schedule())}
    key = jax.random.key(0)
    pairs = separate(old, prior, key=key, draws=2)
    for found in (separate(new, prior, key=key, draws=2), separate(new, prior, key=key, draws=2, out=tmp_path / "x")):
        assert found.draws("v", "x").shape == (20, 2, 3) and found.samples["v"]["x"].dtype == np.complex64
        np.testing.assert_array_equal(as_pairs(found.draws("v", "x")), pairs.draws("v", "x"))
        np.testing.assert_array_equal(found.chi_square["v"], pairs.chi_square["v"])
    np.testing.assert_allclose(as_pairs(found.mean("v", "x")), pairs.mean("v", "x"), rtol=1e-5)
    assert view_scores(Separation.open(tmp_path / "x"), new) == view_scores(pairs, old)
    assert np.abs(found.mean("v", "x") - x).std() < 0.3
