import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dichroic.operators import take
from dichroic.studies.experiments import contrastive, differing, manifolds, mixed, random_manifold
from dichroic.studies.experiments.manifolds import PEAK


def predicted(view):
    """The mixture of the true sources, without noise, by the operators of the view."""

    def one(i):
        return sum(take(op, i)(jnp.asarray(view.truth[s])[i]) for s, op in view.mixing.items())

    return np.asarray(jax.vmap(one)(jnp.arange(len(view))))


def test_range_belongs_to_the_manifold_not_to_the_sample():
    manifold = random_manifold(np.random.default_rng(3), alpha=3.0)
    x = manifold(np.linspace(0, 1, 1234))
    assert x.min() >= -2 - 1e-6 and x.max() <= 2 + 1e-6
    np.testing.assert_allclose(np.ptp(x, axis=0), PEAK, rtol=1e-3)
    few = manifold.sample(np.random.default_rng(0), 3)
    assert (np.ptp(few, axis=0) < PEAK).any()  # a sample's own range would have been stretched to the whole


@pytest.mark.parametrize("alpha, terms", [(3.0, 10), (4.0, 6), (5.0, 4)])
def test_series_is_the_published_one(alpha, terms):
    manifold = random_manifold(np.random.default_rng(0), alpha)
    assert manifold.a.shape == (5, terms)
    z = np.array([0.0, 0.3, 0.9])
    u = np.zeros((3, 5))
    for i in range(3):
        for j in range(5):
            for k in range(1, terms + 1):
                phase = 2 * np.pi * (k * manifold.b[j, k - 1] * z[i] + manifold.c[j, k - 1])
                u[i, j] += manifold.a[j, k - 1] / k**alpha * np.sin(phase)
    x = manifold(z)
    # affine in each coordinate: the ratios of differences agree
    np.testing.assert_allclose((x[2] - x[0]) / (x[1] - x[0]), (u[2] - u[0]) / (u[1] - u[0]))


@pytest.mark.parametrize(
    "make", [lambda **k: contrastive(400, 3, **k), lambda **k: mixed(400, 0.5, **k), lambda **k: differing(400, **k)]
)
def test_observations_are_the_mixture_plus_noise(make):
    for problem in make(seed=1, held_out=200):
        for view in problem.views.values():
            residual = view.y - predicted(view)
            assert abs(residual.std() / 0.01 - 1) < 5 / np.sqrt(2 * residual.size)


def test_views_are_drawn_independently():
    problem, held_out = contrastive(5000, 2, seed=0, held_out=5000)
    one, two, new = problem.views["view1"], problem.views["view2"], held_out.views["view2"]
    x = [v.truth["source1"][:, 0] for v in (one, two, new)]
    A = [v.mixing["source1"].value.matrix[:, 0, 0] for v in (one, two, new)]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert abs(np.corrcoef(x[a], x[b])[0, 1]) < 5 / np.sqrt(5000)
        assert abs(np.corrcoef(A[a], A[b])[0, 1]) < 5 / np.sqrt(5000)


def test_size_changes_neither_sources_nor_other_views():
    a, b = manifolds(3, seed=5), manifolds(2, seed=5)
    np.testing.assert_array_equal(a["source2"].c, b["source2"].c)
    assert contrastive(50)[0].fingerprint() == contrastive(50, held_out=7)[0].fingerprint()
    assert contrastive(50)[0].fingerprint() != contrastive(50, seed=1)[0].fingerprint()
    assert contrastive(50)[1] is None


def test_matrices():
    view = mixed(300, 0.25)[0].views["view1"]
    one, two = (view.mixing[s].value.matrix for s in ("source1", "source2"))
    np.testing.assert_allclose(np.linalg.norm(one, axis=-1), 1, rtol=1e-6)
    np.testing.assert_allclose(two, 0.25 * one)
    view = differing(300)[0].views["view1"]
    one, two = (view.mixing[s].value.matrix for s in ("source1", "source2"))
    assert np.abs(np.corrcoef(one.ravel(), two.ravel())[0, 1]) < 5 / np.sqrt(one.size)


def test_no_mixing_leaves_the_other_source_out():
    problem, _ = mixed(10, 0.0)
    assert {name: list(view.mixing) for name, view in problem.views.items()} == {
        "view1": ["source1"],
        "view2": ["source2"],
    }
