r"""The ends of the spectrum of an information matrix that is known by its products only.

The largest eigenvalue comes from Lanczos iterations, the smallest ones from a preconditioned subspace. It starts from
constant levels and from the waves that the design sees least, in every source. These are found, as is the
preconditioner, by taking the design for one that is the same everywhere: from its response to single entries follows
an `S` x `S` matrix for every frequency. Entries that no observation contains are known exactly after a few random
products, whose values vanish there, and are left out.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.sparse.linalg import LinearOperator, eigsh

from dichroic.design.dense_spectrum import split
from dichroic.design.spectrum import EXACT, Direction, Spectrum
from dichroic.problem import blocks_of

__all__ = ["Information", "iterative_spectrum"]

_ZERO = 1e-9  # of a row, in parts of the largest one
_PLACES, _WAVES = 4, 2
_FLOOR = 1e-8  # of the preconditioner
_TOLERANCE = 0.01  # of a residual, as a share of its Ritz value
_WIDTH, _LARGEST, _SHOWN = 4, 48, 6  # vectors that are added, kept, and returned


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
        found, dead = np.zeros(self.size), np.ones(self.size, bool)
        for k, at in enumerate(blocks_of(self.shapes).values()):
            z = np.zeros((self.size, probes))
            z[at] = np.random.default_rng((seed, k)).choice([-1.0, 1.0], size=z[at].shape)
            Gz = self.product(z)
            found[at] = (z * Gz)[at].mean(1)
            size = np.abs(Gz).max(1)
            dead &= size <= _ZERO * max(size.max(), 1e-300)
        return found, dead


def iterative_spectrum(G: Information, dead: np.ndarray, seed: int = 0, iterations: int = 60) -> Spectrum:
    """The condition and some patterns of the null space.

    **Arguments:** `G`, whose sources may have any shapes; `dead`, entries whose rows are zero; `iterations`,
    at most.

    **Returns:** a spectrum in which `smallest` is a bound from above and `null` one from below, `exact` being false,
    when the iterations ended early.
    """
    live = (~dead).astype(float)[:, None]
    top = _largest(G, live, seed)
    symbol = _Symbol.of(G, dead, seed)

    def shifted(x: np.ndarray) -> np.ndarray:
        x = x.reshape(G.size, -1)
        return live * G.product(live * x) + top * (x - live * x)

    values, vectors, converged = _smallest(shifted, _start(G, symbol, seed) * live, symbol, live, top, iterations)
    return _summary(G, dead, top, values, vectors, converged)


def _smallest(
    product: Callable[[np.ndarray], np.ndarray],
    X: np.ndarray,
    symbol: "_Symbol | None",
    live: np.ndarray,
    top: float,
    iterations: int,
) -> tuple[np.ndarray, np.ndarray, bool]:
    """The smallest Ritz values of a growing subspace, their vectors, and whether the first one has converged.

    A block Davidson method: the subspace takes in preconditioned residuals, made orthogonal to it in double passes,
    which keeps it sound where the spectrum spans many orders of magnitude (SciPy's LOBPCG then breaks down).
    """
    V = _independent(X)
    GV = product(V)
    for _ in range(iterations):
        values, turn = np.linalg.eigh((V.T @ GV + GV.T @ V) / 2)
        if V.shape[1] > _LARGEST:  # start again from the best of it
            turn = turn[:, : _LARGEST // 3]
            V, GV, values, turn = V @ turn, GV @ turn, values[: _LARGEST // 3], np.eye(_LARGEST // 3)
        R = GV @ turn[:, :_WIDTH] - (V @ turn[:, :_WIDTH]) * values[:_WIDTH]
        size = np.linalg.norm(R, axis=0)
        # Ritz values are bounds from above: a small one is proof enough
        if values[0] <= EXACT * top or size[0] <= _TOLERANCE * values[0]:
            break
        R = R[:, size > _TOLERANCE * values[0]]
        W = R if symbol is None else symbol.solve(R, top, live)
        W = W / np.maximum(np.linalg.norm(W, axis=0), 1e-300)
        W = W - V @ (V.T @ W)
        W = _independent(W)
        W = _independent(W - V @ (V.T @ W))
        V, GV = np.concatenate([V, W], axis=1), np.concatenate([GV, product(W)], axis=1)
    values, turn = np.linalg.eigh((V.T @ GV + GV.T @ V) / 2)
    turn = turn[:, :_SHOWN]
    residual = np.linalg.norm(GV @ turn[:, 0] - values[0] * (V @ turn[:, 0]))
    return values[:_SHOWN], V @ turn, bool(residual <= _TOLERANCE * values[0])


def _summary(
    G: Information, dead: np.ndarray, top: float, values: np.ndarray, vectors: np.ndarray, converged: bool
) -> Spectrum:
    blocks, floor = blocks_of(G.shapes), EXACT * top
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
    found = eigsh(operator, k=1, which="LA", tol=1e-3, v0=start, return_eigenvectors=False)  # pyright: ignore
    return float(found[0])


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
        inside = np.all(
            [abs(2 * i + 1 - n) < n / 2 for i, n in zip(np.unravel_index(alive, shape), grid, strict=False)], 0
        )
        alive = alive[inside] if inside.any() else alive  # edges are another matter
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

    def waves(self) -> np.ndarray:
        """The finest waves and those of the frequencies that are seen least, in every source: `(S d, ...)`."""
        finest = np.stack(np.meshgrid(*[(0, n // 2) for n in self.grid], indexing="ij"), -1).reshape(-1, len(self.grid))
        least = np.argsort(np.abs(np.linalg.eigvalsh(self.values)[:, 0]))[:_WAVES]
        out = []
        for k in [*finest[1:], *np.stack(np.unravel_index(least, self.grid), -1)]:
            phase = sum(i * j / n for i, j, n in zip(k, np.indices(self.grid), self.grid, strict=True))
            wave = np.repeat(np.cos(2 * np.pi * (np.asarray(phase) + 1 / 16)).ravel(), self.rest)
            out += [np.kron(e, wave) for e in np.eye(self.values.shape[1])]
        return np.stack(out, axis=1)

    def solve(self, x: np.ndarray, top: float, live: np.ndarray) -> np.ndarray:
        """The inverse of the symbol, bounded, times vectors `(S d, k)`: a preconditioner."""
        values, vectors = np.linalg.eigh(self.values)
        inverse = (vectors / np.maximum(np.abs(values), _FLOOR * top)[:, None, :]) @ vectors.swapaxes(1, 2)
        S, axes = self.values.shape[1], range(1, 1 + len(self.grid))
        z = np.fft.fftn((live * x).reshape(S, *self.grid, self.rest, -1), axes=axes)
        flat = np.einsum("qst,tqk->sqk", inverse, z.reshape(S, len(inverse), -1))
        return live * np.fft.ifftn(flat.reshape(z.shape), axes=axes).real.reshape(x.shape)


def _start(G: Information, symbol: _Symbol | None, seed: int) -> np.ndarray:
    levels = np.zeros((G.size, len(G.shapes)))
    for k, at in enumerate(blocks_of(G.shapes).values()):
        levels[at, k] = 1
    other = np.random.default_rng(seed).normal(size=(G.size, 2)) if symbol is None else symbol.waves()
    return np.concatenate([levels, other], axis=1)


def _independent(X: np.ndarray) -> np.ndarray:
    """An orthonormal basis, without the vectors that are combinations of those before them."""
    Q, triangle = np.linalg.qr(X / np.maximum(np.linalg.norm(X, axis=0), 1e-300))
    return Q[:, np.abs(np.diag(triangle)) > 1e-6]
