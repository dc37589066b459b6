"""Methods with steps of their own: those by singular values, those of particles, and estimates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pydantic import ValidationError

from dichroic.diffusion import ComponentsDenoiser, DenoiserPrior, GaussianDenoiser, Schedule
from dichroic.operators import Dense, DiagonalNoise, PerSample
from dichroic.posterior import DDNM, DDRM, METHODS, SNIPS, MCGDiff, REDDiff, observation_keys, read_method
from dichroic.posterior.methods.particles import Particles
from dichroic.posterior.methods.spectral import Spectrum
from dichroic.problem import View
from dichroic.settings import FitConfig
from golden_cases import N, gaussian_priors, golden_view
from oracles import Tally, assert_gaussian, flatten
from posterior_cases import make_case

PARTICLES = [kind for kind, cls in METHODS.items() if issubclass(cls, Particles)]


@pytest.fixture(scope="module")
def case():
    """Two Gaussian sources of three and two numbers, data less and more precise than a noise level of one half."""
    rng = np.random.default_rng(3)
    scale = np.diag([3.0, 1.0, 0.4])
    mixing = {"b": Dense(scale @ rng.normal(size=(3, 3))), "a": Dense(scale @ rng.normal(size=(3, 2)))}
    return make_case(mixing, std=1.0, units=False)


@pytest.mark.usefixtures("float64")
def test_spectral_steps_are_their_formulas(case, rng):
    t, s = 0.8, 0.5
    A, y, noise = case.linear_model()
    A, y = A / np.sqrt(np.diag(noise))[:, None], y / np.sqrt(np.diag(noise))
    x, D = rng.normal(size=(2, 5))
    U, a, Vt = np.linalg.svd(A)
    a, u = np.append(a, [0, 0]), np.append(U.T @ y, [0, 0])
    seen = a > 0
    e = 1 / np.where(seen, a, 1)
    xb, Db, yb = Vt @ x, Vt @ D, np.where(seen, u * e, 0)
    precise = seen & (s >= e)
    assert precise.any() and (seen & ~precise).any()
    tau = 1 - s**2 / t**2
    kept = np.sqrt(1 - 0.85**2) * s
    share = np.where(seen, np.minimum(1, s / np.sqrt(tau) / e), 0)
    omega = np.where(seen, np.minimum(s**2 / e**2, 1), 0)
    expected = {
        "ddrm": np.where(precise, yb, Db + kept * np.where(seen, (yb - Db) / e, (xb - Db) / t)),
        "ddnm": xb - tau * (xb - Db - share * (yb - Db)),
        "snips": xb + 0.2 * (omega * (yb - xb) + (1 - omega) * (Db - xb)),
    }
    scatter = {
        "ddrm": np.where(precise, s**2 - e**2, (0.85 * s) ** 2),
        "ddnm": s**2 * tau - (tau * share * e) ** 2,
        "snips": 0.4 * np.where(precise, s**2 - e**2, s**2 * (1 - omega)),
    }
    steps = {"ddrm": DDRM().walk, "ddnm": DDNM().walk, "snips": SNIPS().walk}

    @jax.jit
    def run(x, D):
        target = Spectrum.of(case.denoisers, case.whitened())
        into = [target.into(case.split(v)) for v in (x, D)]
        level = jnp.asarray(t), jnp.asarray(s)
        moved = lambda step, e: target.back(step.coordinates(target, *into, *level, e))  # noqa: E731
        units = jnp.eye(5)
        return {
            name: (moved(step, jnp.zeros(5)), jax.vmap(lambda e, step=step: moved(step, e))(units))
            for name, step in steps.items()
        }

    for name, (mean, columns) in run(jnp.asarray(x), jnp.asarray(D)).items():
        centre = flatten({s: v[None] for s, v in mean.items()}, case.names)[0]
        np.testing.assert_allclose(centre, Vt.T @ expected[name], atol=1e-10, err_msg=name)
        R = flatten(columns, case.names) - centre
        np.testing.assert_allclose(R.T @ R, (Vt.T * scatter[name]) @ Vt, atol=1e-10, err_msg=name)


@pytest.mark.usefixtures("float64")
def test_langevin_moves_of_snips_leave_the_law_of_a_level_alone(case):
    """At a level below the error of all data, which are then a state of the level with more noise."""
    sigma, n = 0.05, 2000
    A, y, noise = case.linear_model()
    assert np.linalg.eigvalsh(noise - sigma**2 * A @ A.T).min() > 0
    mean, S = case.prior()
    S = S + sigma**2 * np.eye(5)
    gain = S @ A.T @ np.linalg.inv(A @ S @ A.T + noise - sigma**2 * A @ A.T)
    m, V = mean + gain @ (y - A @ mean), S - gain @ A @ S
    x = np.random.default_rng(1).multivariate_normal(m, V, size=n)
    step = SNIPS(length=0.05, rounds=40).walk

    @jax.jit
    @jax.vmap
    def run(x, key):
        target = Spectrum.of(case.denoisers, case.whitened())
        return step(target, x, jnp.asarray(sigma), jnp.asarray(sigma), key)[0]

    moved = flatten(run(case.split(x), jax.random.split(jax.random.key(0), n)), case.names)
    assert_gaussian(moved, m, V)
    assert np.abs(moved - x).max() > 0.1


def bimodal(n: int):
    """Two numbers that are near -1 both or near 1 both, the first seen with an error of 0.8 at 0.4; and the share of
    those near 1.
    """
    weights, means, sd, std, y = np.array([0.6, 0.4]), np.array([-1.0, 1.0]), 0.2, 0.8, 0.4
    covariances = np.tile(sd**2 * np.eye(2), (2, 1, 1))
    denoiser = _single(ComponentsDenoiser.from_covariances(weights, np.stack([means, means], 1), covariances))
    view = View(np.full((n, 1), y, np.float32), {"x": Dense(np.array([[1, 0]], np.float32))}, std).bind({"x": (2,)})
    w = weights * np.exp(-((y - means) ** 2) / 2 / (sd**2 + std**2))
    return view, {"x": DenoiserPrior(denoiser, Schedule(5e-3, 20.0))}, w[1] / w.sum()


@pytest.mark.slow
@pytest.mark.parametrize("kind", PARTICLES)
def test_many_particles_draw_the_posterior(kind):
    n, K = 500, 64
    view, priors, share = bimodal(n)
    method = read_method({"kind": kind, "particles": K, "steps": 24, "batch": n})
    bound, keys = method.bind(view, priors, key=jax.random.key(0)), observation_keys(jax.random.key(1), n)
    drawn, rows = bound.draw(keys), np.array([6, 2])
    np.testing.assert_allclose(bound.draw(keys[rows], rows).samples["x"], drawn.samples["x"][rows], atol=1e-5)
    error = np.sqrt(share * (1 - share) / n)
    for x in drawn.samples["x"].T:
        assert abs(np.mean(x > 0) - share) < 4.5 * error
    assert drawn.effective is not None and drawn.effective.max() < 1
    assert drawn.summary["effective"] == pytest.approx(drawn.effective.mean())


@pytest.mark.slow
def test_particles_are_exact_for_gaussian_sources(case):
    n, priors = 1500, {s: DenoiserPrior(_single(d), Schedule(1e-2, 30.0)) for s, d in case.denoisers.items()}
    mixing = {s: Dense(np.asarray(op.matrix, np.float32)) for s, op in case.mixing.items()}
    noise = DiagonalNoise(np.asarray(case.noise.std, np.float32))
    view = View(np.tile(case.y, (n, 1)).astype(np.float32), mixing, noise).bind(case.shapes)
    mean, V = case.posterior()
    # guided by the true covariance few particles are needed, along singular vectors many
    for table in ({"kind": "tds", "twist": "opc", "particles": 2}, {"kind": "mcgdiff", "particles": 32}):
        method = read_method({**table, "steps": 160, "batch": 1500})
        drawn = method.bind(view, priors, key=jax.random.key(0)).draw(observation_keys(jax.random.key(1), n))
        x = np.concatenate([drawn.samples[s] for s in case.names], axis=1)
        # standard errors of 1500 draws, and what 160 steps of the bridge leave of the variance
        np.testing.assert_allclose(x.mean(0), mean, atol=0.12 * np.sqrt(np.diag(V).max()))
        np.testing.assert_allclose(np.cov(x.T), V, atol=0.2 * np.diag(V).max())


def _single(denoiser):
    return jax.tree.map(lambda a: np.asarray(a, np.float32), denoiser)


@pytest.mark.parametrize("kind", [*(pytest.param(kind, marks=pytest.mark.slow) for kind in PARTICLES), "red_diff"])
def test_draws_cost_what_they_say_and_depend_on_their_observation_alone(kind):
    tally, view, priors = Tally(), golden_view(), gaussian_priors()
    counted = {s: DenoiserPrior(tally.wrap(s, p.denoiser()), p.schedule) for s, p in priors.items()}
    method = read_method({"kind": kind, "steps": 3, **({"particles": 4} if kind in PARTICLES else {}), "batch": N})
    bound, keys = method.bind(view, counted, key=jax.random.key(0)), observation_keys(jax.random.key(1), N)
    drawn = bound.draw(keys)
    jax.effects_barrier()
    assert set(tally.forward.values()) == {drawn.cost.forward * N}
    assert max(tally.products.values()) == drawn.cost.products * N
    rows = np.array([6, 2])
    some = bound.draw(keys[rows], rows)
    for s in priors:
        np.testing.assert_allclose(some.samples[s], drawn.samples[s][rows], rtol=1e-5, atol=1e-6)


def test_an_estimate_meets_the_data_and_is_no_draw():
    view, n = golden_view(), N
    drawn = REDDiff(steps=60).bind(view, gaussian_priors(), key=jax.random.key(0)).draw(
        observation_keys(jax.random.key(1), n)
    )  # fmt: skip
    assert drawn.chi_square.max() < 0.5 and not drawn.diverged.any()
    with pytest.raises(
        ValidationError, match="'red_diff' gives one estimate per observation, and EM learns from draws"
    ):
        FitConfig(sampling=REDDiff())


@pytest.mark.parametrize("cls", [DDRM, MCGDiff])
def test_what_is_too_large_for_singular_vectors_is_refused(cls):
    size = 40
    prior = DenoiserPrior(GaussianDenoiser(np.zeros(size), np.zeros((size, 0)), np.zeros(0), np.ones(())))
    view = View(np.zeros((3, 1), np.float32), {"x": PerSample(Dense(np.ones((3, 1, size), np.float32)))}, 0.1)
    with pytest.raises(ValueError, match="have 40 numbers; up to 32 are decomposed where observations do not share"):
        cls().bind(view.bind({"x": (size,)}), {"x": prior}, key=jax.random.key(0))


def test_a_twist_says_how_likely_data_are():
    with pytest.raises(ValueError, match="unknown twist 'dmps'; targets that say how likely data are: pigdm, opc"):
        read_method({"kind": "tds", "twist": "dmps"})
