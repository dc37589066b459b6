r"""Covariances by a model that depends on the noise level alone, and the data's system with them.

With :math:`V_s = Q_s \Lambda_s Q_s^\top + \lambda_s (I - Q_s Q_s^\top)` for every source and white data,

.. math:: C = I + \sum_s A_s V_s A_s^\top

is the covariance of the data about the mixture of estimates whose errors have the covariances :math:`V_s`. It needs no
network: where observations are alike it is factorised once for all of them.
"""

from collections.abc import Mapping
from math import prod
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dichroic.algebra import Info, conjugate_gradient
from dichroic.algebra.linear import JACOBI_SIZE
from dichroic.algebra.small import solve_spd
from dichroic.white import WhitenedObservation

__all__ = ["ITERATIONS", "Model", "Models", "Sources", "System", "isotropic"]

ITERATIONS = 64  # of a solver whose products are thin, with no network in them
_SMALL = 1024  # numbers in all sources up to which the matrices of one observation are formed
_PRECISE = 1e4  # variance of the data over that of their noise, from which on the noise is taken for nothing

Sources = dict[str, Array]


class Model(NamedTuple):
    r""":math:`V = Q \Lambda Q^\top + \lambda (I - Q Q^\top)`: `basis`, `(d, r)`, orthonormal; `values`, `(r,)`; and
    `rest`.
    """

    basis: Array
    values: Array
    rest: Array

    def product(self, u: Array) -> Array:
        """:math:`V u`, in the shape of `u`."""
        flat = u.reshape(-1)
        return (self.basis @ ((self.values - self.rest) * (self.basis.T @ flat)) + self.rest * flat).reshape(u.shape)

    def root(self, epsilon: Array) -> Array:
        r""":math:`V^{1/2} \epsilon`, in the shape of `epsilon`."""
        return Model(self.basis, jnp.sqrt(self.values), jnp.sqrt(self.rest)).product(epsilon)


Models = Mapping[str, Model]


def isotropic(shapes: Mapping[str, tuple[int, ...]], variance: Float[Array, ""]) -> dict[str, Model]:
    """The same variance along everything."""
    nothing = jnp.zeros(0, variance.dtype)
    return {s: Model(jnp.zeros((prod(shape), 0), variance.dtype), nothing, variance) for s, shape in shapes.items()}


class System(eqx.Module):
    r"""The system :math:`C v = r` of one observation.

    `matrices` are formed where all observations share them (`shared`), or where they are small; elsewhere the solver
    takes products. With `gains`, the diagonals of :math:`A_s A_s^\top` where these have nothing beside, a system with
    one variance for every source is solved entry by entry.
    """

    observation: WhitenedObservation
    matrices: dict[str, Float[Array, "m d"]] | None
    shared: bool = eqx.field(static=True)
    gains: dict[str, Float[Array, " m"]] | None = None

    @classmethod
    def of(cls, observation: WhitenedObservation, alike: bool) -> "System":
        """`alike`, whether all observations of a batch share operators, noise and mask."""
        numbers = sum(prod(shape) for shape in observation.shapes.values())
        few = observation.observed.size <= JACOBI_SIZE and numbers <= _SMALL
        matrices = observation.matrices() if alike or few else None
        return cls(observation, matrices, alike, observation.squared_gains())

    def solve(self, models: Models, r: Float[Array, " m"]) -> tuple[Float[Array, " m"], Info]:
        """:math:`C^{-1} r`."""
        if self.gains is not None and not any(models[s].values.size for s in self.gains):
            return r / (1 + sum(models[s].rest * gains for s, gains in self.gains.items())), Info.none()
        if self.matrices is None:

            def product(p: Array) -> tuple[Array, Sources]:
                w = {s: models[s].product(u) for s, u in self.observation.adjoint(p).items()}
                return p + self.observation.forward(w), {"v": p}

            found, info = conjugate_gradient(product, r, {"v": jnp.zeros_like(r)}, ITERATIONS)
            return found["v"], info
        C = jnp.eye(len(r), dtype=r.dtype)
        for s, A in self.matrices.items():
            basis, values, rest = models[s]
            AQ = A @ basis
            C = C + (AQ * (values - rest)) @ AQ.T + rest * (A @ A.T)
        if not self.shared:
            return solve_spd(C, r), Info.none()
        # nothing here but the residual differs between observations, so under vmap the factorisation is done once
        inverse = jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(C), True), jnp.eye(len(C), dtype=C.dtype))
        v = inverse @ r
        # one refinement: the condition can reach the inverse of float32's precision
        v = v + inverse @ (r - C @ v)
        error = jnp.linalg.norm(r - C @ v) / jnp.maximum(jnp.linalg.norm(r), jnp.finfo(C.dtype).tiny)
        return v, Info(error.astype(jnp.float32), jnp.zeros((), jnp.int32))

    def pull(self, models: Models, r: Float[Array, " m"]) -> tuple[Sources, Info]:
        r""":math:`V_s A_s^\top C^{-1} r` for every source: what a residual moves them by."""
        v, info = self.solve(models, r)
        return {s: models[s].product(u) for s, u in self.observation.adjoint(v).items()}, info

    def project(self, r: Float[Array, " m"]) -> tuple[Sources, Info]:
        r""":math:`A^+ r = A^\top (A A^\top)^{-1} r`, the smallest move that makes up for a residual: `pull` with a
        variance without bounds, the same along everything.
        """
        return self.pull(isotropic(self.observation.shapes, _PRECISE / self.power), r)

    @property
    def power(self) -> Float[Array, ""]:
        r"""Mean of the diagonal of :math:`A A^\top` over the observed entries."""
        m, count = self.observation.observed.size, jnp.maximum(self.observation.count, 1)
        if self.gains is not None:
            total = sum(jnp.sum(gains) for gains in self.gains.values())
        elif self.matrices is not None:
            total = sum(jnp.sum(A**2) for A in self.matrices.values())
        else:  # one probe tells the trace of a large matrix
            z = jax.random.rademacher(jax.random.key(0), (m,), self.observation.dtype)
            total = sum(jnp.sum(u**2) for u in self.observation.adjoint(z).values())
        return jnp.maximum(total / count, jnp.finfo(self.observation.dtype).tiny)

    def powers(self) -> Float[Array, " m"]:
        r"""The diagonal of :math:`A A^\top`, from as many transposed products as there are data."""
        if self.gains is not None:
            return sum(self.gains.values())  # pyright: ignore
        if self.matrices is not None:
            return sum(jnp.sum(A**2, axis=1) for A in self.matrices.values())  # pyright: ignore
        m = self.observation.observed.size

        def one(i: Array) -> Array:
            e = (jnp.arange(m) == i).astype(self.observation.dtype)
            return sum(jnp.sum(u**2) for u in self.observation.adjoint(e).values())  # pyright: ignore

        return jax.lax.map(one, jnp.arange(m))
