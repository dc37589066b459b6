"""Posterior draws where noise is not Gaussian: against quadrature, and the Gaussian path where it becomes so."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dichroic import Problem, Source, View
from dichroic.diffusion import DenoiserPrior, GaussianDenoiser, Scaling, Schedule
from dichroic.operators import Censored, Dense, DiagonalNoise, Laplace, Poisson, Response, StudentT
from dichroic.posterior import METHODS, Handover, MomentMatching, observation_keys, read_method
from likelihood_cases import identity, saturating
from posterior_cases import make_case, whiten

N = 2048
UNIT = DenoiserPrior(GaussianDenoiser(np.zeros(1), np.zeros((1, 0)), np.zeros(0), np.ones(())))


def one_number(likelihood, y, centre=0.0, width=1.0):
    """A view of one number seen again and again, its prior, and its exact mean and standard deviation."""
    view = Problem({"x": Source((1,))}, {"y": View(np.full((N, 1), y, np.float32), {"x": 1.0}, likelihood)}).views["y"]
    grid = np.linspace(centre - 8 * width, centre + 8 * width, 4001)
    log_p = jax.jit(jax.vmap(lambda m: likelihood.log_prob(jnp.full(1, y), m[None])))(grid)
    p = np.exp(np.asarray(log_p, float) - (grid - centre) ** 2 / 2 / width**2)
    mean = np.sum(p * grid) / p.sum()
    return view, DenoiserPrior(UNIT.denoiser(), scaling=Scaling(centre, width)), mean, _std(p, grid, mean)


def _std(p, grid, mean):
    return np.sqrt(np.sum(p * (grid - mean) ** 2) / p.sum())


@pytest.mark.parametrize(
    ("likelihood", "y", "prior"),
    [
        pytest.param(StudentT(0.3, 3), 2.0, (0.0, 1.0), id="an outlier, perhaps"),
        pytest.param(Laplace(0.3), 1.0, (0.0, 1.0), id="laplace", marks=pytest.mark.slow),
        pytest.param(Poisson(1.0, 1.0), 3.0, (5.0, 2.0), id="three counts"),
        pytest.param(Response(0.3, saturating), 1.8, (0.0, 1.5), id="behind a response"),
        pytest.param(Censored(0.5, (-np.inf, 1.0)), 1.0, (0.0, 1.0), id="clipped"),
        pytest.param(Censored(0.3, step=0.5), 1.0, (0.0, 1.0), id="rounded", marks=pytest.mark.slow),
    ],
)
def test_draws_have_the_moments_of_the_posterior(likelihood, y, prior, getkey):
    """By quadrature, to a twentieth of the posterior's width: one turn a level is not exact, but nearly."""
    view, known, mean, std = one_number(likelihood, y, *prior)
    found = MomentMatching(steps=12).bind(view, {"x": known}, key=getkey()).draw(observation_keys(getkey(), N))
    x = found.samples["x"][:, 0]
    assert abs(x.mean() - mean) < (0.05 + 4 / np.sqrt(N)) * std
    assert abs(x.std() / std - 1) < 0.05 + 4 / np.sqrt(2 * N)
    # without the likelihood's own shape it would be another posterior
    assert abs(known.scaling.shift - mean) > 0.2 * std


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("likelihood", [StudentT(0.4, np.inf), Poisson(1e-9, 0.4), Response(0.4, identity)])
@pytest.mark.parametrize("way", ["exact", pytest.param("surrogate", marks=pytest.mark.slow)])
def test_it_agrees_with_the_gaussian_path(likelihood, way, rng):
    """Infinite freedom, counts without end, a response that is none: the mean is that of the Gaussian target."""
    case = make_case({"b": Dense(rng.normal(size=(3, 3))), "a": Dense(rng.normal(size=(3, 2)))}, std=0.4)
    x_t = {s: jnp.asarray(rng.normal(size=op.in_shape)) for s, op in case.mixing.items()}
    means, kinds = [], []
    for noise in (likelihood, DiagonalNoise(0.4)):
        observation = whiten(case.y, case.mixing, noise, case.scalings)
        drawn = MomentMatching(covariance=way).posterior(case.denoisers, observation, Schedule(1e-3, 100.0))
        target = drawn.sampler.legs[0].build(observation, False)
        kinds.append(type(target).__name__)
        means.append(target.mean(x_t, jnp.asarray(0.7))[0])
    assert kinds == ["Linearised", "Moments"]
    for s in x_t:
        np.testing.assert_allclose(means[0][s], means[1][s], rtol=1e-5, atol=1e-6)


def test_methods_say_whether_they_take_any_likelihood(getkey):
    view, known, *_ = one_number(Laplace(0.3), 1.0)
    for kind, cls in METHODS.items():
        if kind == "handover":
            continue
        if not cls.any_likelihood:
            with pytest.raises(ValueError, match="is for Gaussian noise, and that of these observations is Laplace"):
                read_method(kind).bind(view, {"x": known}, key=getkey())
    assert Handover(first={"kind": "candidates"}).takes_any_likelihood
    assert not Handover(first={"kind": "amortised"}).takes_any_likelihood
