"""Means of draws: exact where they have a closed form, better than the draws alone elsewhere, and as they say."""

import jax
import numpy as np
import pytest

from dichroic import Problem, Source, View
from dichroic.algebra import Components
from dichroic.diffusion import Cost, DenoiserPrior, Scaling, Schedule
from dichroic.operators import Dense
from dichroic.posterior import Draws
from dichroic.run import RunError, Separation, separate
from dichroic.run.mean import MeanOfDraws

N, D = 400, 16


def drawn(x: np.ndarray, diverged=None) -> Draws:
    n = len(x)
    none = np.zeros(n)
    return Draws({"s": x.astype(np.float32)}, none, none, none, none > 0 if diverged is None else diverged, Cost())


def rounds(rng, mean, count, std=1.0):
    return [drawn(mean + std * rng.normal(size=mean.shape)) for _ in range(count)]


@pytest.mark.parametrize("distance", [0.0, 0.1, 1.0, 5.0], ids=str)
def test_the_closed_form_helps_where_it_is_near_and_does_no_harm_where_it_is_far(distance):
    rng = np.random.default_rng(0)
    mean = rng.normal(size=(N, D))
    found = MeanOfDraws({"s": mean + distance * rng.normal(size=mean.shape)})
    plain = MeanOfDraws()
    for x in rounds(rng, mean, 8):
        found.add(x), plain.add(x)

    def error(x):
        return ((x.mean("s") - mean) ** 2).sum(1)

    gain = error(plain) - error(found)
    assert gain.mean() > -3 * gain.std() / np.sqrt(N)
    if distance < 0.2:  # well below the eighth of the variance that the draws leave
        assert error(found).mean() < 0.4 * error(plain).mean()
    assert plain.share("s") == pytest.approx(1 / 9, abs=1e-6)
    stated = found.share("s") / (1 - found.share("s")) * D
    assert 0.95 < stated / error(found).mean() < 2  # on the safe side, most where the closed form is exact


def test_draws_are_added_until_the_share_is_what_was_asked():
    rng = np.random.default_rng(1)
    mean = rng.normal(size=(N, D))
    found = MeanOfDraws()
    for x in rounds(rng, mean, 4):
        found.add(x)
    assert found.missing(0.2, 64) == 0 and found.missing(0.05, 64) == 15 and found.missing(0.05, 10) == 6
    for x in rounds(rng, mean, 15):
        found.add(x)
    assert found.share("s") <= 0.05 and found.missing(0.05, 64) == 0


@pytest.mark.parametrize("unit", [1e-20, 1e20])
def test_units_do_not_matter(unit):
    """Of draws in single precision, which does not hold the squares of such units."""
    x = np.random.default_rng(2).normal(size=(5, 4, 3)).astype(np.float32)
    ones, other = (MeanOfDraws({"s": np.full((5, 3), 0.1 * u, np.float32)}) for u in (1.0, unit))
    for k in range(4):
        ones.add(drawn(x[:, k])), other.add(drawn(unit * x[:, k]))
    assert other.share("s") == pytest.approx(ones.share("s"), rel=1e-5)
    np.testing.assert_allclose(other.mean("s") / unit, ones.mean("s"), rtol=1e-5)
    good = {"v": np.zeros((5, 4), bool)}
    std = [Separation({"v": {"s": u * x}}, {"v": np.ones(5)}, good, 0).std("v", "s") / u for u in (np.float32(1), unit)]
    np.testing.assert_allclose(std[1], std[0], rtol=1e-5)


def test_draws_that_diverged_do_not_count():
    x = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    found = MeanOfDraws()
    found.add(drawn(x, np.array([False, False, True])))
    found.add(drawn(x + 2, np.array([False, True, True])))
    np.testing.assert_array_equal(found.mean("s"), [[2, 3], [3, 4], [np.nan, np.nan]])


def test_means_are_exact_where_they_have_a_closed_form(tmp_path):
    rng = np.random.default_rng(2)
    A, prior = rng.normal(size=(4, 3)), rng.normal(size=(2, 3))
    law = Components(np.array([0.3, 0.7]), prior, np.stack([np.eye(3), 0.2 * np.eye(3)]))
    y = law.sample(rng, 20) @ A.T + 0.5 * rng.normal(size=(20, 4))
    problem = Problem({"x": Source((3,))}, {"v": View(y, {"x": Dense(A)}, 0.5)})
    known = {"x": DenoiserPrior.of(law, (3,), Schedule(), Scaling(), {})}
    found = separate(problem, known, key=jax.random.key(0), draws=2, out=tmp_path / "out.zarr")
    for i in range(len(y)):
        parts, logs = [], []
        for w, mu, S in zip(law.weights, law.means, law.covariances, strict=True):
            C = A @ S @ A.T + 0.25 * np.eye(4)
            r = np.linalg.solve(C, y[i] - A @ mu)
            parts.append(mu + S @ A.T @ r)
            logs.append(np.log(w) - 0.5 * (y[i] - A @ mu) @ r - 0.5 * np.linalg.slogdet(C)[1])
        w = np.exp(np.array(logs) - max(logs))
        np.testing.assert_allclose(found.mean("v", "x")[i], w / w.sum() @ np.array(parts), atol=2e-5)
    np.testing.assert_allclose(found.seen("v", "x"), found.mean("v", "x") @ A.T, atol=1e-5)
    assert found.shares["v"]["x"] == 0.0 and found.draws("v", "x").shape == (20, 2, 3)
    assert Separation.open(tmp_path / "out.zarr").shares == {"v": {"x": 0.0}}


def test_older_separations_have_the_means_of_their_draws():
    x = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    found = Separation({"v": {"s": x}}, {"v": np.ones((3, 2))}, {"v": np.zeros((3, 2), bool)}, 1)
    np.testing.assert_array_equal(found.mean("v", "s"), x.mean(1))
    with pytest.raises(RunError, match="separate anew"):
        found.seen("v", "s")
