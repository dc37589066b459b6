"""What is not known of populations: by how much posteriors are wider for it."""

import jax
import numpy as np
import pytest

from dichroic.algebra import Components, Gaussian
from dichroic.closed import GaussianConfig, gaussian_em, gaussian_refits, scarce
from dichroic.diffusion import Schedule
from dichroic.posterior import ClosedForm
from dichroic.problem import Problem, Source, View

D, STD = 4, 0.3


def observed(rng, populations, n: int) -> tuple[Problem, np.ndarray]:
    """A source alone and with another one, and that other one."""
    x = {v: {s: rng.multivariate_normal(p.mean, p.covariance(), n) for s, p in populations.items()} for v in "ab"}
    views = {"one": x["a"]["a"], "both": x["b"]["a"] + x["b"]["b"]}
    mixing = {"one": {"a": 1.0}, "both": {"a": 1.0, "b": 1.0}}
    noisy = {v: View(y + STD * rng.normal(size=y.shape), mixing[v], STD) for v, y in views.items()}
    return Problem({s: Source((D,)) for s in populations}, noisy), x["b"]["b"]


def populations(rng) -> dict[str, Gaussian]:
    found = {}
    for s in "ab":
        A = rng.normal(size=(D, D)) / D**0.5
        found[s] = Gaussian.of(rng.normal(size=D), A @ A.T + 0.1 * np.eye(D))
    return found


@pytest.fixture(scope="module")
def fitted():
    """What ten fits to thirty observations say of others: errors, and the variances of draws as they are and among
    refits.
    """
    found = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        truth = populations(rng)
        problem, _ = observed(rng, truth, 30)
        fresh, x = observed(rng, truth, 100)
        config = GaussianConfig(refits=8)
        fit = gaussian_em(problem, config)
        refits = gaussian_refits(problem, fit, config, seed=seed)
        priors = {s: fit.prior(s, (D,), Schedule()) for s in truth}
        plain = ClosedForm().bind(fresh.views["both"], priors, key=jax.random.key(0))
        widened = plain.among([{s: Components.of(p) for s, p in some.items()} for some in refits])
        assert all(np.array_equal(x, y) for x, y in zip(plain.mean().values(), widened.mean().values(), strict=True))
        S = {s: c.covariances[0] for s, c in plain.known.items()}
        posterior = np.diag(S["b"] - S["b"] @ np.linalg.solve(S["a"] + S["b"] + STD**2 * np.eye(D), S["b"]))
        error = x - plain.mean()["b"]
        found.append((error, posterior + 0 * error, posterior + widened.moved["b"].var(0)))
    return found, plain, widened


@pytest.mark.slow
def test_posteriors_of_scarce_data_are_as_wide_as_their_errors(fitted):
    ratios = np.array([[(e**2).mean() / v.mean() for v in variances] for e, *variances in fitted[0]])
    plain, widened = ratios.mean(0)
    error = ratios.std(0, ddof=1) / len(ratios) ** 0.5
    assert plain > 1 + 3 * error[0]  # too narrow beyond doubt
    assert widened == pytest.approx(1, abs=4 * error[1]) and abs(widened - 1) < 0.5 * (plain - 1)


@pytest.mark.slow
def test_draws_have_the_variance_of_both(fitted):
    _, plain, widened = fitted
    keys = [jax.random.split(jax.random.key(k), 100) for k in range(400)]
    draws = [np.stack([bound.draw(key).samples["b"] for key in keys]) for bound in (plain, widened)]
    added = draws[1] - draws[0]  # equal keys draw alike: what is left is which refit was taken
    moved = widened.moved["b"]
    for i in (0, 57):
        distance = np.abs(added[:, i, None] - moved[:, i]).max(-1)
        assert distance.min(1).max() < 1e-4 and len(set(distance.argmin(1))) == len(moved)
    # the law of total variance, and the mean that it was
    spread = moved.var(0)
    assert added.var(0).mean() == pytest.approx(spread.mean(), rel=0.03)
    np.testing.assert_allclose(added.mean(0), 0, atol=5 * spread.max() ** 0.5 / len(keys) ** 0.5)
    part = widened.draw(keys[0][:3], np.array([5, 1, 7])).samples["b"]
    assert part.shape == (3, D)


def test_many_observations_need_none():
    rng = np.random.default_rng(0)
    truth = populations(rng)
    assert scarce(observed(rng, truth, 32 * D - 1)[0], truth)
    assert not scarce(observed(rng, truth, 32 * D)[0], truth)
