"""Terms and reductions: known minima, signs, biases and curvatures (C1 to C3, C10 to C18)."""

from itertools import combinations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dichroic.score import (
    ResidualScore,
    ScoreTerms,
    alignment_ratio,
    denoising_terms,
    exact_terms,
    lifted_loss,
    require_aligned,
    residual_terms,
    score_matching_loss,
    signs_of,
    sliced_terms,
    track_alignment,
)

D = 8
VARIANCES = np.linspace(0.25, 2, D)
PRECISION = np.linalg.inv(
    (lambda Q: Q @ np.diag(VARIANCES) @ Q.T)(np.linalg.qr(np.random.default_rng(3).normal(size=(D, D)))[0])
)


@pytest.fixture(scope="module")
def sample():
    """Samples of N(0, Sigma), and the terms of its score by exact traces, slices and noise."""
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(100_000, D)) @ np.linalg.cholesky(np.linalg.inv(PRECISION)).T).astype(np.float32)
    P = jnp.asarray(PRECISION, jnp.float32)

    def score(x):
        return -P @ x

    exact, sliced, gaussian = jax.jit(
        lambda x, key: (
            exact_terms(score, x),
            sliced_terms(score, x, key=key),
            sliced_terms(score, x, key=key, probes=2, law="gaussian"),
        )
    )(x, jax.random.key(0))
    sigma = 0.5
    epsilon = rng.normal(size=x.shape)
    noisy = -(x + sigma * epsilon) @ np.linalg.inv(np.linalg.inv(PRECISION) + sigma**2 * np.eye(D))
    return {
        "exact": exact,
        "sliced": sliced,
        "gaussian": gaussian,
        "denoising": denoising_terms(jnp.asarray(noisy), jnp.asarray(-epsilon / sigma)),
    }


@pytest.mark.parametrize("source", ["exact", "sliced", "gaussian", "denoising"])
def test_the_scale_of_the_true_score_is_one(sample, source):
    """C1: the loss of `c s` is least at c = A / Q, and that of the lifted one at c^2 = A^2 / Q^2."""
    terms = sample[source]
    assert abs(alignment_ratio(terms) - 1) < 0.02

    def u(values):
        return -2 * float(lifted_loss(ScoreTerms(values, 0 * values, values), power="u_statistic")) / 2

    assert abs(u(terms.alignment) / u(terms.energy) - 1) < 0.03


def test_losses_at_the_truth(sample):
    """C2: minus half of the score's energy, per entry, and of its square."""
    S = np.trace(PRECISION) / D
    np.testing.assert_allclose(score_matching_loss(sample["sliced"]), -S / 2, rtol=0.01)
    for power in ("u_statistic", "split", "plug_in"):
        np.testing.assert_allclose(lifted_loss(sample["sliced"], power=power), -(S**2) / 2, rtol=0.02)


def test_noise_has_the_sign_that_removes_it():
    """C3: the expanded form with -eps / sigma as the target is the error of any field, up to the constant."""
    rng = np.random.default_rng(1)
    sigma, n = 0.4, 400_000
    epsilon = rng.normal(size=(n, 2))
    x_t = rng.normal(size=(n, 2)) + sigma * epsilon
    f, s = np.sin(x_t @ [[1.0, 0.3], [-0.5, 0.8]]) - 0.7 * x_t, -x_t / (1 + sigma**2)
    loss = float(score_matching_loss(denoising_terms(f, -epsilon / sigma)))
    want = np.mean((f - s) ** 2 - s**2) / 2
    spread = np.std(np.mean((-epsilon / sigma - s) * f, axis=1)) / n**0.5
    assert abs(loss - want) < 4 * spread


def test_signs_have_less_variance_than_gaussian_directions(sample):
    H = PRECISION / D
    for source, expected in (
        ("sliced", 2 * (np.sum(H**2) - np.sum(np.diag(H) ** 2))),
        ("gaussian", 2 * np.sum(H**2) / 2),  # the mean of two
    ):
        np.testing.assert_allclose(np.var(sample[source].alignment), expected, rtol=0.05)


def test_a_lifted_loss_compares_outer_products_at_two_points(rng):
    """C10: the mean over pairs of |y y'^T - f f'^T|^2 - |y y'^T|^2 is twice -A^2 + Q^2 / 2, for every estimator."""
    y, f = rng.normal(size=(2, 7, 3))
    terms = denoising_terms(f, y)
    pairs = [
        np.sum((np.outer(y[i], y[j]) - np.outer(f[i], f[j])) ** 2) - np.sum(np.outer(y[i], y[j]) ** 2)
        for i, j in combinations(range(7), 2)
    ]
    # of a pair the product of alignments is (y_i . f_i)(y_j . f_j), as <a b^T, c d^T> = (a . c)(b . d)
    np.testing.assert_allclose(lifted_loss(terms), np.mean(pairs) / 2 / 9, rtol=1e-5)


@pytest.mark.parametrize("order", [2, 3])
def test_u_statistics_are_means_over_different_samples(rng, order):
    a, q = rng.normal(size=(2, 6))
    terms = ScoreTerms(a, q, a)
    want = [-np.prod(a[list(c)]) + np.prod(q[list(c)]) / 2 for c in combinations(range(6), order)]
    np.testing.assert_allclose(lifted_loss(terms, order=order), np.mean(want), rtol=1e-5, atol=1e-6)
    grouped = lifted_loss(terms, order=order, groups=2)
    parts = [lifted_loss(ScoreTerms(a[i], q[i], a[i]), order=order) for i in (slice(0, 3), slice(3, 6))]
    np.testing.assert_allclose(grouped, np.mean(parts), rtol=1e-5)


def test_lifting_is_score_matching_with_another_weight_of_the_norm(rng):
    """Section 5.4: the gradient is 2 A (-grad A + (Q / A) grad Q / 2), of any model, where no sample is left out."""
    x, y = (rng.normal(size=(16, 3)).astype(np.float32) for _ in range(2))
    W = rng.normal(size=(3, 3)).astype(np.float32)

    def terms(W):
        return denoising_terms(jnp.tanh(x @ W), y)

    @jax.jit
    def gradients(W):
        known = terms(W)
        A, Q = jnp.mean(known.alignment), jnp.mean(known.energy)
        return (
            jax.grad(lambda W: lifted_loss(terms(W), power="plug_in"))(W),
            2 * A * jax.grad(lambda W: score_matching_loss(terms(W)._replace(energy=Q / A * terms(W).energy)))(W),
        )

    np.testing.assert_allclose(*gradients(W), rtol=1e-4, atol=1e-5)


def test_one_sign_is_open_and_no_more():
    """C11: signs of every point's own turn the minimum into +S^2 / 2."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(200_000, 4))
    s, S = -x, 1.0

    def loss(f):
        return float(lifted_loss(denoising_terms(f, s)))

    np.testing.assert_allclose([loss(s), loss(-s)], -(S**2) / 2, rtol=0.02)
    np.testing.assert_allclose(loss(rng.choice([-1, 1], (len(x), 1)) * s), S**2 / 2, rtol=0.02)


@pytest.mark.parametrize("size, scale", [(2, 2.56), (8, 1.586), (64, 1.093), (512, 1.012)])
def test_squares_of_means_make_models_too_large(size, scale):
    """C12: c* of the model c s_sigma at a noise of a tenth, in eight dimensions."""
    rng = np.random.default_rng(size)
    sigma, batches = 0.1, 20_000 * 8 // max(size, 8)
    epsilon, x = rng.standard_normal((2, batches * size, 8), dtype=np.float32)
    x_t = x + np.float32(sigma) * epsilon
    f = -x_t / (1 + sigma**2)
    groups = {
        power: _scale(denoising_terms(f, -epsilon / sigma), power, batches) for power in ("plug_in", "u_statistic")
    }
    assert abs(groups["plug_in"] / scale - 1) < 0.03
    assert abs(groups["u_statistic"] - 1) < (0.1 if size == 2 else 0.02)


def _scale(terms, power, groups):
    nothing = jnp.zeros_like(terms.energy)
    a = -lifted_loss(terms._replace(energy=nothing), power=power, groups=groups)
    q = 2 * lifted_loss(terms._replace(alignment=nothing), power=power, groups=groups)
    return float(a / q) ** 0.5


def test_a_head_of_zero_never_learns(getkey):
    """C13: the gradient of a lifted loss is exactly zero there, that of score matching is not."""
    network = eqx.nn.MLP(2, 2, 4, 1, key=getkey())
    network = eqx.tree_at(lambda n: (n.layers[-1].weight, n.layers[-1].bias), network, replace_fn=jnp.zeros_like)
    x = jax.random.normal(getkey(), (6, 2))

    @eqx.filter_jit
    def gradients(network):
        def loss(network, reduce):
            return reduce(denoising_terms(jax.vmap(network)(x), -x))

        return [eqx.filter_grad(loss)(network, reduce) for reduce in (lifted_loss, score_matching_loss)]

    lifted, plain = (
        [np.abs(g).max() for g in jax.tree.leaves(eqx.filter(g, eqx.is_array))] for g in gradients(network)
    )
    assert max(lifted) == 0
    assert max(plain) > 0


def population(A, Q, m):
    """The loss of a population by the reduction itself, from as many equal samples as it multiplies."""
    ones = jnp.ones(8)
    return lifted_loss(ScoreTerms(A * ones, Q * ones, ones), order=m)


@pytest.mark.slow
def test_curvatures_of_gaussian_landscapes(float64):
    """C14 and C15: in one dimension m^2 sigma^(2 (2 - m)); in two, at a correlation of a half, the printed ones."""
    orders, variances = range(1, 6), np.array([0.25, 1.0, 4.0])

    def line(t, v, m):
        return population(t, v * t**2, m)

    def plane(t, m, rho=0.5):
        return population(2 / (1 - t**2), 2 * (1 - 2 * t * rho + t**2) / (1 - t**2) ** 2, m)

    @jax.jit
    def curvatures(t):
        lines = [jax.vmap(lambda v, m=m: jax.hessian(line)(1 / v, v, m))(variances) for m in orders]
        return lines, [(jax.grad(plane)(t, m), jax.hessian(plane)(t, m)) for m in orders]

    lines, planes = curvatures(0.5)
    np.testing.assert_allclose(lines, [m**2 * variances ** (2 - m) for m in orders], rtol=1e-9)
    np.testing.assert_allclose([c for _, c in planes], [8.29630, 69.5309, 379.259, 1708.07, 6892.22], rtol=1e-5)
    np.testing.assert_allclose([g for g, _ in planes], 0, atol=1e-9)


def test_lifting_does_not_change_the_best_model_of_a_class():
    """C16: fields c diag(1, m) x on a Gaussian of correlation a half; the scale is profiled out."""
    m = np.linspace(0.2, 3, 281)
    A, Q = 1 + m, 1 + m**2  # of -diag(1, m) x against the score of unit variances
    plain, lifted = -(A**2) / (2 * Q), -((A**2 / Q) ** 2) / 2
    assert m[plain.argmin()] == pytest.approx(1) == m[lifted.argmin()]
    for c in (0.5, 1.0, 2.0):  # what is profiled is the loss of the library
        ones = np.ones(4)
        terms = ScoreTerms(c * A[100] * ones, c**2 * Q[100] * ones, ones)
        np.testing.assert_allclose(lifted_loss(terms), -((c * A[100]) ** 2) + (c**2 * Q[100]) ** 2 / 2, rtol=1e-5)


def test_a_second_level_learns_what_the_first_has_left():
    """C17: with half of the score as the first level, the second is half of it, by slices and by noise."""
    rng = np.random.default_rng(5)
    x = jnp.asarray(rng.normal(size=(20_000, 3)))

    def field(c):
        return lambda x: -c * x

    key = jax.random.key(1)
    second = residual_terms([field(0.5), field(1.0)], lambda f: sliced_terms(f, x, key=key))[1]
    assert alignment_ratio(second) == pytest.approx(0.5, abs=0.02)
    sigma, epsilon = 0.5, rng.normal(size=x.shape)
    x_t = x + sigma * epsilon
    levels = [field(0.5 / (1 + sigma**2)), field(1 / (1 + sigma**2))]
    second = residual_terms(levels, lambda f: denoising_terms(jax.vmap(f)(x_t), -epsilon / sigma))[1]
    assert alignment_ratio(second) == pytest.approx(0.5, abs=0.03)
    model = ResidualScore((field(0.5), field(0.5)), jnp.ones(2))
    np.testing.assert_allclose(jax.vmap(model)(x), -x, rtol=1e-5)


def test_residual_denoising_is_denoising_of_the_sum(rng):
    """C18: up to a number in which the second level has no part."""
    y, base = rng.normal(size=(2, 10, 3))

    def difference(f):
        second = denoising_terms(f, y).less(base)
        return float(score_matching_loss(second)) - np.mean((base + f - y) ** 2) / 2

    f, g = rng.normal(size=(2, 10, 3))
    assert difference(f) == pytest.approx(difference(g), abs=1e-5)


def test_signs_are_tracked_and_a_wrong_one_is_refused():
    x = np.random.default_rng(0).normal(size=(256, 4))
    levels = [lambda x: x, lambda x: -x]  # of the score -x; the first has the wrong sign and the second nothing to do
    terms = residual_terms(levels, lambda f: denoising_terms(f(x), -x), jnp.array([-1.0, 1.0]))
    alignment = track_alignment(jnp.zeros(2), terms)
    np.testing.assert_array_equal(signs_of(alignment), [-1, 1])
    np.testing.assert_allclose(terms[1].alignment, 0, atol=1e-6)
    assert float(signs_of(jnp.zeros(()))) == 1
    model = ResidualScore((levels[0],), signs_of(alignment[:1]))
    require_aligned(denoising_terms(jax.vmap(model)(jnp.asarray(x)), -x))
    with pytest.raises(ValueError, match="wrong sign"):
        require_aligned(terms[0])
