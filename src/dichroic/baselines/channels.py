r"""Channels: the same draw of all sources, seen several times with other amplitudes.

Blind methods unmix :math:`y_c = \sum_s a_{cs} x_s`, with one amplitude per channel and source, all channels showing the
same :math:`x_s`. Channels are the first axis of an observation of shape `(C, ...)`, for sources of shape `(...)`; an
observation with the shape of a source is a single channel. Views add up to more channels where the user says that
observation `i` of all of them shows the same draw, which no data can say.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment

from dichroic.faults import names
from dichroic.operators import PerSample
from dichroic.problem import Problem, ProblemError, View

__all__ = ["Channels", "assign", "channels_of"]


class Channels(NamedTuple):
    """`data`, shape `(values, channels)`; `gains`, the known amplitudes, `(channels, sources)`; and what they are of:
    the sources, and for every view its number of channels.
    """

    data: Float[np.ndarray, "t c"]
    gains: Float[np.ndarray, "c s"]
    sources: list[str]
    views: dict[str, int]


def channels_of(problem: Problem, paired: bool, title: str) -> Channels:
    """The data of a problem as channels.

    **Raises:** `ProblemError` for views that are not channels of all sources, or fewer channels than sources.
    """
    faults: list[str] = []
    shapes = {source.real_shape for source in problem.sources.values()}
    if len(shapes) > 1:
        raise ProblemError([f"{title} needs sources of one shape, got {sorted(shapes)}"])
    shape, sources = shapes.pop(), list(problem.sources)
    counts = {len(view) for view in problem.views.values()}
    if not paired and len(problem.views) > 1:
        faults.append(
            f"{title} needs several channels of the same draw of all sources, and the views {names(problem.views)} are "
            "taken to be draws of their own; say `paired = true` if observation i of all views shows the same draw"
        )
    elif len(counts) > 1:
        faults.append(f"paired views have one number of observations, got {sorted(counts)}")
    gains, data = [], []
    for name, view in problem.views.items():
        if missing := set(sources) - set(view.mixing):
            faults.append(f"view '{name}': {title} needs all sources in every channel, and {names(missing)} is not in")
            continue
        try:
            own = np.stack([_gains(view, s, shape) for s in sources], 1)
        except ValueError as error:
            faults.append(f"view '{name}': {title} needs {error}")
            continue
        gains.append(own)
        data.append(view.y.reshape(len(view), len(own), -1).swapaxes(1, 2).reshape(-1, len(own)))
    if faults:
        raise ProblemError(faults)
    A = np.concatenate(gains)
    if np.linalg.matrix_rank(A) < len(sources):
        raise ProblemError(
            [
                f"{title} needs as many independent channels as sources, got {len(A)} channels of rank "
                f"{np.linalg.matrix_rank(A)} for {len(sources)} sources: {names(sources)}"
            ]
        )
    views = {name: len(own) for name, own in zip(problem.views, gains, strict=True)}
    return Channels(np.concatenate(data, 1).astype(float), A, sources, views)


def _gains(view: View, source: str, shape: tuple[int, ...]) -> np.ndarray:
    """The amplitude of a source in every channel of a view."""
    operator: Any = view.mixing[source]
    if view.observed is not None:
        raise ValueError("complete data")
    if np.iscomplexobj(view.y):
        raise ValueError("real data")
    if view.event_shape != shape and view.event_shape[1:] != shape:
        raise ValueError(f"observations of shape {shape} or (channels, ...) of it, got {view.event_shape}")
    if any(isinstance(n, PerSample) for n in jax.tree.leaves(operator, is_leaf=lambda n: isinstance(n, PerSample))):
        raise ValueError(f"amplitudes that all observations share, and those of '{source}' differ")
    e = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    out = np.asarray(operator(jnp.asarray(e)), float).reshape(-1, e.size)
    gains = out @ e.ravel() / float((e * e).sum())
    if np.abs(out - gains[:, None] * e.ravel()).max() > 1e-4 * np.abs(gains).max():
        raise ValueError(f"amplitudes, and the operator of '{source}' is more than that")
    return gains


def assign(
    found: Float[np.ndarray, "t s"], mixing: Float[np.ndarray, "c s"], gains: Float[np.ndarray, "c s"]
) -> tuple[np.ndarray, np.ndarray]:
    r"""Names, signs and scales for blind components.

    Component `k`, with estimated amplitudes :math:`\hat a_k`, becomes the source whose known amplitudes :math:`a_s`
    have the direction nearest to it, times :math:`a_s^\top \hat a_k / a_s^\top a_s`: its part of the data is kept.

    **Returns:** the sources, shape `(t, s)`, and the absolute cosines between estimated and known amplitudes, `(s,)`.
    """
    lengths = np.linalg.norm(gains, axis=0)[:, None] * np.maximum(np.linalg.norm(mixing, axis=0), 1e-300)
    cosines = gains.T @ mixing / lengths
    rows, columns = linear_sum_assignment(-np.abs(cosines))
    factors = (gains[:, rows] * mixing[:, columns]).sum(0) / (gains[:, rows] ** 2).sum(0)
    return found[:, columns] * factors, np.abs(cosines[rows, columns])
