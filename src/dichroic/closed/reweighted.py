r"""Closed forms where noise is not Gaussian: which Gaussian observation stands for it once populations are known.

Near its data alone, an outlier is a value as any other. Given the populations, the other values of an observation say
what a value should be: with :math:`P = (\sum_s A_s S_s A_s^\top + \Sigma)^{-1}` and :math:`r = y - \sum_s A_s \mu_s`,

.. math:: m_i = y_i - \frac{(P r)_i}{P_{ii}}, \qquad v_i = \frac{1}{P_{ii}} - \Sigma_{ii}

are the mean and the variance of its mixture. The likelihood says what stands for it near those
(`Likelihood.gaussian_near`): less weight where Student's or Laplace's noise finds an outlier, a variance from what is
expected in place of what was counted, the moments of a truncated Gaussian where data are clipped.
"""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import numpy as np

from dichroic.algebra import Components, Gaussian
from dichroic.operators import Response, joints, take
from dichroic.problem import Problem, View
from dichroic.problem.noise import inner_noise
from dichroic.white.arrays import in_blocks, stacked
from dichroic.white.layout import diagonal_noise

__all__ = ["reweighted"]

_MOST = 256  # values of an observation up to which the others are asked
_ROUNDS = 3  # from the Gaussian near the data


def reweighted(problem: Problem, populations: Mapping[str, Components | Gaussian]) -> Problem:
    """The problem with Gaussian noise in place of all other, given populations in the user's units."""
    if not any(view.has_own_likelihood for view in problem.views.values()):
        return problem
    given = {s: x.gaussian() if isinstance(x, Components) else x for s, x in populations.items()}
    views = {name: _view(problem, view, given) for name, view in problem.views.items()}
    return Problem(problem.sources, views, problem.title)


def _view(problem: Problem, view: View, populations: Mapping[str, Gaussian]) -> View:
    stands = view.gaussian
    # a response has its tangent at the data, which is nearer than where the others say
    nearer = isinstance(inner_noise(view.noise), Response) or joints(view.mixing)
    if not view.has_own_likelihood or nearer or view.data_size > _MOST:
        return stands
    shapes = {s: problem.sources[s].real_shape for s in view.mixing}
    law = {s: populations[s] for s in view.mixing}
    mu = np.concatenate([np.asarray(x.mean, float) for x in law.values()])
    for _ in range(_ROUNDS):
        m, v = np.empty(view.y.shape, view.y.dtype), np.empty(view.y.shape)
        for rows in in_blocks(len(view)):
            m[rows], v[rows] = _expected(stands.select(rows), shapes, law, mu)
        stands = view.standing(*_near(view.observations, np.arange(len(view)), m, v.astype(np.float32)))
    return stands


def _expected(
    view: View, shapes: Mapping[str, tuple[int, ...]], law: Mapping[str, Gaussian], mu: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of the mixture behind every value, given the others."""
    A, y, _ = stacked(view, shapes)
    S, begin = np.broadcast_to(np.eye(A.shape[1]), (len(A), A.shape[1], A.shape[1])).copy(), 0
    for x in law.values():
        d = len(x.mean)
        part = A[:, :, begin : begin + d]
        U = part @ np.asarray(x.basis, float)
        S += (U * (x.values - x.rest)) @ U.swapaxes(1, 2) + float(x.rest) * (part @ part.swapaxes(1, 2))
        begin += d
    P = np.linalg.inv(S)
    own = np.diagonal(P, axis1=1, axis2=2)
    off, spread = np.einsum("nab,nb->na", P, y - A @ mu) / own, 1 / own - 1
    std = diagonal_noise(view)
    assert std is not None  # what stands for a likelihood is independent between values
    if np.iscomplexobj(view.y):
        half = off.shape[1] // 2
        off, spread = off[:, :half] + 1j * off[:, half:], (spread[:, :half] + spread[:, half:]) / 2
    return view.y - std * off.reshape(view.y.shape), std**2 * spread.reshape(view.y.shape)


@eqx.filter_jit
def _near(observations: Any, rows: Any, m: Any, v: Any) -> tuple[Any, Any]:
    return jax.vmap(lambda i, m, v: take(observations, i).near(m, v))(rows, m, v)
