"""What a learned denoiser may do to a posterior; companions in a batch; image sizes."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dichroic.diffusion import Decoupled, GaussianDenoiser, MLPConfig, NetworkDenoiser, Schedule, run_sampler
from dichroic.operators import Convolve, Dense, DiagonalNoise, Mask
from dichroic.posterior import Conditional
from oracles import MatrixDenoiser, assert_gaussian, flatten, largest_intermediate
from posterior_cases import WAYS, target_of, whiten

every_method = pytest.mark.parametrize("method", WAYS)
NAMES = ["a", "b"]
SHAPES = {"a": (3,), "b": (2,)}


def data(rng, n: int, m: int = 3):
    """Random matrices of every source, and observations."""
    return {s: rng.normal(size=(n, m, *SHAPES[s])) for s in NAMES}, rng.normal(size=(n, m))


def observe(A, y):
    return whiten(y, {s: Dense(A[s]) for s in NAMES}, DiagonalNoise(0.05))


def bad_jacobians(rng, kind: str) -> dict[str, np.ndarray]:
    def one(d: int) -> np.ndarray:
        if kind == "negative":
            B = rng.normal(size=(d, d))
            return -B @ B.T
        if kind == "rotation":
            B = rng.normal(size=(d, d))
            return B - B.T
        return rng.normal(size=(d, d))

    return {s: one(shape[0]) for s, shape in SHAPES.items()}


@pytest.mark.parametrize("method", ["exact", "krylov"])  # the surrogate never sees a Jacobian
@pytest.mark.parametrize("kind", ["asymmetric", "negative", "rotation"])
def test_bad_jacobians_give_finite_results(method, kind, float64, rng):
    n, sigmas = 40, np.array([0.01, 1.0, 100.0])
    J = [bad_jacobians(rng, kind) for _ in range(n)]
    J = {s: np.stack([one[s] for one in J]) for s in NAMES}
    A, y = data(rng, n)
    x_t = {s: rng.normal(size=(n, *SHAPES[s])) for s in NAMES}

    def both(sigma, J, A, y, x_t, key):
        x_t = jax.tree.map(lambda x: sigma * x, x_t)
        target = target_of({s: MatrixDenoiser(J[s]) for s in NAMES}, observe(A, y), method)
        mean, info = target.mean(x_t, sigma)
        D = {s: J[s] @ x_t[s] for s in NAMES}
        residual = observe(A, y).y - target.observation.forward(D)
        moved = target.observation.forward({s: mean[s] - D[s] for s in NAMES})
        draw, _ = target.draw(x_t, sigma, key)
        return mean, draw, info, jnp.linalg.norm(moved) / jnp.linalg.norm(residual)

    keys = jax.random.split(jax.random.key(0), n)
    over_samples = jax.vmap(both, in_axes=(None, 0, 0, 0, 0, 0))
    run = jax.jit(jax.vmap(over_samples, in_axes=(0, None, None, None, None, None)))
    mean, draw, info, ratio = run(sigmas, J, A, y, x_t, keys)
    assert all(np.isfinite(mean[s]).all() and np.isfinite(draw[s]).all() for s in NAMES)
    assert np.isfinite(info.residual).all()
    stopped, residual = np.asarray(info.stopped), np.asarray(info.residual)
    if method == "exact":
        # one positive semidefinite V on both sides: the data are never over-corrected
        assert np.all(np.asarray(ratio) <= 1 + 1e-9)
        assert not stopped.any()
    elif kind == "negative":
        assert np.all(stopped[1:] > 0)
        assert np.all(residual[1:] > 1e-3)
    elif kind == "asymmetric":
        assert 0.1 < np.mean(stopped[1] > 0) < 1


@pytest.mark.parametrize("negative", [-5.0, -0.9])
def test_a_frozen_solve_keeps_its_last_iterate(negative, float64):
    # the first search direction has the curvature of a covariance, the second less than noise alone: one step, kept
    J = np.diag([1.0, negative])
    whitened = whiten(np.array([1.0, 0.3]), {"x": Dense(np.eye(2))}, DiagonalNoise(1.0))
    target = target_of({"x": MatrixDenoiser(jnp.asarray(J))}, whitened, "krylov", iterations=5)
    mean, info = target.mean({"x": jnp.zeros(2)}, jnp.asarray(1.0))
    C, r = np.eye(2) + J, np.array([1.0, 0.3])
    alpha = r @ r / (r @ C @ r)
    np.testing.assert_allclose(mean["x"], alpha * J @ r, atol=1e-12)
    np.testing.assert_allclose(float(info.residual), np.linalg.norm(r - alpha * C @ r) / np.linalg.norm(r), rtol=1e-6)
    assert int(info.stopped) == 1


def test_missing_entries_take_no_part_in_the_solve(float64, rng):
    # isotropic source, identity, equal noise: one iteration solves it, unless noise of missing entries takes part
    observed = np.array([True, False, True, False])
    c, std, y = 2.0, 0.5, np.where(observed, rng.normal(size=4), 0)
    gaussian = GaussianDenoiser.from_covariance(np.zeros(4), c * np.eye(4))
    whitened = whiten(y, {"x": Mask(np.ones(4))}, DiagonalNoise(std), observed=observed)
    target = target_of({"x": gaussian}, whitened, "krylov", iterations=1, root_iterations=1)
    sigma, n = 1.0, 4000
    draw = jax.vmap(lambda key: target.draw({"x": jnp.zeros(4)}, jnp.asarray(sigma), key))
    x, info = jax.jit(draw)(jax.random.split(jax.random.key(2), n))
    precision = 1 / c + sigma**-2 + observed / std**2
    assert_gaussian(np.asarray(x["x"]), y / std**2 / precision, np.diag(1 / precision))
    assert np.all(np.asarray(info.residual) < 1e-10)


def test_more_iterations_never_leave_a_larger_error_in_the_energy_norm(float64, rng):
    J = {s: np.diag(rng.uniform(0.1, 1, shape)) for s, shape in SHAPES.items()}
    A, y = data(rng, 1)
    whitened = observe({s: matrix[0] for s, matrix in A.items()}, y[0])
    x_t = {s: jnp.asarray(rng.normal(size=shape)) for s, shape in SHAPES.items()}
    denoisers = {s: MatrixDenoiser(jnp.asarray(J[s])) for s in NAMES}
    exact, _ = target_of(denoisers, whitened, "exact").mean(x_t, jnp.asarray(1.0))

    def error(iterations):
        mean, _ = target_of(denoisers, whitened, "krylov", iterations=iterations).mean(x_t, jnp.asarray(1.0))
        # the prior's metric plus the data's: what conjugate gradients minimise
        off = {s: mean[s] - exact[s] for s in NAMES}
        prior = sum(off[s] @ np.linalg.solve(J[s], off[s]) for s in NAMES)
        return float(prior + jnp.sum(whitened.forward(off) ** 2))

    errors = [error(k) for k in (1, 2, 3)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-12


@every_method
def test_a_draw_does_not_depend_on_its_batch(method, getkey, rng):
    # networks, so that Jacobians are bad; companions that are other data, copies, or not even numbers
    config, n = MLPConfig(width=16, depth=1), 4
    denoisers: dict = {s: NetworkDenoiser.create(SHAPES[s], config, key=getkey()) for s in NAMES}
    if method in ("surrogate", "candidates", "amortised"):
        denoisers = {s: GaussianDenoiser.from_covariance(np.ones(shape), np.eye(*shape)) for s, shape in SHAPES.items()}
    levels = Schedule(0.01, 10.0).levels(4)
    conditional = None
    if method == "amortised":
        fresh = Conditional.create(denoisers, config, key=getkey(), sees_operators=True)
        rows = jax.random.normal(getkey(), fresh.network.last.weight.shape) / 4  # pyright: ignore
        conditional = eqx.tree_at(lambda c: c.network.last.weight, fresh, rows)

    @jax.jit
    @jax.vmap
    def draw(y, A, key):
        target = target_of(denoisers, observe(A, y), method, **({"conditional": conditional} if conditional else {}))
        return run_sampler(target, Decoupled(), levels, key=key)

    keys = jax.random.split(getkey(), n)
    matrices, y = jax.tree.map(lambda a: a.astype(np.float32), data(rng, n))
    together, info = draw(y, matrices, keys)
    assert np.isfinite(flatten(together, NAMES)).all()
    for companion in ("copies", "huge", "nan"):
        other = np.full_like(y, {"copies": 0, "huge": 1e6, "nan": np.nan}[companion])
        if companion == "copies":  # as padding does
            other[:] = y[2]
        other[2] = y[2]
        mixed = {s: np.broadcast_to(m[2], m.shape) if companion == "copies" else m for s, m in matrices.items()}
        again, again_info = draw(other, mixed, keys)
        for s in NAMES:
            np.testing.assert_array_equal(again[s][2], together[s][2])
        assert int(again_info.stopped[2]) == int(info.stopped[2])


@pytest.mark.parametrize("method", ["surrogate", "krylov"])
def test_image_problems_never_build_a_matrix(method, rng):
    shape = (128, 128, 1)
    kernel = np.ones((5, 5)) / 25
    mixing = {"a": Mask(np.ones(shape)), "b": Convolve(kernel, shape)}
    pixels = 128 * 128
    basis = np.linalg.qr(rng.normal(size=(pixels, 8)))[0]
    gaussian = GaussianDenoiser(np.zeros(shape), basis, np.ones(8), np.array(0.1))

    def steps(x_t, key):
        whitened = whiten(np.zeros(shape, np.float32), mixing, DiagonalNoise(0.1))
        target = target_of({s: gaussian for s in mixing}, whitened, method)
        return target.mean(x_t, jnp.asarray(1.0)), target.draw(x_t, jnp.asarray(1.0), key)

    program = jax.make_jaxpr(steps)({s: jnp.zeros(shape) for s in mixing}, jax.random.key(0))
    assert pixels <= largest_intermediate(program.jaxpr) <= pixels * 64


def test_the_search_for_large_arrays_sees_into_loops():
    def program(x):
        return jax.lax.fori_loop(0, 3, lambda _, x: jnp.outer(x, x).sum(1), x)

    assert largest_intermediate(jax.make_jaxpr(jax.jit(program))(jnp.zeros(50)).jaxpr) == 2500
