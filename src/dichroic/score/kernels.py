r"""Kernels of score estimators, scalar and free of curl.

A radial function :math:`\psi(q)`, :math:`q = \|x - x'\|^2`, makes two matrix-valued kernels of :math:`r = x - x'`,

.. math:: \Gamma = \psi I \qquad\text{and}\qquad \Gamma = -2 \psi' I - 4 \psi'' r r^\top ,

the second of which has only gradients of functions as its sums, as scores are. Estimators need products with it and
:math:`\zeta(x) = \tfrac1N \sum_n (\mathrm{div}_{x_n} \Gamma(x, x_n))^\top`, whose terms are :math:`-2 \psi' r` and
:math:`4 ((d + 2) \psi'' + 2 q \psi''') r`. Source: Zhou, Shi and Zhu (arXiv 2005.10099), section 3.

All products go by blocks of rows, so their memory grows as the number of samples and not as its square.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

__all__ = ["Kernel", "KernelName", "median_distance"]

KernelName = Literal["gaussian", "imq", "curl_free_gaussian", "curl_free_imq"]

_ENTRIES = 2**18  # of a block: what a cache holds of several of them
_MEDIAN = 2048  # samples among which distances are taken


@dataclass(frozen=True)
class Kernel:
    """A kernel with its bandwidth `h`: Gaussian, :math:`\\psi = e^{-q / 2h^2}`, or inverse multiquadric (imq),
    :math:`\\psi = (1 + q / h^2)^{-1/2}`, scalar or free of curl.
    """

    name: KernelName
    bandwidth: float

    @property
    def curl_free(self) -> bool:
        """Whether it is matrix-valued."""
        return self.name.startswith("curl_free")

    def radial(self, q: np.ndarray, first: int, last: int) -> list[np.ndarray]:
        r"""Derivatives of :math:`\psi` by `q`, from the first to the last asked for; the array `q` is used up."""
        h2 = self.bandwidth**2
        if self.name.endswith("gaussian"):
            q *= -0.5 / h2
            found = [np.multiply(np.exp(q, out=q), (-0.5 / h2) ** first)]
            return found + [found[0] * (-0.5 / h2) ** k for k in range(1, last - first + 1)]
        q *= 1 / h2
        q += 1
        inverse = np.divide(1, q, out=q)
        found = [np.sqrt(inverse)]
        for _ in range(first):
            found[0] *= inverse
        found[0] *= np.prod([-(k + 0.5) / h2 for k in range(first)])
        for k in range(first, last):
            found.append(found[-1] * inverse)
            found[-1] *= -(k + 0.5) / h2
        return found

    def matrix(self, x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "a b"]:
        """The kernel of all pairs: `(n, m)`, or `(n d, m d)` if it is free of curl."""
        (n, d), m = x.shape, len(y)
        if not self.curl_free:
            K = np.empty((n, m), x.dtype)
            for rows, q in blocks(x, y):
                (K[rows],) = self.radial(q, 0, 0)
            return K
        K = np.empty((n, d, m, d), x.dtype)
        for rows, q in blocks(x, y, entries=d * d):
            first, second = self.radial(q, 1, 2)
            r = x[rows, None] - y
            K[rows] = -4 * np.einsum("nm,nmi,nmj->nimj", second, r, r)
            np.einsum("nimi->nmi", K[rows])[...] -= 2 * first[..., None]
        return K.reshape(n * d, m * d)

    def product(
        self, x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], c: Float[np.ndarray, "m d"]
    ) -> Float[np.ndarray, "n d"]:
        r""":math:`\sum_m \Gamma(x, y_m) c_m`, without the matrix."""
        out, d = np.empty_like(x), x.shape[1]
        # a column more of each factor takes the place of a sum over the entries of a block
        left, right = _beside(x, 1.0), np.column_stack([c, -np.sum(y * c, axis=1)]).T
        unit = _beside(y, 1.0)
        for rows, q in blocks(x, y):
            if not self.curl_free:
                (psi,) = self.radial(q, 0, 0)
                out[rows] = psi @ c
                continue
            first, weight = self.radial(q, 1, 2)
            weight *= left[rows] @ right
            summed = weight @ unit
            out[rows] = -2 * (first @ c) - 4 * (x[rows] * summed[:, d:] - summed[:, :d])
        return out

    def divergence(self, x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "n d"]:
        r""":math:`\zeta(x) = \tfrac1m \sum_m (\mathrm{div}_{y_m} \Gamma(x, y_m))^\top`."""
        out, d, unit = np.empty_like(x), x.shape[1], _beside(y, 1.0)
        for rows, q in blocks(x, y):
            if self.curl_free:
                second, third = self.radial(q.copy(), 2, 3)
                weight = 4 * (d + 2) * second + 8 * q * third
            else:
                weight = -2 * self.radial(q, 1, 1)[0]
            summed = weight @ unit
            out[rows] = (x[rows] * summed[:, d:] - summed[:, :d]) / len(y)
        return out


def median_distance(x: Float[np.ndarray, "n d"]) -> float:
    """The median distance of two samples, among the first 2048."""
    some = x[:_MEDIAN]
    q = np.concatenate([q.ravel() for _, q in blocks(some, some)]).reshape(len(some), -1)
    return float(np.sqrt(np.median(q[np.triu_indices(len(some), 1)])))


def blocks(x: np.ndarray, y: np.ndarray, entries: int = 1) -> Iterator[tuple[slice, np.ndarray]]:
    """Rows of `x` and the squared distances from these to all of `y`, block by block."""
    rows = max(1, _ENTRIES // (len(y) * entries))
    left = np.column_stack([x, np.sum(x**2, axis=1), np.ones(len(x))])
    right = np.column_stack([-2 * y, np.ones(len(y)), np.sum(y**2, axis=1)]).T
    for begin in range(0, len(x), rows):
        q = left[begin : begin + rows] @ right
        yield slice(begin, begin + rows), np.maximum(q, 0, out=q)


def _beside(x: np.ndarray, value: float) -> np.ndarray:
    return np.column_stack([x, np.full(len(x), value)])
