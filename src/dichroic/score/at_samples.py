r"""Scores of a few samples at these samples, for gradients of an entropy inside compiled programs.

With the kernel matrix :math:`K = U \mu U^\top` of the samples and :math:`H = N \zeta`, both estimators of this kind are
:math:`-U g(\mu)\, U^\top H`: that of Stein with :math:`g = 1 / (\mu + \eta)`, and the spectral one with :math:`1 / \mu`
for the leading eigenvalues and 0 for all others. `stein_gradient` and `spectral_stein` are the same, for any point.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

__all__ = ["spectral_at_samples", "stein_at_samples"]


def stein_at_samples(z: Float[Array, "n d"], ridge: float = 1e-3) -> Float[Array, "n d"]:
    r""":math:`-(K + \eta I)^{-1} H`, with the median distance as the bandwidth (arXiv 1705.07107, equation 13)."""
    K, H = _kernel(z)
    return -jnp.linalg.solve(K + ridge * jnp.eye(len(z), dtype=z.dtype), H)


def spectral_at_samples(z: Float[Array, "n d"], energy: float = 0.99) -> Float[Array, "n d"]:
    """With as many modes as have the share `energy` of the eigenvalues' sum (arXiv 1806.02925)."""
    K, H = _kernel(z)
    values, U = jnp.linalg.eigh(K)
    values, U = values[::-1], U[:, ::-1]
    kept = jnp.cumsum(values) - values < energy * jnp.trace(K)
    return -(U * jnp.where(kept, 1 / jnp.where(kept, values, 1), 0)) @ (U.T @ H)


def _kernel(z: Array) -> tuple[Array, Array]:
    q = jnp.sum((z[:, None] - z) ** 2, axis=-1)
    h2 = jnp.median(q[jnp.triu_indices(len(z), 1)])
    K = jnp.exp(-0.5 * q / h2)
    return K, (jnp.sum(K, axis=1, keepdims=True) * z - K @ z) / h2
