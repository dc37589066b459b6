r"""Order 2: what the design says about the covariances of the sources.

Independent sources add their covariances, :math:`\mathrm{Cov}(y_i) = \sum_s M_{is} \Lambda_s M_{is}^\top + I`. The
information about the stacked :math:`\Lambda_s` is, with :math:`C_{i,st} = M_{is}^\top M_{it}`,

.. math:: \langle H, G_2 H' \rangle = \sum_{st} \overline{\mathrm{tr}(H_s\, C_{i,st}\, H'_t\, C_{i,st}^\top)} .

There are as many unknowns as pairs of entries. Where these are too many, some entries of every source stand for all,
the same ones: half of them neighbours, half of them anywhere.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from dichroic.design.design_views import DesignView
from dichroic.design.spectrum import EXACT, Spectrum

__all__ = ["choose_entries", "pair_spectrum"]

_ENTRIES = 50  # of all sources together
_FLOPS = 2e10  # per view
_FEWEST = 32


def pair_spectrum(
    views: Sequence[DesignView], shapes: Mapping[str, tuple[int, ...]], scales: Mapping[str, float], seed: int = 0
) -> tuple[Spectrum, dict[str, int]]:
    """The spectrum of order 2, and how many observations of every view it was computed from."""
    entries = choose_entries(shapes, seed)
    names = list(entries)
    sizes = [len(entries[s]) for s in names]
    ends = np.cumsum([0, *sizes])
    at = {s: np.arange(a, b) for s, a, b in zip(names, ends[:-1], ends[1:], strict=True)}
    R = int(ends[-1])
    F, used = np.zeros((R, R, R, R)), {}
    for view in views:
        rows = np.concatenate([at[s] for s in view.sources])
        t = np.concatenate([np.full(len(entries[s]), scales[s]) for s in view.sources])
        most = int(max(_FEWEST, _FLOPS / len(rows) ** 4))
        total, count = np.zeros((len(rows) ** 2,) * 2), 0
        for C in view.grams({s: entries[s] for s in view.sources}, most):
            X = (C * t[:, None] * t).reshape(len(C), -1)
            total, count = total + _outer(X), count + len(X)
        F[np.ix_(rows, rows, rows, rows)] += (total / max(count, 1)).reshape((len(rows),) * 4)
        used[view.name] = count
    return _spectrum(F, at, all(len(e) == np.prod(shapes[s]) for s, e in entries.items())), used


def choose_entries(shapes: Mapping[str, tuple[int, ...]], seed: int, entries: int = _ENTRIES) -> dict[str, np.ndarray]:
    """Some entries of every source, the same for sources of the same shape; all of them where they are few."""
    most = max(2, entries // len(shapes))
    found = {}
    for s, shape in shapes.items():
        d, rng = int(np.prod(shape)), np.random.default_rng(seed)
        if d <= most:
            found[s] = np.arange(d)
            continue
        side = max(1, int(np.sqrt(most / 2))) if len(shape) > 1 else most // 2
        sides = [min(side, n) for n in shape[:2]]
        corner = [int(rng.integers(n - k + 1)) for n, k in zip(shape, sides, strict=False)]
        grid = np.meshgrid(*[c + np.arange(k) for c, k in zip(corner, sides, strict=True)], indexing="ij")
        index = [g.ravel() for g in grid] + [np.zeros(grid[0].size, int)] * (len(shape) - len(sides))
        patch = np.asarray(np.ravel_multi_index(index, shape))
        others = rng.choice(np.setdiff1d(np.arange(d), patch), most - patch.size, replace=False)
        found[s] = np.sort(np.concatenate([patch, others]))
    return found


def _outer(X: np.ndarray) -> np.ndarray:
    if len(X) > 1 and X.strides[0] == 0:  # the same for all observations
        return len(X) * np.outer(X[0], X[0])
    return X.T @ X


def _spectrum(F: Float[np.ndarray, "R R R R"], at: Mapping[str, np.ndarray], exact: bool) -> Spectrum:
    bases = {s: _symmetric_basis(len(rows)) for s, rows in at.items()}
    G = []
    for s, a in at.items():
        row = []
        for t, b in at.items():
            T = F[np.ix_(a, b, a, b)].transpose(2, 0, 1, 3).reshape(len(a) ** 2, len(b) ** 2)
            row.append(bases[s] @ T @ bases[t].T)
        G.append(row)
    values = np.linalg.eigvalsh(np.block(G))
    largest = float(values[-1])
    floor = EXACT * max(largest, 1e-300)
    null = int((values <= floor).sum())
    unseen = {s: int((np.linalg.eigvalsh(G[k][k]) <= floor).sum()) if null else 0 for k, s in enumerate(at)}
    rest = float(values[null]) if null < len(values) else 0.0
    route = "all pairs of entries" if exact else "pairs of some entries"
    return Spectrum(2, len(values), largest, max(float(values[0]), 0.0), rest, null, unseen, route, exact)


def _symmetric_basis(r: int) -> Float[np.ndarray, "K rr"]:
    """An orthonormal basis of symmetric matrices, one flattened matrix per row."""
    i, j = np.triu_indices(r)
    E = np.zeros((len(i), r, r))
    k = np.arange(len(i))
    E[k, i, j] = E[k, j, i] = np.where(i == j, 1.0, np.sqrt(0.5))
    return E.reshape(len(i), r * r)
