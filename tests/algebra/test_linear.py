"""The conditional of a Gaussian, by NumPy and by JAX, against the textbook's formula in double precision."""

import jax.numpy as jnp
import numpy as np
import pytest

from dichroic.algebra import conditional, root


def model(rng, d: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """A covariance, and operators that see some directions a million times better than others."""
    Q, _ = np.linalg.qr(rng.normal(size=(d, d)))
    return (Q * np.geomspace(1e-2, 10, d)) @ Q.T, np.geomspace(1e-3, 1e3, m)[:, None] * rng.normal(size=(m, d))


@pytest.mark.parametrize(("d", "m"), [(5, 2), (3, 7), (4, 4), (40, 36)])  # both systems, both sizes of JAX
@pytest.mark.parametrize("asarray", [np.asarray, jnp.asarray], ids=["numpy", "jax"])
def test_the_conditional(d, m, asarray, float64, rng):
    S, A = model(rng, d, m)
    R = root(S)
    K, T = conditional(asarray(R), asarray(A @ R))
    gain = S @ A.T @ np.linalg.inv(np.eye(m) + A @ S @ A.T)
    np.testing.assert_allclose(K @ A, gain @ A, atol=1e-8)
    P = np.linalg.inv(np.linalg.inv(S) + A.T @ A)
    np.testing.assert_allclose(T @ T.T, P, atol=1e-9 * np.abs(P).max())


def test_stacks_are_the_loop(rng):
    S, A = zip(*(model(rng, 4, 3) for _ in range(5)), strict=True)
    R, A = root(np.stack(S)), np.stack(A)
    for i, (K, T) in enumerate(zip(*conditional(R, A @ R), strict=True)):
        alone = conditional(R[i], A[i] @ R[i])
        np.testing.assert_allclose(K, alone[0], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(T, alone[1], rtol=1e-9, atol=1e-12)
