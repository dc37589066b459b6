"""Other likelihoods where the prior is a set of atoms: the posterior is known at every noise level."""

import equinox as eqx
import numpy as np
import pytest
from scipy.stats import gamma

from dichroic import Problem, Source, View
from dichroic.diffusion import Empirical
from dichroic.operators import Censored, Laplace, Poisson, Response, StudentT
from dichroic.posterior import Candidates, observation_keys
from dichroic.posterior.linearised import Linearised
from levels import DRAWS, TWO, K, N, Q, row, saturating, state

LEVELS = (0.05, 0.1, 0.2, 0.5, 1.0, 5.0)


def spreads(likelihood, y, atoms, way):
    """Standard deviation of draws at every level in units of the exact one, and how far their means are off."""
    build, observation = state(likelihood, y, atoms, way)
    assert isinstance(eqx.filter_eval_shape(lambda seen: build(seen, False), observation), Linearised)
    return np.array(row(likelihood, y, atoms, way, LEVELS)).T


SCATTER = 3 / np.sqrt(2 * K * DRAWS)


@pytest.mark.parametrize(
    ("likelihood", "y", "atoms"),
    [
        pytest.param(Poisson(1.0), 6.0, gamma.ppf(Q, 4, scale=5 / 4), id="counts"),
        pytest.param(Poisson(1.0), 33.0, gamma.ppf(Q, 25, scale=6 / 5), id="many counts", marks=pytest.mark.slow),
        pytest.param(Response(0.3, saturating), 0.6, TWO, id="behind a response", marks=pytest.mark.slow),
        pytest.param(Censored(0.5, (-np.inf, 1.0)), 1.0, TWO, id="clipped", marks=pytest.mark.slow),
    ],
)
def test_mild_ones_have_the_spread_of_the_posterior_at_every_level(likelihood, y, atoms):
    """To a twentieth, where the prior's components are known."""
    spread, _ = spreads(likelihood, y, atoms, "candidates")
    assert np.abs(spread - 1).max() < 0.05 + SCATTER, spread


@pytest.mark.slow
@pytest.mark.parametrize("way", ["moments", "candidates"])
@pytest.mark.parametrize(
    ("likelihood", "y"),
    [(StudentT(0.3, 3), 0.6), (StudentT(0.3, 3), 3.0), (Laplace(0.3), 0.6), (Censored(0.3, step=0.5), 0.5)],
)
def test_others_have_it_below_the_width_of_the_heaps(likelihood, y, way):
    """Above it draws of heavy tails are up to 14 % narrower: weights are drawn once, about a mean."""
    spread, off = spreads(likelihood, y, TWO, way)
    assert np.abs(spread[:3] - 1).max() < 0.05 + SCATTER, spread
    assert off[:3].max() < 0.15, off
    assert (np.abs(spread - 1).max() < 0.15 + SCATTER) or way == "moments", spread


@pytest.mark.slow
def test_counts_are_conjugate_to_a_gamma_prior(getkey):
    """Few counts, none among them, and many: mean and standard deviation of Gamma(k + y, 1 / (1 / t + 1))."""
    k, t, n, counts = 2.0, 2.0, 384, np.array([0.0, 1.0, 3.0, 20.0], np.float32)
    atoms = np.linspace(0.0, 30.0, N + 1)[1:]
    y = np.repeat(counts, n)[:, None]
    view = Problem({"x": Source((1,))}, {"v": View(y, {"x": 1.0}, Poisson(1.0))}).views["v"]
    bound = Candidates().bind(view, {"x": Empirical.of(atoms[:, None], gamma.pdf(atoms, k, scale=t))}, key=getkey())
    x = bound.draw(observation_keys(getkey(), len(y))).samples["x"].reshape(len(counts), n)
    exact = gamma(k + counts, scale=1 / (1 / t + 1))
    z = (x.mean(1) - exact.mean()) / exact.std()
    assert np.abs(z).max() < 0.05 + 4 / np.sqrt(n), z
    assert np.abs(x.std(1) / exact.std() - 1).max() < 0.05 + 4 / np.sqrt(2 * n), x.std(1) / exact.std()
