r"""Smooth random one-dimensional manifolds, mixed by random matrices (DDPRISM, arXiv 2510.05205, section 5.1).

Three problems, all with `d = 5` numbers per source, 3 per observation and noise 0.01:

* :func:`contrastive`: view `v` holds the sources 1 to `v`, :math:`y_{vi} = A_{vi} \sum_{s \le v} x_{vis} + n_{vi}` ;
* :func:`mixed`: two sources, two views,
  :math:`y_{vi} = A_{vi} (x_{viv} + f_\mathrm{mix}\, x_{viw}) + n_{vi}` with `w` the other source ;
* :func:`differing`: two sources, two views,
  :math:`y_{vi} = A_{vi1} x_{vi1} + A_{vi2} x_{vi2} + n_{vi}` with a matrix for every source.

Every view has its own draws of sources, matrices and noise: nothing is shared by index between views, unlike in the
published generator. A manifold depends on `seed` alone, so problems of any size with the same seed, and their
held-out sets, have the same sources. Scores take the dynamic range :data:`PEAK`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Protocol, runtime_checkable

import numpy as np

from dichroic.operators import Dense, PerSample
from dichroic.problem import Problem, Source, View

__all__ = ["PEAK", "Manifold", "contrastive", "differing", "manifolds", "mixed", "random_manifold"]

SPAN = 2.0  # every coordinate runs from -SPAN to SPAN
PEAK = 2 * SPAN
GRID = 20_001  # points at which a manifold's range is found; the fastest sine has ten periods


@runtime_checkable
class Sampled(Protocol):
    """Any source that can be drawn from."""

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Draws, shape `(n, d)`."""
        ...


@dataclass(frozen=True)
class Manifold:
    r"""A curve :math:`x(z)`, :math:`z \in [0, 1]`, of Zenke and Vogels (2021, Neural Computation 33, 899),

    .. math:: u_j(z) = \sum_{k=1}^K \frac{a_{jk}}{k^\alpha} \sin\big(2\pi (k\, b_{jk}\, z + c_{jk})\big) , \qquad
       x_j = 2 \Big( 2 \frac{u_j - \min_z u_j}{\max_z u_j - \min_z u_j} - 1 \Big) .

    The range that scales a coordinate to [-2, 2] belongs to the manifold: it is found once on a dense grid of `z`, not
    from a drawn sample. Training and held-out samples of any size thus lie on the same curve.

    **Arguments:** `a`, `b`, `c`, shape `(d, K)`; `alpha`, the smoothness. Built by :func:`random_manifold`.
    """

    a: np.ndarray
    b: np.ndarray
    c: np.ndarray
    alpha: float

    def __post_init__(self):
        u = self._series(np.linspace(0, 1, GRID))
        object.__setattr__(self, "_low", u.min(0))
        object.__setattr__(self, "_width", np.ptp(u, axis=0))

    def _series(self, z: np.ndarray) -> np.ndarray:
        k = np.arange(1, self.a.shape[1] + 1)
        phase = k * self.b * z[:, None, None] + self.c  # n d K
        return np.einsum("jk,njk->nj", self.a / k**self.alpha, np.sin(2 * np.pi * phase))

    def __call__(self, z: np.ndarray) -> np.ndarray:
        """Points at the coordinates `z`, shape `(n,)`. **Returns** shape `(n, d)`."""
        low, width = self._low, self._width  # pyright: ignore[reportAttributeAccessIssue]
        return SPAN * (2 * (self._series(np.asarray(z, dtype=float)) - low) / width - 1)

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Draws of uniform `z`. **Returns** shape `(n, d)`."""
        blocks = np.array_split(rng.random(n), max(1, n // 8192))  # the series of a large sample is larger by K
        return np.concatenate([self(z) for z in blocks])


def random_manifold(rng: np.random.Generator, alpha: float = 3.0, dim: int = 5, epsilon: float = 1e-3) -> Manifold:
    r"""A manifold with :math:`a, b, c \sim U[0, 1]` and :math:`K = \lceil \epsilon^{-1/\alpha} \rceil` terms."""
    terms = ceil(epsilon ** (-1 / alpha) - 1e-9)  # an integer up to rounding stays that integer
    a, b, c = rng.random((3, dim, terms))
    return Manifold(a, b, c, alpha)


def manifolds(count: int, seed: int = 0, dim: int = 5) -> dict[str, Manifold]:
    """The sources of every problem with this seed, `source1`, `source2`, ...: smoothness 3, 4, 5, ..."""
    return {f"source{s + 1}": random_manifold(_rng(seed, 0, s), alpha=3.0 + s, dim=dim) for s in range(count)}


def contrastive(
    n: int, sources: int = 2, seed: int = 0, held_out: int = 0, *, dim: int = 5, observed: int = 3, noise: float = 0.01
) -> tuple[Problem, Problem | None]:
    """View `view1` holds `source1`, `view2` holds `source1` and `source2`, and so on (65,536 each in the paper).

    **Arguments:** `n`, observations per view; `sources`, the number of sources and of views; `held_out`, observations
    per view of the second problem; `dim`, numbers per source; `observed`, numbers per observation.

    **Returns** the problem, with truth, and one of fresh observations of the same sources, None when `held_out` is 0.

    >>> problem, held_out = contrastive(100, sources=3, held_out=10)
    >>> {name: list(view.mixing) for name, view in problem.views.items()}
    {'view1': ['source1'], 'view2': ['source1', 'source2'], 'view3': ['source1', 'source2', 'source3']}
    """
    known = manifolds(sources, seed, dim)
    amplitudes = [dict.fromkeys(list(known)[: v + 1], 1.0) for v in range(sources)]
    title = f"Random manifolds, contrastive, {sources} sources"
    return _both(title, known, amplitudes, n, held_out, seed, observed, noise)


def mixed(
    n: int,
    f_mix: float = 0.1,
    seed: int = 0,
    held_out: int = 0,
    *,
    dim: int = 5,
    observed: int = 3,
    noise: float = 0.01,
) -> tuple[Problem, Problem | None]:
    """Each of two views shows one source at amplitude 1 and the other at `f_mix`, through the same matrix.

    With `f_mix` 0 nothing is mixed and the other source does not enter; with `f_mix` 1 the views are equal and the
    sources not identifiable. Arguments and returns as in :func:`contrastive`.
    """
    known = manifolds(2, seed, dim)
    amplitudes = [{"source1": 1.0, "source2": f_mix}, {"source1": f_mix, "source2": 1.0}]
    amplitudes = [{s: a for s, a in row.items() if a != 0} for row in amplitudes]
    return _both(f"Random manifolds, mixed by {f_mix:g}", known, amplitudes, n, held_out, seed, observed, noise)


def differing(
    n: int, seed: int = 0, held_out: int = 0, *, dim: int = 5, observed: int = 3, noise: float = 0.01
) -> tuple[Problem, Problem | None]:
    """Two views show both sources in full, each through a matrix of its own: these tell the sources apart.

    Both views follow the same law, and so nothing but the matrices' known values separates the sources. Arguments and
    returns as in :func:`contrastive`.
    """
    known = manifolds(2, seed, dim)
    amplitudes = [dict.fromkeys(known, 1.0)] * 2
    title = "Random manifolds, differing matrices"
    return _both(title, known, amplitudes, n, held_out, seed, observed, noise, one_matrix=False)


def _both(
    title: str,
    known: Mapping[str, Manifold],
    amplitudes: list[dict[str, float]],
    n: int,
    held_out: int,
    seed: int,
    observed: int,
    noise: float,
    one_matrix: bool = True,
) -> tuple[Problem, Problem | None]:
    sources = {name: Source((len(manifold.a),)) for name, manifold in known.items()}

    def draw(count: int, part: int) -> Problem:
        views = {
            f"view{v + 1}": _view(_rng(seed, part, v), known, row, count, observed, noise, one_matrix)
            for v, row in enumerate(amplitudes)
        }
        return Problem(sources, views, title)

    return draw(n, 1), draw(held_out, 2) if held_out else None


def _view(
    rng: np.random.Generator,
    known: Mapping[str, Sampled],
    amplitudes: Mapping[str, float],
    n: int,
    observed: int,
    noise: float,
    one_matrix: bool,
    shared: bool = False,
) -> View:
    """With `one_matrix`, all sources go through the same matrix; if `shared`, all observations do."""
    y = noise * rng.standard_normal((n, observed))
    truth, mixing, A = {}, {}, None
    for name, amplitude in amplitudes.items():
        x = known[name].sample(rng, n)
        if A is None or not one_matrix:
            A = _unit_rows(rng, 1 if shared else n, observed, x.shape[1])
        y += amplitude * np.einsum("nij,nj->ni", np.broadcast_to(A, (n, *A.shape[1:])), x)
        truth[name] = x.astype(np.float32)
        matrix = (amplitude * A).astype(np.float32)
        mixing[name] = Dense(matrix[0]) if shared else PerSample(Dense(matrix))  # pyright: ignore[reportCallIssue]
    return View(y.astype(np.float32), mixing, noise, truth=truth)


def _unit_rows(rng: np.random.Generator, n: int, rows: int, columns: int) -> np.ndarray:
    A = rng.standard_normal((n, rows, columns))
    return A / np.linalg.norm(A, axis=-1, keepdims=True)


def _rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed))
