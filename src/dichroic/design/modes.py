r"""Designs in which all operators are diagonal in the same basis: one small matrix per mode.

With eigenvalues :math:`a_{is}(q)` of the operators the information about mode `q` of all sources is the matrix
:math:`G_{st}(q) = \overline{a_{is}(q)^* a_{it}(q)}`, `S` x `S`. Three bases are known: single entries (amplitudes,
masks, missing data, noise that differs between entries), frequencies (convolution with wrap-around), and nested blocks
of pixels (block means). Where only amplitudes differ, there is a single matrix for all modes.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float, Num

from dichroic.design.spectrum import EXACT, Direction, Spectrum
from dichroic.design.weighted_view import WeightedView
from dichroic.operators import Blocks, Waves

__all__ = ["Modes", "find_modes"]


@dataclass(frozen=True)
class Modes:
    """`gram`, one matrix per mode; `times`, how many patterns each stands for; `draw(q)`, one of them, for pictures.

    `entries` says that the modes are the entries themselves, of sources of shape `shape`.
    """

    names: list[str]
    shape: tuple[int, ...]
    gram: Num[np.ndarray, "Q S S"]
    times: Float[np.ndarray, " Q"]
    draw: Callable[[int, complex], np.ndarray]
    entries: bool
    route: str

    def scaled(self, scales: dict[str, float]) -> "Modes":
        """In other units of the sources."""
        t = np.array([scales[s] for s in self.names])
        return Modes(
            self.names, self.shape, self.gram * t[:, None] * t, self.times, self.draw, self.entries, self.route
        )

    def power(self, source: str) -> float:
        """The mean of the information over all patterns of a source."""
        s = self.names.index(source)
        return float(np.real(self.gram[:, s, s]) @ self.times / self.times.sum())

    def condition_with(self, source: str) -> float:
        """The condition with one more view, of a source by itself, as good as the best view of it."""
        G = self.gram.copy()
        s = self.names.index(source)
        G[:, s, s] += 1
        values = np.linalg.eigvalsh(G)
        smallest, largest = values.min(), values.max()
        return float(np.sqrt(largest / smallest)) if smallest > EXACT * largest else float(np.inf)

    def spectrum(self) -> Spectrum:
        """Everything about the design."""
        values, vectors = np.linalg.eigh(self.gram)
        largest = float(values.max())
        floor = EXACT * max(largest, 1e-300)
        null = values <= floor
        diagonal = np.real(np.einsum("qss->qs", self.gram)) <= floor
        unseen = {s: round(float(diagonal[:, i] @ self.times)) for i, s in enumerate(self.names)}
        rest = np.where(null, np.inf, values)
        directions = self._unseen(diagonal)
        if (between := self._trade_offs(null.sum(1) - diagonal.sum(1), diagonal)) is not None:
            directions.append(between)
        if np.isfinite(rest.min()):
            q, k = (int(i) for i in np.unravel_index(rest.argmin(), rest.shape))
            directions.append(self._direction([q], vectors[None, q, :, k], 1, float(np.sqrt(rest.min() / largest))))
        grid = {s: diagonal[:, i].reshape(self.shape) for i, s in enumerate(self.names)} if self.entries else {}
        return Spectrum(
            order=1,
            unknowns=round(float(self.times.sum()) * len(self.names)),
            largest=largest,
            smallest=max(float(values.min()), 0.0),
            smallest_rest=float(rest.min()) if np.isfinite(rest.min()) else 0.0,
            null=round(float(null.sum(1) @ self.times)),
            unseen=unseen,
            route=self.route,
            directions=directions,
            dead=grid or {s: np.full(self.shape, bool(diagonal[:, i].all())) for i, s in enumerate(self.names)},
        )

    def _unseen(self, diagonal: np.ndarray) -> list[Direction]:
        found = []
        for i, s in enumerate(self.names):
            modes = np.flatnonzero(diagonal[:, i])
            if not len(modes):
                continue
            count = round(float(self.times[modes].sum()))
            everything = len(modes) == len(self.gram)
            if self.entries or everything:
                x = diagonal[:, i].reshape(self.shape) if self.entries else np.ones(self.shape)
                found.append(Direction("dead", {s: x / np.linalg.norm(x)}, count))
            else:
                x = self.draw(int(modes[0]), 1 + 0j)
                found.append(Direction("flat", {s: x / np.linalg.norm(x)}, count))
        return found

    def _trade_offs(self, count: np.ndarray, diagonal: np.ndarray) -> Direction | None:
        modes = np.flatnonzero(count)
        if not len(modes):
            return None
        shown = modes if self.entries else modes[:1]
        # sources that are not seen at all would mix with the trade-offs of the others
        padded = self.gram[shown] + np.einsum(
            "qs,st->qst", diagonal[shown] * float(np.abs(self.gram).max()), np.eye(len(self.names))
        )
        _, vectors = np.linalg.eigh(padded)
        return self._direction([int(q) for q in shown], vectors[:, :, 0], round(float(count @ self.times)), 0.0)

    def _direction(self, modes: Sequence[int], h: np.ndarray, count: int, information: float) -> Direction:
        """From coefficients `h`, `(modes, S)`, of which the largest is made positive."""
        strongest = np.abs(h).max(0).argmax()
        h = h * np.exp(-1j * np.angle(h[:, strongest]))[:, None]
        pattern = {}
        for i, s in enumerate(self.names):
            if self.entries:
                x = np.zeros(int(np.prod(self.shape)))
                x[list(modes)] = np.real(h[:, i])
                pattern[s] = x.reshape(self.shape)
            else:
                pattern[s] = self.draw(int(modes[0]), complex(h[0, i]))
        size = np.sqrt(sum(np.sum(x**2) for x in pattern.values()))
        pattern = {s: x / size for s, x in pattern.items()}
        share = max(float(np.sum(x**2)) for x in pattern.values())
        return Direction("trade-off" if share < 0.99 else "flat", pattern, count, information)


def find_modes(views: Sequence[WeightedView], names: list[str]) -> Modes | None:
    """The modes of a design, None where its operators have no known basis in common."""
    shapes = {view.shapes[s] for view in views for s in view.sources}
    if len(shapes) > 1:
        return None
    (shape,) = shapes
    cores = [core for view in views for _, group in view.groups for core in group.values() if core is not None]
    constant = all(w.size == 1 for view in views for moments in view.moments for w in moments.values())
    known = [core.modes() for core in cores]
    basis: _Basis | None = None
    if not cores:
        basis = _Single(shape) if constant else _Entries(shape)
    elif constant and all(isinstance(modes, Blocks) for modes in known):
        basis = _Blocks.of(shape, known)
    elif constant and all(isinstance(modes, Waves) for modes in known):
        basis = _Frequencies(shape, max(modes.values.ndim for modes in known))
    if basis is None:
        return None
    G = np.zeros((len(basis.times), len(names), len(names)), complex if basis.waves else float)
    for view in views:
        for (_, group), moments in zip(view.groups, view.moments, strict=True):
            response = {s: basis.response(None if core is None else core.modes()) for s, core in group.items()}
            for (s, t), w in moments.items():
                w = basis.weight(np.asarray(np.real(w)))  # sources are real, and so is what cores other than numbers do
                G[:, names.index(s), names.index(t)] += np.conj(response[s]) * w * response[t]
    return Modes(names, shape, G, basis.times, basis.draw, basis.entries, basis.route)


class _Basis(ABC):
    """`times`, how many patterns a mode stands for; `response`, the eigenvalues of a core (None: of the identity), from
    its own modes; `draw`, a mode's picture.
    """

    route: str
    entries = waves = False
    times: np.ndarray
    shape: tuple[int, ...]

    @abstractmethod
    def response(self, modes: Any) -> Any: ...

    @abstractmethod
    def draw(self, q: int, factor: complex) -> np.ndarray: ...

    def weight(self, w: np.ndarray) -> np.ndarray:
        """What a factor does to the modes."""
        return w.reshape(-1)


class _Single(_Basis):
    """Amplitudes only: every pattern is like every other."""

    route = "scalar"

    def __init__(self, shape: tuple[int, ...]):
        self.shape, self.times = shape, np.array([float(np.prod(shape))])

    def response(self, modes: Any) -> Any:
        return 1.0

    def draw(self, q: int, factor: complex) -> np.ndarray:
        return np.full(self.shape, np.real(factor))


class _Entries(_Basis):
    """Masks, missing entries, noise per entry."""

    entries = True
    route = "entry by entry"

    def __init__(self, shape: tuple[int, ...]):
        self.shape, self.times = shape, np.ones(int(np.prod(shape)))

    def response(self, modes: Any) -> Any:
        return 1.0

    def weight(self, w: np.ndarray) -> np.ndarray:
        return np.broadcast_to(w, self.shape).ravel()

    def draw(self, q: int, factor: complex) -> np.ndarray:
        x = np.zeros(self.shape)
        x.flat[q] = np.real(factor)
        return x


class _Frequencies(_Basis):
    """Convolutions with wrap-around: `a(k)` is the transform of the kernel."""

    waves = True
    route = "frequency by frequency"

    def __init__(self, shape: tuple[int, ...], axes: int):
        self.shape, self.grid = shape, shape[:axes]
        self.times = np.full(int(np.prod(self.grid)), float(np.prod(shape[axes:])))

    def response(self, modes: Any) -> np.ndarray:
        if modes is None:
            return np.ones(len(self.times))
        a = modes.values
        return np.broadcast_to(a.reshape(a.shape + (1,) * (len(self.grid) - a.ndim)), self.grid).ravel()

    def draw(self, q: int, factor: complex) -> np.ndarray:
        k = np.unravel_index(q, self.grid)
        phase = (
            2
            * np.pi
            * sum((i * j / n for i, j, n in zip(k, np.indices(self.grid), self.grid, strict=True)), np.zeros(self.grid))
        )
        wave = np.real(factor * np.exp(1j * phase))
        return np.broadcast_to(wave.reshape(self.grid + (1,) * (len(self.shape) - len(self.grid))), self.shape).copy()


class _Blocks(_Basis):
    """Nested block means: the modes are the means of the coarsest blocks, and the differences on every finer level."""

    route = "block level by block level"

    def __init__(self, shape: tuple[int, ...], factors: list[int]):
        self.shape, self.factors = shape, factors  # 1 first, each dividing the next
        ranks = [np.prod(shape) / f**2 for f in factors] + [0.0]
        self.times = np.array([a - b for a, b in pairwise(ranks)])

    @classmethod
    def of(cls, shape: tuple[int, ...], known: list[Any]) -> "_Blocks | None":
        factors = sorted({1, *(modes.size for modes in known)})
        nested = all(b % a == 0 for a, b in pairwise(factors))
        return cls(shape, factors) if nested else None

    def response(self, modes: Any) -> np.ndarray:
        if modes is None:
            return np.ones(len(self.times))
        return modes.gain * np.array([float(g >= modes.size) for g in self.factors])

    def draw(self, q: int, factor: complex) -> np.ndarray:
        x = np.zeros(self.shape)
        f = self.factors[q]
        if q == len(self.factors) - 1:
            return x + np.real(factor)
        g = self.factors[q + 1]
        column = np.arange(self.shape[1]) % g // f
        column = np.where(column == 0, 1.0, np.where(column == 1, -1.0, 0.0))
        return x + np.real(factor) * column.reshape((1, -1) + (1,) * (len(self.shape) - 2))
