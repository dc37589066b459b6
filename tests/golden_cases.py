"""Small views and priors whose draws were kept: of sources that are no Gaussians, known only by their denoisers."""

import jax
import numpy as np

from dichroic.diffusion import ComponentsDenoiser, Denoiser, DenoiserPrior, GaussianDenoiser, Prior, Scaling, Schedule
from dichroic.operators import Dense, PerSample
from dichroic.problem import View

__all__ = ["N", "Opaque", "closed_priors", "gaussian_priors", "golden_view", "opaque_priors", "starts"]

N = 10
SHAPES = {"b": (3,), "a": (2,)}


class Opaque(Denoiser):
    """A denoiser of which nothing is known but its values, as of a network."""

    inner: Denoiser

    @property
    def shape(self) -> tuple[int, ...]:
        return self.inner.shape

    def __call__(self, x_t, sigma):
        return self.inner(x_t, sigma)


def golden_view(shared: bool = False) -> View:
    """Two data per observation of sources of three and two numbers."""
    rng = np.random.default_rng(7)
    A = {s: rng.normal(size=(N, 2, *shape)).astype(np.float32) for s, shape in SHAPES.items()}
    y = rng.normal(size=(N, 2)).astype(np.float32)
    mixing = {s: Dense(a[0]) if shared else PerSample(Dense(a)) for s, a in A.items()}  # pyright: ignore
    return View(y, mixing, 0.3).bind(SHAPES)


def starts() -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Draws of a lap before, and which observations go on from them."""
    rng = np.random.default_rng(8)
    return {s: rng.normal(size=(N, *shape)).astype(np.float32) for s, shape in SHAPES.items()}, np.arange(N) % 3 > 0


def closed_priors() -> dict[str, Prior]:
    """Mixtures of three Gaussians."""
    rng, found = np.random.default_rng(9), {}
    for s, (d,) in SHAPES.items():
        roots = rng.normal(size=(3, d, d))
        covariances = 0.05 * roots @ roots.transpose(0, 2, 1) + 0.01 * np.eye(d)
        denoiser = ComponentsDenoiser.from_covariances(np.array([0.5, 0.3, 0.2]), rng.normal(size=(3, d)), covariances)
        denoiser = jax.tree.map(lambda a: np.asarray(a, np.float32), denoiser)
        found[s] = DenoiserPrior(denoiser, Schedule(5e-3, 20.0), Scaling(0.25, 1.5))
    return found


def opaque_priors() -> dict[str, Prior]:
    """The same, known only by their denoisers."""
    return {s: DenoiserPrior(Opaque(p.denoiser()), p.schedule, p.scaling) for s, p in closed_priors().items()}


def gaussian_priors() -> dict[str, Prior]:
    """Gaussians, of which the covariance at every noise level is known."""
    rng, found = np.random.default_rng(10), {}
    for s, (d,) in SHAPES.items():
        root = rng.normal(size=(d, d))
        mean, covariance = 0.3 * rng.normal(size=d), root @ root.T / d + 0.1 * np.eye(d)
        found[s] = DenoiserPrior(
            GaussianDenoiser.from_covariance(mean.astype(np.float32), covariance), Schedule(5e-3, 20.0)
        )
    return found
