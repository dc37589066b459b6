r"""Undoing the operator of one source without a model of it: the estimates that the classical methods start from."""

from collections.abc import Mapping, Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import scipy.sparse.linalg
from jax.scipy.sparse.linalg import cg
from jaxtyping import Array, Float

from dichroic.baselines.batches import over_observations
from dichroic.baselines.size import size_of
from dichroic.problem import Problem, ProblemError, View
from dichroic.white import WhitenedObservation

__all__ = ["least_squares", "least_squares_means", "mixed", "principal_start", "require_invertible"]

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
    # squares of single precision allow few units: data and solution are of size one here, by powers of two
    size = size_of(y, jnp)
    b = w.adjoint(y / size)[source]
    unit = 1 / size_of(b, jnp)

    def gram(z: Array) -> Array:
        return unit * w.adjoint(w.forward({source: unit * z}))[source]

    # from zero, conjugate gradients stay in the row space and end at the solution of least norm
    return size * (unit * cg(gram, unit * b, tol=1e-6, maxiter=_ITERATIONS)[0])


def least_squares(
    view: View, source: str, shape: tuple[int, ...], known: Mapping[str, np.ndarray] | None = None
) -> Float[np.ndarray, "n ..."]:
    r"""The :math:`x` of least norm that minimises :math:`\|y - \sum_r A_r \mu_r - A_s x\|^2` for every observation.

    **Arguments:** `known`, means :math:`\mu_r` of other sources, `{source: (...)}`.
    """
    entering = {s: jnp.asarray(m, jnp.float32) for s, m in (known or {}).items() if s in view.mixing}
    return over_observations(_Undo(source, tuple(shape), entering), view)


def least_squares_means(
    terms: Sequence[tuple[View, float]], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, np.ndarray]:
    r"""One value for every source that explains all observations best, as if each showed these sources alone.

    .. math:: \operatorname*{arg\,min}_\mu \sum_v w_v\, \overline{
        \textstyle \| y_i - \sum_s A_{is} \mu_s \|^2_{\Sigma_i^{-1}} } ,

    the bar being the mean over the observations of a view; of all solutions, the one of least norm.

    **Arguments:** `terms`, views and their weights; `shapes`, of the sources, which all enter every view.

    **Returns:** `{source: (...)}`, in the user's units. It is not finite where negative weights leave no minimum.
    """
    names, sizes = list(shapes), [int(np.prod(shape)) for shape in shapes.values()]

    def split(x: np.ndarray) -> dict[str, np.ndarray]:
        parts = np.split(x, np.cumsum(sizes)[:-1])
        return {s: part.reshape(shapes[s]) for s, part in zip(names, parts, strict=True)}

    def backward(x: np.ndarray | None, unit: float = 1.0) -> np.ndarray:
        values = None if x is None else {s: jnp.asarray(v, jnp.float32) for s, v in split(unit * x).items()}
        function = _Backward(tuple((s, tuple(shape)) for s, shape in shapes.items()), values)
        total = np.zeros(sum(sizes))
        for view, weight in terms:
            found = over_observations(function, view)
            total += weight * np.concatenate([found[s].mean(0, dtype=float).ravel() for s in names])
        return unit * total

    b = backward(None)
    unit = 1 / size_of(b)  # as in `_solve`
    system = scipy.sparse.linalg.LinearOperator(
        (sum(sizes),) * 2,
        matvec=lambda z: backward(z, unit),  # pyright: ignore
        dtype=float,  # pyright: ignore
    )
    return split(unit * scipy.sparse.linalg.cg(system, unit * b, rtol=1e-6, maxiter=200)[0])


class _Backward(eqx.Module):
    """:math:`A^* A x`; :math:`A^* y` without an `x`."""

    shapes: tuple[tuple[str, tuple[int, ...]], ...] = eqx.field(static=True)
    x: dict[str, Array] | None

    def __call__(self, observation, _):
        w = WhitenedObservation.unscaled(observation, dict(self.shapes))
        return w.adjoint(w.y if self.x is None else w.forward({s: self.x[s].astype(w.dtype) for s in w.shapes}))


def mixed(view: View, sources: Mapping[str, np.ndarray]) -> np.ndarray:
    r"""What a view would show of the same sources in every observation, without noise: :math:`\sum_s A_{is} x_s`."""
    return over_observations(_Mixed({s: jnp.asarray(x, jnp.float32) for s, x in sources.items()}), view)


class _Mixed(eqx.Module):
    sources: dict[str, Array]

    def __call__(self, observation, _):
        return sum(observation.mixing[s](x) for s, x in self.sources.items())


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
    shape = problem.sources[source].real_shape
    view = view.select(np.arange(min(len(view), 4096)))
    x = least_squares(view, source, shape, known).reshape(len(view), -1).astype(float)
    mean = x.mean(0)
    _, singular, rows = np.linalg.svd(x - mean, full_matrices=False)
    found = singular[:components, None] * rows[:components] / np.sqrt(len(x))
    loadings = np.zeros((components, x.shape[1]))
    loadings[: len(found)] = found
    scale = float(np.sqrt((x**2).mean())) or 1.0
    return mean.reshape(shape), loadings.reshape(components, *shape), scale
