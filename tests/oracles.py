"""Closed forms that share no code with the package, and bounds of random results."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from dichroic.diffusion import Denoiser

SIGMAS = 4.5  # standard errors a random result may be off: once in 150,000 comparisons


def random_covariance(rng: np.random.Generator, d: int, condition: float = 30.0) -> np.ndarray:
    """A correlated covariance with variances around one."""
    Q, _ = np.linalg.qr(rng.normal(size=(d, d)))
    return (Q * np.geomspace(condition**-0.5, condition**0.5, d)) @ Q.T


def denoise(mean: np.ndarray, S: np.ndarray, x_t: np.ndarray, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of `x_0 ~ N(mean, S)` given `x_t = x_0 + sigma z`."""
    gain = S @ np.linalg.inv(S + sigma**2 * np.eye(len(S)))
    return mean + gain @ (x_t - mean), S - gain @ S


def assert_mean(draws: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> None:
    """The mean of independent draws, shape `(n, d)`, within its standard error."""
    error = np.sqrt(np.diag(covariance) / len(draws))
    excess = np.abs(draws.mean(0) - mean) / error
    assert np.all(excess < SIGMAS), f"mean off by {excess.round(1)} standard errors"


def assert_covariance(draws: np.ndarray, covariance: np.ndarray) -> None:
    """The covariance of independent Gaussian draws, shape `(n, d)`, within its standard error."""
    variances = np.diag(covariance)
    error = np.sqrt((np.outer(variances, variances) + covariance**2) / (len(draws) - 1))
    excess = np.abs(np.atleast_2d(np.cov(draws.T)) - covariance) / error
    assert np.all(excess < SIGMAS), f"covariance off by {excess.round(1)} standard errors"


def assert_gaussian(draws: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> None:
    """First and second moments of independent Gaussian draws, shape `(n, d)`."""
    assert np.isfinite(draws).all()
    assert_mean(draws, mean, covariance)
    assert_covariance(draws, covariance)


class MatrixDenoiser(Denoiser):
    """The linear map `x_t -> J x_t`, whatever `J`: a stand-in for a network with a bad Jacobian."""

    J: jax.Array

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.J.shape[0],)

    def __call__(self, x_t, sigma):
        return self.J @ x_t


class Tally:
    """Counts forward evaluations and Jacobian products of denoisers it wraps, as they run."""

    def __init__(self):
        self.forward: dict[str, int] = {}
        self.products: dict[str, int] = {}

    def wrap(self, name: str, denoiser: Denoiser) -> Denoiser:
        self.forward[name] = self.products[name] = 0

        def count(book: dict[str, int]) -> Callable:
            def add(_):
                book[name] += 1

            return add

        return _Counted(denoiser, count(self.forward), count(self.products))


class _Counted(Denoiser):
    denoiser: Denoiser
    on_forward: Callable = None  # type: ignore
    on_product: Callable = None  # type: ignore

    def moments_given(self, sigma):
        return self.denoiser.moments_given(sigma)

    def gaussian(self):
        return self.denoiser.gaussian()

    @property
    def shape(self) -> tuple[int, ...]:
        return self.denoiser.shape

    def __call__(self, x_t, sigma):
        @jax.custom_vjp
        def call(x_t, sigma):
            jax.debug.callback(self.on_forward, x_t.sum())
            return self.denoiser(x_t, sigma)

        def forward(x_t, sigma):
            return call(x_t, sigma), (x_t, sigma)

        def backward(saved, cotangent):
            jax.debug.callback(self.on_product, cotangent.sum())
            x_t, sigma = saved
            return jax.vjp(self.denoiser, x_t, sigma)[1](cotangent)

        call.defvjp(forward, backward)
        return call(x_t, sigma)


def flatten(x: Mapping[str, jax.Array], names) -> np.ndarray:
    """A dict of batched arrays as one `(n, d)` array."""
    return np.concatenate([np.asarray(x[s]).reshape(len(x[s]), -1) for s in names], axis=1)


def largest_intermediate(jaxpr) -> int:
    """Number of elements of the largest array that a program makes, inside its loops and calls too."""
    largest = 0
    for equation in jaxpr.eqns:
        for variable in equation.outvars:
            largest = max(largest, int(np.prod(getattr(variable.aval, "shape", ()))))
        for inner in jax.core.jaxprs_in_params(equation.params):
            largest = max(largest, largest_intermediate(inner))
    return largest


def log_normal(x, mean, S):
    """Log-density of a normal, differentiable."""
    r = x - mean
    return -0.5 * (r @ jnp.linalg.solve(S, r) + jnp.linalg.slogdet(S)[1] + len(r) * jnp.log(2 * jnp.pi))
