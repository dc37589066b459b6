r"""Covariances :math:`V_s` of the sources given a noisy state, in the three ways that they can be had.

By Tweedie :math:`V_s = \sigma_t^2 J_s`, with the denoiser's Jacobian `J`. Each way has two uses: draws of
:math:`\mathcal N(0, V_s)`, and :math:`r \mapsto V_s A_s^\top (I + \sum_s A_s V_s A_s^\top)^{-1} r`, what moves the
sources by a residual of the (white) data. A network's Jacobian is neither symmetric nor positive: where it is formed,
one and the same positive semidefinite matrix stands on both sides of the inverse, so that the data are never corrected
by more than the residual; where it is not, the solver stops at a curvature that is not positive.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from math import prod

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from dichroic.algebra import Info, conjugate_gradient, lanczos_root, matheron
from dichroic.algebra.small import gain, psd_part, solve_spd, symmetric_eigen
from dichroic.diffusion import (
    EXACT_SIZE,
    Cost,
    Denoiser,
    MomentTarget,
    exact_moments,
    noise_like,
    pure_noise,
)
from dichroic.posterior.modelled import ITERATIONS, Model, Sources, System
from dichroic.white import WhitenedObservation

__all__ = ["COVARIANCES", "Covariance", "FullJacobian", "Given", "JacobianProducts", "Measured", "Moments"]

Noise = Callable[[PRNGKeyArray], Sources]
Pull = Callable[[Array], tuple[Sources, Info]]
Product = Callable[[Sources], Sources]
Given = tuple[Sources, Noise, Pull, Product]  # means, draws about them, what moves them, products


class Covariance(eqx.Module):
    """A way to the covariances of the sources of one observation.

    **Arguments:** `alike`, whether all observations of a batch have the same operators, noise and mask.
    """

    denoisers: dict[str, Denoiser]
    observation: WhitenedObservation

    @classmethod
    @abstractmethod
    def create(
        cls,
        denoisers: dict[str, Denoiser],
        observation: WhitenedObservation,
        alike: bool,
        iterations: int,
        root_iterations: int,
    ) -> "Covariance":
        """With what does not depend on the noise level done once."""

    @classmethod
    @abstractmethod
    def suits(cls, denoisers: Mapping[str, Denoiser]) -> bool:
        """Whether it is what these sources are best served by; the first that says so is taken."""

    @classmethod
    def gains(cls) -> bool:
        """Whether observations that are alike cost less."""
        return False

    @abstractmethod
    def mean(self, x_t: Sources, sigma: Float[Array, ""]) -> tuple[Sources, Pull]:
        """The means of the sources given their states, and what moves them by a residual."""

    @abstractmethod
    def draw(self, x_t: Sources, sigma: Float[Array, ""]) -> Given:
        """The same, with draws of the sources about their means, and products with their covariances."""

    @property
    @abstractmethod
    def mean_cost(self) -> Cost:
        """Of one `mean`."""

    @property
    @abstractmethod
    def draw_cost(self) -> Cost:
        """Of one `draw`."""

    @property
    def product_cost(self) -> Cost:
        """Of one product with the covariances, once they are there."""
        return Cost()


class FullJacobian(Covariance):
    r"""The Jacobian itself, for sources of few dimensions.

    Write :math:`V_s = R_s R_s^\top` and :math:`U = [A_1 R_1 \cdots A_S R_S]`. Then a residual moves the sources by
    :math:`R\, U^\top (I + U U^\top)^{-1} r = R\, (I + U^\top U)^{-1} U^\top r`, whichever system is smaller.

    A mean needs :math:`V_s A_s^\top` only: where there are fewer data than numbers in a source, as many products. With
    :math:`G = \sigma_t^2 J^\top A^\top` and `P` the positive part of :math:`A G`, it is :math:`G + A^+ (P - A G)`: the
    nearest to `G` with which `A` gives something symmetric and positive.
    """

    matrices: dict[str, Float[Array, "m d"]]

    @classmethod
    def create(cls, denoisers, observation, alike, iterations, root_iterations):
        return cls(denoisers, observation, observation.matrices())

    @classmethod
    def suits(cls, denoisers):
        return all(prod(denoiser.shape) <= EXACT_SIZE for denoiser in denoisers.values())

    def mean(self, x_t, sigma):
        if all(m >= d for m, d in (A.shape for A in self.matrices.values())):
            means, _, pull, _ = self.draw(x_t, sigma)
            return means, pull
        means, columns = {}, {}
        C = jnp.eye(len(next(iter(self.matrices.values()))), dtype=self.observation.dtype)
        for s, denoiser in self.denoisers.items():
            A = self.matrices[s]
            if len(A) < A.shape[1]:
                means[s], transposed = jax.vjp(lambda x, d=denoiser: d(x, sigma), x_t[s])
                rows = A.reshape(-1, *x_t[s].shape)
                G = sigma**2 * jax.vmap(lambda u, t=transposed: t(u)[0].reshape(-1))(rows).T
                P, _ = psd_part(A @ G)
                columns[s] = G + A.T @ (_pseudo_inverse(A @ A.T) @ (P - A @ G))
            else:
                means[s], V, _ = exact_moments(denoiser, x_t[s], sigma)
                columns[s] = V @ A.T
                P = A @ columns[s]
            C = C + P

        def pull(r: Array) -> tuple[Sources, Info]:
            v = solve_spd(C, r)
            return {s: (G @ v).reshape(x_t[s].shape) for s, G in columns.items()}, Info.none()

        return means, pull

    def draw(self, x_t, sigma):
        moments = {s: exact_moments(denoiser, x_t[s], sigma) for s, denoiser in self.denoisers.items()}
        means, roots = {s: m[0] for s, m in moments.items()}, {s: m[2] for s, m in moments.items()}
        U = jnp.concatenate([self.matrices[s] @ roots[s] for s in moments], axis=1)

        def spread(z: Array) -> Sources:
            out, begin = {}, 0
            for s, R in roots.items():
                out[s] = (R @ z[begin : begin + len(R)]).reshape(x_t[s].shape)
                begin += len(R)
            return out

        return (
            means,
            lambda key: spread(jax.random.normal(key, U.shape[1:], U.dtype)),
            lambda r: (spread(gain(U, r)), Info.none()),
            lambda u: {s: (R @ (R.T @ u[s].reshape(-1))).reshape(u[s].shape) for s, R in roots.items()},
        )

    @property
    def mean_cost(self):
        return Cost(1, max(min(A.shape) for A in self.matrices.values()))

    @property
    def draw_cost(self):
        return Cost(1, max(A.shape[1] for A in self.matrices.values()))


def _pseudo_inverse(S: Float[Array, "m m"]) -> Float[Array, "m m"]:
    """Of a positive semidefinite matrix."""
    w, Q = symmetric_eigen(S)
    kept = w > 4 * len(S) * jnp.finfo(S.dtype).eps * jnp.max(jnp.abs(w), initial=0.0)
    return (Q * jnp.where(kept, 1 / jnp.where(kept, w, 1), 0)) @ Q.T


class Measured(Covariance):
    r"""The mean over :math:`x_t` of the true covariance at that noise level: that of the denoiser's error, as measured
    (`dichroic.diffusion.Spread`; for a Gaussian prior, its exact posterior covariance).

    It is positive by construction, costs no product with a Jacobian, and depends on the noise level alone: where
    observations are `alike`, one matrix is factorised per noise level for all of them. Trained networks of many inputs
    have Jacobians so far from symmetric and positive that this beats them. It goes back to the `cov_x` variant of DiEM
    (arXiv 2405.13712), which has the Gaussian population's covariance there instead.
    """

    system: System

    @classmethod
    def create(cls, denoisers, observation, alike, iterations, root_iterations):
        bare = [s for s, denoiser in denoisers.items() if denoiser.moments_given(jnp.ones(())) is None]
        if bare:
            raise ValueError(
                f"the surrogate posterior needs a covariance for source {bare[0]!r}, and its prior has none"
            )
        return cls(denoisers, observation, System(observation, observation.matrices() if alike else None, alike))

    @classmethod
    def suits(cls, denoisers):
        return all(denoiser.moments_given(jnp.ones(())) is not None for denoiser in denoisers.values())

    @classmethod
    def gains(cls):
        return True

    def mean(self, x_t, sigma):
        means, _, pull, _ = self.draw(x_t, sigma)
        return means, pull

    def draw(self, x_t, sigma):
        means = {s: denoiser(x_t[s], sigma) for s, denoiser in self.denoisers.items()}
        models = {s: Model(*known) for s, d in self.denoisers.items() if (known := d.moments_given(sigma)) is not None}

        def noise(key: PRNGKeyArray) -> Sources:
            return {s: models[s].root(epsilon) for s, epsilon in noise_like(key, x_t).items()}

        def product(u: Sources) -> Sources:
            return {s: models[s].product(x) for s, x in u.items()}

        if self.system.matrices is None:
            pull = _krylov(self.observation, lambda s, u: models[s].product(u), x_t, ITERATIONS)
            return means, noise, pull, product
        return means, noise, lambda r: self.system.pull(models, r), product

    @property
    def mean_cost(self):
        return Cost(forward=1)

    @property
    def draw_cost(self):
        return Cost(forward=1)


class JacobianProducts(Covariance):
    r"""Products with the Jacobian alone, for images: the system is solved by a few conjugate gradient iterations, each
    one transposed product :math:`V_s u = \sigma_t^2 J_s^\top u` per source, and draws take Lanczos' square root. The
    correction :math:`V_s A_s^\top v` is accumulated from the products the solver makes anyway, so there is none before
    the first iteration and none after the last.
    """

    iterations: int = eqx.field(static=True)
    root_iterations: int = eqx.field(static=True)

    @classmethod
    def create(cls, denoisers, observation, alike, iterations, root_iterations):
        return cls(denoisers, observation, iterations, root_iterations)

    @classmethod
    def suits(cls, denoisers):
        return True

    def mean(self, x_t, sigma):
        means, _, pull, _ = self.draw(x_t, sigma)
        return means, pull

    def draw(self, x_t, sigma):
        means, transposed = {}, {}
        for s, denoiser in self.denoisers.items():
            means[s], transposed[s] = jax.vjp(lambda x, d=denoiser: d(x, sigma), x_t[s])

        def covariance(s: str, u: Array) -> Array:
            return sigma**2 * transposed[s](u)[0]

        def noise(key: PRNGKeyArray) -> Sources:
            drawn = {}
            for s, epsilon in noise_like(key, x_t).items():

                def product(v: Array, s: str = s) -> Array:
                    return covariance(s, v.reshape(x_t[s].shape)).reshape(-1)

                root = lanczos_root(product, epsilon.reshape(-1), self.root_iterations)
                drawn[s] = root.reshape(epsilon.shape)
            return drawn

        pull = _krylov(self.observation, covariance, x_t, self.iterations)
        return means, noise, pull, lambda u: {s: covariance(s, x) for s, x in u.items()}

    @property
    def mean_cost(self):
        return Cost(1, self.iterations)

    @property
    def draw_cost(self):
        return Cost(1, self.iterations + self.root_iterations)

    @property
    def product_cost(self):
        return Cost(0, 1)


def _krylov(
    observation: WhitenedObservation, covariance: Callable[[str, Array], Array], x: Sources, iterations: int
) -> Pull:
    """What a residual moves the sources by, from products with their covariances alone."""

    def product(p: Array) -> tuple[Array, Sources]:
        w = {s: covariance(s, u) for s, u in observation.adjoint(p).items()}
        return p + observation.forward(w), w

    zero = jax.tree.map(jnp.zeros_like, x)
    return lambda r: conjugate_gradient(product, r, zero, iterations)


# every way to a covariance, by its name in the settings; where none is named, the first that suits the sources
COVARIANCES: dict[str, type[Covariance]] = {
    "exact": FullJacobian,
    "surrogate": Measured,
    "krylov": JacobianProducts,
}


class Moments(MomentTarget):
    """The joint posterior of one observation where sources are taken for Gaussians with the priors' moments; the state
    is a dict of the sources that enter it.
    """

    covariance: Covariance
    y: Float[Array, " m"]

    def mean(self, x_t: Sources, sigma: Float[Array, ""]) -> tuple[Sources, Info]:
        means, pull = self.covariance.mean(x_t, sigma)
        return matheron(means, self.y, 0, self.observation.forward, pull)

    def draw(self, x_t: Sources, sigma: Float[Array, ""], key: PRNGKeyArray) -> tuple[Sources, Info]:
        return self.drawn(self.covariance.draw(x_t, sigma), key)

    def drawn(self, given: Given, key: PRNGKeyArray) -> tuple[Sources, Info]:
        """The same, of what is known of the sources given their states."""
        latent_key, noise_key = jax.random.split(key)
        means, noise, pull, _ = given
        n = self.observation.observed * jax.random.normal(noise_key, self.y.shape, self.y.dtype)
        x = jax.tree.map(jnp.add, means, noise(latent_key))
        return matheron(x, self.y, n, self.observation.forward, pull)

    def start(self, sigma: Float[Array, ""], key: PRNGKeyArray) -> Sources:
        return pure_noise(key, self.observation.shapes, sigma, self.y.dtype)

    @property
    def observation(self) -> WhitenedObservation:
        """What is observed."""
        return self.covariance.observation

    @property
    def mean_cost(self) -> Cost:
        return self.covariance.mean_cost

    @property
    def draw_cost(self) -> Cost:
        return self.covariance.draw_cost
