"""The kernel Stein discrepancy: its formula, what it sees, and what it does not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dichroic.score import stein_discrepancies, stein_test
from score_cases import Law

N, K, D = 60, 24, 6
LAW = Law(2 * np.random.default_rng(1).normal(size=(3, D)), np.tile(np.linspace(0.3, 1.0, D), (3, 1)))


def asked(x, seed=0):
    """Of draws `(N, K, d)`, every "observation" having the same law here."""
    score = LAW.score(x.reshape(-1, D)).reshape(x.shape)
    return stein_test(stein_discrepancies(x, score, np.sqrt(2 * D)), np.random.default_rng(seed))


def drawn(seed, law=LAW):
    return law.sample(N * K, np.random.default_rng(seed)).reshape(N, K, D)


def test_it_is_the_stein_operator_on_both_sides(float64):
    """u = T_x T_x' k with T f = s . f + div f, by automatic differentiation."""
    z, t = np.random.default_rng(0).normal(size=(2, 1, 4, 3))
    h = 1.7

    def k(a, b):
        return (1 + jnp.sum((a - b) ** 2) / h**2) ** -0.5

    @jax.jit
    def u(a, s, b, r):
        gradient = jax.grad(k, (0, 1))(a, b)
        mixed = jax.jacfwd(jax.grad(k), 1)(a, b)
        return s @ r * k(a, b) + s @ gradient[1] + r @ gradient[0] + jnp.trace(mixed)

    want = [[u(z[0, i], t[0, i], z[0, j], t[0, j]) for j in range(4)] for i in range(4)]
    np.testing.assert_allclose(stein_discrepancies(z, t, h)[0], want, atol=1e-12)


def test_sound_draws_are_not_told_off():
    p = np.array([asked(drawn(seed), seed)[1] for seed in range(20)])
    assert (p < 0.05).sum() <= 4 and (p < 0.01).sum() <= 2 and p.mean() > 0.3


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x, mean: mean + 0.6 * (x - mean),
        lambda x, mean: x + 0.3 * LAW.variances[0] ** 0.5,
    ],
    ids=["narrow", "mean off"],
)
def test_draws_of_another_width_or_place_are_seen(wrong):
    x = drawn(3).reshape(-1, D)
    nearest = LAW.means[np.argmin(((x[:, None] - LAW.means) ** 2).sum(2), axis=1)]
    value, p = asked(wrong(x, nearest).reshape(N, K, D))
    assert p < 0.002 and value > 0.01


def test_what_is_missing_is_not_seen():
    """Draws of one of three modes, and of all in the wrong proportions, are green: what the page says."""
    one = Law(LAW.means[:1], LAW.variances[:1])
    rng = np.random.default_rng(0)
    unequal = one.sample(N * K, rng)
    far = rng.uniform(size=len(unequal)) < 0.1
    unequal[far] = LAW.sample(int(far.sum()), rng)
    for x in (drawn(5, one), unequal.reshape(N, K, D)):
        value, _ = asked(x)
        assert abs(value) < 0.01
