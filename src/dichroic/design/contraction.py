r"""How much one observation tells about each source.

With a Gaussian prior :math:`\Lambda_s = v_s I`, of the size that the observations ask for, the posterior covariance of
the sources behind one observation is :math:`P = (\Lambda^{-1} + M^\top M)^{-1}`, and

.. math:: 1 - \mathrm{tr}\, P_{ss} / \mathrm{tr}\, \Lambda_s

is 0 where an observation says nothing about a source and 1 where it says everything. Traces are exact where matrices
are small; otherwise they are estimated by :math:`z^\top P z` with random signs `z`, solved by conjugate gradients.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.optimize import nnls

from dichroic import memory
from dichroic.design.data import whitened
from dichroic.design.design_views import DesignView

__all__ = ["expected_contraction", "source_variances"]

DENSE = 1024  # unknowns of a view up to which matrices are formed
_OBSERVATIONS, _FEW = 64, 2  # of each view that are looked at, with and without matrices
_ROWS = 256  # observations that the sizes of the sources are judged by
_ITERATIONS, _TOLERANCE = 40, 0.02


def expected_contraction(views: Sequence[DesignView], variances: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """`{view: {source: share}}`, for sources with these variances; empty where a variance is not known."""
    if not variances:
        return {}
    find = {view.name: _exact if memory.dense(view.unknowns, DENSE) else _estimated for view in views}
    return {view.name: find[view.name](view, variances) for view in views}


def source_variances(views: Sequence[DesignView], traces: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    r"""Variances per entry such that :math:`\sum_s v_s \mathrm{tr}\,M_s^\top M_s` is the size of the data of all views.

    **Arguments:** `traces`, `{view: {source: trace}}`, in units of the typical noise of the view.

    **Returns:** `{source: v}`, at least a hundredth of what one source alone would need; empty where the data does not
    vary more than its noise.
    """
    names = list(dict.fromkeys(s for view in views for s in view.sources))
    rows, powers = [], []
    for view in views:
        power = _excess(view)
        if power > 0:
            row = np.array([traces[view.name].get(s, 0.0) for s in names])
            rows, powers = [*rows, row / power], [*powers, 1.0]
    if not rows:
        return {}
    A = np.stack(rows)
    size = np.where(A.max(0) > 0, A.max(0), np.inf)
    # where the views do not tell, sources are taken to be equally strong
    alike = np.sqrt(0.03) * (np.eye(len(names)) - 1 / len(names))
    A = np.concatenate([A / np.where(np.isfinite(size), size, 1.0), alike])
    v, _ = nnls(A, np.concatenate([powers, np.zeros(len(names))]))
    return {s: float(max(a, 0.01) / b) if np.isfinite(b) else 0.0 for s, a, b in zip(names, v, size, strict=True)}


def _excess(view: DesignView) -> float:
    """What the data varies more than its noise, summed over entries, with entries weighted as in `M`."""
    index = np.sort(view.order[:_ROWS])
    if len(index) < 2:
        return 0.0
    white, seen = whitened(view.view.select(index))
    share = 1.0 if seen is None else seen.mean(0)
    variance = (white**2).sum(0) / (len(index) - 1)
    return view.noise**2 * float(np.sum(variance - share))


def _exact(view: DesignView, variances: Mapping[str, float]) -> dict[str, float]:
    """From the matrices of some observations, in units of the prior's standard deviation."""
    root = np.concatenate([np.full(view.sizes[s], np.sqrt(variances[s])) for s in view.sources]) / view.noise
    every = {s: np.arange(size) for s, size in view.sizes.items()}
    most = int(np.clip(1e10 / view.unknowns**3, 1, _OBSERVATIONS))
    left, count = np.zeros(view.unknowns), 0
    for C in view.grams(every, most):
        same = len(C) > 1 and C.strides[0] == 0
        for G in C[:1] if same else C:
            P = np.linalg.inv(np.eye(view.unknowns) + G * root[:, None] * root)
            left += (len(C) if same else 1) * np.diag(P)
        count += len(C)
    return {s: float(1 - np.mean(left[view.blocks[s]]) / count) for s in view.sources}


def _estimated(view: DesignView, variances: Mapping[str, float]) -> dict[str, float]:
    names, rng = view.sources, np.random.default_rng(0)
    root = {s: np.sqrt(variances[s]) / view.noise for s in names}
    z = {s: np.zeros((len(names), *view.shapes[s])) for s in names}
    found = np.zeros(len(names))
    chosen = view.order[: min(_FEW, view.n)]
    for i in chosen:
        for k, s in enumerate(names):
            z[s][k] = rng.choice([-1.0, 1.0], size=view.shapes[s])

        def product(x: dict[str, np.ndarray], i: int = int(i)) -> dict[str, np.ndarray]:
            Gx = view.single(i, {s: root[s] * x[s] for s in names})
            return {s: x[s] + root[s] * Gx[s] for s in names}

        x = _solve(product, z)
        sums = sum(np.sum((z[s] * x[s]).reshape(len(names), -1), axis=1) for s in names)
        found += sums / np.array([view.sizes[s] for s in names]) / len(chosen)
    return {s: float(np.clip(1 - p, 0, 1)) for s, p in zip(names, found, strict=True)}


def _solve(product, b: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Conjugate gradients, several systems side by side, each with its own steps."""

    def dot(u, v):
        return sum(np.sum((u[s] * v[s]).reshape(len(u[s]), -1), axis=1) for s in u)

    def add(u, a, v):
        return {s: u[s] + a.reshape(-1, *(1,) * (u[s].ndim - 1)) * v[s] for s in u}

    x, r, p = {s: np.zeros_like(u) for s, u in b.items()}, b, b
    rr = start = dot(r, r)
    for _ in range(_ITERATIONS):
        q = product(p)
        a = rr / np.maximum(dot(p, q), 1e-300)
        x, r = add(x, a, p), add(r, -a, q)
        new = dot(r, r)
        if np.all(new <= _TOLERANCE**2 * start):
            break
        p, rr = add(r, new / np.maximum(rr, 1e-300), p), new
    return x
