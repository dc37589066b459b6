r"""Stationary sources: covariances that depend on lags alone, of windows on something larger.

A window of :math:`n` values is cut from a torus of :math:`P = 2 n - 1` along every axis, on which lags within the
window are all there are. Covariances on the torus are block-diagonal in waves, :math:`\Lambda(f) = \sum_\tau R(\tau)\,
e^{-2 \pi i f \tau / P}`, of the size of the channels, and the rest of the torus is data that nobody has seen. With
:math:`g_k, G_k` the derivatives of `ComponentStatistics`, padded with zeros, a lap of EM is

.. math:: \Lambda \leftarrow \Lambda + \tfrac 1 {n_k} \Lambda\, \hat G\, \Lambda - [f = 0]\, P\, \delta \delta^\top,
    \qquad \hat G(f) = \frac 1 P \sum_{i, j} G_{ij}\, e^{-2 \pi i f (i - j) / P}, \qquad
    \delta = \frac 1 {P\, n_k} \Lambda(0) \sum_i g_i ,

:math:`\delta` being the change of the mean, which is the same everywhere. It never lowers the likelihood, and what it
finds is positive semidefinite (Miller and Snyder 1987, Proc. IEEE 75, 892; Dembo, Mallows and Shepp 1989, IEEE Trans.
Inf. Theory 35, 1206), which averages of moments over lags are not.
"""

from collections.abc import Sequence
from math import prod

import numpy as np
from jaxtyping import Complex, Float, Int

from dichroic.algebra import Components, Gaussian
from dichroic.closed.charts import Chart
from dichroic.closed.evidence import ComponentStatistics
from dichroic.closed.family import Family, Invariant
from dichroic.closed.statistics import Statistics
from dichroic.problem import Source
from dichroic.problem.symmetry import axes_of

__all__ = ["Stationary", "Torus", "family_of"]

_LEAST = 1e-12  # of the mean variance: what counts as a variance at all


class Torus:
    """Covariances of windows of `space` with some channels, in lags and in waves."""

    def __init__(self, space: Sequence[int], channels: int):
        self.space, self.channels = tuple(space), channels
        self.sides = tuple(2 * side - 1 for side in space)
        self.size = prod(self.sides)
        at = np.indices(self.space).reshape(len(self.space), -1)
        apart = [np.mod(x[:, None] - x, side) for x, side in zip(at, self.sides, strict=True)]
        self.lags: Int[np.ndarray, "n n"] = np.ravel_multi_index(tuple(apart), self.sides)
        self.pairs = np.bincount(self.lags.ravel(), minlength=self.size)

    def sums(self, M: Float[np.ndarray, "d d"]) -> Float[np.ndarray, "P c c"]:
        """Sums over all pairs of places that are equally far apart."""
        n, c = len(self.lags), self.channels
        M, lags = M.reshape(n, c, n, c), self.lags.ravel()
        each = [np.bincount(lags, M[:, a, :, b].ravel(), self.size) for a in range(c) for b in range(c)]
        return np.stack(each, -1).reshape(self.size, c, c)

    def waves(self, R: Float[np.ndarray, "P c c"]) -> Complex[np.ndarray, "P c c"]:
        """From lags to waves."""
        return self._transformed(np.fft.fftn, R)

    def spectrum(self, S: Float[np.ndarray, "d d"]) -> Complex[np.ndarray, "P c c"]:
        r""":math:`\Lambda` of a covariance, averaged over lags."""
        return self.waves(self.sums(S) / self.pairs[:, None, None])

    def covariance(self, spectrum: Complex[np.ndarray, "P c c"]) -> Float[np.ndarray, "d d"]:
        """The covariance of a window."""
        R = np.real(self._transformed(np.fft.ifftn, spectrum))
        d = len(self.lags) * self.channels
        return R[self.lags].swapaxes(1, 2).reshape(d, d)

    def _transformed(self, transform, x: np.ndarray) -> np.ndarray:
        axes = tuple(range(len(self.sides)))
        return transform(x.reshape(*self.sides, *x.shape[1:]), axes=axes).reshape(x.shape)


def family_of(source: Source) -> Family:
    """The Gaussians that the symmetries of a source allow."""
    if not source.stationary:
        return Invariant(source.permutations)
    space = [source.shape[axis] for axis in axes_of(source.shape)]
    return Stationary(Torus(space, prod(source.real_shape) // prod(space)), source.permutations)


class Stationary(Family):
    """Windows on something stationary, which permutations (those of `flip` and `rotate`) leave as it is, too."""

    full_rank = True

    def __init__(self, torus: Torus, group: Int[np.ndarray, "G d"]):
        self.torus, self.group = torus, Invariant(group)
        self.parameters = (torus.size * torus.channels**2 + torus.channels) / 2 / len(group)

    def population(self, before: Gaussian, statistics: Statistics, rank: int | None, ties: float) -> Gaussian:
        if statistics.derivatives is None:
            return statistics.population(rank, ties)
        found = self.maximised(Components.of(before), ComponentStatistics.of_one(statistics.n, *statistics.derivatives))
        d = found.means.shape[1]
        return Gaussian.of(found.means[0], found.covariances[0]).tied(ties * d / (statistics.n + ties * d))

    def maximised(self, before: Components, statistics: ComponentStatistics) -> Components:
        torus, count = self.torus, np.maximum(statistics.count, 1e-9)
        first, second = self.group.averaged(statistics.first, 1), self.group.averaged(statistics.second, 2)
        means, covariances = np.empty_like(before.means), np.empty_like(before.covariances)
        for k, n in enumerate(count):
            spectrum = torus.spectrum(before.covariances[k])
            pulled = first[k].reshape(-1, torus.channels).sum(0)
            delta = spectrum[0].real @ pulled / (torus.size * n)
            G = torus.waves(torus.sums(second[k])) / torus.size
            spectrum = spectrum + spectrum @ G @ spectrum / n
            spectrum[0] -= torus.size * np.outer(delta, delta)
            means[k] = before.means[k] + np.tile(delta, len(torus.lags))
            covariances[k] = torus.covariance(_at_least(spectrum, 0.0))
        weights = np.maximum(statistics.count, 1e-6)
        return Components(weights / weights.sum(), means, covariances)

    def nearest(self, x: Components) -> Components:
        x, c = self.group.nearest(x), self.torus.channels
        means = [np.tile(mean.reshape(-1, c).mean(0), len(self.torus.lags)) for mean in x.means]
        least = [_LEAST * float(np.trace(S)) / len(S) for S in x.covariances]
        covariances = [self.at_least(S, each) for S, each in zip(x.covariances, least, strict=True)]
        return Components(x.weights, np.stack(means), np.stack(covariances))

    def at_least(self, S: Float[np.ndarray, "*k d d"], least: float) -> Float[np.ndarray, "*k d d"]:
        each = S.reshape(-1, *S.shape[-2:])
        found = [self.torus.covariance(_at_least(self.torus.spectrum(one), least)) for one in each]
        return np.stack(found).reshape(S.shape)

    def tied_log_density(self, S: Float[np.ndarray, "d d"], T: Float[np.ndarray, "d d"], strength: float) -> float:
        spectrum = self.torus.spectrum(S)
        try:
            L = np.linalg.cholesky(spectrum)
        except np.linalg.LinAlgError:
            return -np.inf
        trace = np.trace(np.linalg.solve(spectrum, self.torus.spectrum(T)), axis1=1, axis2=2).real.sum()
        return float(-strength * (np.log(np.diagonal(L, axis1=1, axis2=2).real).sum() + 0.5 * trace))

    def principal(self, S: Float[np.ndarray, "K d d"]) -> Float[np.ndarray, "K d"]:
        flat = [self.torus.spectrum(one)[0].real / self.torus.size for one in S]
        values, basis = np.linalg.eigh(np.stack(flat))
        return np.tile(np.sqrt(np.maximum(values[:, -1:], 0)) * basis[:, :, -1], (1, len(self.torus.lags)))

    def chart(self, anchor: Components) -> Chart:
        return _WaveChart(anchor, self.torus)


class _WaveChart(Chart):
    """Cholesky factors wave by wave."""

    def __init__(self, anchor: Components, torus: Torus):
        super().__init__(anchor)
        self.torus = torus
        self.factors = [np.linalg.cholesky(torus.spectrum(S)) for S in anchor.covariances]
        self.diagonal = np.arange(torus.channels)

    def of_one(self, k: int, mean: Float[np.ndarray, " d"], S: Float[np.ndarray, "d d"]) -> Float[np.ndarray, " q"]:
        L_0, at = self.factors[k], self.diagonal
        C = np.linalg.solve(L_0, np.linalg.cholesky(self.torus.spectrum(S)))
        C[:, at, at] = np.sqrt(2) * np.log(C[:, at, at].real)
        away = (mean - self.anchor.means[k])[: self.torus.channels]
        away = np.linalg.solve(L_0[0].real, away) * np.sqrt(self.torus.size)
        return np.concatenate([away, np.tril(C).real.ravel(), np.tril(C).imag.ravel()])

    def one_of(self, k: int, x: Float[np.ndarray, " q"]) -> tuple[np.ndarray, np.ndarray]:
        c, at, L_0 = self.torus.channels, self.diagonal, self.factors[k]
        real, imaginary = x[c:].reshape(2, *L_0.shape)
        C = real + 1j * imaginary
        C[:, at, at] = np.exp(C[:, at, at].real / np.sqrt(2))
        L = L_0 @ C
        away = L_0[0].real @ x[:c] / np.sqrt(self.torus.size)
        mean = self.anchor.means[k] + np.tile(away, len(self.torus.lags))
        return mean, self.torus.covariance(L @ L.conj().swapaxes(1, 2))


def _at_least(spectrum: Complex[np.ndarray, "P c c"], least: float) -> Complex[np.ndarray, "P c c"]:
    values, basis = np.linalg.eigh((spectrum + spectrum.conj().swapaxes(1, 2)) / 2)
    return (basis * np.maximum(values, least)[:, None, :]) @ basis.conj().swapaxes(1, 2)
