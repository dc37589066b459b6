r"""The ends of the spectrum of an information matrix that is known by its products only.

The largest eigenvalue comes from Lanczos iterations, the smallest ones from LOBPCG. What LOBPCG starts from decides how
soon it ends: constant levels and the waves that the design sees least, in every source. They are found, as is the
preconditioner, by taking the design for one that is the same everywhere: from its response to single entries follows
an `S` x `S` matrix for every frequency. Entries that no observation contains are known exactly after a few random
products, whose values vanish there, and are left out.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.sparse.linalg import LinearOperator, eigsh, lobpcg

from dichroic.diagnose.dense_spectrum import blocks_of, split
from dichroic.diagnose.spectrum import ITERATIVE, Direction, Spectrum

__all__ = ["Information", "iterative_spectrum"]

_PROBES, _PLACES, _WAVES = 8, 4, 2
_ITERATIONS = 40


@dataclass(frozen=True)
class Information:
    """The information matrix of all views over the stacked sources, as `product` of a block of vectors `(D, k)`."""

    product: Callable[[Float[np.ndarray, "D k"]], Float[np.ndarray, "D k"]]
    shapes: Mapping[str, tuple[int, ...]]

    @property
    def size(self) -> int:
        """Number of unknowns."""
        return sum(int(np.prod(shape)) for shape in self.shapes.values())

    def diagonal(self, probes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        r"""An estimate of the diagonal, :math:`z \odot G z` over random signs, and whether a row of `G` is zero."""
        z = np.random.default_rng(seed).choice([-1.0, 1.0], size=(self.size, probes))
        Gz = self.product(z)
        size = np.abs(Gz).max(1)
        return (z * Gz).mean(1), size <= ITERATIVE * max(size.max(), 1e-300)


def iterative_spectrum(G: Information, dead: np.ndarray, seed: int = 0) -> Spectrum:
    """The condition and some patterns of the null space.

    **Arguments:** `G`, whose sources may have any shapes; `dead`, entries whose rows are zero.

    **Returns:** a spectrum in which `smallest` is a bound from above and `null` one from below, `exact` being false,
    when the iterations ended early.
    """
    live = (~dead).astype(float)[:, None]
    top = _largest(G, live, seed)
    symbol = _Symbol.of(G, dead, seed)

    def shifted(x: np.ndarray) -> np.ndarray:
        x = x.reshape(G.size, -1)
        return live * G.product(live * x) + top * (x - live * x)

    X = _start(G, symbol, seed) * live
    X, _ = np.linalg.qr(X)
    operator = LinearOperator((G.size, G.size), matvec=shifted, matmat=shifted, dtype=float)  # pyright: ignore
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of iterations that end early, which is said in the result
        values, vectors, residuals = lobpcg(  # pyright: ignore
            operator,
            X,
            M=None if symbol is None else symbol.inverse(top, live),
            largest=False,
            tol=1e-5 * top,
            maxiter=_ITERATIONS,
            retResidualNormsHistory=True,
        )
    order = np.argsort(values)
    values, vectors, residual = values[order], vectors[:, order], np.asarray(residuals[-1])[order]
    return _summary(G, dead, top, values, vectors, bool(residual[0] <= 1e-4 * top))


def _summary(
    G: Information, dead: np.ndarray, top: float, values: np.ndarray, vectors: np.ndarray, converged: bool
) -> Spectrum:
    blocks, floor = blocks_of(G.shapes), ITERATIVE * top
    directions, grid, unseen = [], {}, {}
    for s, at in blocks.items():
        grid[s], unseen[s] = dead[at].reshape(G.shapes[s]), int(dead[at].sum())
        if unseen[s]:
            directions.append(Direction("dead", {s: grid[s] / np.sqrt(unseen[s])}, unseen[s]))
    null = unseen_total = sum(unseen.values())
    for value, v in zip(values, vectors.T, strict=True):
        within = _within(G, blocks, v)
        shares = {s: float(np.sum(v[at] ** 2)) for s, at in blocks.items()}
        strongest = max(shares, key=lambda s: shares[s])
        # alone invisible: then so is each of its parts
        flat = shares[strongest] > 0.99 or within <= 10 * max(value, floor)
        kind = "flat" if flat else "trade-off"
        if value <= floor:
            null += 1
            unseen[strongest] += flat
            directions.append(Direction(kind, split(v, G.shapes), 1))
        elif len(directions) < 6:
            directions.append(Direction(kind, split(v, G.shapes), 1, float(np.sqrt(value / top))))
            break
    rest = [float(value) for value in values if value > floor]
    return Spectrum(
        order=1,
        unknowns=G.size,
        largest=top,
        smallest=max(float(values[0]), 0.0) if not unseen_total else 0.0,
        smallest_rest=rest[0] if rest else 0.0,
        null=null,
        unseen=unseen,
        route="iterative",
        exact=converged and not np.any(values <= floor),
        directions=directions,
        dead=grid,
    )


def _within(G: Information, blocks: Mapping[str, slice], v: np.ndarray) -> float:
    """The largest information about one source's part of a pattern."""
    parts = np.zeros((len(v), len(blocks)))
    for k, at in enumerate(blocks.values()):
        parts[at, k] = v[at]
    return float(np.max(np.sum(parts * G.product(parts), axis=0)))


def _largest(G: Information, live: np.ndarray, seed: int) -> float:
    def product(x: np.ndarray) -> np.ndarray:
        return (live * G.product(live * x.reshape(-1, 1))).ravel()

    operator = LinearOperator((G.size, G.size), matvec=product, dtype=float)  # pyright: ignore
    start = np.random.default_rng(seed).normal(size=G.size)
    return float(eigsh(operator, k=1, which="LA", tol=1e-3, v0=start, return_eigenvectors=False)[0])


@dataclass(frozen=True)
class _Symbol:
    """The design as if it were the same everywhere: `values`, `(K, S, S)`, at the frequencies of `grid`."""

    values: np.ndarray
    grid: tuple[int, ...]
    rest: int  # channels, which are treated alike

    @classmethod
    def of(cls, G: Information, dead: np.ndarray, seed: int) -> "_Symbol | None":
        """None where sources have different shapes."""
        if len(set(G.shapes.values())) > 1:
            return None
        shape = next(iter(G.shapes.values()))
        grid = shape[:2] if len(shape) > 1 else shape
        rest = int(np.prod(shape[len(grid) :]))
        S, d = len(G.shapes), int(np.prod(shape))
        alive = np.flatnonzero(~dead.reshape(S, d).any(0))
        if not len(alive):
            return None
        places = np.random.default_rng(seed).choice(alive, min(_PLACES, len(alive)), replace=False)
        units = np.zeros((S * d, S * len(places)))
        for s in range(S):
            units[s * d + places, s * len(places) + np.arange(len(places))] = 1
        responses = G.product(units).reshape(S, *grid, rest, S, len(places))
        mean = np.zeros((S, *grid, S))
        for p, place in enumerate(places):
            *at, channel = np.unravel_index(place, (*grid, rest))
            mean += np.roll(responses[..., channel, :, p], [-int(i) for i in at], axis=range(1, 1 + len(grid))) / len(
                places
            )
        values = np.fft.fftn(mean, axes=range(1, 1 + len(grid))).real
        values = np.moveaxis(values.reshape(S, -1, S), 1, 0)
        return cls((values + values.swapaxes(1, 2)) / 2, grid, rest)

    def waves(self, count: int) -> np.ndarray:
        """Waves of the frequencies that are seen least, in every source: `(S d, ...)`."""
        least = np.argsort(np.linalg.eigvalsh(self.values)[:, 0])[:count]
        S, out = self.values.shape[1], []
        for q in least:
            k = np.unravel_index(q, self.grid)
            phase = sum(i * j / n for i, j, n in zip(k, np.indices(self.grid), self.grid, strict=True))
            wave = np.repeat(np.cos(2 * np.pi * (np.asarray(phase) + 1 / 16)).ravel(), self.rest)
            out += [np.kron(e, wave) for e in np.eye(S)]
        return np.stack(out, axis=1)

    def inverse(self, top: float, live: np.ndarray) -> LinearOperator:
        """A preconditioner."""
        values, vectors = np.linalg.eigh(self.values)
        inverse = (vectors / np.maximum(values, 1e-4 * top)[:, None, :]) @ vectors.swapaxes(1, 2)
        S, axes = self.values.shape[1], range(1, 1 + len(self.grid))

        def apply(x: np.ndarray) -> np.ndarray:
            x = (live * x.reshape(len(live), -1)).reshape(S, *self.grid, self.rest, -1)
            z = np.fft.fftn(x, axes=axes).reshape(S, len(inverse), -1)
            z = np.einsum("qst,tqk->sqk", inverse, z).reshape(x.shape)
            return live * np.fft.ifftn(z, axes=axes).real.reshape(len(live), -1)

        size = len(live)
        return LinearOperator((size, size), matvec=apply, matmat=apply, dtype=float)  # pyright: ignore


def _start(G: Information, symbol: _Symbol | None, seed: int) -> np.ndarray:
    levels = np.zeros((G.size, len(G.shapes)))
    for k, at in enumerate(blocks_of(G.shapes).values()):
        levels[at, k] = 1
    rng = np.random.default_rng(seed)
    other = rng.normal(size=(G.size, 2)) if symbol is None else symbol.waves(_WAVES)
    # constants may be among the waves already
    return np.concatenate([levels, other + 1e-3 * rng.normal(size=other.shape)], axis=1)
