"""Every step with every posterior on Gaussian sources: the draws have the exact posterior's mean and covariance."""

import jax
import numpy as np
import pytest

from dichroic.diffusion import STEPS, Schedule, run_sampler
from dichroic.operators import Dense
from oracles import assert_gaussian, flatten
from posterior_cases import WAYS, make_case, target_of

pytestmark = pytest.mark.usefixtures("float64")

FAST = {("decoupled", "exact"), ("decoupled", "amortised"), ("decoupled", "surrogate"), ("pc", "krylov")}
COMBINATIONS = [
    pytest.param(step, method, marks=[] if (step, method) in FAST else pytest.mark.slow, id=f"{step}-{method}")
    for step in STEPS
    for method in WAYS
]
# a decoupled step is exact at any number; the others converge
COUNTS = {"decoupled": 4}


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(3)
    return make_case({"b": Dense(rng.normal(size=(3, 3))), "a": Dense(rng.normal(size=(3, 2)))}, std=0.4)


@pytest.mark.slow
@pytest.mark.parametrize("name, method", COMBINATIONS)
def test_draws_follow_the_posterior(name, method, case):
    products = {"iterations": 6, "root_iterations": 3} if method == "krylov" else {}
    target = target_of(case.denoisers, case.whitened(), method, **products)
    levels = Schedule(1e-3, 100.0).levels(COUNTS.get(name, 256))
    keys = jax.random.split(jax.random.key(8), 2000)
    draw = jax.jit(jax.vmap(lambda key: run_sampler(target, STEPS[name](), levels, key=key)))
    x, info = draw(keys)
    assert_gaussian(flatten(x, case.names), *case.posterior())
    assert not np.any(info.stopped)
    assert np.all(np.asarray(info.residual) < 1e-6)


@pytest.mark.parametrize("method", WAYS)
def test_the_posterior_really_differs_from_the_prior(method, case):
    # guards the test above: with this data, prior draws would fail it
    mean, covariance = case.posterior()
    prior_mean, prior = case.prior()
    assert np.abs(mean - prior_mean).max() > 0.3
    assert np.diag(covariance).min() < 0.5 * np.diag(prior)[np.diag(covariance).argmin()]
