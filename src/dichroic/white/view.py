"""A view as closed-form stages see it: white data and dense matrices, one per observation or one per group of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dichroic.operators import DiagonalNoise, PerSample, count_samples, take
from dichroic.problem import Observation, View
from dichroic.problem.view import leaves
from dichroic.white import WhitenedObservation

__all__ = [
    "Group",
    "Stacked",
    "Weighted",
    "chi_square_of_groups",
    "group_alike",
    "grouped",
    "has_weights",
    "split_alike",
    "stack_samples",
    "stacked",
    "weighted",
    "widen",
]


@dataclass(frozen=True)
class Stacked:
    """Every observation with its own matrix, the sources side by side; counts of observed values."""

    A: Float[Array, "n m d"]
    y: Float[Array, "n m"]
    count: Float[np.ndarray, " n"]


@dataclass(frozen=True)
class Group:
    """The observations `members` of a view, which share operators, noise and mask; observed values of each.

    Data that are nothing in all of them, missing ones, are left out: `values` says which are there.
    """

    members: np.ndarray
    values: np.ndarray
    A: Float[np.ndarray, "m d"]
    y: Float[np.ndarray, "n m"]
    count: float


@dataclass(frozen=True)
class Weighted:
    """Observations behind the same operators: the matrix of one is `weights[i][:, None] * A`, 0 where it has no data.

    `y` is white, as everywhere: in units of the noise, and zero where missing.
    """

    A: Float[np.ndarray, "m d"]
    weights: Float[np.ndarray, "n m"]
    y: Float[np.ndarray, "n m"]


def stacked(view: View, shapes: Mapping[str, tuple[int, ...]]) -> Stacked:
    """All observations of a view in double precision; sources in the order of the view's mixing."""
    with jax.enable_x64(True):
        wide = jax.tree.map(widen, view.observations)
        A, y, count = _every(jnp.arange(len(view)), wide, _static(view, shapes))
    return Stacked(A, y, np.asarray(count))


def grouped(view: View, shapes: Mapping[str, tuple[int, ...]], indices: list[np.ndarray] | None = None) -> list[Group]:
    """The groups of a view (all of them, or those of `group_alike`); sources in the order of the view's mixing."""
    groups = []
    for members in group_alike(view) if indices is None else indices:
        A, count = _matrix(take(view.observations, int(members[0])), _static(view, shapes))
        y = _data(jnp.arange(len(members)), view.select(members).observations, _static(view, shapes))
        A, y = np.asarray(A, float), np.asarray(y, float)
        something = (A != 0).any(1) | (y != 0).any(0)
        something[0] |= not something.any()  # an observation of nothing is one of a zero: no matrix is empty
        values = np.flatnonzero(something)
        groups.append(Group(members, values, A[values], y[:, values], float(count)))
    return groups


def has_weights(view: View) -> bool:
    """Whether observations share their operators, and the noise of each is independent between values."""
    noise = view.noise.value if isinstance(view.noise, PerSample) else view.noise
    return count_samples(dict(view.mixing)) is None and isinstance(noise, DiagonalNoise)


def weighted(view: View, shapes: Mapping[str, tuple[int, ...]]) -> Weighted:
    """A view for which `has_weights` holds; sources in the order of the view's mixing."""
    per_sample = isinstance(view.noise, PerSample)
    std = np.asarray((view.noise.value if per_sample else view.noise).std, float)
    if per_sample:
        std = std.reshape(len(view), *(1,) * (view.y.ndim - std.ndim), *std.shape[1:])
    observed = np.ones(view.y.shape, bool) if view.observed is None else view.observed
    weights = np.where(observed, 1 / std, 0).reshape(len(view), -1)
    y = view.y.reshape(len(view), -1)
    parts = [np.real(y), np.imag(y)] if np.iscomplexobj(y) else [y]
    bare = Observation(view.y[0], np.ones(view.event_shape, bool), dict(view.mixing), DiagonalNoise(1.0))
    with jax.enable_x64(True):
        A, _ = _matrix(jax.tree.map(widen, bare), _static(view, shapes))
    return Weighted(
        np.asarray(A, float),
        np.tile(weights, len(parts)),
        np.concatenate([weights * part.astype(float) for part in parts], axis=1),
    )


def _static(view: View, shapes: Mapping[str, tuple[int, ...]]) -> tuple[tuple[str, tuple[int, ...]], ...]:
    return tuple((s, tuple(shapes[s])) for s in view.mixing)


@eqx.filter_jit
def _every(i, observations, shapes):
    def one(i):
        w = WhitenedObservation.unscaled(take(observations, i), dict(shapes))
        return w.matrix(), w.y, w.count

    return jax.vmap(one)(i)


@eqx.filter_jit
def _matrix(observation, shapes):
    w = WhitenedObservation.unscaled(observation, dict(shapes))
    return w.matrix(), w.count


@eqx.filter_jit
def _data(i, observations, shapes):
    return jax.vmap(lambda i: WhitenedObservation.unscaled(take(observations, i), dict(shapes)).y)(i)


def group_alike(view: View) -> list[np.ndarray]:
    """Indices of the observations that share operators, noise and mask."""
    observations = view.observations
    marked = [
        node
        for node in jax.tree.leaves(
            (observations.mixing, observations.likelihood, observations.observed),
            is_leaf=lambda n: isinstance(n, PerSample),
        )
        if isinstance(node, PerSample)
    ]
    columns = [leaf.reshape(len(view), -1) for node in marked for leaf in leaves(node)]
    if not columns:
        return [np.arange(len(view))]
    members: dict[bytes, list[int]] = {}
    for i in range(len(view)):
        members.setdefault(b"".join(np.ascontiguousarray(c[i]).tobytes() for c in columns), []).append(i)
    return [np.asarray(group) for group in members.values()]


def split_alike(view: View, smallest: int) -> list[tuple[np.ndarray, View]]:
    """A view as views whose observations share operators, noise and mask, with their indices.

    Groups of fewer than `smallest` observations are left together as one last view, which shares nothing (unless it is
    a single group).
    """
    if view.shared:
        return [(np.arange(len(view)), view)]
    groups = group_alike(view)
    large = [members for members in groups if len(members) >= smallest]
    small = [members for members in groups if len(members) < smallest]
    if len(small) == 1:
        large, small = [*large, *small], []
    parts = [(members, _alike(view, members)) for members in large]
    if small:
        left = np.sort(np.concatenate(small))
        parts.append((left, view.select(left)))
    return parts


def _alike(view: View, members: np.ndarray) -> View:
    """Observations with the same operators, noise and mask, said so by having one of each."""
    first = int(members[0])
    mixing = {s: take(operator, first) for s, operator in view.mixing.items()}
    observed = None if view.observed is None else view.observed[members]
    truth = {s: x[members] for s, x in view.truth.items()}
    return View(view.y[members], mixing, take(view.noise, first), observed, truth, True)


def widen(leaf):
    """A leaf in double precision; whatever is no number stays as it is."""
    if not eqx.is_array_like(leaf):
        return leaf
    leaf = np.asarray(leaf)
    if np.issubdtype(leaf.dtype, np.complexfloating):
        return leaf.astype(complex)
    return leaf.astype(float) if np.issubdtype(leaf.dtype, np.floating) else leaf


def stack_samples(samples: Mapping[str, np.ndarray], sources: Sequence[str], n: int) -> Float[np.ndarray, "n d"]:
    """Samples of all sources side by side."""
    return np.concatenate([np.asarray(samples[s], float).reshape(n, -1) for s in sources], axis=1)


def chi_square_of_groups(groups: Iterable[Group], x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
    """Squared residual of stacked samples per observed value, in units in which the noise is white."""
    out = np.empty(len(x))
    for group in groups:
        out[group.members] = ((group.y - x[group.members] @ group.A.T) ** 2).sum(1) / max(group.count, 1)
    return out
