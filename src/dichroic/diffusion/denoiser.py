r"""Denoisers: :math:`D(x_t, \sigma_t) \approx \mathrm E[x_0 \mid x_t]` for one sample of one source.

By Tweedie's identities the score is :math:`(D - x_t) / \sigma_t^2` and the covariance of :math:`x_0` given :math:`x_t`
is :math:`V = \sigma_t^2\, \partial D / \partial x_t`; everything else in the library is built on these two. The closed
forms here are the first prior of every fit and the oracle of the tests.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from dichroic.algebra import Components, Gaussian, psd_part, solve_spd, symmetric_eigen

__all__ = [
    "EXACT_SIZE",
    "ComponentsDenoiser",
    "Denoiser",
    "GaussianDenoiser",
    "LowRankGaussianDenoiser",
    "exact_moments",
    "trainable_in",
]

EXACT_SIZE = 16  # sources up to this size get their full Jacobian, and full covariances
_DENSE = 1024  # numbers up to which the eigenvectors of a covariance are found

Model = TypeVar("Model")


class Denoiser(eqx.Module):
    """`denoiser(x_t, sigma)` is the posterior mean of the source given `x_t`, same shape as `x_t`.

    `learned` says whether it is a network, in whose units a source has unit variance; `discrete`, whether the source is
    one of many things apart, and `nearest` one of them.
    """

    learned: ClassVar[bool] = False
    discrete: ClassVar[bool] = False

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample."""

    @abstractmethod
    def __call__(self, x_t: Float[Array, "..."], sigma: Float[Array, ""]) -> Float[Array, "..."]:
        """The estimate, for one sample."""

    def trainable(self) -> Any:
        """What training may change, in the form of `equinox.partition`: of a closed form nothing."""
        return jax.tree.map(lambda _: False, self)

    @property
    def levels(self) -> tuple[Any, ...]:
        """The networks that correct each other, the first of them first."""
        return ()

    @property
    def fast_block(self) -> int | None:
        """How many samples of a batch are best taken together in training; None for all."""
        return None

    def nearest(self, x: Float[Array, "..."]) -> Float[Array, "..."] | None:
        """The sample nearest to `x`, where the source is discrete; None elsewhere."""
        return None

    def population(self) -> Gaussian | Components | None:
        """The law of the source, in double precision on the host; None where there is no closed form."""
        return None

    def closed_form(self) -> Gaussian | Components | None:
        """The law in closed form that stands in for the source: its own, or that which a network corrects."""
        return self.population()

    def gaussian(self) -> "GaussianDenoiser | None":
        """The denoiser of a Gaussian that stands in for the source, with its mean and covariance as far as they are
        known; None where they are not.
        """
        return None

    def components(self) -> "ComponentsDenoiser | None":
        """The denoiser of the source as components with full covariances; None where there are none."""
        return None

    def moments_given(self, sigma: Float[Array, ""]) -> tuple[Array, Array, Array] | None:
        r"""What stands in, at a noise level, for the covariance of :math:`x_0` given :math:`x_t`, whatever :math:`x_t`.

        **Returns:** orthonormal columns `basis`, `(d, r)`, the variances `values` along them, `(r,)`, and `rest`, the
        variance along everything else; None where nothing does.
        """
        return None


def trainable_in(model: Model, where: Callable[[Model], Any]) -> Model:
    """The `trainable` of a model of which one part is trained: its arrays of real numbers."""
    nothing = jax.tree.map(lambda _: False, model)
    return eqx.tree_at(where, nothing, jax.tree.map(eqx.is_inexact_array, where(model)))


class GaussianDenoiser(Denoiser):
    r"""The denoiser of :math:`\mathcal N(\mu, Q \Lambda Q^\top + \lambda_\perp (I - Q Q^\top))`,

    .. math:: D(x_t, \sigma) = \mu + \Big[\tfrac{\lambda_\perp}{\lambda_\perp + \sigma^2} I
        + Q \Big(\tfrac{\Lambda}{\Lambda + \sigma^2} - \tfrac{\lambda_\perp}{\lambda_\perp + \sigma^2}\Big)
        Q^\top\Big](x_t - \mu) .

    The eigenbasis makes every noise level cost two thin products. A full covariance is the case where `Q` is square;
    probabilistic PCA is the case where it is thin.

    **Arguments:** `mean`, any shape with `d` entries; `basis`, the `r` orthonormal columns of `Q`, shape `(d, r)`;
    `values`, shape `(r,)`; `rest`, the variance along everything else.
    """

    mean: ArrayLike
    basis: ArrayLike
    values: ArrayLike
    rest: ArrayLike

    @classmethod
    def from_covariance(cls, mean: np.ndarray, covariance: np.ndarray, rank: int | None = None) -> "GaussianDenoiser":
        """From a covariance, shape `(d, d)`, in full or reduced to its `rank` leading directions (probabilistic PCA).

        Tipping and Bishop (1999): `rest` is the mean of the eigenvalues left out.
        """
        found = Gaussian.of(np.ravel(mean), np.asarray(covariance, dtype=float), rank)
        return cls(np.asarray(mean), found.basis, found.values, np.asarray(found.rest))

    @classmethod
    def of(cls, population: Gaussian, shape: tuple[int, ...]) -> "GaussianDenoiser":
        """Of a known law, with 32-bit numbers, which is how priors are used and kept."""
        parts = population.mean.reshape(shape), population.basis, population.values, population.rest
        return cls(*(np.asarray(a, np.float32) for a in parts))

    @property
    def shape(self) -> tuple[int, ...]:
        return jnp.shape(self.mean)

    def __call__(self, x_t: Float[Array, "..."], sigma: Float[Array, ""]) -> Float[Array, "..."]:
        mean, basis, values, rest = (jnp.asarray(a, x_t.dtype) for a in (self.mean, self.basis, self.values, self.rest))
        variance = sigma**2
        residual = (x_t - mean).reshape(-1)
        shrink = rest / (rest + variance)
        out = shrink * residual + basis @ ((values / (values + variance) - shrink) * (basis.T @ residual))
        return mean + out.reshape(x_t.shape)

    def population(self) -> Gaussian:
        mean, basis, values = (np.asarray(a, float) for a in (self.mean, self.basis, self.values))
        return Gaussian(mean.reshape(-1), basis, values, float(np.asarray(self.rest)))

    def gaussian(self) -> "GaussianDenoiser":
        return self

    def components(self) -> "ComponentsDenoiser | None":
        basis, values, rest = (jnp.asarray(a) for a in (self.basis, self.values, self.rest))
        d, r = basis.shape
        if r < d:
            if d > EXACT_SIZE:
                return None
            values, basis = symmetric_eigen((basis * (values - rest)) @ basis.T + rest * jnp.eye(d, dtype=basis.dtype))
        parts = jnp.asarray(self.mean)[None], basis[None], jnp.maximum(values, 0)[None]
        return ComponentsDenoiser(jnp.zeros(1, values.dtype), *parts)

    def moments_given(self, sigma: Float[Array, ""]) -> tuple[Array, Array, Array]:
        # exact: each eigenvalue of the covariance becomes lambda sigma^2 / (lambda + sigma^2)
        basis, values, rest = (jnp.asarray(a, sigma.dtype) for a in (self.basis, self.values, self.rest))
        return basis, values * sigma**2 / (values + sigma**2), rest * sigma**2 / (rest + sigma**2)

    def covariance(self) -> Float[np.ndarray, "d d"]:
        """The covariance as a matrix."""
        return self.population().covariance()


class LowRankGaussianDenoiser(Denoiser):
    r"""The denoiser of :math:`\mathcal N(\mu, \mathrm{diag}(\delta) + U U^\top)`, by the Woodbury identity,

    .. math:: D(x_t, \sigma) = x_t - \sigma^2 \big(\mathrm{diag}(\delta + \sigma^2) + U U^\top\big)^{-1} (x_t - \mu) .

    Source: DDPRISM, sections on the Gaussian initialisation.

    **Arguments:** `mean`, any shape with `d` entries; `diagonal`, shape `(d,)`; `factor`, the columns of `U`, shape
    `(d, r)`.
    """

    mean: ArrayLike
    diagonal: ArrayLike
    factor: ArrayLike

    @property
    def shape(self) -> tuple[int, ...]:
        return jnp.shape(self.mean)

    def __call__(self, x_t: Float[Array, "..."], sigma: Float[Array, ""]) -> Float[Array, "..."]:
        mean, diagonal, U = (jnp.asarray(a, x_t.dtype) for a in (self.mean, self.diagonal, self.factor))
        residual = (x_t - mean).reshape(-1)
        noisy = diagonal + sigma**2
        inverse = residual / noisy
        if U.shape[1]:
            capacitance = jnp.eye(U.shape[1], dtype=U.dtype) + U.T @ (U / noisy[:, None])
            inverse = inverse - (U @ solve_spd(capacitance, U.T @ inverse)) / noisy
        return x_t - sigma**2 * inverse.reshape(x_t.shape)

    def gaussian(self) -> GaussianDenoiser:
        diagonal, U = np.asarray(self.diagonal), np.asarray(self.factor)
        if len(U) <= _DENSE:
            return GaussianDenoiser.from_covariance(np.asarray(self.mean), np.diag(diagonal) + U @ U.T)
        # the mean of the diagonal stands for it: beside a large noise level, little more than their sum tells
        rest = diagonal.mean()
        basis, roots, _ = np.linalg.svd(U, full_matrices=False)
        return GaussianDenoiser(self.mean, basis, roots**2 + rest, rest)


class ComponentsDenoiser(Denoiser):
    r"""The denoiser of a mixture :math:`\sum_k w_k \mathcal N(\mu_k, Q_k \Lambda_k Q_k^\top)`,

    .. math:: D(x_t, \sigma) = \sum_k r_k(x_t) \big[\mu_k + Q_k \tfrac{\Lambda_k}{\Lambda_k + \sigma^2} Q_k^\top (x_t -
        \mu_k)\big],

    with the responsibilities :math:`r_k \propto w_k \mathcal N(x_t; \mu_k, Q_k (\Lambda_k + \sigma^2) Q_k^\top)`.

    **Arguments:** `log_weights`, shape `(K,)`; `means`, `(K, ...)`; `bases`, `(K, d, d)`; `values`, `(K, d)`.
    """

    log_weights: ArrayLike
    means: ArrayLike
    bases: ArrayLike
    values: ArrayLike

    @classmethod
    def from_covariances(cls, weights: np.ndarray, means: np.ndarray, covariances: np.ndarray) -> "ComponentsDenoiser":
        """From weights `(K,)`, means `(K, ...)` and covariances `(K, d, d)`."""
        values, bases = np.linalg.eigh(np.asarray(covariances, dtype=float))
        weights = np.asarray(weights, dtype=float)
        return cls(np.log(weights / weights.sum()), np.asarray(means), bases, np.maximum(values, 0))

    @classmethod
    def of(cls, population: Components, shape: tuple[int, ...]) -> "ComponentsDenoiser":
        """Of a known law, with 32-bit numbers, which is how priors are used and kept."""
        found = cls.from_covariances(population.weights, population.means.reshape(-1, *shape), population.covariances)
        return jax.tree.map(lambda a: np.asarray(a, np.float32), found)

    def population(self) -> Components:
        weights = np.exp(np.asarray(self.log_weights, float))
        bases, values = np.asarray(self.bases, float), np.asarray(self.values, float)
        means = np.asarray(self.means, float).reshape(len(weights), -1)
        return Components(weights / weights.sum(), means, (bases * values[:, None]) @ bases.swapaxes(1, 2))

    def gaussian(self) -> GaussianDenoiser:
        return GaussianDenoiser.of(self.population().gaussian(), self.shape)

    def components(self) -> "ComponentsDenoiser":
        return self

    @property
    def shape(self) -> tuple[int, ...]:
        return jnp.shape(self.means)[1:]

    def __call__(self, x_t: Float[Array, "..."], sigma: Float[Array, ""]) -> Float[Array, "..."]:
        log_r, coordinates = self.responsibilities(x_t, sigma)
        means, bases, values = (jnp.asarray(a, x_t.dtype) for a in (self.means, self.bases, self.values))
        K, d = values.shape
        r = jax.nn.softmax(log_r)
        shrunk = r[:, None] * (values / (values + sigma**2) * coordinates)
        return (r @ means.reshape(K, d) + _stacked(bases) @ shrunk.reshape(-1)).reshape(x_t.shape)

    def responsibilities(
        self, x_t: Float[Array, "..."], sigma: Float[Array, ""]
    ) -> tuple[Float[Array, " K"], Float[Array, "K d"]]:
        r""":math:`\log r_k` up to a constant, and the coordinates :math:`Q_k^\top (x_t - \mu_k)`."""
        log_weights, means, bases, values = (
            jnp.asarray(a, x_t.dtype) for a in (self.log_weights, self.means, self.bases, self.values)
        )
        K, d = values.shape
        noisy = values + sigma**2
        # one product in, one out: a batch of samples then meets all components in two large matrix products
        centres = jnp.einsum("kij,ki->kj", bases, means.reshape(K, d))
        coordinates = (x_t.reshape(-1) @ _stacked(bases)).reshape(K, d) - centres
        return log_weights - 0.5 * jnp.sum(coordinates**2 / noisy + jnp.log(noisy), axis=1), coordinates

    def given(
        self, coordinates: Float[Array, "K d"], sigma: Float[Array, ""], index: Int[Array, " n"]
    ) -> tuple[Float[Array, "n d"], Float[Array, "n d d"]]:
        """Means of some of the components given the noisy sample, and roots of their covariances."""
        means, bases, values = (jnp.asarray(a, coordinates.dtype)[index] for a in (self.means, self.bases, self.values))
        shrunk = values / (values + sigma**2)
        mu = means.reshape(values.shape) + jnp.einsum("kij,kj->ki", bases, shrunk * coordinates[index])
        return mu, bases * jnp.sqrt(shrunk * sigma**2)[:, None]


def _stacked(bases: Float[Array, "K d d"]) -> Float[Array, "d K*d"]:
    K, d, _ = bases.shape
    return bases.transpose(1, 0, 2).reshape(d, K * d)


def exact_moments(
    denoiser: Denoiser, x_t: Float[Array, "..."], sigma: Float[Array, ""]
) -> tuple[Float[Array, "..."], Float[Array, "d d"], Float[Array, "d d"]]:
    r"""The Gaussian with the moments of :math:`p(x_0 \mid x_t)`: mean, covariance :math:`V = \sigma_t^2 J` and a root
    of it, from the full Jacobian, by one forward pass and `d` transposed products.

    The Jacobian of a learned network is neither symmetric nor positive; whatever uses `V` uses the *same* symmetrised
    and positive semidefinite matrix everywhere, or posterior draws diverge.

    **Returns:** the mean with the shape of `x_t`, `V` and `R` with :math:`V = R R^\top`, both `(d, d)`.
    """
    mean, transposed = jax.vjp(lambda x: denoiser(x, sigma), x_t)
    units = jnp.eye(x_t.size, dtype=x_t.dtype).reshape(x_t.size, *x_t.shape)
    jacobian = jax.vmap(lambda e: transposed(e)[0].reshape(-1))(units)
    V, R = psd_part(sigma**2 * jacobian)
    return mean, V, R
