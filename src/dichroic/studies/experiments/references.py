r"""What can be had with the truth at hand, on the problems where it is known.

It works for any mixing operators: an operator is written out as a matrix once for every distinct value of its
parameters (once in all for an amplitude, once per block size for a downsampled view).
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dichroic.metrics.psnr import psnr
from dichroic.operators import DenseNoise, DiagonalNoise, PerSample, count_samples, take
from dichroic.problem import Problem, View

__all__ = ["Reference", "oracle_wiener"]


class Reference(NamedTuple):
    """An estimate of one source for the observations of one view, shape `(n, ...)`, and its PSNR in dB."""

    estimate: np.ndarray
    psnr: float


def oracle_wiener(
    problem: Problem, held_out: Problem, source: str = "digit", view: str = "mix", peak: float = 1.0
) -> Reference:
    r"""The best affine estimate, with means and covariances of the true sources of the training view,

    .. math:: \hat x_s = \mu_s + C_s A_s^* \Big( \sum_r A_r C_r A_r^* + \Sigma \Big)^{-1}
       \Big( y - \sum_r A_r \mu_r \Big) .
    """
    observed = held_out.views[view]
    truth = {name: _flat(x) for name, x in problem.views[view].truth.items()}
    if missing := set(observed.mixing) - set(truth):
        raise ValueError(f"oracle_wiener: view '{view}' has no truth for {sorted(missing)}")
    mean = {name: x.mean(0) for name, x in truth.items()}
    C = {name: np.cov(x.T) for name, x in truth.items()}
    out = np.empty((len(observed), problem.sources[source].size))
    for rows, A in _groups(observed):
        total = sum(A[name] @ C[name] @ A[name].T for name in A) + _covariance(observed, int(rows[0]))
        residual = _flat(observed.y[rows]) - sum(mean[name] @ A[name].T for name in A)
        out[rows] = mean[source] + np.linalg.solve(total, residual.T).T @ A[source] @ C[source]
    return _scored(out, observed, source, problem.sources[source].shape, peak)


def _scored(flat: np.ndarray, view: View, source: str, shape: tuple[int, ...], peak: float) -> Reference:
    estimate = flat.reshape(-1, *shape).astype(np.float32)
    return Reference(estimate, psnr(estimate, view.truth[source], peak))


def _groups(view: View) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Observations with equal operators and noise: their indices, and the operators as matrices."""
    if view.observed is not None or np.iscomplexobj(view.y):
        raise ValueError("the reference estimates are for complete real observations")
    model = (dict(view.mixing), view.noise)
    if count_samples(model) is None:
        found = np.zeros(len(view), int)
    else:
        nodes = jax.tree.leaves(model, is_leaf=lambda node: isinstance(node, PerSample))
        rows = [_flat(leaf) for node in nodes if isinstance(node, PerSample) for leaf in jax.tree.leaves(node.value)]
        found = np.unique(np.concatenate(rows, axis=1), axis=0, return_inverse=True)[1].reshape(-1)
    for group in range(found.max() + 1):
        rows = np.flatnonzero(found == group)
        yield rows, {name: _matrix(take(operator, rows[0])) for name, operator in view.mixing.items()}


def _matrix(operator: Any) -> np.ndarray:
    size = int(np.prod(operator.in_shape))
    columns = jax.vmap(operator)(jnp.eye(size).reshape(size, *operator.in_shape))
    return np.asarray(columns, dtype=float).reshape(size, -1).T


def _covariance(view: View, row: int) -> np.ndarray:
    noise = take(view.noise, row)
    if isinstance(noise, DenseNoise):
        L = np.asarray(noise.factor, dtype=float)
        return L @ L.T
    assert isinstance(noise, DiagonalNoise)
    return np.diag(np.broadcast_to(np.asarray(noise.std, dtype=float) ** 2, view.event_shape).ravel())


def _flat(x: Any) -> np.ndarray:
    x = np.asarray(x, dtype=float)
    return x.reshape(len(x), -1)
