r"""Dense algebra of small symmetric matrices in plain array operations.

Every function takes one matrix and is batched by `jax.vmap`. LAPACK is avoided on purpose: on the CPU, XLA
runs a batched factorisation from inside its own thread pool and waits for it there, so that two of them can
wait for each other for ever. The smallest sizes are written out entry by entry: under `vmap` every entry is
then one contiguous array over the batch, and the factorisation fuses into a few loops (60 times faster than
batched matrix products for a 5 x 5 eigenproblem on a CPU).
"""

import jax
import jax.numpy as jnp
import numpy as np
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
    sweeps = (5 if S.dtype == jnp.float32 else 7) + max(0, (S.shape[0] - 1).bit_length() - 3)
    return (_jacobi_by_entries if S.shape[0] <= _ENTRIES else _jacobi_by_rounds)(S, sweeps)


def _rotation(off: Array, gap: Array) -> tuple[Array, Array, Array]:
    """Tangent, cosine and sine of the angle below 45 degrees that zeroes an off-diagonal entry."""
    tiny = jnp.finfo(off.dtype).tiny
    root = jnp.abs(gap) + jnp.sqrt(gap * gap + 4 * off * off)
    t = 2 * off * jnp.where(gap < 0, -1, 1).astype(off.dtype) / jnp.maximum(root, tiny)
    c = jax.lax.rsqrt(1 + t * t)
    return t, c, t * c


def _jacobi_by_entries(S: Float[Array, "n n"], sweeps: int) -> tuple[Array, Array]:
    n = S.shape[0]
    one = jnp.eye(n, dtype=S.dtype)

    def sweep(state, _):
        A, Q = [list(row) for row in state[0]], [list(row) for row in state[1]]
        for p in range(n):
            for q in range(p + 1, n):
                off = A[q][p]
                t, c, s = _rotation(off, A[q][q] - A[p][p])
                A[p][p], A[q][q], A[q][p] = A[p][p] - t * off, A[q][q] + t * off, jnp.zeros_like(off)
                for k in range(n):
                    if k not in (p, q):
                        (i, j), (u, v) = (max(k, p), min(k, p)), (max(k, q), min(k, q))
                        A[i][j], A[u][v] = c * A[i][j] - s * A[u][v], s * A[i][j] + c * A[u][v]
                    Q[k][p], Q[k][q] = c * Q[k][p] - s * Q[k][q], s * Q[k][p] + c * Q[k][q]
        return (tuple(map(tuple, A)), tuple(map(tuple, Q))), None

    start = (
        tuple(tuple(S[i, j] for j in range(i + 1)) for i in range(n)),
        tuple(tuple(one[i, j] for j in range(n)) for i in range(n)),
    )
    (A, Q), _ = jax.lax.scan(sweep, start, None, length=sweeps)
    return jnp.stack([A[i][i] for i in range(n)]), jnp.stack([jnp.stack(row) for row in Q])


def _jacobi_by_rounds(S: Float[Array, "n n"], sweeps: int) -> tuple[Array, Array]:
    n = S.shape[0]
    even = n + n % 2  # a padded index is its own eigenvector: it never mixes with the others

    def rotate(state, pairs):
        A, Q = state
        p, q = pairs[:, 0], pairs[:, 1]
        _, c, s = _rotation(A[p, q], A[q, q] - A[p, p])
        G = jnp.zeros_like(A).at[p, p].set(c).at[q, q].set(c).at[p, q].set(s).at[q, p].set(-s)
        return (G.T @ A @ G, Q @ G), None

    rounds = jnp.tile(jnp.asarray(_tournament(even)), (sweeps, 1, 1))
    (A, Q), _ = jax.lax.scan(rotate, (jnp.pad(S, (0, even - n)), jnp.eye(even, dtype=S.dtype)), rounds)
    return jnp.diagonal(A)[:n], Q[:n, :n]


def _tournament(n: int) -> np.ndarray:
    """Round-robin pairings of `range(n)` (n even): `n - 1` rounds of disjoint pairs, every pair once."""
    players = list(range(n))
    rounds = []
    for _ in range(n - 1):
        rounds.append([sorted((players[k], players[n - 1 - k])) for k in range(n // 2)])
        players = [players[0], players[-1], *players[1:-1]]
    return np.array(rounds)
