r"""Dense algebra of small symmetric matrices in plain array operations.

Every function takes one matrix and is batched by `jax.vmap`. LAPACK is avoided on purpose: on the CPU, XLA
runs a batched factorisation from inside its own thread pool and waits for it there, so that two of them can
wait for each other for ever. Operations run along the batch: the smallest factors are written out entry by entry, so
that under `vmap` every entry is one contiguous array over the batch, and the eigenproblem takes the batch as its last
axis: three times as fast as LAPACK at 5 x 5 on a CPU, slower than it from 16 x 16 on (`benchmarks/eigen.py`).
"""

import jax
import jax.custom_batching
import jax.numpy as jnp
from jaxtyping import Array, Float

__all__ = ["cholesky", "gain", "psd_part", "solve_lower", "solve_spd", "solve_upper", "symmetric_eigen"]

_ENTRIES = 6  # up to this size, entry by entry: beyond it the programs get long to compile


def cholesky(C: Float[Array, "n n"]) -> Float[Array, "n n"]:
    r"""Lower factor :math:`L` with :math:`L L^\top = C`, for a symmetric positive definite `C`.

    Only the lower triangle is read. A pivot that is not positive gives NaN in the factor, as LAPACK would.
    """
    n = C.shape[0]
    if n > _ENTRIES:
        return _cholesky_by_columns(C)
    L = [[jnp.zeros((), C.dtype)] * n for _ in range(n)]
    for j in range(n):
        L[j][j] = jnp.sqrt(C[j, j] - sum(L[j][k] * L[j][k] for k in range(j)))
        for i in range(j + 1, n):
            L[i][j] = (C[i, j] - sum(L[i][k] * L[j][k] for k in range(j))) / L[j][j]
    return jnp.stack([jnp.stack(row) for row in L])


def _cholesky_by_columns(C: Float[Array, "n n"]) -> Float[Array, "n n"]:
    rows = jnp.arange(C.shape[0])

    def column(j, state):
        L, rest = state
        entries = jnp.where(rows >= j, rest[:, j] / jnp.sqrt(rest[j, j]), 0)
        return L.at[:, j].set(entries), rest - entries[:, None] * entries[None, :]

    return jax.lax.fori_loop(0, C.shape[0], column, (jnp.zeros_like(C), C))[0]


def solve_lower(L: Float[Array, "n n"], b: Float[Array, " n"]) -> Float[Array, " n"]:
    r"""Forward substitution: the `x` with :math:`L x = b`."""
    n = b.shape[0]
    if n <= _ENTRIES:
        x: list[Array] = []
        for i in range(n):
            x.append((b[i] - sum(L[i, k] * x[k] for k in range(i))) / L[i, i])
        return jnp.stack(x)
    return jax.lax.fori_loop(
        0, n, lambda j, x: x.at[j].set((x[j] - L[j] @ jnp.where(jnp.arange(n) < j, x, 0)) / L[j, j]), b
    )


def solve_upper(L: Float[Array, "n n"], b: Float[Array, " n"]) -> Float[Array, " n"]:
    r"""Back substitution with the transpose: the `x` with :math:`L^\top x = b`."""
    return solve_lower(L.T[::-1, ::-1], b[::-1])[::-1]


def solve_spd(C: Float[Array, "n n"], b: Float[Array, " n"]) -> Float[Array, " n"]:
    r"""The `x` with :math:`C x = b`, for a symmetric positive definite `C`."""
    L = cholesky(C)
    return solve_upper(L, solve_lower(L, b))


def gain(U: Float[Array, "m k"], r: Float[Array, " m"]) -> Float[Array, " k"]:
    r""":math:`U^\top (I + U U^\top)^{-1} r = (I + U^\top U)^{-1} U^\top r`, through the smaller of the two systems.

    This is the posterior mean of latents :math:`z \sim \mathcal N(0, I)` given :math:`r = U z + n`,
    :math:`n \sim \mathcal N(0, I)`.
    """
    m, k = U.shape
    if m <= k:
        return U.T @ solve_spd(jnp.eye(m, dtype=U.dtype) + U @ U.T, r)
    return solve_spd(jnp.eye(k, dtype=U.dtype) + U.T @ U, U.T @ r)


def psd_part(S: Float[Array, "n n"]) -> tuple[Float[Array, "n n"], Float[Array, "n n"]]:
    r"""The nearest positive semidefinite matrix and a square root of it.

    **Returns:** `V` with the negative eigenvalues of the symmetric part of `S` set to zero, and `R` with
    :math:`R R^\top = V`, both of shape `(n, n)`.
    """
    w, Q = symmetric_eigen((S + S.T) / 2)
    R = Q * jnp.sqrt(jnp.maximum(w, 0))
    return R @ R.T, R


def symmetric_eigen(S: Float[Array, "n n"]) -> tuple[Float[Array, " n"], Float[Array, "n n"]]:
    r"""Eigenvalues `w` and vectors `Q` of a symmetric matrix, :math:`S = Q\,\mathrm{diag}(w)\,Q^\top`, by Jacobi
    sweeps.

    Convergence is quadratic; the number of sweeps reaches the precision of the data type for the sizes met here.

    **Returns:** `w`, shape `(n,)`, in no particular order, and `Q`, shape `(n, n)`, orthogonal.
    """
    w, vectors = _jacobi(S[:, :, None])
    return w[:, 0], vectors[:, :, 0].T


@jax.custom_batching.custom_vmap
def _jacobi(S: Float[Array, "n n b"]) -> tuple[Float[Array, "n b"], Float[Array, "n n b"]]:
    """Eigenvalues, and vectors as rows, of matrices side by side along the last axis.

    In every round, places `k` and `n - 1 - k` are rotated against each other; then what is in them moves on by a place,
    but for the first place where `n` is even, so that all pairs meet once in a sweep and every round is one program.
    """
    n = len(S)
    half, odd = n // 2, n % 2
    sweeps = (5 if S.dtype == jnp.float32 else 7) + max(0, (n - 2).bit_length() - 2)

    def rotated(A: Array, c: Array, s: Array) -> Array:
        top, bottom = A[:half], A[::-1][:half]
        return jnp.concatenate([c * top - s * bottom, A[half : half + odd], (s * top + c * bottom)[::-1]])

    def moved(A: Array) -> Array:
        return jnp.concatenate([A[: 1 - odd], A[-1:], A[1 - odd : -1]])

    def play(state, _):
        w, A, Q = state
        off = jnp.stack([A[k, n - 1 - k] for k in range(half)])
        t, c, s = _rotation(off, w[::-1][:half] - w[:half])
        w = jnp.concatenate([w[:half] - t * off, w[half : half + odd], (w[::-1][:half] + t * off)[::-1]])
        c, s = c[:, None], s[:, None]
        A = rotated(rotated(A, c, s).swapaxes(0, 1), c, s)
        A = jnp.where(diagonal, w, jnp.where(paired, 0, A))  # what is known to better than rounding
        A = moved(moved(A).swapaxes(0, 1))
        return (moved(w), A, moved(rotated(Q, c, s))), None

    diagonal, paired = jnp.eye(n, dtype=bool)[..., None], jnp.eye(n, dtype=bool)[::-1, :, None]
    start = (jnp.stack([S[k, k] for k in range(n)]), S, jnp.broadcast_to(jnp.eye(n, dtype=S.dtype)[..., None], S.shape))
    if n == 1:
        return start[0], start[2]
    (w, _, Q), _ = jax.lax.scan(play, start, None, length=sweeps * (n - 1 + odd))
    return w, Q


@_jacobi.def_vmap
def _(size: int, _, S: Float[Array, "size n n b"]):
    # the batch goes last: along it, every operation is one contiguous loop
    *shape, b = S.shape[1:]
    w, Q = _jacobi(jnp.moveaxis(S, 0, -1).reshape(*shape, b * size))
    outputs = (jnp.moveaxis(a.reshape(*a.shape[:-1], b, size), -1, 0) for a in (w, Q))
    return tuple(outputs), (True, True)


def _rotation(off: Array, gap: Array) -> tuple[Array, Array, Array]:
    """Tangent, cosine and sine of the angle below 45 degrees that zeroes an off-diagonal entry."""
    largest = jnp.maximum(jnp.abs(off), jnp.abs(gap))
    unit = jnp.where(largest > 0, largest, 1)  # squares of small numbers would vanish
    off, gap = off / unit, gap / unit
    root = jnp.abs(gap) + jnp.sqrt(gap * gap + 4 * off * off)
    t = 2 * off * jnp.where(gap < 0, -1, 1).astype(off.dtype) / jnp.where(largest > 0, root, 1)
    c = jax.lax.rsqrt(1 + t * t)
    return t, c, t * c
