"""Principal directions and Tweedie's identities (C4 to C6, C19, C22, O1 to O3)."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dichroic.diffusion import ComponentsDenoiser, GaussianDenoiser, MLPConfig, NetworkDenoiser
from dichroic.score import (
    PrincipalDirectionScore,
    denoising_terms,
    directional_terms,
    exact_terms,
    lifted_loss,
    residual_terms,
    score_covariance,
    score_matching_loss,
    signs_of,
    tweedie_score,
)

VALUES = 1 / np.array([4, 2, 1.5, 1, 0.5, 0.25])[::-1]  # of C = Sigma^-1: 4, 2, 1, 2/3, 1/2, 1/4
U = np.linalg.qr(np.random.default_rng(3).normal(size=(6, 6)))[0]
C = (U * VALUES) @ U.T


def test_tweedie_of_two_components(float64):
    """C4: first and second order at the printed point."""
    denoiser = ComponentsDenoiser(
        np.log([0.4, 0.6]), np.array([[-1.0], [1.5]]), np.ones((2, 1, 1)), np.array([[0.3], [0.8]])
    )
    score = tweedie_score(denoiser, 0.7)
    y = jnp.array([0.3])
    s, slope = jax.jvp(score, (y,), (jnp.ones(1),))
    np.testing.assert_allclose(s, 0.0593485, atol=1e-6)
    np.testing.assert_allclose(s**2 + slope, 0.5472318, atol=1e-6)


def test_the_probability_flow_of_a_gaussian(float64):
    """C5: dx / dsigma = -sigma s, integrated from 2 to 0.1 by Runge and Kutta."""
    denoiser = GaussianDenoiser(np.zeros(1), np.eye(1), np.array([0.25]), np.zeros(()))
    levels = np.linspace(2.0, 0.1, 201)

    @jax.jit
    def flow(x):
        def slope(x, sigma):
            return -sigma * tweedie_score(denoiser, sigma)(x)

        def step(x, ends):
            a, b = ends
            h = b - a
            k1 = slope(x, a)
            k2 = slope(x + h / 2 * k1, a + h / 2)
            k3 = slope(x + h / 2 * k2, a + h / 2)
            k4 = slope(x + h * k3, b)
            return x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4), None

        return jax.lax.scan(step, x, jnp.stack([levels[:-1], levels[1:]], 1))[0]

    np.testing.assert_allclose(flow(jnp.array([1.3])), 1.3 * np.sqrt((0.25 + 0.01) / (0.25 + 4)), rtol=1e-6)


def test_the_preconditioning_weighs_all_levels_alike(getkey):
    """C6: (D - x) / c_out is F - g, g being the regression target, at unit variance of the data."""
    denoiser = NetworkDenoiser.create((2,), MLPConfig(width=4, depth=1, embedding=4), key=getkey())
    x, epsilon = np.array([[0.3, -1.2], [0.8, 0.1]])
    for sigma in (0.05, 1.0, 7.0):
        x_t, c_out = x + sigma * epsilon, sigma / np.sqrt(1 + sigma**2)
        g = -np.sqrt(1 + sigma**2) * epsilon + sigma / np.sqrt(1 + sigma**2) * x_t
        np.testing.assert_allclose((x - x_t / (1 + sigma**2)) / c_out, g, rtol=1e-5, atol=1e-5)
        D = denoiser(jnp.asarray(x_t, jnp.float32), jnp.float32(sigma))
        F = denoiser.network(jnp.asarray(x_t / np.sqrt(1 + sigma**2), jnp.float32), jnp.float32(sigma), None)
        np.testing.assert_allclose((1 + sigma**-2) * np.mean((D - x) ** 2), np.mean((F - g) ** 2), rtol=1e-3)


def test_nested_losses_in_one_pass(float64, rng):
    """C19: the masked form against the sum over the first directions."""
    G, V, x = rng.normal(size=(4, 4)), rng.normal(size=(4, 3)), rng.normal(size=(5, 4))
    w = np.array([0.5, 1.0, 0.25])
    model = PrincipalDirectionScore(jnp.asarray(V), lambda x: jnp.tanh(G @ x))

    @jax.jit
    def both(V, x):
        nested = directional_terms(eqx.tree_at(lambda m: m.basis, model, V), x, nesting=w)
        parts = [
            w[k] * score_matching_loss(directional_terms(PrincipalDirectionScore(V[:, : k + 1], model.network), x))
            for k in range(3)
        ]
        whole = exact_terms(lambda x: V @ (V.T @ model.network(x)), x)
        return (
            score_matching_loss(nested),
            sum(parts),
            score_matching_loss(directional_terms(model, x)),
            score_matching_loss(whole),
        )

    nested, parts, directional, whole = both(jnp.asarray(V), jnp.asarray(x))
    np.testing.assert_allclose(nested, parts, rtol=1e-12)
    np.testing.assert_allclose(directional, whole, rtol=1e-12)


def test_the_score_of_data_near_a_subspace_is_that_of_its_normals():
    """C22: thirteen eigenvalues of 100, three of 0.990."""
    values = np.r_[np.ones(3), np.zeros(13)]
    denoiser = GaussianDenoiser(
        np.zeros(16, np.float32), np.eye(16, dtype=np.float32), values.astype(np.float32), np.float32(0)
    )
    x_t = np.random.default_rng(0).normal(size=(60_000, 16)) * np.sqrt(values + 0.01)
    found, vectors = score_covariance(jax.jit(jax.vmap(tweedie_score(denoiser, 0.1)))(jnp.asarray(x_t, jnp.float32)))
    np.testing.assert_allclose(found, np.r_[np.full(13, 100.0), np.full(3, 1 / 1.01)], rtol=0.04)
    assert np.abs(vectors[:3, :13]).max() < 0.02


@eqx.filter_jit
def _descend(model, loss, steps, rate):
    """Adam with a cosine on a population loss."""
    optimizer = optax.adam(optax.cosine_decay_schedule(rate, steps))

    def step(_, carried):
        model, state = carried
        update, state = optimizer.update(jax.grad(loss)(model), state)
        return optax.apply_updates(model, update), state

    return jax.lax.fori_loop(0, steps, step, (model, optimizer.init(model)))[0]


def population_terms(V, G, nesting=None):
    """Alignment and energy of V V^T g, g = -G x, over N(0, C^-1): -sum m v^T (-G) v, and that of the directions."""
    m = jnp.ones(V.shape[1]) if nesting is None else jnp.cumsum(nesting[::-1])[::-1]
    covariance = jnp.asarray(np.linalg.inv(C))
    c = V.T @ G @ covariance @ G.T @ V
    A = m @ jnp.sum(V * (G @ V), axis=0)
    return A, jnp.sum(jnp.minimum(m[:, None], m[None, :]) * c * (V.T @ V))


@pytest.mark.parametrize("order", [1, 2, 3, 6])
def test_principal_directions_reach_the_floor(order, float64):
    """O1: -2, -3, -3.5, -4.20833, which is minus half of the eigenvalues that are kept."""
    basis = np.linalg.qr(np.random.default_rng(order).normal(size=(6, order)))[0]
    start = jnp.asarray(basis), jnp.zeros((6, 6))  # from a G that points away a direction may be given up for good

    def loss(model):
        A, Q = population_terms(*model)
        return -A + Q / 2

    V, G = _descend(start, loss, 8000, 1e-2)
    np.testing.assert_allclose(loss((V, G)), [-2, -3, -3.5, None, None, -4.20833][order - 1], rtol=2e-3)
    error = np.trace((V @ V.T @ G - C) @ np.linalg.inv(C) @ (V @ V.T @ G - C).T)
    np.testing.assert_allclose(error, [4.41667, 2.41667, 1.41667, None, None, 0][order - 1], atol=0.02)


@pytest.mark.slow
def test_nesting_orders_the_directions(float64):
    """O2: with uniform weights every direction is the eigenvector of its place; without, only the span is known."""
    rng = np.random.default_rng(0)
    start = jnp.asarray(np.linalg.qr(rng.normal(size=(6, 4)))[0]), jnp.asarray(0.3 * rng.normal(size=(6, 6)))

    def cosines(nesting):
        def loss(model):
            A, Q = population_terms(*model, nesting)
            return -A + Q / 2

        V, _ = _descend(start, loss, 20_000, 1e-2)
        return np.abs(np.sum(np.asarray(V / jnp.linalg.norm(V, axis=0)) * U[:, :4], axis=0))

    assert cosines(jnp.full(4, 0.25)).min() > 0.999
    assert cosines(None).min() < 0.9


@pytest.mark.slow
@pytest.mark.parametrize("reduce", [score_matching_loss, lifted_loss])
def test_levels_of_rank_one_deflate_the_score(reduce, float64):
    """O3: errors of 4.41667, 2.41667, 1.41667 and 0.75 after one to four levels of u v^T x, from small models."""
    rng = np.random.default_rng(1)
    Sigma = np.linalg.inv(C)
    levels = jnp.asarray(0.3 * rng.normal(size=(4, 2, 6)))
    # the population as twelve points of its covariance, and the score as the target of a regression
    x = jnp.asarray(np.linalg.cholesky(Sigma).T * 6**0.5)
    x = jnp.concatenate([x, -x])
    y = -x @ jnp.asarray(C)

    def terms(levels):
        fields = [lambda x, u=u, v=v: u * (v @ x) for u, v in levels]
        source = lambda f: denoising_terms(jax.vmap(f)(x), y)  # noqa: E731
        alignments = jax.lax.stop_gradient(jnp.stack([jnp.mean(t.alignment) for t in residual_terms(fields, source)]))
        return residual_terms(fields, source, signs_of(alignments) if reduce is lifted_loss else None)

    def loss(levels):
        # all points at once are the population, whose powers are those of the means
        return sum(reduce(t, power="plug_in") if reduce is lifted_loss else reduce(t) for t in terms(levels))

    found = _descend(levels, loss, 20_000, 3e-3)
    field, errors = np.zeros((6, 6)), []
    for (u, v), t in zip(np.asarray(found), terms(found), strict=True):
        field = field + float(signs_of(jnp.mean(t.alignment))) * np.outer(u, v)
        errors.append(np.trace((field + C) @ Sigma @ (field + C).T))
    np.testing.assert_allclose(errors, [4.41667, 2.41667, 1.41667, 0.75], atol=0.03)
