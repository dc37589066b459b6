"""Linear algebra without matrices, for one sample: products are all that is known of an operator."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from dichroic.algebra.small import symmetric_eigen

__all__ = ["Info", "conjugate_gradient", "lanczos_root", "solve_products"]


class Info(eqx.Module):
    """What a sampling run diagnoses about one sample.

    `residual`, the largest relative residual of its linear solves; `stopped`, how many solves met a direction of
    non-positive curvature and were frozen there; `effective`, the smallest share of particles that counted, 1 where
    there are none.
    """

    residual: Float[Array, ""]
    stopped: Int[Array, ""]
    effective: Float[Array, ""] = eqx.field(default=1.0, converter=lambda share: jnp.asarray(share, jnp.float32))

    @classmethod
    def none(cls) -> "Info":
        """Nothing to report."""
        return cls(jnp.zeros(()), jnp.zeros((), jnp.int32))

    def merge(self, other: "Info") -> "Info":
        """Both, one after the other."""
        return Info(
            jnp.maximum(self.residual, other.residual),
            self.stopped + other.stopped,
            jnp.minimum(self.effective, other.effective),
        )


def lanczos_root(
    product: Callable[[Float[Array, " d"]], Float[Array, " d"]], epsilon: Float[Array, " d"], iterations: int
) -> Float[Array, " d"]:
    r"""Approximates :math:`V^{1/2} \epsilon` from `iterations` products with a symmetric `V`.

    .. math:: V^{1/2} \epsilon \approx \|\epsilon\|\, K_k T_k^{1/2} e_1

    with the Lanczos basis :math:`K_k` started at `epsilon` and the tridiagonal :math:`T_k = K_k^\top V K_k`, whose
    negative eigenvalues are set to zero. The basis is orthogonalised in full: few vectors, and float32.
    """
    norm = jnp.linalg.norm(epsilon)
    basis = [epsilon / norm]
    columns = []
    for k in range(iterations):
        column = product(basis[k])
        columns.append(column)
        if k + 1 < iterations:
            K = jnp.stack(basis)
            rest = column - K.T @ (K @ column)
            rest = rest - K.T @ (K @ rest)
            length = jnp.linalg.norm(rest)
            new = length > 1e-6 * jnp.linalg.norm(column)
            # an invariant subspace: a zero vector adds nothing to the projected matrix
            basis.append(jnp.where(new, rest / jnp.where(new, length, 1), 0))
    K = jnp.stack(basis)
    T = K @ jnp.stack(columns).T
    w, Q = symmetric_eigen((T + T.T) / 2)
    return norm * K.T @ (Q @ (jnp.sqrt(jnp.maximum(w, 0)) * Q[0]))


def conjugate_gradient(
    product: Callable[[Float[Array, " m"]], tuple[Float[Array, " m"], dict[str, Array]]],
    b: Float[Array, " m"],
    zero: dict[str, Array],
    iterations: int,
) -> tuple[dict[str, Array], Info]:
    r"""Truncated conjugate gradients on :math:`C v = b` for one sample, returning :math:`\sum_k \alpha_k w_k`.

    `product(p)` gives :math:`C p` together with a linear by-product `w` (here :math:`V A^\top p`), which is summed
    along with the solution. Where :math:`p^\top C p` is not clearly positive, which a learned Jacobian can cause, the
    sample is frozen at its last iterate: a denominator is never clipped.

    **Returns:** the summed by-product, and the relative residual with whether the solve was frozen.
    """
    norm = jnp.sum(b * b)
    solved = (8 * jnp.finfo(b.dtype).eps) ** 2 * norm  # rounding is all that is left

    def iterate(_, state):
        total, r, p, rho, frozen = state
        q, w = product(p)
        curvature, length = jnp.sum(p * q), jnp.sum(p * p)
        # C = I + a positive part: a curvature below that of I betrays an indefinite Jacobian
        bad = ~(curvature > 0.5 * length) & (rho > solved)
        frozen = frozen | bad
        stop = frozen | ~(rho > solved)
        alpha = jnp.where(stop, 0, rho / jnp.where(stop, 1, curvature))
        total = jax.tree.map(lambda t, u: t + jnp.where(stop, 0, alpha * u), total, w)
        r = r - jnp.where(stop, 0, alpha * q)
        new = jnp.sum(r * r)
        p = r + jnp.where(stop, 0, new / jnp.where(stop, 1, rho)) * p
        return total, r, p, new, frozen

    state = (zero, b, b, norm, jnp.zeros((), bool))
    total, _, _, rho, frozen = jax.lax.fori_loop(0, iterations, iterate, state)
    residual = jnp.sqrt(rho / jnp.maximum(norm, jnp.finfo(b.dtype).tiny))
    return total, Info(residual.astype(jnp.float32), _as_int(frozen))


def solve_products(
    product: Callable[[Float[Array, " m"]], Float[Array, " m"]],
    b: Float[Array, " m"],
    diagonal: Float[Array, " m"],
    most: int,
) -> tuple[Float[Array, " m"], Float[Array, ""]]:
    r"""The `v` with :math:`C v = b`, for a positive semidefinite `C`, to rounding: conjugate gradients that stop when
    they are there, or after `most` iterations. Where `diagonal` is all of `C`, the first one is the answer.

    **Returns:** the solution, and its relative residual.
    """
    norm = jnp.sum(b * b)
    solved = (8 * jnp.finfo(b.dtype).eps) ** 2 * norm
    typical = jnp.mean(jnp.abs(diagonal)) + jnp.finfo(b.dtype).tiny
    inverse = 1 / jnp.where(diagonal > 1e-3 * typical, diagonal, typical)

    def going(state):
        k, _, r, _, _ = state
        return (k < most) & (jnp.sum(r * r) > solved)

    def iterate(state):
        k, v, r, p, rho = state
        q = product(p)
        curvature = jnp.sum(p * q)
        alpha = jnp.where(curvature > 0, rho / jnp.where(curvature > 0, curvature, 1), 0)
        v, r = v + alpha * p, r - alpha * q
        z = inverse * r
        new = jnp.sum(r * z)
        return k + 1, v, r, z + jnp.where(rho > 0, new / jnp.where(rho > 0, rho, 1), 0) * p, new

    z = inverse * b
    _, v, r, _, _ = jax.lax.while_loop(going, iterate, (0, jnp.zeros_like(b), b, z, jnp.sum(b * z)))
    residual = jnp.sqrt(jnp.sum(r * r) / jnp.maximum(norm, jnp.finfo(b.dtype).tiny))
    return v, residual.astype(jnp.float32)


def _as_int(flag: Array) -> Int[Array, ""]:
    return flag.astype(jnp.int32)
