"""Observations of Gaussian sources of every kind, with their posterior by brute force."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from dichroic.diffusion import GaussianDenoiser, Scaling
from dichroic.operators import (
    AsComplex,
    Convolve,
    Dense,
    DenseNoise,
    DiagonalNoise,
    Downsample,
    FourierSample,
    GaussianNoise,
    Identity,
    Mask,
    Operator,
    Scale,
)
from dichroic.posterior import COVARIANCES, AmortisedPosterior, CandidatePosterior, Conditional, MomentMatching
from dichroic.problem import Observation
from dichroic.white import WhitenedObservation
from operator_cases import matrix_of
from oracles import random_covariance


def whiten(y, mixing, noise, scalings=None, observed=None) -> WhitenedObservation:
    """An observation of everything, without scalings unless given."""
    observed = np.ones(np.shape(y), bool) if observed is None else observed
    shapes = {s: op.in_shape for s, op in mixing.items()}
    return WhitenedObservation.of(
        Observation(y, observed, mixing, noise), scalings or {s: Scaling() for s in mixing}, shapes
    )


def target_of(denoisers, whitened: WhitenedObservation, way: str, *, alike: bool = False, **settings):
    """The joint posterior of one observation, in one of `WAYS`."""
    known = {s: denoisers[s] for s in whitened.shapes}
    if way == "candidates":
        return CandidatePosterior.create(known, whitened, **settings)
    if way == "amortised":
        return AmortisedPosterior.create(settings.get("conditional") or Conditional.gaussian(known), whitened)
    return MomentMatching(covariance=way, **settings).build(known, whitened, alike)


# every way to the moments of a joint posterior: moment matching with every covariance, and what needs no priors; the
# other targets have tests of their own, all of them in few programs
WAYS = [*COVARIANCES, "candidates", "amortised"]


@dataclass
class Case:
    """One observation of Gaussian sources; means and covariances in the denoisers' units, all else in the user's."""

    mixing: dict[str, Operator]
    y: np.ndarray
    noise: GaussianNoise
    noise_covariance: np.ndarray  # of the flat observation
    observed: np.ndarray | None
    means: dict[str, np.ndarray]
    covariances: dict[str, np.ndarray]
    scalings: dict[str, Scaling]
    rank: int | None = None  # of the denoisers; the covariances are those of probabilistic PCA then

    @property
    def names(self) -> list[str]:
        return list(self.mixing)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {s: op.in_shape for s, op in self.mixing.items()}

    @property
    def denoisers(self) -> dict[str, GaussianDenoiser]:
        return {
            s: GaussianDenoiser.from_covariance(self.means[s].reshape(self.shapes[s]), self.covariances[s], self.rank)
            for s in self.names
        }

    def whitened(self) -> WhitenedObservation:
        return whiten(self.y, self.mixing, self.noise, self.scalings, self.observed)

    def linear_model(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Matrix, data and noise covariance in the denoisers' units, real, without missing entries."""
        A = np.concatenate([self.scalings[s].scale * matrix_of(self.mixing[s]) for s in self.names], axis=1)
        shifts = [np.full(int(np.prod(self.shapes[s])), self.scalings[s].shift) for s in self.names]
        offset = sum(matrix_of(self.mixing[s]) @ shift for s, shift in zip(self.names, shifts, strict=True))
        y, N = self.y.ravel() - offset, self.noise_covariance
        seen = np.ones(y.size, bool) if self.observed is None else self.observed.ravel()
        A, y, N = A[seen], y[seen], N[np.ix_(seen, seen)]
        if np.iscomplexobj(self.y):
            A, y, N = np.concatenate([A.real, A.imag]), np.concatenate([y.real, y.imag]), scipy.linalg.block_diag(N, N)
        return A, y, N

    def prior(self) -> tuple[np.ndarray, np.ndarray]:
        mean = np.concatenate([self.means[s].ravel() for s in self.names])
        return mean, scipy.linalg.block_diag(*[self.covariances[s] for s in self.names])

    def posterior(self, x_t: np.ndarray | None = None, sigma: float = np.inf) -> tuple[np.ndarray, np.ndarray]:
        """Mean and covariance of the stacked sources given `y`, and given `x_t` of noise level `sigma`."""
        A, y, N = self.linear_model()
        mean, S = self.prior()
        if x_t is not None:  # x_t is one more observation
            A = np.concatenate([A, np.eye(len(mean))])
            y = np.concatenate([y, x_t])
            N = scipy.linalg.block_diag(N, sigma**2 * np.eye(len(mean)))
        gain = S @ A.T @ np.linalg.inv(N + A @ S @ A.T)
        return mean + gain @ (y - A @ mean), S - gain @ A @ S

    def split(self, stacked: np.ndarray) -> dict[str, np.ndarray]:
        """A stacked vector as a dict of sources."""
        out, begin = {}, 0
        for s, shape in self.shapes.items():
            size = int(np.prod(shape))
            out[s] = stacked[..., begin : begin + size].reshape(*stacked.shape[:-1], *shape)
            begin += size
        return out


def make_case(
    mixing: dict[str, Operator],
    *,
    std: float = 0.3,
    dense_noise: bool = False,
    missing: bool = False,
    units: bool = True,
    rank: int | None = None,
    seed: int = 0,
) -> Case:
    """Sources drawn from correlated Gaussians off the origin, mixed and observed."""
    rng = np.random.default_rng(seed)
    sizes = {s: int(np.prod(op.in_shape)) for s, op in mixing.items()}
    means = {s: rng.normal(size=d) for s, d in sizes.items()}
    covariances = {s: random_covariance(rng, d) for s, d in sizes.items()}
    if rank is not None:
        covariances = {s: principal(S, rank) for s, S in covariances.items()}
    scalings = {s: Scaling(rng.normal(), rng.uniform(0.5, 2)) if units else Scaling() for s in mixing}
    y: np.ndarray = np.zeros(())
    for s, op in mixing.items():
        z = rng.multivariate_normal(means[s], covariances[s])
        y = y + (matrix_of(op) @ scalings[s].to_user(z)).reshape(op.out_shape)
    is_complex = np.iscomplexobj(y)
    if dense_noise:
        N = std**2 * random_covariance(rng, y.size)
    else:
        N = np.diag((std * rng.uniform(0.5, 1.5, y.size)) ** 2)
    L = np.linalg.cholesky(N)
    y = y + (L @ rng.normal(size=y.size)).reshape(y.shape)
    if is_complex:
        y = y + 1j * (L @ rng.normal(size=y.size)).reshape(y.shape)
    observed = None
    if missing:
        observed = rng.random(y.shape) < 0.6
        observed.flat[0], observed.flat[-1] = False, True  # the order of a triangular factor matters
        y = np.where(observed, y, 0)
    if dense_noise:
        noise: GaussianNoise = DenseNoise.from_covariance(N, None if observed is None else observed.ravel())
    else:
        noise = DiagonalNoise(np.sqrt(np.diag(N)).reshape(y.shape))
    return Case(mixing, y, noise, N, observed, means, covariances, scalings, rank)


def principal(S: np.ndarray, rank: int) -> np.ndarray:
    """Probabilistic PCA: the trailing eigenvalues become their mean."""
    values, Q = np.linalg.eigh(S)
    values[: len(S) - rank] = values[: len(S) - rank].mean()
    return (Q * values) @ Q.T


def _matrix(seed: int, *shape: int) -> Dense:
    return Dense(np.random.default_rng(seed).normal(size=shape))


_RNG = np.random.default_rng(11)
_KERNEL = _RNG.random((3, 3))
_SAMPLING = (_RNG.random((2, 2)) < 0.7).astype(float)

CASES: dict[str, Callable[[], Case]] = {
    "one source": lambda: make_case({"a": _matrix(1, 3, 4)}),
    "more data than unknowns": lambda: make_case({"a": _matrix(1, 7, 2), "b": _matrix(2, 7, 3)}),
    "two sources": lambda: make_case({"b": _matrix(1, 3, 4), "a": _matrix(2, 3, 3)}),
    "three sources, plain units": lambda: make_case(
        {s: _matrix(i, 4, 3) for i, s in enumerate(["c", "a", "b"])}, units=False
    ),
    "masked and blurred images": lambda: make_case(
        {"a": Mask(_RNG.normal(size=(4, 3))), "b": Convolve(_KERNEL, (4, 3)), "c": Identity((4, 3))}
    ),
    "resolutions": lambda: make_case({"a": Downsample(2, (4, 4, 1)), "b": Scale(0.5, (2, 2, 1))}),
    "complex": lambda: make_case(
        {"a": FourierSample(_SAMPLING, (2, 2)), "b": FourierSample(_SAMPLING, (2, 2)) @ AsComplex((2, 2, 2))}
    ),
    "complex amplitude": lambda: make_case({"a": Scale(0.3 - 0.9j, (3,)), "b": Identity((3,))}),
    "missing data": lambda: make_case({"a": _matrix(1, 6, 3), "b": _matrix(2, 6, 3)}, missing=True),
    "missing complex data": lambda: make_case(
        {"a": FourierSample(np.ones((2, 2)), (2, 2)), "b": Scale(1j, (2, 2))}, missing=True
    ),
    "dense noise": lambda: make_case({"a": _matrix(1, 5, 3), "b": _matrix(2, 5, 3)}, dense_noise=True),
    "dense noise, missing data": lambda: make_case(
        {"a": _matrix(1, 6, 3), "b": _matrix(2, 6, 2)}, dense_noise=True, missing=True
    ),
    "dense complex noise": lambda: make_case(
        {"a": FourierSample(_SAMPLING, (2, 2)), "b": Scale(0.2 + 1j, (2, 2))}, dense_noise=True
    ),
    "leading directions": lambda: make_case({"a": _matrix(1, 3, 4), "b": _matrix(2, 3, 3)}, rank=1),
    "precise data": lambda: make_case({"a": _matrix(1, 3, 4), "b": _matrix(2, 3, 3)}, std=0.01),
}
