"""The fast posterior: exact for Gaussian sources untrained, a proper score that keeps modes, its file, its refusals."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pydantic import ValidationError

from dichroic.diffusion import ComponentsDenoiser, DenoiserPrior, GaussianDenoiser, MLPConfig, Schedule
from dichroic.operators import Dense
from dichroic.posterior import Fast, FastPosterior, Task, observation_keys
from dichroic.posterior.amortised import Conditional
from dichroic.posterior.gaussian import LinearModel
from dichroic.posterior.pairs import EnergyScore, Pair
from dichroic.problem import View
from dichroic.settings import FitConfig
from dichroic.store import StoreError
from golden_cases import gaussian_priors, golden_view
from oracles import SIGMAS, assert_gaussian

SMALL = MLPConfig(width=8, depth=1, embedding=4)
SIGNS = {s: np.eye(1, dtype=np.float32) for s in "ab"}


def untrained(priors, shared: bool, key) -> FastPosterior:
    """Whose network is zero."""
    populations = {s: prior.denoiser().gaussian() for s, prior in priors.items()}
    populations = {s: jax.tree.map(lambda a: np.asarray(a, np.float32), p) for s, p in populations.items()}
    conditional = Conditional.create(populations, SMALL, key=key, sees_operators=not shared, stochastic=True)
    known = {s: prior.fingerprint() for s, prior in priors.items()}
    return FastPosterior(conditional, (1e3, 0.7, 0.2), {s: p.scaling for s, p in priors.items()}, known)


@pytest.mark.slow
def test_without_a_network_draws_of_gaussian_sources_are_exact(getkey):
    priors, n = gaussian_priors(), 4000
    view = golden_view(shared=True)
    view = view.select(np.zeros(n, int))
    bound = untrained({s: priors[s] for s in view.mixing}, True, getkey()).bind(view, priors, key=getkey())
    drawn = bound.draw(observation_keys(getkey(), n))
    names = list(view.mixing)
    A = np.concatenate([np.asarray(view.mixing[s].matrix, float) for s in names], axis=1)
    parts = [priors[s].denoiser() for s in names]
    mean = np.concatenate([np.asarray(p.mean, float) for p in parts])
    roots = [np.asarray(p.basis, float) * np.sqrt(np.asarray(p.values, float)) for p in parts]
    V, begin = np.zeros((len(mean), len(mean))), 0
    for root in roots:
        V[begin : begin + len(root), begin : begin + len(root)] = root @ root.T
        begin += len(root)
    gain = V @ A.T @ np.linalg.inv(A @ V @ A.T + 0.3**2 * np.eye(2))
    x = np.concatenate([drawn.samples[s] for s in names], axis=1)
    assert_gaussian(x, mean + gain @ (view.y[0] - A @ mean), V - gain @ A @ V)
    assert (drawn.cost.forward, drawn.cost.products) == (2, 0)


class Widened(eqx.Module):
    """A network that makes more of the noise it is given."""

    excess: float
    shape: tuple[int, ...] = eqx.field(static=True)

    def __call__(self, x, sigma, key=None):
        return self.excess * x[2 * len(x) // 3 :]


def test_the_score_is_its_formula_and_smallest_for_the_true_spread(getkey, rng):
    n, d, K = 4000, 3, 4
    posterior = GaussianDenoiser(np.zeros(d), np.eye(d), np.ones(d), np.zeros(()))
    targets, basis = rng.normal(size=(n, d)), np.linalg.qr(rng.normal(size=(d, d)))[0]

    model = LinearModel(jnp.zeros(d), jnp.zeros((1, d)), jnp.zeros((d, 1)), jnp.eye(d), jnp.ones(d))
    score = EnergyScore({}, model, True, jnp.ones(1), K)

    def losses(width):
        conditional = Conditional(Widened(width - 1, (3 * d,)), {}, None, {"x": (d,)}, False, True)

        def one(e, key):
            pair = Pair(jnp.zeros(d), jnp.ones(()), jnp.zeros(d), posterior, jnp.asarray(basis), e)
            return score.of_pair(conditional, pair, key)

        return np.asarray(jax.jit(jax.vmap(one))(targets, jax.random.split(jax.random.key(0), n)))

    exact = losses(1.0)
    z = np.asarray(jax.random.normal(jax.random.split(jax.random.key(0), n)[0], (K, d)), float)
    v, (i, j) = z @ basis, np.triu_indices(K, 1)
    expected = np.linalg.norm(targets[0] - v, axis=1).mean() - np.linalg.norm(v[i] - v[j], axis=1).mean() / 2
    np.testing.assert_allclose(exact[0], expected, rtol=1e-5)
    for width in (0.7, 1.3):
        excess = losses(width) - exact
        assert excess.mean() > SIGMAS * excess.std() / np.sqrt(n)


@pytest.fixture(scope="module")
def signs():
    """Two sources that are plus or minus one, of which the sum is seen: at zero the posterior has two modes."""
    law = ComponentsDenoiser.from_covariances(np.ones(2) / 2, np.array([[-1.0], [1.0]]), np.full((2, 1, 1), 0.01))
    law = jax.tree.map(lambda a: np.asarray(a, np.float32), law)
    priors = {s: DenoiserPrior(law, Schedule(5e-3, 20.0)) for s in SIGNS}
    view = View(np.zeros((8, 1), np.float32), {s: Dense(A) for s, A in SIGNS.items()}, 0.2).bind({"a": (1,), "b": (1,)})
    rng = np.random.default_rng(0)
    pool = {s: rng.choice([-1.0, 1.0], (4096, 1)) + 0.1 * rng.normal(size=(4096, 1)) for s in SIGNS}
    method = Fast(pair_steps=800, pair_batch=256, pair_width=32, evaluations=3)
    return view, priors, method.distil(Task(view, priors, jax.random.key(0), pool))


@pytest.mark.slow
def test_both_modes_are_drawn_in_three_evaluations(signs):
    view, priors, found = signs
    n = 1024
    drawn = found.bind(view.select(np.zeros(n, int)), priors, key=jax.random.key(1))
    drawn = drawn.draw(observation_keys(jax.random.key(2), n))
    a, b = (drawn.samples[s][:, 0] for s in "ab")
    # of a Gaussian of the same moments 0.38 are as near a mode, and as many have equal signs as the sum allows
    assert np.mean(np.abs(np.abs(a) - 1) < 0.4) > 0.7
    assert 0.4 < np.mean(a > 0) < 0.6
    assert np.mean(a * b < 0) > 0.97
    # the sum has a variance of 0.02 within a mode, and of two thirds of it when it is seen: nothing is narrower
    assert (a + b).std() > 0.9 * (0.02 * 2 / 3) ** 0.5
    assert drawn.evaluations() == 3


def test_what_is_saved_is_loaded(signs, tmp_path):
    view, priors, found = signs
    replace(found, refused=("because",)).save(tmp_path / "kept.safetensors")
    loaded = FastPosterior.load(tmp_path / "kept.safetensors")
    assert loaded.refused == ("because",)
    keys = observation_keys(jax.random.key(2), len(view))
    draws = [p.bind(view, priors, key=jax.random.key(1)).draw(keys).samples["a"] for p in (found, loaded)]
    np.testing.assert_array_equal(*draws)
    (tmp_path / "other.safetensors").write_bytes(b"nothing")
    with pytest.raises(StoreError):
        FastPosterior.load(tmp_path / "other.safetensors")


def test_other_observations_are_refused(signs):
    view, priors, found = signs
    found.check(view, priors)
    for changed, match in (
        (replace(view, noise=0.4), "others than those"),
        (replace(view, mixing={**view.mixing, "a": Dense(2 * SIGNS["a"])}), "others than those"),
        (replace(view, mixing={"a": view.mixing["a"]}), "observations of"),
    ):
        with pytest.raises(ValueError, match=match):
            found.check(changed.bind({"a": (1,), "b": (1,)}), priors)
    with pytest.raises(ValueError, match="prior of 'b'"):
        found.check(view, {**priors, "b": gaussian_priors()["b"]})


def test_laps_do_not_draw_by_it():
    with pytest.raises(ValidationError, match="distilled after a fit"):
        FitConfig.model_validate({"sampling": {"kind": "fast"}})
