r"""Undoing the operator of one source without a model of it: the estimates that the classical methods start from."""

from collections.abc import Mapping

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.scipy.sparse.linalg import cg
from jaxtyping import Array, Float

from dichroic.baselines.batches import over_observations
from dichroic.posterior import WhitenedObservation
from dichroic.problem import Problem, ProblemError, View

__all__ = ["least_squares", "principal_start", "require_invertible"]

_ITERATIONS = 100
_PROBED = 32


class _Undo(eqx.Module):
    source: str = eqx.field(static=True)
    shape: tuple[int, ...] = eqx.field(static=True)
    known: dict[str, Array]

    def __call__(self, observation, _):
        y = WhitenedObservation.unscaled(observation, {s: m.shape for s, m in self.known.items()})
        w = WhitenedObservation.unscaled(observation, {self.source: self.shape})
        residual = w.y - y.forward(self.known) if self.known else w.y
        return _solve(w, self.source, residual)


class _UndoProbe(eqx.Module):
    source: str = eqx.field(static=True)

    def __call__(self, observation, x, _):
        w = WhitenedObservation.unscaled(observation, {self.source: x.shape})
        return _solve(w, self.source, w.forward({self.source: x}))


def _solve(w, source: str, y: Array) -> Array:
    def gram(x: Array) -> Array:
        return w.adjoint(w.forward({source: x}))[source]

    # from zero, conjugate gradients stay in the row space and end at the solution of least norm
    return cg(gram, w.adjoint(y)[source], tol=1e-6, maxiter=_ITERATIONS)[0]


def least_squares(
    view: View, source: str, shape: tuple[int, ...], known: Mapping[str, np.ndarray] | None = None
) -> Float[np.ndarray, "n ..."]:
    r"""The :math:`x` of least norm that minimises :math:`\|y - \sum_r A_r \mu_r - A_s x\|^2` for every observation.

    **Arguments:** `known`, means :math:`\mu_r` of other sources, `{source: (...)}`.
    """
    entering = {s: jnp.asarray(m, jnp.float32) for s, m in (known or {}).items() if s in view.mixing}
    return over_observations(_Undo(source, tuple(shape), entering), view)


def require_invertible(view: View, name: str, source: str, shape: tuple[int, ...], title: str) -> None:
    """Whether a source could be read off the data if it were alone and there were no noise.

    **Raises:** `ProblemError` when its operator loses something, naming the view and the first such sample.
    """
    some = view.select(np.arange(min(_PROBED, len(view))))
    x = np.random.default_rng(0).normal(size=(len(some), *shape)).astype(np.float32)
    back = over_observations(_UndoProbe(source), some, x)
    axes = tuple(range(1, x.ndim))
    error = np.sqrt(((back - x) ** 2).sum(axes) / (x**2).sum(axes))
    if (lossy := np.flatnonzero(~(error < 1e-2))).size:
        share = f"{min(float(error[lossy[0]]), 1.0):.0%} of a random '{source}' is lost"
        raise ProblemError(
            [
                f"view '{name}': {title} needs complete data, but in sample {lossy[0]} {share}; missing or coarse data "
                "takes a method with a likelihood, such as 'pcpca' or 'wiener'"
            ]
        )


def principal_start(
    problem: Problem, view: View, source: str, components: int, known: Mapping[str, np.ndarray] | None = None
) -> tuple[np.ndarray, np.ndarray, float]:
    r"""Mean and leading directions (times the root of their variances) of the least-squares estimates of a source.

    **Returns:** mean, shape `(...)`; loadings, shape `(components, ...)`; the standard deviation over all entries.
    """
    shape = problem.sources[source].shape
    view = view.select(np.arange(min(len(view), 4096)))
    x = least_squares(view, source, shape, known).reshape(len(view), -1).astype(float)
    mean = x.mean(0)
    _, singular, rows = np.linalg.svd(x - mean, full_matrices=False)
    found = singular[:components, None] * rows[:components] / np.sqrt(len(x))
    loadings = np.zeros((components, x.shape[1]))
    loadings[: len(found)] = found
    scale = float(np.sqrt((x**2).mean())) or 1.0
    return mean.reshape(shape), loadings.reshape(components, *shape), scale
