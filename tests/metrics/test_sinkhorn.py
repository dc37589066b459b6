import warnings

import jax
import numpy as np
import ot
import pytest
from scipy.spatial.distance import cdist

from dichroic.metrics import emd, halved_sinkhorn_divergence, sinkhorn, sinkhorn_divergence


def normal(seed, n, d=2):
    return np.random.default_rng(seed).normal(size=(n, d))


def other(x, y, epsilon):
    """Plan, transport cost and minimum by another implementation."""
    C, weights = cdist(x, y, "sqeuclidean"), [np.full(len(z), 1 / len(z)) for z in (x, y)]
    P = ot.sinkhorn(*weights, C, epsilon, method="sinkhorn_log", numItermax=20_000, stopThr=1e-12)
    return (P * C).sum(), (P * C).sum() + epsilon * (P * np.log(P / np.outer(*weights))).sum()


@pytest.mark.parametrize("anneal", [False, True])
def test_transport_agrees_with_another_implementation(anneal):
    x, y = normal(0, 40), 0.5 + normal(1, 55)
    result = sinkhorn(x, y, epsilon=0.2, iterations=5000, tolerance=1e-11, anneal=anneal)
    cost, value = other(x, y, 0.2)
    assert result.error <= 1e-11 and result.iterations < 5000
    assert result.cost == pytest.approx(cost, rel=1e-8)
    assert result.value == pytest.approx(value, rel=1e-8)


def test_small_epsilon_gives_the_exact_distance():
    x, y = normal(0, 60), 1 + normal(1, 60)
    result = sinkhorn(x, y, epsilon=1e-3, iterations=20_000, tolerance=1e-4, anneal=True)
    assert result.cost == pytest.approx(emd(x, y, order=2.0) ** 2, rel=1e-3)


def test_divergence_agrees_with_another_implementation():
    x, y = normal(0, 40), 0.5 + 2 * normal(1, 55)
    expected = other(x, y, 2.0)[1] - other(x, x, 2.0)[1] / 2 - other(y, y, 2.0)[1] / 2
    assert sinkhorn_divergence(x, y, 2.0, tolerance=1e-10) == pytest.approx(expected, rel=1e-8)


def test_divergence_of_a_shift_is_its_squared_length():
    # potentials of a shifted sample differ by a linear function, which the self-terms cancel
    x, m = normal(0, 100, 5), np.arange(5) / 2
    for epsilon in (1.0, 4.0):
        assert sinkhorn_divergence(x, x + m, epsilon, tolerance=1e-9) == pytest.approx(m @ m, rel=1e-6)
    assert sinkhorn_divergence(x, x) == pytest.approx(0, abs=1e-4)


def test_divergence_of_two_gaussians():
    # Janati et al. 2020 (NeurIPS), theorem 1, in one dimension, with epsilon = 2 s2
    def transport(a, b, epsilon):
        s2 = epsilon / 2
        D = np.sqrt(4 * a * b + s2**2)
        return a + b - D + s2 * (1 - np.log(2 * s2)) + s2 * np.log(D + s2)

    a, b, epsilon = 1.0, 4.0, 1.0
    expected = transport(a, b, epsilon) - transport(a, a, epsilon) / 2 - transport(b, b, epsilon) / 2
    values = [sinkhorn_divergence(normal((0, k), 300, 1), 2 * normal((1, k), 300, 1), epsilon) for k in range(12)]
    assert abs(np.mean(values) - expected) < 4 * np.std(values) / np.sqrt(12) + 0.01


def test_published_definition():
    x, y = normal(0, 60), 0.5 + normal(1, 80)
    expected = other(x, y, 0.3)[0] - other(x[:30], x[30:], 0.3)[0] / 2 - other(y[:40], y[40:], 0.3)[0] / 2
    assert halved_sinkhorn_divergence(x, y, 0.3, tolerance=1e-10) == pytest.approx(expected, rel=1e-6)
    # at the published settings the iterations end first
    assert sinkhorn(x, y).iterations <= 1030
    assert np.isfinite(halved_sinkhorn_divergence(x, y))
    # between draws of one law it is centred on zero, the halves being as far apart as the two samples
    null = [halved_sinkhorn_divergence(normal((2, k), 40), normal((3, k), 40), 0.3) for k in range(40)]
    assert min(null) < 0 < max(null)


def test_missed_tolerance_is_told():
    with pytest.warns(UserWarning, match="raise epsilon or iterations"):
        sinkhorn_divergence(normal(0, 50), 2 + normal(1, 50), epsilon=1e-4, iterations=10)


def test_precision_of_the_caller_is_left_alone():
    before = jax.numpy.zeros(1).dtype
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sinkhorn(normal(0, 10), normal(1, 10), 1.0)
    assert jax.numpy.zeros(1).dtype == before
