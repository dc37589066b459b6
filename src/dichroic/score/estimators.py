r"""The score of a law from its samples, by kernels: no network, no training.

Every estimator here is a spectral filter of one regression, :math:`\hat s = -g_\lambda(\hat L)\, \zeta`, `\hat L` being
the mean of :math:`\Gamma(\cdot, x_n)` over the samples (Zhou, Shi and Zhu, arXiv 2005.10099), and all have the form

.. math:: \hat s(x) = \sum_n \Gamma(x, x_n)\, c_n + a\, \zeta(x) .

They are computed on the host in double precision and take batches: they are for a few thousand samples of a few dozen
numbers. Which is best depends on the size: where numbers are many and samples few the kernels free of curl, up to some
eight numbers spectral Stein with few modes.
"""

from dataclasses import dataclass

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float

from dichroic.score.kernels import Kernel, KernelName, median_distance

__all__ = ["KernelScore", "nu_method", "spectral_stein", "stein_gradient", "tikhonov"]

DIRECT = 4096  # unknowns up to which a system is factorised
_TOLERANCE = 1e-8  # of conjugate gradients, relative
_ITERATIONS = 200
LAPACK = 1024  # samples up to which all eigenvectors are found
_SMALLEST = 1e-10  # eigenvalue of a mode that is kept, relative to the largest


@dataclass(frozen=True)
class KernelScore:
    """An estimate of a score as a function of a batch, `(m, d) -> (m, d)`.

    **Arguments:** `kernel`; `samples` and `coefficients`, shape `(n, d)`; `divergence`, the number `a`; `residual`, of
    the system that was solved, relative; `centre`, which was subtracted from the samples.
    """

    kernel: Kernel
    samples: Float[np.ndarray, "n d"]
    coefficients: Float[np.ndarray, "n d"]
    divergence: float
    centre: Float[np.ndarray, " d"]
    residual: float = 0.0

    def __call__(self, x: ArrayLike) -> Float[np.ndarray, "m d"]:
        points = np.asarray(x, float) - self.centre
        out = self.kernel.product(points, self.samples, self.coefficients)
        return out if self.divergence == 0 else out + self.divergence * self.kernel.divergence(points, self.samples)


def tikhonov(
    samples: ArrayLike, *, kernel: KernelName = "curl_free_imq", strength: float = 1e-3, bandwidth: float | None = None
) -> KernelScore:
    r""":math:`\hat s = \tfrac1\lambda [\sum_n \Gamma(x, x_n) c_n - \zeta(x)]`, :math:`(K + N \lambda I) c = \zeta`.

    **Arguments:** `samples`, shape `(n, d)`; `strength`, :math:`\lambda`; `bandwidth` (default: the median distance).
    """
    x, centre, k = _prepared(samples, kernel, bandwidth)
    zeta, ridge = k.divergence(x, x), len(x) * strength
    unknowns = x.size if k.curl_free else len(x)
    if unknowns <= DIRECT:
        c, residual = _factorised(k.matrix(x, x), ridge, zeta), 0.0
    else:
        c, residual = _conjugate_gradient(lambda c: k.product(x, x, c) + ridge * c, zeta)
    return KernelScore(k, x, c / strength, -1 / strength, centre, residual)


def stein_gradient(
    samples: ArrayLike, *, ridge: float = 1e-3, kernel: KernelName = "gaussian", bandwidth: float | None = None
) -> KernelScore:
    r"""The Stein gradient estimator: at the samples :math:`-(K + \eta I)^{-1} N \zeta`.

    It is Tikhonov's with a scalar kernel and :math:`\lambda = \eta / N`, which extends it to other points, badly where
    the ridge is small. Source: Li and Turner (arXiv 1705.07107), equation 13.
    """
    return tikhonov(samples, kernel=kernel, strength=ridge / len(np.asarray(samples)), bandwidth=bandwidth)


def spectral_stein(
    samples: ArrayLike,
    *,
    modes: int | None = None,
    energy: float | None = None,
    kernel: KernelName = "gaussian",
    bandwidth: float | None = None,
) -> KernelScore:
    r"""The spectral Stein gradient estimator: with the leading eigenfunctions of the kernel,

    .. math:: \varphi_\ell(x) = \frac{\sqrt N}{\mu_\ell} \sum_n u_{\ell n} k(x, x_n), \quad
        \hat s(x) = \sum_{\ell \le L} b_\ell \varphi_\ell(x), \quad b_\ell = -\tfrac1N \sum_n \nabla \varphi_\ell(x_n) .

    A Gaussian needs :math:`d + 1` of them, and each more adds error. Source: Shi, Sun and Zhu (arXiv 1806.02925).

    **Arguments:** `modes`, how many (default: one and a half times the dimension and one, and at least 9); `energy`, a
    share of the sum of the eigenvalues that they are to have, in place of their number: the rule of the paper, 0.99,
    takes too many of them in more than a few dimensions, and all eigenvectors are computed.

    **Raises:** `ValueError` for a kernel that is not scalar, or both `modes` and `energy`.
    """
    x, centre, k = _prepared(samples, kernel, bandwidth)
    if k.curl_free or (modes is not None and energy is not None):
        raise ValueError("spectral_stein: expected a scalar kernel, and modes or energy, not both")
    N, K = len(x), k.matrix(x, x)
    values, vectors = _leading(K, min(modes or max(3 * x.shape[1] // 2 + 1, 9), N) if energy is None else None)
    kept = values > _SMALLEST * values[0]
    if energy is not None:
        kept &= np.concatenate([[True], np.cumsum(values)[:-1] < energy * np.trace(K)])
    values, vectors = values[kept], vectors[:, kept]
    # the sum of the gradients of the kernel over its first argument is that over its second with the sign changed
    b = np.sqrt(N) / values[:, None] * (vectors.T @ k.divergence(x, x))
    return KernelScore(k, x, (np.sqrt(N) / values * vectors) @ -b, 0.0, centre)


def nu_method(
    samples: ArrayLike,
    *,
    kernel: KernelName = "curl_free_imq",
    steps: int = 24,
    bandwidth: float | None = None,
    nu: float = 1.0,
) -> KernelScore:
    r"""The :math:`\nu`-method: as many products with the kernel as `steps`, which stand for a strength of
    :math:`\lambda \approx 1 / \mathtt{steps}^2`.

    No system is solved, and memory grows as the number of samples. Source: Zhou, Shi and Zhu, example 3.4.
    """
    x, centre, k = _prepared(samples, kernel, bandwidth)
    zeta = k.divergence(x, x)
    a, before_a = -(4 * nu + 2) / (4 * nu + 1), 0.0
    c, before_c = np.zeros_like(x), np.zeros_like(x)
    for t in range(2, steps + 1):
        u = (
            (t - 1)
            * (2 * t - 3)
            * (2 * t + 2 * nu - 1)
            / ((t + 2 * nu - 1) * (2 * t + 4 * nu - 1) * (2 * t + 2 * nu - 3))
        )
        w = 4 * (2 * t + 2 * nu - 1) * (t + nu - 1) / ((t + 2 * nu - 1) * (2 * t + 4 * nu - 1))
        step = w * (a * zeta + k.product(x, x, c)) / len(x)
        c, before_c = (1 + u) * c - step - u * before_c, c
        a, before_a = (1 + u) * a - u * before_a - w, a
    return KernelScore(k, x, c, a, centre)


def _prepared(
    samples: ArrayLike, kernel: KernelName, bandwidth: float | None
) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, " d"], Kernel]:
    x = np.asarray(samples, float)
    if x.ndim != 2 or len(x) < 2:
        raise ValueError(f"expected samples of shape (n, d), two at least, got {x.shape}")
    centre = x.mean(0)
    x = x - centre  # distances are differences of squares
    return x, centre, Kernel(kernel, median_distance(x) if bandwidth is None else bandwidth)


def _factorised(K: np.ndarray, ridge: float, zeta: np.ndarray) -> np.ndarray:
    from scipy.linalg import cho_factor, cho_solve

    np.einsum("ii->i", K)[...] += ridge
    right = zeta.reshape(len(K), -1)  # all numbers of a sample at once, or one column of all
    return cho_solve(cho_factor(K, overwrite_a=True, check_finite=False), right).reshape(zeta.shape)


def _conjugate_gradient(product, right: np.ndarray) -> tuple[np.ndarray, float]:
    x, r = np.zeros_like(right), right.copy()
    p, square = r.copy(), np.vdot(r, r)
    size = square
    for _ in range(_ITERATIONS):
        if square <= _TOLERANCE**2 * size:
            break
        Kp = product(p)
        step = square / np.vdot(p, Kp)
        x, r = x + step * p, r - step * Kp
        square, before = np.vdot(r, r), square
        p = r + square / before * p
    return x, float(np.sqrt(square / size))


def _leading(K: np.ndarray, count: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues, largest first, and unit eigenvectors: all, or so many of the leading ones."""
    from scipy.linalg import eigh
    from scipy.sparse.linalg import eigsh

    N = len(K)
    if count is None or N <= LAPACK or 4 * count > N:
        values, vectors = eigh(K, subset_by_index=None if count is None else (N - count, N - 1))
    else:
        values, vectors = eigsh(K, count, v0=np.ones(N), ncv=min(N, max(2 * count, count + 32)))
    order = np.argsort(values)[::-1]
    return values[order], vectors[:, order]
