"""Candidates: exact for mixtures, unbiased when fewer than the components, and refused where they fail."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dichroic.algebra import Components
from dichroic.diffusion import (
    Ancestral,
    ComponentsDenoiser,
    Denoiser,
    DenoiserPrior,
    GaussianDenoiser,
    LowRankGaussianDenoiser,
    Schedule,
    components_cost,
    components_of,
    own_share,
)
from dichroic.operators import Dense, DiagonalNoise
from dichroic.posterior import Auto, CandidatePosterior, Candidates, Handover, MomentMatching, Task, observation_keys
from dichroic.studies.experiments.exact_components import ComponentsPosterior, components_view
from oracles import SIGMAS, Tally, assert_gaussian, random_covariance
from posterior_cases import whiten

NAMES = ["a", "b"]


def mixture(rng, components: int, d: int = 2, spread: float = 2.0, width: float = 0.1) -> Components:
    covariances = width * np.stack([random_covariance(rng, d, 4.0) for _ in range(components)])
    weights = rng.random(components) + 0.3
    return Components(weights / weights.sum(), spread * rng.normal(size=(components, d)), covariances)


def denoiser(source: Components) -> ComponentsDenoiser:
    return ComponentsDenoiser.from_covariances(source.weights, source.means, source.covariances)


class Opaque(Denoiser):
    """A denoiser of which nothing is known but its values, as of a network."""

    inner: Denoiser

    @property
    def shape(self) -> tuple[int, ...]:
        return self.inner.shape

    def __call__(self, x_t, sigma):
        return self.inner(x_t, sigma)


@pytest.fixture
def problem(rng):
    """Two sources of mixtures with an observation between modes, and its exact posterior."""
    sources = {"a": mixture(rng, 5), "b": mixture(rng, 4)}
    A = {s: rng.normal(size=(2, 2)) for s in NAMES}
    y = rng.normal(size=2)
    exact = ComponentsPosterior.of(sources, A, y, 0.3**2 * np.eye(2))
    assert np.sort(exact.weights)[-2] > 0.1  # the answer is not one Gaussian
    return sources, whiten(y, {s: Dense(A[s]) for s in NAMES}, DiagonalNoise(0.3)), exact


def test_all_components_as_candidates_are_the_exact_posterior(problem, float64):
    sources, whitened, exact = problem
    target = CandidatePosterior.create({s: denoiser(x) for s, x in sources.items()}, whitened)
    assert target.counts == {"a": 5, "b": 4}
    n, level = 4000, jnp.asarray(1e4)  # one draw, from noise that says nothing
    keys = jax.random.split(jax.random.key(0), n)
    x_t = {s: jnp.zeros(2) for s in NAMES}
    drawn = jax.jit(jax.vmap(lambda key: target.draw(x_t, level, key)[0]))(keys)
    x = np.concatenate([drawn[s] for s in NAMES], axis=1)
    mean, covariance = exact.moments()
    assert np.all(np.abs(x.mean(0) - mean) < SIGMAS * np.sqrt(np.diag(covariance) / n))
    fourth = ((x - mean) ** 4).mean(0)  # not Gaussian: the error of a variance is taken from the draws
    assert np.all(np.abs(x.var(0) - np.diag(covariance)) < SIGMAS * np.sqrt((fourth - x.var(0) ** 2) / n))
    # how often every pair of modes is met, from the exact draws' own boxes
    other = exact.sample(np.random.default_rng(0), n)
    other = np.concatenate([other[s] for s in NAMES], axis=1)
    edges = np.median(other, axis=0)
    boxes = lambda u: np.bincount((u > edges) @ [1, 2, 4, 8], minlength=16) / n  # noqa: E731
    p, q = boxes(x), boxes(other)
    assert np.all(np.abs(p - q) < SIGMAS * np.sqrt((p + q) / n))
    got, _ = target.mean(x_t, level)
    np.testing.assert_allclose(np.concatenate([got[s] for s in NAMES]), mean, atol=1e-6)


def test_weights_of_few_candidates_are_unbiased(problem, float64):
    sources, whitened, _ = problem
    target = CandidatePosterior.create({s: denoiser(x) for s, x in sources.items()}, whitened, tuples=9)
    assert target.counts == {"a": 3, "b": 3}
    x_t, sigma, n = jnp.asarray([0.3, -0.2]), jnp.asarray(2.0), 20_000

    def weights(key):
        found = target.candidates("a", x_t, sigma, key)
        # which components they are, by their means
        every = CandidatePosterior.create({s: denoiser(x) for s, x in sources.items()}, whitened)
        known = every.candidates("a", x_t, sigma, None)
        same = jnp.abs(found.means[:, None] - known.means).sum(-1) < 1e-9
        return jnp.exp(found.log_weights) @ same, jnp.exp(known.log_weights)

    got, expected = jax.jit(jax.vmap(weights))(jax.random.split(jax.random.key(1), n))
    got, expected = np.asarray(got), np.asarray(expected)[0]
    assert ((got > 0).sum(1) == 3).all()
    assert np.all(np.abs(got.mean(0) - expected) < SIGMAS * got.std(0) / np.sqrt(n))
    np.testing.assert_allclose(expected.sum(), 1, atol=1e-9)


def test_a_mixture_made_of_a_priors_draws_has_its_law(float64, rng):
    mean, S = np.array([0.5, -0.3]), random_covariance(rng, 2)
    prior = Opaque(GaussianDenoiser.from_covariance(mean, S))
    size, level = 2000, 0.5
    made = components_of(prior, Schedule(5e-3, 20.0), key=jax.random.key(0), size=size, level=level, steps=64)
    # every component has the covariance of x_0 given a noisy state, and their means the rest of it
    inner = np.einsum("kij,kj,klj->kil", made.bases, made.values, made.bases)
    expected = S - S @ np.linalg.solve(S + level**2 * np.eye(2), S)
    np.testing.assert_allclose(inner, np.broadcast_to(expected, inner.shape), atol=1e-8)
    assert_gaussian(np.asarray(made.means), mean, S - expected)
    assert components_cost(prior, size, 64).total == size * (2 * 64 + 2 + 2)


def test_the_cost_of_a_mixture_is_what_runs():
    tally = Tally()
    counted = tally.wrap("x", GaussianDenoiser.from_covariance(np.zeros(3), np.eye(3)))
    components_of(counted, Schedule(), key=jax.random.key(0), size=1, steps=5)
    jax.effects_barrier()
    cost = components_cost(counted, 1, 5)
    assert (tally.forward["x"], tally.products["x"]) == (cost.forward, cost.products)


def test_own_share_tells_crowded_from_lonely(rng):
    for distance, share in ((1e-3, 1 / 50), (1e3, 1.0)):
        means, covariances = distance * rng.normal(size=(50, 3)), np.tile(np.eye(3), (50, 1, 1))
        mixture = ComponentsDenoiser.from_covariances(np.ones(50), means, covariances)
        np.testing.assert_allclose(own_share(mixture, 0.1), share, rtol=1e-3)


def test_gaussians_are_mixtures_of_one(float64, rng):
    S = random_covariance(rng, 4)
    for rank in (None, 2):
        gaussian = GaussianDenoiser.from_covariance(rng.normal(size=4), S, rank)
        made = gaussian.components()
        assert made is not None
        x_t, sigma = jnp.asarray(rng.normal(size=4)), jnp.asarray(0.7)
        np.testing.assert_allclose(made(x_t, sigma), gaussian(x_t, sigma), atol=1e-10)


def test_sources_without_a_mixture_are_refused(problem):
    sources, whitened, _ = problem
    with pytest.raises(ValueError, match="needs a mixture for source 'b', and its denoiser, a Opaque, has none"):
        CandidatePosterior.create({"a": denoiser(sources["a"]), "b": Opaque(denoiser(sources["b"]))}, whitened)
    large = LowRankGaussianDenoiser(np.zeros(17), np.ones(17), np.zeros((17, 1)))
    with pytest.raises(ValueError, match="up to 16 numbers, this one has 17"):
        components_of(large, Schedule(), key=jax.random.key(0))


@pytest.fixture(scope="module")
def learned():
    """A view of two sources, with priors of which only the denoiser is known."""
    rng = np.random.default_rng(5)
    sources = {"a": mixture(rng, 3, width=0.003), "b": mixture(rng, 2, width=0.003)}
    view, posteriors = components_view(sources, 6, observed=2, noise=0.2)
    priors = {s: DenoiserPrior(Opaque(denoiser(x)), Schedule(5e-3, 20.0)) for s, x in sources.items()}
    return view, priors, posteriors


def few_components(batch: int) -> Handover:
    first = Candidates(components=128, tuples=256, steps=4)
    return Handover(first=first, then=MomentMatching(steps=1), at=0.1, batch=batch)


@pytest.mark.slow
def test_a_draw_depends_on_its_observation_alone(learned):
    view, priors, _ = learned
    key = jax.random.key(3)
    keys, some = observation_keys(key, len(view)), np.array([4, 1])
    bound = few_components(4).bind(view, priors, key=key)
    whole, part = bound.draw(keys), bound.draw(keys[some], some)
    for s in NAMES:
        np.testing.assert_array_equal(part.samples[s], whole.samples[s][some])
    # one draw is a network's: two calls of one forward pass and two products, behind the components
    assert (whole.cost.forward, whole.cost.products) == (2, 4)
    assert whole.shared == components_cost(priors["a"].denoiser(), 128)
    assert whole.summary["evaluations"] == pytest.approx(6 + whole.shared.total / 6)
    # what is shared is made once, for draws again and for other observations
    again = bound.on(view.select(some)).draw(keys[some])
    assert again.shared.total == 0
    np.testing.assert_array_equal(again.samples["a"], part.samples["a"])


def test_the_best_method_is_chosen_by_what_the_sources_are(learned):
    view, priors, _ = learned
    key = jax.random.key(0)

    def chosen(method: Auto, priors):
        return method.choose(Task(view, priors, key))

    found, tried = chosen(Auto(candidates=True, components=128), priors)
    assert isinstance(found, Handover) and isinstance(found.first, Candidates)
    assert (found.first.steps, tried.total) == (8, 0)
    wide = {s: DenoiserPrior(Opaque(GaussianDenoiser.from_covariance(np.zeros(2), np.eye(2)))) for s in NAMES}
    few, tried = chosen(Auto(candidates=True, components=8), wide)
    assert isinstance(few, MomentMatching)  # eight places do not cover a Gaussian of two dimensions
    assert tried == components_cost(wide["a"].denoiser(), 8)
    assert chosen(Auto(), priors)[1].total == 0


def test_levels_are_placed_by_the_size_of_the_sources(learned):
    view, priors, _ = learned
    task = Task(view, priors, jax.random.key(0))
    (found,), _ = MomentMatching().legs(task)
    assert found.levels[0, [-1, 0]] == pytest.approx([0.02, 2.5 * 2**0.5])
    (other,), _ = MomentMatching(step=Ancestral()).legs(task)
    assert other.levels[0, [-1, 0]] == pytest.approx([5e-3, 20.0])
